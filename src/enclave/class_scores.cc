#include "enclave/class_scores.h"

#include <bit>
#include <cstring>
#include <string>
#include <utility>

namespace infenclave {
namespace {

// Keeps the compiler from seeing through a mask and making a branch of it.
template <typename T>
T Opaque(T value) {
  asm("" : "+r"(value));
  return value;
}

// All ones if a > b, else zeros: the borrow of b - a (Warren, Hacker's Delight, 2-13).
uint64_t GreaterMask(uint64_t a, uint64_t b) {
  const uint64_t borrow = (~b & a) | (~(b ^ a) & (b - a));
  return uint64_t{0} - Opaque(borrow >> 63);
}

// All ones if a == b, else zeros.
uint32_t EqualMask(uint32_t a, uint32_t b) {
  const uint64_t difference = a ^ b;
  return static_cast<uint32_t>(Opaque((difference - 1) >> 63)) * UINT32_MAX;
}

// Unsigned integers that compare as the floats do, and back.
uint32_t Ordered(float f) {
  const uint32_t bits = std::bit_cast<uint32_t>(f);
  return bits ^ ((uint32_t{0} - (bits >> 31)) | 0x80000000u);
}
float Unordered(uint32_t key) { return std::bit_cast<float>(key ^ (((key >> 31) - uint32_t{1}) | 0x80000000u)); }

uint32_t NotFiniteMask(float f) { return EqualMask(std::bit_cast<uint32_t>(f) & 0x7f800000u, 0x7f800000u); }

// The largest key below `bound`. Keys are distinct.
uint64_t LargestBelow(uint64_t bound, std::span<const uint64_t> keys) {
  uint64_t best = 0;
  for (uint64_t key : keys) {
    const uint64_t better = GreaterMask(bound, key) & GreaterMask(key, best);
    best = (key & better) | (best & ~better);
  }
  return best;
}

// Row `wanted` of a table of rows as long as `out`, which is zero.
void SelectRow(uint32_t wanted, ByteSpan table, std::string& out) {
  const size_t length = out.size();
  char* __restrict to = out.data();
  const uint8_t* __restrict row = table.data();
  for (uint32_t r = 0; r < table.size() / length; ++r, row += length) {
    const uint8_t mask = static_cast<uint8_t>(EqualMask(r, wanted));
    for (size_t i = 0; i < length; ++i) to[i] = static_cast<char>(to[i] | (row[i] & mask));
  }
}

}  // namespace

float ObliviousExp(float x) {
  constexpr uint32_t kFloor = std::bit_cast<uint32_t>(-87.0f);
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  constexpr float kLn2High = 0x1.62e4p-1f, kLn2Low = 0x1.7f7d1cp-20f;  // kLn2High has few bits: n * kLn2High is exact
  uint32_t bits = std::bit_cast<uint32_t>(x);  // negative floats: the smaller, the larger as integers
  const uint32_t too_small = static_cast<uint32_t>(GreaterMask(bits, kFloor));
  x = std::bit_cast<float>((bits & ~too_small) | (kFloor & too_small));
  const float rounded = x * 0x1.715476p+0f + kRound;
  const float n = rounded - kRound;
  const float r = x - n * kLn2High - n * kLn2Low;
  const float power =
      1 + r * (1 + r * (1.f / 2 + r * (1.f / 6 + r * (1.f / 24 + r * (1.f / 120 + r * (1.f / 720 + r / 5040))))));
  const uint32_t exponent = std::bit_cast<uint32_t>(rounded) - std::bit_cast<uint32_t>(kRound);
  return std::bit_cast<float>(std::bit_cast<uint32_t>(power) + (exponent << 23));
}

StatusOr<ClassScores> ClassScores::Create(const Manifest& manifest, ClassMapping mapping) {
  ClassScores out;
  out.classes_ = manifest.classes;
  out.answers_ = manifest.answer_classes;
  out.label_bytes_ = manifest.label_bytes;
  bool fits =
      mapping.order.size() == out.classes_ && mapping.labels.size() == out.classes_ && out.answers_ <= out.classes_;
  if (fits) {
    out.order_ = SecretBytes(out.classes_ * sizeof(uint32_t));
    std::memcpy(out.order_.data(), mapping.order.data(), out.order_.size());
    out.labels_ = SecretBytes(out.classes_ * out.label_bytes_);
  }
  for (size_t i = 0; i < mapping.labels.size(); ++i) {
    std::string& label = mapping.labels[i];
    fits = fits && label.size() <= out.label_bytes_;
    if (fits) std::memcpy(out.labels_.data() + i * out.label_bytes_, label.data(), label.size());
    Wipe({reinterpret_cast<uint8_t*>(label.data()), label.size()});
  }
  Wipe({reinterpret_cast<uint8_t*>(mapping.order.data()), mapping.order.size() * sizeof(uint32_t)});
  if (!fits) return InvalidArgument("the class mapping does not fit the manifest's ", out.classes_, " classes");
  return out;
}

Answer ClassScores::Top(std::span<const float> scores) const {
  INFENCLAVE_CHECK(scores.size() == classes_);
  // A key is a score and, for equal scores, the lower class first.
  SecretBytes memory(classes_ * sizeof(uint64_t));
  std::span<uint64_t> keys(reinterpret_cast<uint64_t*>(memory.data()), classes_);
  const auto* order = reinterpret_cast<const uint32_t*>(order_.data());
  uint32_t not_finite = 0;
  for (size_t i = 0; i < classes_; ++i) {
    not_finite |= NotFiniteMask(scores[i]);
    keys[i] = uint64_t{Ordered(scores[i] + 0.0f)} << 32 | static_cast<uint32_t>(~order[i]);
  }
  Answer answer;
  if (not_finite != 0) {  // about all scores at once, which the host knows
    answer.code = StatusCode::kInvalidArgument;
    answer.message = kNotFinite;
    return answer;
  }
  const float highest = Unordered(static_cast<uint32_t>(LargestBelow(UINT64_MAX, keys) >> 32));
  double sum = 0;
  for (float score : scores) sum += ObliviousExp(score - highest);
  uint64_t found = UINT64_MAX;
  for (size_t k = 0; k < answers_; ++k) {
    found = LargestBelow(found, keys);
    const uint32_t wanted = ~static_cast<uint32_t>(found);
    AnswerClass& out = answer.classes.emplace_back();
    out.probability = static_cast<float>(ObliviousExp(Unordered(static_cast<uint32_t>(found >> 32)) - highest) / sum);
    out.label.assign(label_bytes_, '\0');
    SelectRow(wanted, labels_.span(), out.label);
  }
  return answer;
}

}  // namespace infenclave
