#include "import/onnx_bounds.h"

namespace infenclave {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

constexpr int kMaxDepth = 32;
// Rounded up from what protobuf 3.21 allocates: the largest of ONNX's messages, and a string or an unknown field.
constexpr int64_t kMessageCost = 320, kFieldCost = 64;

class Walker {
 public:
  explicit Walker(int64_t limit) : left_(limit) {}

  Status Walk(ByteSpan in, const Descriptor& type, int depth) {
    if (depth > kMaxDepth) return InvalidArgument("messages nest deeper than ", kMaxDepth);
    while (!in.empty()) {
      uint64_t tag = 0;
      if (!Varint(in, tag)) return Truncated(type);
      const FieldDescriptor* field = type.FindFieldByNumber(static_cast<int>(tag >> 3));
      INFENCLAVE_RETURN_IF_ERROR(Charge(kFieldCost));
      INFENCLAVE_RETURN_IF_ERROR(WalkField(in, static_cast<int>(tag & 7), field, type, depth));
    }
    return OkStatus();
  }

 private:
  Status WalkField(ByteSpan& in, int wire_type, const FieldDescriptor* field, const Descriptor& type, int depth) {
    uint64_t size = 0;
    switch (wire_type) {
      case 0:
        return Varint(in, size) ? OkStatus() : Truncated(type);
      case 1:
        size = 8;
        break;
      case 5:
        size = 4;
        break;
      case 2:
        if (!Varint(in, size)) return Truncated(type);
        break;
      default:
        return InvalidArgument("wire type ", wire_type, " in ", type.name());
    }
    if (size > in.size()) return Truncated(type);
    ByteSpan payload = in.first(size);
    in = in.subspan(size);
    if (wire_type != 2 || field == nullptr) return OkStatus();
    if (field->type() == FieldDescriptor::TYPE_MESSAGE) {
      INFENCLAVE_RETURN_IF_ERROR(Charge(kMessageCost));
      return Walk(payload, *field->message_type(), depth + 1);
    }
    // A packed varint of one byte becomes up to eight.
    if (field->is_packable()) return Charge(static_cast<int64_t>(payload.size()) * 8 - ExactBytes(*field, payload));
    return OkStatus();
  }

  // Packed floats and doubles cost what they weigh.
  static int64_t ExactBytes(const FieldDescriptor& field, ByteSpan payload) {
    bool fixed = field.type() == FieldDescriptor::TYPE_FLOAT || field.type() == FieldDescriptor::TYPE_DOUBLE;
    return fixed ? static_cast<int64_t>(payload.size()) * 8 : 0;
  }

  static bool Varint(ByteSpan& in, uint64_t& value) {
    value = 0;
    for (int shift = 0; shift < 70 && !in.empty(); shift += 7) {
      uint8_t byte = in.front();
      in = in.subspan(1);
      if (shift < 64) value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }

  Status Charge(int64_t bytes) {
    left_ -= bytes;
    if (left_ < 0) return InvalidArgument("the messages would take more memory than the limit when decoded");
    return OkStatus();
  }

  static Status Truncated(const Descriptor& type) { return InvalidArgument("truncated or not a ", type.name()); }

  int64_t left_;
};

}  // namespace

Status CheckDecodingBounds(ByteSpan encoded, const Descriptor& type, int64_t limit) {
  return Walker(limit).Walk(encoded, type, 0);
}

}  // namespace infenclave
