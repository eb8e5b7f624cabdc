#include "enclave/narrow_ir.h"

#include <bit>
#include <cstring>

namespace infenclave {
namespace {

// NaNs stay NaNs.
void ToBf16(std::span<const float> in, MutableByteSpan out) {
  uint8_t* to = out.data();
  for (float value : in) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
    const uint32_t quiet = (bits >> 16) | 0x40u;
    const uint32_t is_nan = uint32_t{0} - static_cast<uint32_t>((bits & 0x7fffffffu) > 0x7f800000u);
    const uint16_t narrow = static_cast<uint16_t>((quiet & is_nan) | (rounded & ~is_nan));
    std::memcpy(to, &narrow, sizeof(narrow));
    to += sizeof(narrow);
  }
}

// All bits, or none: what the compiler makes of a choice between floats may be a branch.
uint32_t MaskIf(bool condition) { return uint32_t{0} - static_cast<uint32_t>(condition); }

class Coder {
 public:
  Coder(float step, int largest)
      : per_step_(1 / step), largest_(std::bit_cast<uint32_t>(static_cast<float>(largest))) {}

  // Floats of one sign are in the order of their bits.
  uint32_t operator()(float value) const {
    const uint32_t scaled = std::bit_cast<uint32_t>(value * per_step_);
    const uint32_t low = scaled & MaskIf(scaled <= 0x7f800000u);  // neither negative nor a NaN
    const uint32_t is_less = MaskIf(low < largest_);
    const uint32_t code = (low & is_less) | (largest_ & ~is_less);
    // Floats between 2^23 and 2^24 are the integers, in their lowest bits.
    return std::bit_cast<uint32_t>(std::bit_cast<float>(code) + 0x1p23f) & 0xff;
  }

 private:
  const float per_step_;
  const uint32_t largest_;  // as a float's bits
};

}  // namespace

void NarrowIr(const Manifest& manifest, std::span<const float> in, MutableByteSpan out) {
  INFENCLAVE_CHECK(out.size() == IrWireOf(manifest).bytes());
  if (manifest.ir_precision == IrPrecision::kF32) {
    std::memcpy(out.data(), in.data(), out.size());
    return;
  }
  if (manifest.ir_precision == IrPrecision::kBf16) return ToBf16(in, out);
  const Coder code(manifest.ir_step, LargestCode(manifest.ir_precision));
  const std::span<const float> low = in.first(out.size()), high = in.subspan(out.size());  // high: of four bits
  for (size_t i = 0; i < low.size(); ++i) out[i] = static_cast<uint8_t>(code(low[i]));
  for (size_t i = 0; i < high.size(); ++i) out[i] = static_cast<uint8_t>(out[i] | code(high[i]) << 4);
}

std::vector<float> WidenIr(const Manifest& manifest, ByteSpan ir) {
  INFENCLAVE_CHECK(ir.size() == IrWireOf(manifest).bytes());
  std::vector<float> out(static_cast<size_t>(*NumElements(manifest.ir_shape)));
  if (manifest.ir_precision == IrPrecision::kF32) {
    std::memcpy(out.data(), ir.data(), ir.size());
  } else if (manifest.ir_precision == IrPrecision::kBf16) {
    for (size_t i = 0; i < out.size(); ++i) {
      out[i] = std::bit_cast<float>(uint32_t{ir[2 * i]} << 16 | uint32_t{ir[2 * i + 1]} << 24);
    }
  } else {
    const auto largest = static_cast<uint32_t>(LargestCode(manifest.ir_precision));
    for (size_t i = 0; i < ir.size(); ++i) out[i] = manifest.ir_step * static_cast<float>(ir[i] & largest);
    for (size_t i = ir.size(); i < out.size(); ++i) {
      out[i] = manifest.ir_step * static_cast<float>(ir[i - ir.size()] >> 4);
    }
  }
  return out;
}

}  // namespace infenclave
