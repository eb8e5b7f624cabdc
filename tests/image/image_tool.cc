// For tests in Python: image_tool decode FILE | resize FILE WIDTH HEIGHT bilinear|bicubic | prepare FILE PREPROCESSING
// writes "WIDTH HEIGHT\n" and the RGB bytes.
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "image/image.h"

namespace infenclave {
namespace {

StatusOr<Image> Transform(const std::vector<std::string>& arguments) {
  if (arguments.size() < 2) return InvalidArgument("too few arguments");
  INFENCLAVE_ASSIGN_OR_RETURN(Image image, LoadImage(arguments[1]));
  if (arguments[0] == "resize" && arguments.size() == 5) {
    auto filter = arguments[4] == "bilinear" ? Preprocessing::Filter::kBilinear : Preprocessing::Filter::kBicubic;
    return Resize(image, static_cast<uint32_t>(std::stoul(arguments[2])),
                  static_cast<uint32_t>(std::stoul(arguments[3])), filter);
  }
  if (arguments[0] == "prepare" && arguments.size() == 3) {
    INFENCLAVE_ASSIGN_OR_RETURN(Preprocessing preprocessing, LoadPreprocessing(arguments[2]));
    return Prepare(image, preprocessing);
  }
  return image;
}

}  // namespace
}  // namespace infenclave

int main(int argc, char** argv) {
  auto image = infenclave::Transform({argv + 1, argv + argc});
  if (!image.ok()) {
    std::cerr << image.status().message() << "\n";
    return 1;
  }
  std::cout << image->width << " " << image->height << "\n";
  std::cout.write(reinterpret_cast<const char*>(image->rgb.data()), static_cast<std::streamsize>(image->rgb.size()));
  return std::cout.flush() ? 0 : 1;
}
