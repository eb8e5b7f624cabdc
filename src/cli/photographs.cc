#include "cli/photographs.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <sstream>

#include "base/file.h"
#include "image/image.h"

namespace infenclave {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostFitting = 128, kMinPhotographs = 4;

}  // namespace

StatusOr<Photographs> SplitPhotographs(const std::string& folder) {
  std::error_code error;
  fs::directory_iterator entries(folder, error);
  if (error) return NotFound(folder, ": ", error.message(), "; --images names a folder of photographs");
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : entries) {
    std::string extension = entry.path().extension().string();
    std::transform(extension.begin(), extension.end(), extension.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    if (extension == ".jpg" || extension == ".jpeg" || extension == ".png" || extension == ".webp") {
      names.push_back(entry.path().filename().string());
    }
  }
  if (names.size() < kMinPhotographs) {
    return InvalidArgument(folder, ": ", names.size(), " photographs, expected at least ", kMinPhotographs,
                           " (about 200 make a useful test)");
  }
  std::sort(names.begin(), names.end());
  Photographs out;
  for (size_t i = 0; i < names.size(); ++i) {
    const bool fits = i % 2 == 0 && out.fitting.size() < kMostFitting;
    (fits ? out.fitting : out.test).push_back(names[i]);
  }
  return out;
}

StatusOr<std::map<std::string, int64_t>> LoadTruth(const std::string& path, uint32_t classes) {
  INFENCLAVE_ASSIGN_OR_RETURN(Bytes bytes, ReadFile(path, size_t{64} << 20));
  std::istringstream lines{std::string(AsText(bytes))};
  std::map<std::string, int64_t> out;
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    const size_t tab = line.find('\t');
    const std::string index =
        tab == std::string::npos ? "" : line.substr(tab + 1, line.find_first_of("\t\r", tab + 1) - tab - 1);
    const bool is_number =
        !index.empty() && index.size() < 9 && index.find_first_not_of("0123456789") == std::string::npos;
    if (!is_number && number == 1) continue;
    if (!is_number || std::stoll(index) >= classes) {
      return InvalidArgument(path, ":", number, ": expected 'file<TAB>class' with a class below ", classes);
    }
    out[line.substr(0, tab)] = std::stoll(index);
  }
  return out;
}

StatusOr<TensorView> Photographer::Load(const std::string& file) {
  INFENCLAVE_ASSIGN_OR_RETURN(Image image, LoadImage((fs::path(folder_) / file).string()));
  Normalize(preprocessing_, Prepare(image, preprocessing_).rgb, input_.as<float>());
  return input_.view();
}

}  // namespace infenclave
