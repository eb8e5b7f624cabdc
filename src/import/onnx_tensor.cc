#include "import/onnx_tensor.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "base/file.h"

namespace infenclave {
namespace {

using onnx::TensorProto;

// How ONNX stores an element of that type in raw bytes; 0 for types that have none here.
size_t OnnxElementBytes(int type) {
  switch (type) {
    case TensorProto::BOOL:
    case TensorProto::INT8:
    case TensorProto::UINT8:
      return 1;
    case TensorProto::FLOAT16:
    case TensorProto::BFLOAT16:
    case TensorProto::INT16:
    case TensorProto::UINT16:
      return 2;
    case TensorProto::FLOAT:
    case TensorProto::INT32:
    case TensorProto::UINT32:
      return 4;
    case TensorProto::DOUBLE:
    case TensorProto::INT64:
    case TensorProto::UINT64:
      return 8;
    default:
      return 0;
  }
}

template <typename From>
From Load(const uint8_t* raw, size_t i) {
  From value;
  std::memcpy(&value, raw + i * sizeof(From), sizeof(From));
  return value;
}

template <typename From, typename To, typename Convert>
void ConvertAll(const uint8_t* raw, std::span<To> out, Convert convert) {
  for (size_t i = 0; i < out.size(); ++i) out[i] = convert(Load<From>(raw, i));
}

// `raw` holds ONNX elements of `type`, as many as `out` has.
Status Convert(int type, const uint8_t* raw, Tensor& out) {
  auto cast = [](auto to) { return [](auto from) { return static_cast<decltype(to)>(from); }; };
  switch (type) {
    case TensorProto::FLOAT16:
      ConvertAll<uint16_t>(raw, out.as<float>(), F16ToF32);
      return OkStatus();
    case TensorProto::BFLOAT16:
      ConvertAll<uint16_t>(raw, out.as<float>(), Bf16ToF32);
      return OkStatus();
    case TensorProto::DOUBLE:
      ConvertAll<double>(raw, out.as<float>(), cast(float{}));
      return OkStatus();
    case TensorProto::INT16:
      ConvertAll<int16_t>(raw, out.as<int32_t>(), cast(int32_t{}));
      return OkStatus();
    case TensorProto::UINT16:
      ConvertAll<uint16_t>(raw, out.as<int32_t>(), cast(int32_t{}));
      return OkStatus();
    case TensorProto::UINT32:
      ConvertAll<uint32_t>(raw, out.as<int64_t>(), cast(int64_t{}));
      return OkStatus();
    case TensorProto::UINT64:
      for (int64_t& v : out.as<int64_t>()) {
        uint64_t from = Load<uint64_t>(raw, static_cast<size_t>(&v - out.as<int64_t>().data()));
        if (from > INT64_MAX) return InvalidArgument("a value of ", from, " does not fit a 64-bit signed integer");
        v = static_cast<int64_t>(from);
      }
      return OkStatus();
    case TensorProto::BOOL:
      ConvertAll<uint8_t>(raw, out.as<uint8_t>(), [](uint8_t v) { return static_cast<uint8_t>(v != 0); });
      return OkStatus();
    default:
      if (!out.empty()) std::memcpy(out.data(), raw, out.bytes());
      return OkStatus();
  }
}

// The typed fields (float_data, int32_data, …) as the raw bytes of the declared type.
template <typename Element, typename Field>
Bytes Gather(const Field& field) {
  Bytes out(static_cast<size_t>(field.size()) * sizeof(Element));
  for (int i = 0; i < field.size(); ++i) {
    Element value = static_cast<Element>(field.Get(i));
    std::memcpy(out.data() + static_cast<size_t>(i) * sizeof(Element), &value, sizeof(Element));
  }
  return out;
}

Bytes TypedFieldAsRaw(const TensorProto& proto) {
  switch (proto.data_type()) {
    case TensorProto::FLOAT:
      return Gather<float>(proto.float_data());
    case TensorProto::DOUBLE:
      return Gather<double>(proto.double_data());
    case TensorProto::INT64:
      return Gather<int64_t>(proto.int64_data());
    case TensorProto::UINT64:
      return Gather<uint64_t>(proto.uint64_data());
    case TensorProto::UINT32:
      return Gather<uint32_t>(proto.uint64_data());
    case TensorProto::INT32:
      return Gather<int32_t>(proto.int32_data());
    case TensorProto::FLOAT16:
    case TensorProto::BFLOAT16:
    case TensorProto::INT16:
    case TensorProto::UINT16:
      return Gather<uint16_t>(proto.int32_data());
    default:
      return Gather<uint8_t>(proto.int32_data());
  }
}

StatusOr<uint64_t> ParseSize(std::string_view text, std::string_view what) {
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return InvalidArgument("external data: ", what, " '", text, "' is not a number");
  }
  return value;
}

// The file's real path, which must lie in the model's folder whatever links and dots it goes through.
StatusOr<std::string> ResolveInside(const std::string& folder, const std::string& location) {
  if (folder.empty()) return InvalidArgument("external data '", location, "' in a model that is no file");
  std::error_code error;
  std::filesystem::path root = std::filesystem::canonical(folder, error);
  if (error) return NotFound("model folder ", folder, ": ", error.message());
  if (location.empty() || std::filesystem::path(location).is_absolute()) {
    return InvalidArgument("external data '", location, "' is not a relative path");
  }
  std::filesystem::path file = std::filesystem::canonical(root / location, error);
  if (error) return NotFound("external data '", location, "': ", error.message());
  auto [root_end, file_at] = std::mismatch(root.begin(), root.end(), file.begin(), file.end());
  if (root_end != root.end() || file_at == file.end()) {
    return InvalidArgument("external data '", location, "' lies outside the model's folder");
  }
  return file.string();
}

}  // namespace

