#include "assessment/exhibits.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <utility>

#include "assessment/feature_map.h"
#include "image/image.h"

namespace infenclave {
namespace {

constexpr int kMostPerCut = 4;
constexpr int kMostExhibits = 160;  // the page stays within a few megabytes
constexpr int kMostPixels = 144;    // a side
constexpr int kSmallestJpeg = 48;   // smaller maps are exact in PNG, and small all the same
constexpr int kPhotographQuality = 80, kMapQuality = 90;

StatusOr<EncodedPicture> Encode(const Image& image, bool exact, int quality) {
  EncodedPicture picture;
  picture.width = static_cast<int>(image.width);
  picture.height = static_cast<int>(image.height);
  picture.mime = exact ? "image/png" : "image/jpeg";
  INFENCLAVE_ASSIGN_OR_RETURN(picture.bytes, exact ? EncodePng(image) : EncodeJpeg(image, quality));
  return picture;
}

// The size that fits into kMostPixels with the same aspect.
std::pair<int, int> Fit(int width, int height) {
  const double shrink = std::min(1.0, static_cast<double>(kMostPixels) / std::max(width, height));
  return {std::max(1, static_cast<int>(std::lround(width * shrink))),
          std::max(1, static_cast<int>(std::lround(height * shrink)))};
}

StatusOr<EncodedPicture> PhotographPicture(const Image& prepared) {
  const auto [width, height] = Fit(static_cast<int>(prepared.width), static_cast<int>(prepared.height));
  return Encode(Resize(prepared, width, height, Preprocessing::Filter::kBicubic), false, kPhotographQuality);
}

StatusOr<EncodedPicture> MapPicture(std::span<const float> map, const MapChoice& choice, bool& constant) {
  std::vector<float> normalised(map.size());
  const MapKind kind = NormaliseMap(map, normalised);
  if (kind == MapKind::kNotFinite) return InvalidArgument("a feature map is not finite");
  constant = kind == MapKind::kConstant;
  const auto [width, height] = Fit(choice.width, choice.height);
  std::vector<float> grey(static_cast<size_t>(width) * height);
  MapResizer(choice.height, choice.width, height, width).Resize(normalised, grey);
  Image image{static_cast<uint32_t>(width), static_cast<uint32_t>(height), {}};
  for (float v : grey)
    image.rgb.insert(image.rgb.end(), 3, static_cast<uint8_t>(std::lround(std::clamp(v, 0.f, 255.f))));
  return Encode(image, std::max(width, height) < kSmallestJpeg, kMapQuality);
}

// Indices of the photographs with the smallest ratio, ascending.
std::vector<int> MostRecognised(const Assessment& assessment, const KlScores& kl, int count) {
  std::vector<int> order(kl.photographs.size());
  std::iota(order.begin(), order.end(), 0);
  const auto ratio = [&](int i) { return kl.photographs[i].d / std::max(assessment.photographs[i].bound, 1e-12); };
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return ratio(a) < ratio(b); });
  order.resize(std::min<size_t>(order.size(), count));
  return order;
}

}  // namespace

StatusOr<std::vector<Exhibit>> MakeExhibits(const KlJob& job, const Assessment& assessment) {
  std::vector<Exhibit> exhibits;
  std::map<int, std::vector<size_t>> by_photograph;  // each photograph runs through the FrontNet once
  std::vector<MapChoice> choices;
  const int per_cut = std::clamp(kMostExhibits / std::max(1, static_cast<int>(assessment.cuts.size())), 1, kMostPerCut);
  for (size_t cut = 0; cut < assessment.cuts.size(); ++cut) {
    choices.push_back(ChooseMaps(job.model->value(job.cuts[cut]), job.plan->maps_limit, job.plan->seed));
    if (!assessment.cuts[cut].kl) continue;
    for (int photograph : MostRecognised(assessment, *assessment.cuts[cut].kl, per_cut)) {
      by_photograph[photograph].push_back(exhibits.size());
      exhibits.push_back({static_cast<int>(cut), photograph, assessment.cuts[cut].kl->photographs[photograph], {}, {}});
    }
  }
  INFENCLAVE_ASSIGN_OR_RETURN(FrontNet front, FrontNet::Create(*job.model, job.preprocessing, job.cuts, choices));
  for (const auto& [photograph, indices] : by_photograph) {
    INFENCLAVE_ASSIGN_OR_RETURN(const Image image,
                                LoadImage(job.folder + "/" + assessment.photographs[photograph].file));
    INFENCLAVE_RETURN_IF_ERROR(front.Run(image));
    INFENCLAVE_ASSIGN_OR_RETURN(const EncodedPicture picture, PhotographPicture(Prepare(image, job.preprocessing)));
    for (size_t i : indices) {
      const MapChoice& choice = choices[exhibits[i].cut];
      exhibits[i].photograph_picture = picture;
      const std::span<const float> map = front.Map(exhibits[i].cut, exhibits[i].revealed.map, choice);
      INFENCLAVE_ASSIGN_OR_RETURN(exhibits[i].map_picture, MapPicture(map, choice, exhibits[i].constant));
    }
  }
  return exhibits;
}

}  // namespace infenclave
