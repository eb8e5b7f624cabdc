// The four calls of the enclave as bytes (design: bytes in, bytes out). The host drives; the enclave never calls out.
//
// A call is one type byte and its payload; a reply is a status (code u8, message) and, if OK, the payload. Tensors are
// raw little-endian at the end, so that decoding borrows them. Decoders hold every limit before they allocate.
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
using RequestId = uint64_t;

StatusOr<CallType> PeekCallType(ByteSpan call);

// A reply that carries only an error, and the status of any reply (what follows is the payload).
Bytes EncodeErrorReply(const Status& status);

struct GetEvidenceCall {
  std::optional<Nonce> nonce;
};
struct GetEvidenceReply {
  Bytes evidence;    // EvidenceEnvelope, encoded
  Bytes key_config;  // KeyConfig, encoded
  Bytes manifest, manifest_signature;
  bool provisioned = false;
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
    Status status;           // OK: accepted. Otherwise a refusal before the request could be opened.
    RequestId id = 0;        // when OK
    Bytes sealed_refusal;    // not empty: opened but refused (a credential, say); goes to the user as the answer
  };
  std::vector<Item> items;   // one per request, in order
  ByteSpan ir;               // [accepted, ir_shape…] of ir_dtype, in the order of the accepted items; borrowed
};
Bytes EncodeCall(const BeginCall& call);
StatusOr<BeginCall> DecodeBeginCall(ByteSpan call);
Bytes EncodeReply(const BeginReply& reply);
StatusOr<BeginReply> DecodeBeginReply(ByteSpan reply);

struct FinishCall {
  std::vector<RequestId> ids;
  ByteSpan output;  // f32 [ids, backnet_output_shape…]; borrowed
};
struct FinishReply {
  struct Item {
    Status status;  // an id that is unknown, repeated or late
    Bytes answer;   // sealed
  };
  std::vector<Item> items;
};
Bytes EncodeCall(const FinishCall& call);
StatusOr<FinishCall> DecodeFinishCall(ByteSpan call);
Bytes EncodeReply(const FinishReply& reply);
StatusOr<FinishReply> DecodeFinishReply(ByteSpan reply);

}  // namespace infenclave

#endif  // INFENCLAVE_PROTOCOL_CALLS_H_
