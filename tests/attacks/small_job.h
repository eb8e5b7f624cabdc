// Job folders of synthetic pictures, for tests.
#ifndef INFENCLAVE_TESTS_ATTACKS_SMALL_JOB_H_
#define INFENCLAVE_TESTS_ATTACKS_SMALL_JOB_H_

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "assessment/attack_job.h"
#include "assessment/similarity.h"
#include "attacks/attack.h"
#include "graph/serialize.h"
#include "import/npy.h"

namespace infenclave::testing {

inline constexpr size_t kPicture = size_t{kPictureSide} * kPictureSide * 3;

// A picture of soft and hard-edged blobs, u8 RGB.
inline Bytes Blobs(uint32_t seed) {
  std::mt19937 rng(seed);
  std::uniform_real_distribution<double> uniform(0, 1);
  std::vector<double> picture(kPicture);
  const double base[3] = {uniform(rng) * 255, uniform(rng) * 255, uniform(rng) * 255};
  for (size_t i = 0; i < kPicture; ++i) picture[i] = base[i % 3];
  for (int blob = 0; blob < 12; ++blob) {
    const double x = uniform(rng) * 112, y = uniform(rng) * 112, radius = 4 + uniform(rng) * 30, soft = uniform(rng);
    const double colour[3] = {uniform(rng) * 255, uniform(rng) * 255, uniform(rng) * 255};
    for (size_t i = 0; i < kPicture; ++i) {
      const double dy = static_cast<double>(i / 3 / 112) - y, dx = static_cast<double>(i / 3 % 112) - x;
      const double inside = std::clamp((radius - std::hypot(dx, dy)) / (1 + soft * radius), 0.0, 1.0);
      picture[i] += inside * (colour[i % 3] - picture[i]);
    }
  }
  Bytes out(kPicture);
  for (size_t i = 0; i < kPicture; ++i) out[i] = static_cast<uint8_t>(std::lround(picture[i]));
  return out;
}

// f32 [C,H,W] of a picture.
using Encoder = std::function<std::vector<float>(const Bytes& rgb)>;

// What a FrontNet that computes nothing but x -> (x - 127) / 128 gives.
inline std::vector<float> Identity(const Bytes& rgb) {
  std::vector<float> ir(kPicture);
  for (size_t i = 0; i < kPicture; ++i) ir[i % 3 * (kPicture / 3) + i / 3] = (static_cast<float>(rgb[i]) - 127) / 128;
  return ir;
}
// Averages of squares of 16x16 pixels: [3,7,7].
inline std::vector<float> Coarse(const Bytes& rgb) {
  std::vector<float> ir(3 * 49);
  for (size_t i = 0; i < kPicture; ++i) {
    ir[i % 3 * 49 + i / 3 / 112 / 16 * 7 + i / 3 % 112 / 16] += static_cast<float>(rgb[i]) / 256;
  }
  return ir;
}

struct SmallJob {
  std::string path;
  std::vector<Bytes> targets;

