#include "enclave/ir_noise.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <numbers>

#include "crypto/primitives.h"

namespace infenclave {
namespace {

constexpr size_t kChunk = 4096;  // values that one piece of the key stream is for
constexpr std::string_view kInfo = "infenclave ir noise v1";

// Natural logarithm of 2^-33 to 1, to 1e-10: exponent, and the series of artanh for the rest, which is made to lie
// between sqrt(1/2) and sqrt(2).
double Log(double v) {
  const uint64_t bits = std::bit_cast<uint64_t>(v);
  const uint64_t fraction = bits & 0xfffffffffffffu;
  const uint64_t large = (fraction + (0xfffffffffffffu - 0x6a09e667f3bccu)) >> 52;  // 1 above sqrt(2)
  const double m = std::bit_cast<double>(fraction | (uint64_t{1023} - large) << 52);
  const double exponent = static_cast<double>(static_cast<int64_t>((bits >> 52) + large) - 1023);
  const double quarter = (m + 1) / 4;  // by a power of two: a multiplication
  double reciprocal = 48.0 / 17 - 32.0 / 17 * quarter;
  for (int i = 0; i < 4; ++i) reciprocal *= 2 - quarter * reciprocal;  // Newton
  const double z = (m - 1) * reciprocal * 0.25, s = z * z;
  const double series = 1 + s * (1.0 / 3 + s * (1.0 / 5 + s * (1.0 / 7 + s * (1.0 / 9 + s * (1.0 / 11)))));
  return exponent * std::numbers::ln2 + 2 * z * series;
}

// Square root of a positive number, to 1e-12.
double Root(double v) {
  double inverse = std::bit_cast<double>(0x5fe6eb50c7b537a9u - (std::bit_cast<uint64_t>(v) >> 1));
  for (int i = 0; i < 5; ++i) inverse *= 1.5 - 0.5 * v * inverse * inverse;  // Newton
  return v * inverse;
}

}  // namespace

NormalPair NormalFromBits(uint32_t radius, uint32_t angle) {
  const double length = Root(-2 * Log((radius + 0.5) * 0x1p-32));
  // A quarter of the circle by two bits, and within it an eighth to either side.
  const uint32_t quarter = angle >> 30;
  const double t = (((angle & 0x3fffffffu) + 0.5) * 0x1p-30 - 0.5) * std::numbers::pi / 2, s = t * t;
  const double sine = t * (1 - s / 6 * (1 - s / 20 * (1 - s / 42 * (1 - s / 72 * (1 - s / 110)))));
  const double cosine = 1 - s / 2 * (1 - s / 12 * (1 - s / 30 * (1 - s / 56 * (1 - s / 90 * (1 - s / 132)))));
  const double swap = quarter & 1;
  const double first = 1 - 2.0 * ((quarter ^ quarter >> 1) & 1), second = 1 - 2.0 * (quarter >> 1);
  return {length * first * (cosine + swap * (sine - cosine)), length * second * (sine + swap * (cosine - sine))};
}

IrNoise::IrNoise(ByteSpan frontnet_key, const BundleId& bundle_id, float deviation)
    : key_(HkdfExpand(HkdfExtract(bundle_id, frontnet_key).span(), AsBytes(kInfo), kAeadKeyBytes)),
      deviation_(deviation) {}

void IrNoise::Add(ByteSpan rgb, std::span<float> ir) const {
  const SecretBytes own = HkdfExtract(key_.span(), rgb);  // HMAC-SHA256 of the picture
  static constexpr std::array<uint8_t, kChunk * sizeof(uint32_t)> kZeros{};
  SecretBytes stream(kZeros.size() + kAeadTagBytes);
  for (size_t begin = 0; begin < ir.size(); begin += kChunk) {
    std::array<uint8_t, kAeadNonceBytes> nonce{};
    const uint64_t chunk = begin / kChunk;
    std::memcpy(nonce.data(), &chunk, sizeof(chunk));
    // The key stream of AES-256-GCM is what it makes of zeros.
    INFENCLAVE_CHECK(AeadSealInto(own.span(), nonce, {}, {kZeros}, stream.mutable_span()).ok());
    const size_t end = std::min(ir.size(), begin + kChunk);
    for (size_t i = begin; i < end; i += 2) {
      uint32_t bits[2];
      std::memcpy(bits, stream.span().data() + (i - begin) * sizeof(uint32_t), sizeof(bits));
      const NormalPair pair = NormalFromBits(bits[0], bits[1]);
      ir[i] += deviation_ * static_cast<float>(pair.first);
      if (i + 1 < end) ir[i + 1] += deviation_ * static_cast<float>(pair.second);
    }
  }
}

}  // namespace infenclave
