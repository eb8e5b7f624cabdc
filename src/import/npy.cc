#include "import/npy.h"

#include <charconv>
#include <cstring>
#include <utility>

#include "base/file.h"

namespace infenclave {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kPreambleBytes = 12, kMaxHeaderBytes = kMaxNpyHeaderBytes - kPreambleBytes;
constexpr size_t kMaxRank = 32, kAlignment = 64;

constexpr std::pair<std::string_view, DType> kTypes[] = {
    {"<f4", DType::kF32}, {"<f8", DType::kF64}, {"<f2", DType::kF16},  {"|u1", DType::kU8},  {"|i1", DType::kI8},
    {"<i4", DType::kI32}, {"<i8", DType::kI64}, {"|b1", DType::kBool}, {"<u2", DType::kBf16}};

// The header is a Python dictionary literal with three known keys; this reads what numpy writes and no more.
class HeaderParser {
 public:
  explicit HeaderParser(std::string_view text) : text_(text) {}

  Status Parse(DType* dtype, Shape* shape) {
    if (!Eat('{')) return Bad();
    bool have_type = false, have_order = false, have_shape = false;
    while (!Eat('}')) {
      std::string_view key;
      if (!Quoted(key) || !Eat(':')) return Bad();
      if (key == "descr") {
        std::string_view type;
        if (!Quoted(type)) return Unimplemented("npy: structured arrays are not supported");
        INFENCLAVE_RETURN_IF_ERROR(SetType(type, dtype));
        have_type = true;
      } else if (key == "fortran_order") {
        if (Eat("True")) return Unimplemented("npy: Fortran order is not supported; save numpy.ascontiguousarray(x)");
        if (!Eat("False")) return Bad();
        have_order = true;
      } else if (key == "shape") {
        if (!Tuple(shape)) return Bad();
        have_shape = true;
      } else {
        return Bad();
      }
      Eat(',');
    }
    Space();
    return text_.empty() && have_type && have_order && have_shape ? OkStatus() : Bad();
  }

 private:
  static Status Bad() { return InvalidArgument("npy: the header is not one that numpy writes"); }

  static Status SetType(std::string_view name, DType* dtype) {
    for (const auto& [known, type] : kTypes) {
      if (name == known) {
        *dtype = type;
        return OkStatus();
      }
    }
    return Unimplemented("npy: element type '", name, "' is not supported; save x.astype('<f4')");
  }

  void Space() {
    while (!text_.empty() && (text_.front() == ' ' || text_.front() == '\n')) text_.remove_prefix(1);
  }
  bool Eat(std::string_view token) {
    Space();
    if (!text_.starts_with(token)) return false;
    text_.remove_prefix(token.size());
    return true;
  }
  bool Eat(char c) { return Eat(std::string_view(&c, 1)); }
  bool Quoted(std::string_view& out) {
    if (!Eat('\'')) return false;
    size_t end = text_.find('\'');
    if (end == std::string_view::npos) return false;
    out = text_.substr(0, end);
    text_.remove_prefix(end + 1);
    return true;
  }
  bool Tuple(Shape* shape) {
    if (!Eat('(')) return false;
    while (!Eat(')')) {
      Space();
      int64_t value = 0;
      auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), value);
      if (error != std::errc() || value < 0 || shape->size() == kMaxRank) return false;
      text_.remove_prefix(static_cast<size_t>(end - text_.data()));
      shape->push_back(value);
      Eat(',');
    }
    return true;
  }

  std::string_view text_;
};

}  // namespace

StatusOr<NpyHeader> DecodeNpyHeader(ByteSpan file) {
  if (file.size() < kPreambleBytes || AsText(file.first(6)) != kMagic) return InvalidArgument("not a .npy file");
  uint8_t version = file[6];
  if (version < 1 || version > 3) return Unimplemented("npy: version ", int{version}, " is not supported");
  size_t length_bytes = version == 1 ? 2 : 4, header_bytes = 0;
  for (size_t i = 0; i < length_bytes; ++i) header_bytes |= size_t{file[8 + i]} << (8 * i);
  file = file.subspan(8 + length_bytes);
  if (header_bytes > kMaxHeaderBytes || header_bytes > file.size())
    return InvalidArgument("npy: the header is cut short");
  NpyHeader header;
  INFENCLAVE_RETURN_IF_ERROR(HeaderParser(AsText(file.first(header_bytes))).Parse(&header.dtype, &header.shape));
  INFENCLAVE_RETURN_IF_ERROR(NumElements(header.shape).status());
  header.offset = 8 + length_bytes + header_bytes;
  return header;
}

StatusOr<Tensor> DecodeNpy(ByteSpan file) {
  INFENCLAVE_ASSIGN_OR_RETURN(NpyHeader header, DecodeNpyHeader(file));
  file = file.subspan(header.offset);
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t elements, NumElements(header.shape));
  size_t wanted = static_cast<size_t>(elements) * SizeOf(header.dtype);
  if (wanted != file.size()) {
    return InvalidArgument("npy: ", NameOf(header.dtype), ToString(header.shape), " needs ", wanted,
                           " bytes of data, the file has ", file.size());
  }
  Tensor out(header.dtype, std::move(header.shape));
  if (wanted > 0) std::memcpy(out.data(), file.data(), wanted);
  return out;
}

StatusOr<Tensor> ReadNpy(const std::string& path) {
  INFENCLAVE_ASSIGN_OR_RETURN(Bytes file, ReadFile(path, kMaxNpyBytes));
  StatusOr<Tensor> tensor = DecodeNpy(file);
  if (!tensor.ok()) return Annotate(tensor.status(), path);
  return tensor;
}

Bytes EncodeNpyHeader(DType dtype, const Shape& shape) {
  std::string_view type;
  for (const auto& [name, known] : kTypes) {
    if (dtype == known) type = name;
  }
  INFENCLAVE_CHECK(!type.empty());
  std::string header = Concat("{'descr': '", type, "', 'fortran_order': False, 'shape': (");
  for (int64_t d : shape) header += std::to_string(d) + ",";
  header += "), }";
  size_t preamble = kMagic.size() + 4;
  header.append((kAlignment - (preamble + header.size() + 1) % kAlignment) % kAlignment, ' ');
  header += '\n';
  const char version_and_length[] = {1, 0, static_cast<char>(header.size() & 0xff),
                                     static_cast<char>(header.size() >> 8)};
  return ToBytes(AsBytes(Concat(kMagic, std::string_view(version_and_length, 4), header)));
}

Bytes EncodeNpy(const TensorView& tensor) {
  Bytes out = EncodeNpyHeader(tensor.dtype, tensor.shape);
  const size_t header_bytes = out.size();
  out.resize(header_bytes + tensor.bytes());
  if (tensor.bytes() > 0) std::memcpy(out.data() + header_bytes, tensor.data, tensor.bytes());
  return out;
}

}  // namespace infenclave
