#include "protocol/calls.h"

#include <algorithm>

namespace infenclave {
namespace {

constexpr size_t kMaxKeyConfigBytes = 256, kMaxGrantBytes = 512;
constexpr size_t kMaxEnvelopeBytes = kMaxEvidenceBytes + kMaxCollateralBytes + 16;

void WriteStatus(const Status& status, ByteWriter& out) {
  const std::string message = MessageOf(status);
  out.U8(static_cast<uint8_t>(status.code()));
  out.Text(std::string_view(message).substr(0, kMaxStatusMessageBytes));
}

Status ReadStatus(ByteReader& in) {
  const uint8_t code = in.U8();
  if (code > static_cast<uint8_t>(StatusCode::kUnauthenticated)) in.Fail(Concat("status code ", int{code}));
  const std::string message = in.Text(kMaxStatusMessageBytes);
  if (code == 0 && !message.empty()) in.Fail("OK with a message");
  if (!in.ok()) return in.status();
  return MakeStatus(static_cast<StatusCode>(code), message);
}

// The type byte of the call, or a failed reader.
void ReadType(ByteReader& in, CallType expected) {
  const uint8_t type = in.U8();
  if (in.ok() && type != static_cast<uint8_t>(expected)) {
    in.Fail(Concat("call type ", int{type}, ", expected ", static_cast<int>(expected)));
  }
}

// OK, the error that the reply carries, or INVALID_ARGUMENT. Of an error reply nothing may be left.
Status ReadReplyStatus(ByteReader& in) {
  Status status = ReadStatus(in);
  if (!status.ok() && in.ok()) INFENCLAVE_RETURN_IF_ERROR(in.Finish());
  return status;
}

ByteWriter OkReply() {
  ByteWriter out;
  WriteStatus(OkStatus(), out);
  return out;
}

// A count of 1 to kMaxBatch, where each element takes at least `element` of the bytes that are left.
size_t ReadBatch(ByteReader& in, size_t element) {
  const size_t n = in.Count(kMaxBatch);
  if (in.ok() && (n == 0 || n * element > in.remaining())) in.Fail(Concat("batch of ", n));
  return in.ok() ? n : 0;
}

}  // namespace

StatusOr<CallType> PeekCallType(ByteSpan call) {
  if (call.empty()) return InvalidArgument("empty call");
  if (call[0] < 1 || call[0] > 4) return InvalidArgument("call type ", int{call[0]}, " is not known");
  return static_cast<CallType>(call[0]);
}

Bytes EncodeErrorReply(const Status& status) {
  INFENCLAVE_CHECK(!status.ok());
  ByteWriter out;
  WriteStatus(status, out);
  return out.Take();
}

// ---- GetEvidence ----------------------------------------------------------------------------------------------------

Bytes EncodeCall(const GetEvidenceCall& call) {
  ByteWriter out;
  out.U8(static_cast<uint8_t>(CallType::kGetEvidence));
  out.Bool(call.nonce.has_value());
  if (call.nonce.has_value()) out.Raw(*call.nonce);
  return out.Take();
}

StatusOr<GetEvidenceCall> DecodeGetEvidenceCall(ByteSpan call) {
  ByteReader in(call, "GetEvidence call");
  ReadType(in, CallType::kGetEvidence);
  GetEvidenceCall out;
  if (in.Bool()) out.nonce = in.Array<32>();
  INFENCLAVE_RETURN_IF_ERROR(in.Finish());
  return out;
}

Bytes EncodeReply(const GetEvidenceReply& reply) {
  ByteWriter out = OkReply();
  out.Block(reply.evidence);
  out.Block(reply.key_config);
  out.Block(reply.manifest);
  out.Block(reply.manifest_signature);
  out.Bool(reply.provisioned);
  return out.Take();
}

StatusOr<GetEvidenceReply> DecodeGetEvidenceReply(ByteSpan reply) {
  ByteReader in(reply, "GetEvidence reply");
  INFENCLAVE_RETURN_IF_ERROR(ReadReplyStatus(in));
  GetEvidenceReply out;
  out.evidence = ToBytes(in.Block(kMaxEnvelopeBytes));
  out.key_config = ToBytes(in.Block(kMaxKeyConfigBytes));
  out.manifest = ToBytes(in.Block(kMaxManifestBytes));
  out.manifest_signature = ToBytes(in.Block(sizeof(ManifestSignature)));
  out.provisioned = in.Bool();
  INFENCLAVE_RETURN_IF_ERROR(in.Finish());
  return out;
}

// ---- Provision ------------------------------------------------------------------------------------------------------

Bytes EncodeCall(const ProvisionCall& call) {
  ByteWriter out;
  out.U8(static_cast<uint8_t>(CallType::kProvision));
  out.Raw(call.key_id);
  out.Block(EncodeSealedGrant(call.grant));
  return out.Take();
}

StatusOr<ProvisionCall> DecodeProvisionCall(ByteSpan call) {
  ByteReader in(call, "Provision call");
  ReadType(in, CallType::kProvision);
  ProvisionCall out;
  out.key_id = in.Array<8>();
  const ByteSpan grant = in.Block(kMaxGrantBytes);
  INFENCLAVE_RETURN_IF_ERROR(in.Finish());
  INFENCLAVE_ASSIGN_OR_RETURN(out.grant, DecodeSealedGrant(grant));
  return out;
}

Bytes EncodeProvisionReply() { return OkReply().Take(); }

Status DecodeProvisionReply(ByteSpan reply) {
  ByteReader in(reply, "Provision reply");
  INFENCLAVE_RETURN_IF_ERROR(ReadReplyStatus(in));
  return in.Finish();
}

// ---- Begin ----------------------------------------------------------------------------------------------------------

size_t BytesOf(const BeginCall& call) {
  size_t size = 1 + sizeof(uint32_t);
  for (ByteSpan request : call.requests) size += sizeof(uint32_t) + request.size();
  return size;
}

void EncodeCallInto(const BeginCall& call, MutableByteSpan out) {
  INFENCLAVE_CHECK(out.size() == BytesOf(call));
  uint8_t* to = out.data();
  const auto count = [&to](size_t n) {
    ByteWriter writer;
    writer.Count(n);
    to = std::copy(writer.bytes().begin(), writer.bytes().end(), to);
  };
  *to++ = static_cast<uint8_t>(CallType::kBegin);
  count(call.requests.size());
  for (ByteSpan request : call.requests) {
    count(request.size());
    to = std::copy(request.begin(), request.end(), to);
  }
}

Bytes EncodeCall(const BeginCall& call) {
  Bytes out(BytesOf(call));
  EncodeCallInto(call, out);
  return out;
}

StatusOr<BeginCall> DecodeBeginCall(ByteSpan call) {
  ByteReader in(call, "Begin call");
  ReadType(in, CallType::kBegin);
  BeginCall out;
  out.requests.resize(ReadBatch(in, 4));
  for (ByteSpan& request : out.requests) request = in.Block(kMaxSealedRequestBytes);
  INFENCLAVE_RETURN_IF_ERROR(in.Finish());
  return out;
}

namespace {
enum BeginOutcome : uint8_t { kAccepted = 0, kRefused = 1, kSealedRefusal = 2 };
}  // namespace

Bytes BeginReplyWithRoom(size_t ir_bytes) { return Bytes(kIrOffset + ir_bytes); }

Bytes CompleteReply(Bytes with_room, const BeginReply& reply) {
  INFENCLAVE_CHECK(with_room.size() >= kIrOffset + reply.ir.size());
  ByteWriter head = OkReply();
  head.Count(reply.ir.size());
  std::copy(head.bytes().begin(), head.bytes().end(), with_room.begin());
  ByteWriter out;
  out.Count(reply.items.size());
  for (const BeginReply::Item& item : reply.items) {
    if (!item.status.ok()) {
      out.U8(kRefused);
      WriteStatus(item.status, out);
    } else if (!item.sealed_refusal.empty()) {
      out.U8(kSealedRefusal);
      out.Block(item.sealed_refusal);
    } else {
      out.U8(kAccepted);
      out.U64(item.id);
    }
  }
  with_room.resize(kIrOffset + reply.ir.size());
  with_room.insert(with_room.end(), out.bytes().begin(), out.bytes().end());
  return with_room;
}

Bytes EncodeReply(const BeginReply& reply) {
  Bytes out = BeginReplyWithRoom(reply.ir.size());
  std::copy(reply.ir.begin(), reply.ir.end(), out.begin() + kIrOffset);
  return CompleteReply(std::move(out), reply);
}

StatusOr<BeginReply> DecodeBeginReply(ByteSpan reply) {
  ByteReader in(reply, "Begin reply");
  INFENCLAVE_RETURN_IF_ERROR(ReadReplyStatus(in));
  BeginReply out;
  const size_t ir_bytes = in.U32();
  const ByteSpan padding = in.Raw(kIrOffset - in.position());
  if (std::any_of(padding.begin(), padding.end(), [](uint8_t b) { return b != 0; })) in.Fail("padding is not zero");
  out.ir = in.Raw(ir_bytes);
  out.items.resize(ReadBatch(in, 5));
  for (BeginReply::Item& item : out.items) {
    const uint8_t outcome = in.U8();
    if (outcome == kAccepted) {
      item.id = in.U64();
    } else if (outcome == kRefused) {
      item.status = ReadStatus(in);
      if (item.status.ok()) in.Fail("refused with OK");
    } else if (outcome == kSealedRefusal) {
      item.sealed_refusal = ToBytes(in.Block(kMaxSealedAnswerBytes));
      if (item.sealed_refusal.empty()) in.Fail("empty refusal");
    } else {
      in.Fail(Concat("outcome ", int{outcome}));
    }
    if (!in.ok()) break;
  }
  INFENCLAVE_RETURN_IF_ERROR(in.Finish());
  return out;
}

// ---- Finish ---------------------------------------------------------------------------------------------------------

Bytes EncodeCall(const FinishCall& call) {
  ByteWriter out;
  out.U8(static_cast<uint8_t>(CallType::kFinish));
  out.Count(call.ids.size());
  for (RequestId id : call.ids) out.U64(id);
  out.Raw(call.output);
  return out.Take();
}

StatusOr<FinishCall> DecodeFinishCall(ByteSpan call) {
  ByteReader in(call, "Finish call");
  ReadType(in, CallType::kFinish);
  FinishCall out;
  out.ids.resize(ReadBatch(in, 8));
  for (RequestId& id : out.ids) id = in.U64();
  out.output = in.Raw(in.remaining());
  INFENCLAVE_RETURN_IF_ERROR(in.Finish());
  return out;
}

Bytes EncodeReply(const FinishReply& reply) {
  ByteWriter out = OkReply();
  out.Count(reply.items.size());
  for (const FinishReply::Item& item : reply.items) {
    WriteStatus(item.status, out);
    if (item.status.ok()) out.Block(item.answer);
  }
  return out.Take();
}

StatusOr<FinishReply> DecodeFinishReply(ByteSpan reply) {
  ByteReader in(reply, "Finish reply");
  INFENCLAVE_RETURN_IF_ERROR(ReadReplyStatus(in));
  FinishReply out;
  out.items.resize(ReadBatch(in, 5));
  for (FinishReply::Item& item : out.items) {
    item.status = ReadStatus(in);
    if (!in.ok()) break;
    if (item.status.ok()) item.answer = ToBytes(in.Block(kMaxSealedAnswerBytes));
  }
  INFENCLAVE_RETURN_IF_ERROR(in.Finish());
  return out;
}

}  // namespace infenclave
