#include "oip/infer.h"

#include <bit>
#include <cstring>
#include <string>
#include <utility>

namespace infenclave {
namespace {

static_assert(std::endian::native == std::endian::little, "raw tensors travel little-endian");

constexpr int kMaxRank = 8;
constexpr size_t kLengthBytes = 4;  // before each element of a raw BYTES tensor

// One tensor of a message: its description, and its raw bytes if it came that way.
template <typename Description>
struct Located {
  const Description* tensor = nullptr;
  const std::string* raw = nullptr;
  Shape shape;
  int64_t elements = 0;
};

template <typename Tensors, typename Raws>
auto Locate(const Tensors& tensors, const Raws& raws, std::string_view name, std::string_view datatype,
            std::string_view what) -> StatusOr<Located<typename Tensors::value_type>> {
  if (tensors.size() != 1) {
    return InvalidArgument("the message has ", tensors.size(), " ", what, "s, expected one", name.empty() ? "" : ": '",
                           name, name.empty() ? "" : "'");
  }
  Located<typename Tensors::value_type> found;
  const auto& tensor = tensors.Get(0);
  if (!name.empty() && tensor.name() != name) {
    return InvalidArgument("no ", what, " '", tensor.name(), "': expected '", name, "'");
  }
  if (tensor.datatype() != datatype) {
    return InvalidArgument(what, " '", tensor.name(), "' is ", tensor.datatype(), ", expected ", datatype);
  }
  if (tensor.shape_size() > kMaxRank) {
    return InvalidArgument(what, " '", tensor.name(), "' has ", tensor.shape_size(), " dimensions, at most ", kMaxRank,
                           " are possible");
  }
  found.shape.assign(tensor.shape().begin(), tensor.shape().end());
  StatusOr<int64_t> elements = NumElements(found.shape);
  if (!elements.ok()) return Annotate(elements.status(), Concat(what, " '", tensor.name(), "'"));
  found.elements = *elements;
  found.tensor = &tensor;
  if (!raws.empty()) {
    if (raws.size() != 1) return InvalidArgument("the message has ", raws.size(), " raw tensors for one ", what);
    if (tensor.has_contents() && tensor.contents().ByteSizeLong() > 0) {  // KServe sends empty ones along
      return InvalidArgument(what, " '", tensor.name(), "' has both raw and typed contents");
    }
    found.raw = &raws.Get(0);
  }
  return found;
}

template <typename Tensors, typename Raws>
StatusOr<ByteSpan> ReadBytes(const Tensors& tensors, const Raws& raws, std::string_view name, std::string_view what) {
  INFENCLAVE_ASSIGN_OR_RETURN(auto found, Locate(tensors, raws, name, "BYTES", what));
  if (found.elements != 1) {
    return InvalidArgument(what, " '", found.tensor->name(), "' has shape ", ToString(found.shape),
                           ", expected one element");
  }
  if (found.raw == nullptr) {
    const auto& contents = found.tensor->contents().bytes_contents();
    if (contents.size() != 1) {
      return InvalidArgument(what, " '", found.tensor->name(), "' has ", contents.size(),
                             " elements in bytes_contents, expected one");
    }
    return AsBytes(contents.Get(0));
  }
  const ByteSpan raw = AsBytes(*found.raw);
  uint32_t length = 0;
  if (raw.size() >= kLengthBytes) std::memcpy(&length, raw.data(), kLengthBytes);
  if (raw.size() < kLengthBytes || raw.size() - kLengthBytes != length) {
    return InvalidArgument(what, " '", found.tensor->name(), "': ", raw.size(),
                           " raw bytes are not one element with a 4-byte little-endian length before it");
  }
  return raw.subspan(kLengthBytes);
}

// Each in a number of its own.
Status Pack(const google::protobuf::RepeatedField<uint32_t>& numbers, TensorData& out) {
  Bytes packed;
  packed.reserve(static_cast<size_t>(numbers.size()));
  for (const uint32_t number : numbers) {
    if (number > 255) return InvalidArgument("holds ", number, ", which is no UINT8");
    packed.push_back(static_cast<uint8_t>(number));
  }
  out.packed = std::make_unique<const Bytes>(std::move(packed));
  out.data = *out.packed;
  return OkStatus();
}

template <typename Tensors, typename Raws>
StatusOr<TensorData> ReadNumbers(const Tensors& tensors, const Raws& raws, std::string_view name, DType dtype,
                                 std::string_view what) {
  INFENCLAVE_ASSIGN_OR_RETURN(auto found, Locate(tensors, raws, name, OipTypeOf(dtype), what));
  TensorData out{found.shape, {}};
  if (found.raw != nullptr) {
    out.data = AsBytes(*found.raw);
  } else if (dtype == DType::kF32) {
    const auto& values = found.tensor->contents().fp32_contents();
    out.data = {reinterpret_cast<const uint8_t*>(values.data()), static_cast<size_t>(values.size()) * sizeof(float)};
  } else {
    const Status packed = Pack(found.tensor->contents().uint_contents(), out);
    if (!packed.ok()) return Annotate(packed, Concat(what, " '", found.tensor->name(), "'"));
  }
  const uint64_t expected = static_cast<uint64_t>(found.elements) * SizeOf(dtype);
  if (out.data.size() != expected) {
    return InvalidArgument(what, " '", found.tensor->name(), "' of shape ", ToString(found.shape), " comes with ",
                           out.data.size(), " bytes, expected ", expected);
  }
  return out;
}

template <typename Description>
void Describe(Description& tensor, std::string_view name, std::string_view datatype, const Shape& shape) {
  tensor.set_name(std::string(name));
  tensor.set_datatype(std::string(datatype));
  tensor.mutable_shape()->Assign(shape.begin(), shape.end());
}

std::string RawElement(ByteSpan element) {
  const auto length = static_cast<uint32_t>(element.size());
  std::string raw;
  raw.reserve(kLengthBytes + element.size());  // requests are large: no zeros are written first
  raw.append(reinterpret_cast<const char*>(&length), kLengthBytes);
  return raw.append(AsText(element));
}

}  // namespace

TensorForm FormOf(const inference::ModelInferRequest& request) {
  return request.raw_input_contents().empty() ? TensorForm::kTyped : TensorForm::kRaw;
}

StatusOr<ByteSpan> ReadBytesInput(const inference::ModelInferRequest& request, std::string_view name) {
  return ReadBytes(request.inputs(), request.raw_input_contents(), name, "input");
}

StatusOr<ByteSpan> ReadBytesOutput(const inference::ModelInferResponse& response, std::string_view name) {
  return ReadBytes(response.outputs(), response.raw_output_contents(), name, "output");
}

std::string_view OipTypeOf(DType dtype) {
  INFENCLAVE_CHECK(dtype == DType::kF32 || dtype == DType::kU8);
  return dtype == DType::kF32 ? "FP32" : "UINT8";
}

StatusOr<TensorData> ReadInput(const inference::ModelInferRequest& request, std::string_view name, DType dtype) {
  return ReadNumbers(request.inputs(), request.raw_input_contents(), name, dtype, "input");
}

StatusOr<TensorData> ReadF32Output(const inference::ModelInferResponse& response, std::string_view name) {
  return ReadNumbers(response.outputs(), response.raw_output_contents(), name, DType::kF32, "output");
}

void AddBytesInput(inference::ModelInferRequest& request, std::string_view name, ByteSpan element) {
  Describe(*request.add_inputs(), name, "BYTES", {1});
  request.add_raw_input_contents(RawElement(element));
}

MutableByteSpan AddBytesInput(inference::ModelInferRequest& request, std::string_view name, size_t size) {
  Describe(*request.add_inputs(), name, "BYTES", {1});
  std::string& raw = *request.add_raw_input_contents();
  const auto length = static_cast<uint32_t>(size);
  raw.reserve(kLengthBytes + size);
  raw.append(reinterpret_cast<const char*>(&length), kLengthBytes).append(size, '\0');
  return {reinterpret_cast<uint8_t*>(raw.data()) + kLengthBytes, size};
}

void AddBytesOutput(inference::ModelInferResponse& response, std::string_view name, ByteSpan element, TensorForm form) {
  auto& tensor = *response.add_outputs();
  Describe(tensor, name, "BYTES", {1});
  if (form == TensorForm::kRaw) {
    response.add_raw_output_contents(RawElement(element));
  } else {
    tensor.mutable_contents()->add_bytes_contents(std::string(AsText(element)));
  }
}

void AddInput(inference::ModelInferRequest& request, std::string_view name, DType dtype, const Shape& shape,
              ByteSpan data) {
  Describe(*request.add_inputs(), name, OipTypeOf(dtype), shape);
  request.add_raw_input_contents(std::string(AsText(data)));
}

void AddF32Output(inference::ModelInferResponse& response, std::string_view name, const Shape& shape, ByteSpan data,
                  TensorForm form) {
  auto& tensor = *response.add_outputs();
  Describe(tensor, name, "FP32", shape);
  if (form == TensorForm::kRaw) {
    response.add_raw_output_contents(std::string(AsText(data)));
    return;
  }
  auto& values = *tensor.mutable_contents()->mutable_fp32_contents();
  values.Resize(static_cast<int>(data.size() / sizeof(float)), 0.0f);
  if (!data.empty()) std::memcpy(values.mutable_data(), data.data(), data.size());
}

}  // namespace infenclave
