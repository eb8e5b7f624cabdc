#include "tensor/tensor.h"

#include <bit>
#include <cstring>
#include <utility>

namespace infenclave {
namespace {

constexpr size_t kAlignment = 64;
constexpr int64_t kMaxElements = int64_t{1} << 40;

int64_t CheckedElements(const Shape& shape) {
  StatusOr<int64_t> n = NumElements(shape);
  INFENCLAVE_CHECK(n.ok());
  return *n;
}

}  // namespace

size_t SizeOf(DType dtype) {
  switch (dtype) {
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kF16:
    case DType::kBf16:
      return 2;
    case DType::kI8:
    case DType::kU8:
    case DType::kBool:
      return 1;
    case DType::kI64:
    case DType::kF64:
      return 8;
  }
  return 0;
}

std::string_view NameOf(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "f32";
    case DType::kF16:
      return "f16";
    case DType::kBf16:
      return "bf16";
    case DType::kI8:
      return "i8";
    case DType::kU8:
      return "u8";
    case DType::kI32:
      return "i32";
    case DType::kI64:
      return "i64";
    case DType::kBool:
      return "bool";
    case DType::kF64:
      return "f64";
  }
  return "?";
}

bool IsKnownDType(uint8_t number) { return number >= 1 && number <= 9; }

std::string ToString(const Shape& shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) out += ",";
    out += std::to_string(shape[i]);
  }
  return out + "]";
}

StatusOr<int64_t> NumElements(const Shape& shape) {
  int64_t n = 1;
  bool zero = false;
  for (int64_t d : shape) {
    if (d < 0) return InvalidArgument("shape ", ToString(shape), " has a negative dimension");
    if (d == 0) {
      zero = true;
    } else if (d > kMaxElements / n) {
      return InvalidArgument("shape ", ToString(shape), " has more than 2^40 elements");
    } else {
      n *= d;
    }
  }
  return zero ? 0 : n;
}

int64_t TensorView::elements() const { return CheckedElements(shape); }
int64_t MutableTensorView::elements() const { return CheckedElements(shape); }

Tensor::Tensor(DType dtype, Shape shape, std::pmr::memory_resource* memory)
    : dtype_(dtype), shape_(std::move(shape)), elements_(CheckedElements(shape_)), memory_(memory) {
  if (elements_ > 0) {
    data_ = memory_->allocate(bytes(), kAlignment);
    std::memset(data_, 0, bytes());
  }
}

Tensor::Tensor(Tensor&& other) noexcept { *this = std::move(other); }

Tensor& Tensor::operator=(Tensor&& other) noexcept {
  if (this == &other) return *this;
  Free();
  dtype_ = other.dtype_;
  shape_ = std::exchange(other.shape_, Shape{0});
  elements_ = std::exchange(other.elements_, 0);
  data_ = std::exchange(other.data_, nullptr);
  memory_ = std::exchange(other.memory_, nullptr);
  return *this;
}

Tensor::~Tensor() { Free(); }

void Tensor::Free() {
  if (data_ != nullptr) memory_->deallocate(data_, bytes(), kAlignment);
  data_ = nullptr;
}

Tensor Tensor::FromF32(Shape shape, std::span<const float> values, std::pmr::memory_resource* memory) {
  Tensor out(DType::kF32, std::move(shape), memory);
  INFENCLAVE_CHECK(static_cast<size_t>(out.elements()) == values.size());
  if (!out.empty()) std::memcpy(out.data(), values.data(), values.size_bytes());
  return out;
}

Tensor Tensor::FromI64(Shape shape, std::span<const int64_t> values, std::pmr::memory_resource* memory) {
  Tensor out(DType::kI64, std::move(shape), memory);
  INFENCLAVE_CHECK(static_cast<size_t>(out.elements()) == values.size());
  if (!out.empty()) std::memcpy(out.data(), values.data(), values.size_bytes());
  return out;
}

Tensor Tensor::Clone(std::pmr::memory_resource* memory) const {
  Tensor out(dtype_, shape_, memory);
  if (!out.empty()) std::memcpy(out.data(), data_, bytes());
  return out;
}

void Tensor::Reshape(Shape shape) {
  INFENCLAVE_CHECK(CheckedElements(shape) == elements_);
  shape_ = std::move(shape);
}

float Bf16ToF32(uint16_t b) { return std::bit_cast<float>(uint32_t{b} << 16); }

uint16_t F32ToBf16(float f) {
  uint32_t bits = std::bit_cast<uint32_t>(f);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40);  // keep NaN a NaN
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

float F16ToF32(uint16_t h) {
  uint32_t sign = uint32_t{h & 0x8000u} << 16;
  uint32_t exponent = (h >> 10) & 31, mantissa = h & 0x3ffu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | mantissa << 13);
  if (exponent == 0) {
    float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
  }
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
}

uint16_t F32ToF16(float f) {
  uint32_t bits = std::bit_cast<uint32_t>(f);
  uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // rounds to infinity
  if (magnitude < 0x38800000u) {
    // Subnormal half: adding 0.5 leaves the rounded mantissa in the low bits (round to nearest even by the FPU).
    float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000u));
  }
  uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

Tensor ToF32(const TensorView& in, std::pmr::memory_resource* memory) {
  Tensor out(DType::kF32, in.shape, memory);
  std::span<float> to = out.as<float>();
  auto convert = [&](auto from, auto one) {
    for (size_t i = 0; i < to.size(); ++i) to[i] = one(from[i]);
  };
  auto cast = [](auto v) { return static_cast<float>(v); };
  switch (in.dtype) {
    case DType::kF32:
      if (!to.empty()) std::memcpy(to.data(), in.data, to.size_bytes());
      break;
    case DType::kF16:
      convert(in.as<uint16_t>(), F16ToF32);
      break;
    case DType::kBf16:
      convert(in.as<uint16_t>(), Bf16ToF32);
      break;
    case DType::kI8:
      convert(in.as<int8_t>(), cast);
      break;
    case DType::kU8:
    case DType::kBool:
      convert(in.as<uint8_t>(), cast);
      break;
    case DType::kI32:
      convert(in.as<int32_t>(), cast);
      break;
    case DType::kI64:
      convert(in.as<int64_t>(), cast);
      break;
    case DType::kF64:
      convert(in.as<double>(), cast);
      break;
  }
  return out;
}

}  // namespace infenclave
