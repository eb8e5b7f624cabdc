// A feature map as a picture: what the oracle is shown.
//
// A map is min-max normalised to [0,255]; one without contrast becomes mid-grey, so that the oracle sees "nothing" and
// not an accident of rounding. It is then resized to the oracle's input in floating point, by the triangle filter with
// pixel centres at half coordinates: bilinear interpolation when it grows, the same filter widened (antialiased) when
// it shrinks. That is Pillow's BILINEAR on mode "F", and PyTorch's interpolate(mode="bilinear", antialias=True), which
// for growing is also its antialias=False, align_corners=False.
#ifndef INFENCLAVE_ASSESSMENT_FEATURE_MAP_H_
#define INFENCLAVE_ASSESSMENT_FEATURE_MAP_H_

#include <span>
#include <vector>

namespace infenclave {

inline constexpr float kMidGrey = 127.5f;

enum class MapKind { kPicture, kConstant, kNotFinite };

// `out` is as long as `map`; kMidGrey throughout for a constant map, untouched for one with NaN or infinity.
MapKind NormaliseMap(std::span<const float> map, std::span<float> out);

// Resizes pictures of one size to another. Not thread-safe: it owns its scratch.
class MapResizer {
 public:
  MapResizer(int in_height, int in_width, int out_height, int out_width);

  // in: [in_height,in_width]; out: [out_height,out_width].
  void Resize(std::span<const float> in, std::span<float> out);

 private:
  // Output pixel i is the sum over k of weights[i * taps + k] * in[first[i] + k].
  struct Axis {
    int taps = 0;
    std::vector<int> first;
    std::vector<float> weights;
  };
  static Axis MakeAxis(int in, int out);

  int in_height_, in_width_, out_height_, out_width_;
  Axis rows_, columns_;
  std::vector<float> scratch_;  // [in_height,out_width]
};

}  // namespace infenclave

#endif  // INFENCLAVE_ASSESSMENT_FEATURE_MAP_H_
