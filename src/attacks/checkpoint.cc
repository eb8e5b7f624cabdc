#include "attacks/checkpoint.h"

#include "base/bytes.h"
#include "base/file.h"
#include "tensor/tensor.h"

namespace infenclave {
namespace {

constexpr std::string_view kMagic = "infenclave.attack/1";
constexpr size_t kMaxBytes = size_t{4} << 30, kMaxText = 1 << 20, kMaxTensors = 1 << 16;
constexpr std::pair<at::ScalarType, DType> kTypes[] = {
    {at::kFloat, DType::kF32}, {at::kDouble, DType::kF64}, {at::kLong, DType::kI64}};

}  // namespace

Status SaveCheckpoint(const std::string& path, const std::string& job, const NamedTensors& tensors) {
  ByteWriter out;
  out.Text(kMagic);
  out.Text(job);
  out.Count(tensors.size());
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor whole = tensor.detach().contiguous();
    DType dtype = DType::kF32;
    for (const auto& [type, ours] : kTypes) {
      if (whole.scalar_type() == type) dtype = ours;
    }
    INFENCLAVE_CHECK(SizeOf(dtype) == static_cast<size_t>(whole.element_size()));
    out.Text(name);
    out.U8(static_cast<uint8_t>(dtype));
    out.Count(static_cast<size_t>(whole.dim()));
    for (const int64_t d : whole.sizes()) out.I64(d);
    out.Block({static_cast<const uint8_t*>(whole.data_ptr()), whole.nbytes()});
  }
  return WriteFileAtomic(path, out.bytes());
}

NamedTensors LoadCheckpoint(const std::string& path, const std::string& job) {
  const StatusOr<Bytes> bytes = ReadFile(path, kMaxBytes);
  if (!bytes.ok()) return {};
  ByteReader in(*bytes, "checkpoint");
  if (in.Text(kMaxText) != kMagic || in.Text(kMaxText) != job) return {};
  NamedTensors tensors;
  const size_t count = in.Count(kMaxTensors);
  for (size_t i = 0; i < count; ++i) {
    const std::string name = in.Text(kMaxText);
    const auto dtype = static_cast<DType>(in.U8());
    Shape shape(in.Count(8));
    for (int64_t& d : shape) d = in.I64();
    const ByteSpan raw = in.Block(kMaxBytes);
    const StatusOr<int64_t> elements = NumElements(shape);
    if (!in.ok() || !elements.ok()) return {};
    for (const auto& [type, ours] : kTypes) {
      if (dtype != ours) continue;
      if (static_cast<size_t>(*elements) * SizeOf(dtype) != raw.size()) return {};
      tensors[name] = at::empty(shape, type);
      if (!raw.empty()) std::memcpy(tensors[name].data_ptr(), raw.data(), raw.size());
    }
  }
  if (!in.Finish().ok() || tensors.size() != count) return {};
  return tensors;
}

}  // namespace infenclave