  std::string File(const std::string& name) const { return path + "/" + name; }
};

inline void WriteRows(const std::string& path, DType dtype, const Shape& shape, const std::vector<ByteSpan>& rows) {
  auto writer = RowWriter::Create(path, dtype, shape);
  ASSERT_TRUE(writer.ok()) << writer.status();
  Shape row(shape.begin() + 1, shape.end());
  for (const ByteSpan bytes : rows) ASSERT_TRUE(writer->Append({dtype, row, bytes.data()}).ok());
  ASSERT_TRUE(writer->Close().ok());
}

inline void WriteIr(const std::string& path, const Shape& ir, const std::vector<Bytes>& pictures, const Encoder& encode,
                    DType dtype = DType::kF32) {
  Shape shape = {static_cast<int64_t>(pictures.size())};
  shape.insert(shape.end(), ir.begin(), ir.end());
  auto writer = RowWriter::Create(path, dtype, shape);
  ASSERT_TRUE(writer.ok()) << writer.status();
  for (const Bytes& picture : pictures) {
    const std::vector<float> values = encode(picture);
    ASSERT_TRUE(writer->Append({DType::kF32, ir, values.data()}).ok());
  }
  ASSERT_TRUE(writer->Close().ok());
}

// A folder of its own with everything that every attack needs.
inline SmallJob MakeJob(const std::string& name, const AttackJob& job, const Shape& ir, const Encoder& encode,
                        int photographs = 24, int targets = 4, DType dtype = DType::kF32) {
  SmallJob made;
  made.path = ::testing::TempDir() + "attacks_test/" + name;
  std::filesystem::remove_all(made.path);
  std::filesystem::create_directories(made.path);
  std::vector<Bytes> attacker;
  Bytes of;
  for (int i = 0; i < photographs; ++i) {
    attacker.push_back(Blobs(static_cast<uint32_t>(i)));
    const int32_t photograph = i;
    const auto* raw = reinterpret_cast<const uint8_t*>(&photograph);
    of.insert(of.end(), raw, raw + sizeof(photograph));
  }
  for (int i = 0; i < targets; ++i) made.targets.push_back(Blobs(static_cast<uint32_t>(1000 + i)));
  std::vector<ByteSpan> rgb_rows, photograph_rows;
  for (size_t i = 0; i < attacker.size(); ++i) {
    rgb_rows.emplace_back(attacker[i]);
    photograph_rows.push_back(ByteSpan(of).subspan(4 * i, 4));
  }
  EXPECT_TRUE(WriteFileAtomic(made.File("job.json"), AsBytes(AttackJobToJson(job))).ok());
  WriteRows(made.File("attacker.rgb.npy"), DType::kU8, {photographs, kPictureSide, kPictureSide, 3}, rgb_rows);
  WriteRows(made.File("attacker.photograph.npy"), DType::kI32, {photographs}, photograph_rows);
  WriteIr(made.File("attacker.ir.npy"), ir, attacker, encode, dtype);
  WriteIr(made.File("target.ir.npy"), ir, made.targets, encode, dtype);
  return made;
}

inline constexpr std::string_view kPreprocessing =
    R"({"width":112,"height":112,"resize":"stretch","filter":"bilinear","channels":"rgb",)"
    R"("mean":[127,127,127],"scale":[0.0078125,0.0078125,0.0078125]})";

// The whitebox attack's files: the FrontNet, and grey to start from.
inline void AddFrontNet(const SmallJob& job, const Graph& front) {
  const auto encoded = EncodeGraph(front);
  ASSERT_TRUE(encoded.ok()) << encoded.status();
  ASSERT_TRUE(WriteFileAtomic(job.File("frontnet.graph"), *encoded).ok());
  ASSERT_TRUE(WriteFileAtomic(job.File("preprocessing.json"), AsBytes(kPreprocessing)).ok());
  Tensor start(DType::kF32, {static_cast<int64_t>(job.targets.size()), kPictureSide, kPictureSide, 3});
  for (float& v : start.as<float>()) v = 128;
  ASSERT_TRUE(WriteFileAtomic(job.File("start.npy"), EncodeNpy(start.view())).ok());
}

inline AttackResult ResultOf(const SmallJob& job) {
  const auto bytes = ReadFile(job.File("result.json"), size_t{1} << 24);
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  if (!bytes.ok()) return {};
  const auto result = ParseAttackResult(AsText(*bytes));
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? *result : AttackResult();
}

inline std::vector<float> ReconstructionOf(const SmallJob& job) {
  const auto tensor = ReadNpy(job.File("reconstruction.npy"));
  EXPECT_TRUE(tensor.ok()) << tensor.status();
  if (!tensor.ok()) return {};
  EXPECT_EQ(tensor->shape(), (Shape{static_cast<int64_t>(job.targets.size()), kPictureSide, kPictureSide, 3}));
  return {tensor->as<float>().begin(), tensor->as<float>().end()};
}

// The lowest PSNR of its reconstructions.
inline double WorstPsnr(const SmallJob& job) {
  const std::vector<float> made = ReconstructionOf(job);
  double worst = kPsnrOfEqual;
  for (size_t i = 0; i < job.targets.size() && made.size() == job.targets.size() * kPicture; ++i) {
    const std::vector<float> truth(job.targets[i].begin(), job.targets[i].end());
    worst = std::min(worst, Psnr({kPictureSide, kPictureSide, truth},
                                 {kPictureSide, kPictureSide, std::span(made).subspan(i * kPicture, kPicture)}));
  }
  return worst;
}

inline void Ignore(const AttackProgress&) {}

}  // namespace infenclave::testing

#endif  // INFENCLAVE_TESTS_ATTACKS_SMALL_JOB_H_
