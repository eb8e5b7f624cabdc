#include "assessment/gallery.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "assessment/attack_job.h"
#include "assessment/likeness.h"
#include "assessment/similarity.h"
#include "image/image.h"

namespace infenclave {
namespace {

constexpr int kMostPhotographs = 5;
constexpr int kMostPictures = 700;  // the page stays within a few megabytes
constexpr int kQuality = 80;

StatusOr<EncodedPicture> Encode(std::span<const float> rgb) {
  Image image{kPictureSide, kPictureSide, {}};
  for (float v : rgb) image.rgb.push_back(static_cast<uint8_t>(std::lround(v)));
  EncodedPicture picture{{}, "image/jpeg", kPictureSide, kPictureSide};
  INFENCLAVE_ASSIGN_OR_RETURN(picture.bytes, EncodeJpeg(image, kQuality));
  return picture;
}

// A row of a file of pictures, u8 or f32, in 0..255.
StatusOr<std::vector<float>> PictureAt(const RowFile& file, int64_t row) {
  const ByteSpan bytes = file.Row(row);
  std::vector<float> rgb(kPictureValues);
  if (file.dtype() == DType::kU8 && bytes.size() == rgb.size()) {
    std::copy(bytes.begin(), bytes.end(), rgb.begin());
  } else if (file.dtype() == DType::kF32 && bytes.size() == rgb.size() * sizeof(float)) {
    std::memcpy(rgb.data(), bytes.data(), bytes.size());
    for (float& v : rgb) v = std::isfinite(v) ? std::clamp(v, 0.f, 255.f) : 0.f;
  } else {
    return InvalidArgument("pictures of ", ToString(file.shape()), ", not [n,112,112,3]");
  }
  return rgb;
}

class Maker {
 public:
  Maker(const Assessment& assessment, RowFile truth) : a_(assessment), truth_(std::move(truth)) {}

  StatusOr<Gallery> Make() {
    int attacks = static_cast<int>(a_.baselines.size());
    for (const CutResult& cut : a_.cuts) attacks += static_cast<int>(cut.attacks.size()) + 1;
    const int count = std::clamp(kMostPictures / std::max(1, attacks), 1, kMostPhotographs);
    for (int i = 0; i < std::min(count, static_cast<int>(a_.targets.size())); ++i) {
      gallery_.photographs.push_back(a_.targets[i]);
      INFENCLAVE_ASSIGN_OR_RETURN(const std::vector<float> rgb, PictureAt(truth_, i));
      INFENCLAVE_ASSIGN_OR_RETURN(EncodedPicture picture, Encode(rgb));
      gallery_.originals.push_back(std::move(picture));
    }
    for (const BaselineRun& run : a_.baselines) {
      const std::string attack = run.name.substr(run.name.find('/') + 1);
      INFENCLAVE_RETURN_IF_ERROR(Add(-1, attack, run.reconstruction));
    }
    for (size_t cut = 0; cut < a_.cuts.size(); ++cut) {
      for (const AttackRun& run : a_.cuts[cut].attacks) {
        INFENCLAVE_RETURN_IF_ERROR(Add(static_cast<int>(cut), run.attack, run.reconstruction));
      }
    }
    return std::move(gallery_);
  }

 private:
  Status Add(int cut, const std::string& attack, const std::string& path) {
    if (path.empty()) return OkStatus();
    const StatusOr<RowFile> file = RowFile::Open(path);
    if (file.status().code() == StatusCode::kNotFound) return OkStatus();
    INFENCLAVE_RETURN_IF_ERROR(file.status());
    Recovered recovered{cut, attack, {}};
    const int64_t count = std::min<int64_t>(file->rows(), static_cast<int64_t>(gallery_.photographs.size()));
    for (int64_t i = 0; i < count; ++i) {
      INFENCLAVE_ASSIGN_OR_RETURN(const std::vector<float> truth, PictureAt(truth_, i));
      const StatusOr<std::vector<float>> made = PictureAt(*file, i);
      if (!made.ok()) return Annotate(made.status(), path);
      const Picture a{kPictureSide, kPictureSide, truth}, b{kPictureSide, kPictureSide, *made};
      INFENCLAVE_ASSIGN_OR_RETURN(EncodedPicture picture, Encode(*made));
      recovered.items.push_back({std::move(picture), Psnr(a, b), Ssim(a, b)});
    }
    gallery_.recovered.push_back(std::move(recovered));
    return OkStatus();
  }

  const Assessment& a_;
  const RowFile truth_;
  Gallery gallery_;
};

}  // namespace

StatusOr<Gallery> MakeGallery(const std::string& out, const Assessment& assessment) {
  if (assessment.baselines.empty()) return Gallery();
  INFENCLAVE_ASSIGN_OR_RETURN(RowFile truth, RowFile::Open(out + "/state/targets/rgb.npy"));
  if (truth.rows() != static_cast<int64_t>(assessment.targets.size())) {
    return InvalidArgument(out, "/state/targets/rgb.npy: ", truth.rows(), " pictures of ", assessment.targets.size(),
                           " photographs under attack");
  }
  return Maker(assessment, std::move(truth)).Make();
}

}  // namespace infenclave
