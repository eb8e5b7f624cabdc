// The four calls of the enclave as bytes (design: bytes in, bytes out). The host drives; the enclave never calls out.
//
// A call is one type byte and its payload; a reply is a status (code u8, message) and, if OK, the payload. Tensors are
// raw little-endian, at the end or at a fixed place, so that decoding borrows them. Decoders hold every limit before
// they allocate.
#ifndef INFENCLAVE_PROTOCOL_CALLS_H_
#define INFENCLAVE_PROTOCOL_CALLS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "protocol/key_config.h"
#include "protocol/sealed.h"

namespace infenclave {

enum class CallType : uint8_t { kGetEvidence = 1, kProvision = 2, kBegin = 3, kFinish = 4 };
inline constexpr size_t kMaxBatch = 256;
inline constexpr size_t kMaxStatusMessageBytes = 1024;  // longer ones are cut off
inline constexpr size_t kMaxSealedAnswerBytes = 2 << 20;
using RequestId = uint64_t;

StatusOr<CallType> PeekCallType(ByteSpan call);

// A reply that carries only an error. Every DecodeReply returns that error; a reply that is none is INVALID_ARGUMENT.
Bytes EncodeErrorReply(const Status& status);

struct GetEvidenceCall {
  std::optional<Nonce> nonce;
};
struct GetEvidenceReply {
  Bytes evidence;    // EvidenceEnvelope, encoded
  Bytes key_config;  // KeyConfig, encoded
  Bytes manifest, manifest_signature;
  bool provisioned = false;  // the enclave holds the part keys, and its lease is not used up
};
Bytes EncodeCall(const GetEvidenceCall& call);
StatusOr<GetEvidenceCall> DecodeGetEvidenceCall(ByteSpan call);
Bytes EncodeReply(const GetEvidenceReply& reply);
StatusOr<GetEvidenceReply> DecodeGetEvidenceReply(ByteSpan reply);

struct ProvisionCall {
  KeyId key_id{};
  SealedGrant grant;
};
Bytes EncodeCall(const ProvisionCall& call);
StatusOr<ProvisionCall> DecodeProvisionCall(ByteSpan call);
Bytes EncodeProvisionReply();
Status DecodeProvisionReply(ByteSpan reply);

struct BeginCall {
  std::vector<ByteSpan> requests;  // sealed; borrowed
};
struct BeginReply {
  struct Item {
    // One of: accepted, with an id; refused before it could be opened (status not OK); opened and then refused (a
    // credential, say), with the sealed answer for the user.
    Status status;
    RequestId id = 0;
    Bytes sealed_refusal;
    bool accepted() const { return status.ok() && sealed_refusal.empty(); }
  };
  std::vector<Item> items;  // one per request, in order
  ByteSpan ir;              // [accepted, IrWireOf(manifest)…], in the order of the accepted items; borrowed
};
Bytes EncodeCall(const BeginCall& call);
// The same, straight to where it is wanted: pictures are large. `out` has BytesOf(call).
size_t BytesOf(const BeginCall& call);
void EncodeCallInto(const BeginCall& call, MutableByteSpan out);
StatusOr<BeginCall> DecodeBeginCall(ByteSpan call);
Bytes EncodeReply(const BeginReply& reply);
StatusOr<BeginReply> DecodeBeginReply(ByteSpan reply);

// The IR begins at this offset of a reply, so that it is computed and read in place.
inline constexpr size_t kIrOffset = 64;
// A reply with room for `ir_bytes` of IR at kIrOffset; then the rest of it, around the IR that was written there, of
// which `reply.ir` is the part that is meant.
Bytes BeginReplyWithRoom(size_t ir_bytes);
Bytes CompleteReply(Bytes with_room, const BeginReply& reply);

struct FinishCall {
  std::vector<RequestId> ids;
  ByteSpan output;  // f32 [ids, backnet_output_shape…]; borrowed. Empty: the host has none, and gives the requests up
};
struct FinishReply {
  struct Item {
    Status status;  // not OK for an id that is unknown, repeated, late or given up
    Bytes answer;   // sealed, when OK
  };
  std::vector<Item> items;
};
Bytes EncodeCall(const FinishCall& call);
StatusOr<FinishCall> DecodeFinishCall(ByteSpan call);
Bytes EncodeReply(const FinishReply& reply);
StatusOr<FinishReply> DecodeFinishReply(ByteSpan reply);

}  // namespace infenclave

#endif  // INFENCLAVE_PROTOCOL_CALLS_H_