StatusOr<DType> ImportedDType(int onnx_type) {
  switch (onnx_type) {
    case TensorProto::FLOAT:
    case TensorProto::FLOAT16:
    case TensorProto::BFLOAT16:
    case TensorProto::DOUBLE:
      return DType::kF32;
    case TensorProto::INT8:
      return DType::kI8;
    case TensorProto::UINT8:
      return DType::kU8;
    case TensorProto::BOOL:
      return DType::kBool;
    case TensorProto::INT32:
    case TensorProto::INT16:
    case TensorProto::UINT16:
      return DType::kI32;
    case TensorProto::INT64:
    case TensorProto::UINT32:
    case TensorProto::UINT64:
      return DType::kI64;
    default:
      return Unimplemented("element type ", OnnxTypeName(onnx_type), " is not supported");
  }
}

int OnnxDType(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return TensorProto::FLOAT;
    case DType::kF16:
      return TensorProto::FLOAT16;
    case DType::kBf16:
      return TensorProto::BFLOAT16;
    case DType::kF64:
      return TensorProto::DOUBLE;
    case DType::kI8:
      return TensorProto::INT8;
    case DType::kU8:
      return TensorProto::UINT8;
    case DType::kI32:
      return TensorProto::INT32;
    case DType::kI64:
      return TensorProto::INT64;
    case DType::kBool:
      return TensorProto::BOOL;
  }
  return TensorProto::UNDEFINED;
}

std::string OnnxTypeName(int onnx_type) {
  if (!TensorProto::DataType_IsValid(onnx_type)) return "number " + std::to_string(onnx_type);
  std::string name = TensorProto::DataType_Name(static_cast<TensorProto::DataType>(onnx_type));
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return name;
}

StatusOr<Tensor> TensorReader::Read(const TensorProto& proto) {
  INFENCLAVE_ASSIGN_OR_RETURN(DType dtype, ImportedDType(proto.data_type()));
  Shape shape(proto.dims().begin(), proto.dims().end());
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t elements, NumElements(shape));
  size_t stored = static_cast<size_t>(elements) * OnnxElementBytes(proto.data_type());
  size_t wanted = std::max(stored, static_cast<size_t>(elements) * SizeOf(dtype));
  if (wanted > budget_) {
    return ResourceExhausted("tensor of shape ", ToString(shape), " exceeds what a model's constants may take");
  }

  Bytes gathered;
  ByteSpan raw;
  if (proto.data_location() == TensorProto::EXTERNAL) {
    INFENCLAVE_ASSIGN_OR_RETURN(gathered, ReadExternal(proto, stored));
    raw = gathered;
  } else if (proto.has_raw_data()) {
    raw = AsBytes(proto.raw_data());
  } else {
    gathered = TypedFieldAsRaw(proto);
    raw = gathered;
  }
  if (raw.size() != stored) {
    return InvalidArgument(OnnxTypeName(proto.data_type()), " tensor of shape ", ToString(shape), " needs ", stored,
                           " bytes of data, has ", raw.size());
  }
  budget_ -= wanted;
  Tensor out(dtype, std::move(shape));
  INFENCLAVE_RETURN_IF_ERROR(Convert(proto.data_type(), raw.data(), out));
  return out;
}

StatusOr<Bytes> TensorReader::ReadExternal(const TensorProto& proto, size_t bytes) {
  std::string location;
  uint64_t offset = 0, length = bytes;
  for (const auto& entry : proto.external_data()) {
    if (entry.key() == "location") location = entry.value();
    if (entry.key() == "offset") {
      INFENCLAVE_ASSIGN_OR_RETURN(offset, ParseSize(entry.value(), "offset"));
    }
    if (entry.key() == "length") {
      INFENCLAVE_ASSIGN_OR_RETURN(length, ParseSize(entry.value(), "length"));
    }
  }
  if (length != bytes) return InvalidArgument("external data: length ", length, ", the shape needs ", bytes);
  INFENCLAVE_ASSIGN_OR_RETURN(std::string path, ResolveInside(folder_, location));

  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  struct stat info {};
  if (!fd.valid() || ::fstat(fd.get(), &info) != 0) return ErrnoStatus(path);
  uint64_t size = S_ISREG(info.st_mode) ? static_cast<uint64_t>(info.st_size) : 0;
  if (offset > size || bytes > size - offset) {
    return InvalidArgument("external data '", location, "' has ", size, " bytes, the tensor lies at ", offset, " to ",
                           offset + bytes);
  }
  Bytes out(bytes);
  for (size_t done = 0; done < bytes;) {
    ssize_t n = ::pread(fd.get(), out.data() + done, bytes - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return ErrnoStatus(path);
    done += static_cast<size_t>(n);
  }
  return out;
}

void WriteTensor(const Tensor& tensor, TensorProto& proto) {
  proto.set_data_type(OnnxDType(tensor.dtype()));
  for (int64_t d : tensor.shape()) proto.add_dims(d);
  ByteSpan raw = tensor.raw();
  proto.set_raw_data(raw.data(), raw.size());
}

}  // namespace infenclave
