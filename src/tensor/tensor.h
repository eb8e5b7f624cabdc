// Dense tensors: a data type, a shape and contiguous row-major bytes, owned (Tensor) or borrowed (TensorView,
// MutableTensorView). Images and feature maps are [N,C,H,W].
//
// Memory comes from a std::pmr::memory_resource, so that the enclave can keep weights in secret memory; it is 64-byte
// aligned and zero at first. Tensors are moved, and copied only by Clone().
#ifndef INFENCLAVE_TENSOR_TENSOR_H_
#define INFENCLAVE_TENSOR_TENSOR_H_

#include <cstdint>
#include <memory_resource>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"

namespace infenclave {

// The numbers are part of the binary formats.
enum class DType : uint8_t { kF32 = 1, kF16 = 2, kBf16 = 3, kI8 = 4, kU8 = 5, kI32 = 6, kI64 = 7, kBool = 8, kF64 = 9 };

size_t SizeOf(DType dtype);
std::string_view NameOf(DType dtype);  // "f32", "bf16", …
bool IsKnownDType(uint8_t number);

using Shape = std::vector<int64_t>;

std::string ToString(const Shape& shape);  // "[1,3,224,224]"
// The product of the dimensions (1 for a scalar); negative dimensions and products over 2^40 are errors.
StatusOr<int64_t> NumElements(const Shape& shape);

// Borrowed, read-only. `data` holds NumElements(shape) * SizeOf(dtype) bytes.
struct TensorView {
  DType dtype = DType::kF32;
  Shape shape;
  const void* data = nullptr;

  int64_t elements() const;
  size_t bytes() const { return static_cast<size_t>(elements()) * SizeOf(dtype); }
  template <typename T>
  std::span<const T> as() const {
    return {static_cast<const T*>(data), static_cast<size_t>(elements())};
  }
};

struct MutableTensorView {
  DType dtype = DType::kF32;
  Shape shape;
  void* data = nullptr;

  int64_t elements() const;
  size_t bytes() const { return static_cast<size_t>(elements()) * SizeOf(dtype); }
  template <typename T>
  std::span<T> as() const {
    return {static_cast<T*>(data), static_cast<size_t>(elements())};
  }
  operator TensorView() const { return {dtype, shape, data}; }
};

class Tensor {
 public:
  Tensor() = default;
  // The shape must have passed NumElements (a programming error otherwise).
  Tensor(DType dtype, Shape shape, std::pmr::memory_resource* memory = std::pmr::get_default_resource());
  Tensor(Tensor&& other) noexcept;
  Tensor& operator=(Tensor&& other) noexcept;
  Tensor(const Tensor&) = delete;
  Tensor& operator=(const Tensor&) = delete;
  ~Tensor();

  // A vector of f32, for tests and small constants.
  static Tensor FromF32(Shape shape, std::span<const float> values,
                        std::pmr::memory_resource* memory = std::pmr::get_default_resource());
  static Tensor FromI64(Shape shape, std::span<const int64_t> values,
                        std::pmr::memory_resource* memory = std::pmr::get_default_resource());
  Tensor Clone(std::pmr::memory_resource* memory = std::pmr::get_default_resource()) const;

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t elements() const { return elements_; }
  size_t bytes() const { return static_cast<size_t>(elements_) * SizeOf(dtype_); }
  bool empty() const { return elements_ == 0; }

  const void* data() const { return data_; }
  void* data() { return data_; }
  template <typename T>
  std::span<const T> as() const {
    return {static_cast<const T*>(data_), static_cast<size_t>(elements_)};
  }
  template <typename T>
  std::span<T> as() {
    return {static_cast<T*>(data_), static_cast<size_t>(elements_)};
  }
  ByteSpan raw() const { return {static_cast<const uint8_t*>(data_), bytes()}; }
  MutableByteSpan raw() { return {static_cast<uint8_t*>(data_), bytes()}; }

  TensorView view() const { return {dtype_, shape_, data_}; }
  MutableTensorView mutable_view() { return {dtype_, shape_, data_}; }

  // Same elements, another shape with as many of them (a programming error otherwise).
  void Reshape(Shape shape);

 private:
  void Free();

  DType dtype_ = DType::kF32;
  Shape shape_ = {0};
  int64_t elements_ = 0;
  void* data_ = nullptr;
  std::pmr::memory_resource* memory_ = nullptr;
};

// IEEE half and bfloat16, bit patterns in uint16_t. Narrowing rounds to nearest even.
float F16ToF32(uint16_t h);
float Bf16ToF32(uint16_t b);
uint16_t F32ToF16(float f);
uint16_t F32ToBf16(float f);

// f16, bf16, f64 and the integer types to f32 (a copy if it is f32 already).
Tensor ToF32(const TensorView& in, std::pmr::memory_resource* memory = std::pmr::get_default_resource());

}  // namespace infenclave

#endif  // INFENCLAVE_TENSOR_TENSOR_H_
