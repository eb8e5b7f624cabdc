// Toys for the tests of the assessment: photographs of random blocks, a network whose cuts are known to show everything
// or nothing, and an oracle whose answer can be worked out by hand.
#ifndef INFENCLAVE_TESTS_ASSESSMENT_TOY_H_
#define INFENCLAVE_TESTS_ASSESSMENT_TOY_H_

#include <filesystem>
#include <string>
#include <vector>

#include "assessment/assess.h"
#include "assessment/statistics.h"
#include "graph/passes.h"
#include "tests/graph/build_graph.h"

namespace infenclave {

inline constexpr int kToySide = 8;

inline Preprocessing ToyPreprocessing(uint32_t side) {
  Preprocessing p;
  p.width = p.height = side;
  p.resize = Preprocessing::Resize::kStretch;
  p.filter = Preprocessing::Filter::kBilinear;
  p.scale = {1.0f / 255, 1.0f / 255, 1.0f / 255};
  return p;
}

// Grey photographs of kToySide x kToySide random pixels, 0 and 255 among them, so that min-max normalisation changes
// nothing. Returns their folder.
inline std::string WriteToyPhotographs(const std::string& folder, int count, uint64_t seed = 1) {
  std::filesystem::create_directories(folder);
  Random random(seed);
  for (int i = 0; i < count; ++i) {
    Image image{kToySide, kToySide, {}};
    for (int p = 0; p < kToySide * kToySide; ++p) {
      const uint8_t v = p == 0 ? 0 : p == 1 ? 255 : static_cast<uint8_t>(random.Below(256));
      image.rgb.insert(image.rgb.end(), 3, v);
    }
    const StatusOr<Bytes> png = EncodePng(image);
    EXPECT_TRUE(png.ok() && WriteFileAtomic(Concat(folder, "/", char('a' + i / 10), i % 10, ".png"), *png).ok());
  }
  return folder;
}

// image -> "same" (the image itself) -> "negative" (white minus it) -> "nothing" (a constant) -> "pooled" (one pixel)
// -> "flat" -> scores. `gain` scales "same".
inline Graph ToyModel(float gain = 1) {
  GraphBuilder b;
  const auto diagonal = [&](const std::string& name, float v) {
    return b.Floats(name, {3, 3, 1, 1}, {v, 0, 0, 0, v, 0, 0, 0, v});
  };
  ValueId x = b.Input("image", {1, 3, kToySide, kToySide});
  x = b.Op("Conv", {x, diagonal("w1", gain)}, "same");
  x = b.Op("Conv", {x, diagonal("w2", -1), b.Floats("b2", {3}, {1, 1, 1})}, "negative");
  x = b.Op("Conv", {x, diagonal("w3", 0), b.Floats("b3", {3}, {1, 2, 3})}, "nothing");
  x = b.Op("GlobalAveragePool", {x}, "pooled");
  x = b.Op("Flatten", {x}, "flat");
  x = b.Op("Gemm", {x, b.Weights("w4", {3, 4})}, "scores");
  StatusOr<Graph> graph = InferShapes(b.Build({x}));
  EXPECT_TRUE(graph.ok()) << graph.status();
  return *std::move(graph);
}

// Scores of `classes` classes that are random sums of all pixels of the first channel.
inline Graph ToyOracle(int classes = 10, float scale = 3) {
  GraphBuilder b;
  Random random(99);
  std::vector<float> weights;
  for (int i = 0; i < classes * 3 * kToySide * kToySide; ++i)
    weights.push_back(static_cast<float>(random.Normal()) * scale);
  ValueId x = b.Input("image", {1, 3, kToySide, kToySide});
  x = b.Op("Flatten", {x}, "pixels");
  x = b.Op("Gemm", {x, b.Floats("w", {3 * kToySide * kToySide, classes}, weights)}, "scores");
  StatusOr<Graph> graph = InferShapes(b.Build({x}));
  EXPECT_TRUE(graph.ok()) << graph.status();
  return *std::move(graph);
}

}  // namespace infenclave

#endif  // INFENCLAVE_TESTS_ASSESSMENT_TOY_H_
