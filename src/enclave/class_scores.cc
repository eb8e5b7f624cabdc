#include "enclave/class_scores.h"

#include <algorithm>
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

// Signed integers that compare as the floats do; its own inverse.
int32_t Ordered(int32_t float_bits) { return float_bits ^ ((float_bits >> 31) & INT32_MAX); }

uint32_t NotFiniteMask(float f) { return EqualMask(std::bit_cast<uint32_t>(f) & 0x7f800000u, 0x7f800000u); }

// Comparing vectors gives masks, of which no compiler makes a branch.
using Lanes = int32_t __attribute__((vector_size(16)));
constexpr size_t kLanes = sizeof(Lanes) / sizeof(int32_t);

// Scores and, for equal scores, the complements of their classes, so that the lower class is the greater key.
struct Keys {
  Lanes score, complement;
};
constexpr Keys kHighest{Lanes{} + INT32_MAX, Lanes{} + INT32_MAX}, kLowest{Lanes{} + INT32_MIN, Lanes{} + INT32_MIN};

Lanes Greater(const Keys& a, const Keys& b) {
  return (a.score > b.score) | ((a.score == b.score) & (a.complement > b.complement));
}

Keys Choose(Lanes mask, const Keys& a, const Keys& b) {
  return {(a.score & mask) | (b.score & ~mask), (a.complement & mask) | (b.complement & ~mask)};
}

// The largest key below `bound`, in all lanes, as `bound` is. Keys are distinct.
Keys LargestBelow(const Keys& bound, std::span<const Keys> keys) {
  Keys best = kLowest;
  for (const Keys& key : keys) best = Choose(Greater(bound, key) & Greater(key, best), key, best);
  for (int i = 1; i < static_cast<int>(kLanes); ++i) {
    const Keys turned = {__builtin_shufflevector(best.score, best.score, 1, 2, 3, 0),
                         __builtin_shufflevector(best.complement, best.complement, 1, 2, 3, 0)};
    best = Choose(Greater(turned, best), turned, best);
  }
  return best;
}

// Row `wanted` of a table with `stride` bytes a row, a multiple of sizeof(Lanes).
void SelectRow(int32_t wanted, ByteSpan table, size_t stride, MutableByteSpan out) {
  for (size_t at = 0; at < out.size(); at += sizeof(Lanes)) {
    Lanes found{}, row{};
    for (size_t from = at; from < table.size(); from += stride, row += 1) {
      Lanes part;
      std::memcpy(&part, table.data() + from, sizeof(part));
      found |= part & (row == wanted);
    }
    std::memcpy(out.data() + at, &found, std::min(sizeof(found), out.size() - at));
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
    out.label_stride_ = (out.label_bytes_ + sizeof(Lanes) - 1) / sizeof(Lanes) * sizeof(Lanes);
    out.labels_ = SecretBytes(out.classes_ * out.label_stride_);
  }
  for (size_t i = 0; i < mapping.labels.size(); ++i) {
    std::string& label = mapping.labels[i];
    fits = fits && label.size() <= out.label_bytes_;
    if (fits) std::memcpy(out.labels_.data() + i * out.label_stride_, label.data(), label.size());
    Wipe({reinterpret_cast<uint8_t*>(label.data()), label.size()});
  }
  Wipe({reinterpret_cast<uint8_t*>(mapping.order.data()), mapping.order.size() * sizeof(uint32_t)});
  if (!fits) return InvalidArgument("the class mapping does not fit the manifest's ", out.classes_, " classes");
  return out;
}

Answer ClassScores::Top(std::span<const float> scores) const {
  INFENCLAVE_CHECK(scores.size() == classes_);
  SecretBytes memory((classes_ + kLanes - 1) / kLanes * sizeof(Keys));
  const std::span<Keys> keys(reinterpret_cast<Keys*>(memory.data()), memory.size() / sizeof(Keys));
  keys.back() = kLowest;
  const auto* order = reinterpret_cast<const uint32_t*>(order_.data());
  uint32_t not_finite = 0;
  for (size_t i = 0; i < classes_; ++i) {
    not_finite |= NotFiniteMask(scores[i]);
    keys[i / kLanes].score[i % kLanes] = Ordered(std::bit_cast<int32_t>(scores[i] + 0.0f));
    keys[i / kLanes].complement[i % kLanes] = static_cast<int32_t>(~order[i]);
  }
  Answer answer;
  if (not_finite != 0) {  // about all scores at once, which the host knows
    answer.code = StatusCode::kInvalidArgument;
    answer.message = kNotFinite;
    return answer;
  }
  Keys found = LargestBelow(kHighest, keys);
  const float highest = std::bit_cast<float>(Ordered(found.score[0]));
  double sum = 0;
  for (float score : scores) sum += ObliviousExp(score - highest);
  for (size_t k = 0; k < answers_; ++k) {
    if (k > 0) found = LargestBelow(found, keys);
    const float score = std::bit_cast<float>(Ordered(found.score[0]));
    AnswerClass& out = answer.classes.emplace_back();
    out.probability = static_cast<float>(ObliviousExp(score - highest) / sum);
    out.label.assign(label_bytes_, '\0');
    SelectRow(~found.complement[0], labels_.span(), label_stride_,
              {reinterpret_cast<uint8_t*>(out.label.data()), label_bytes_});
  }
  return answer;
}

}  // namespace infenclave
