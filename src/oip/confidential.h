// How the confidential service uses the Open Inference Protocol: names, and evidence as it travels.
//
// A request is one BYTES input, kSealedInput; its answer one BYTES output, kSealedOutput. The key id that the request
// is sealed to is repeated in the parameter kKeyIdParameter (hexadecimal), so that balancers can send it to the replica
// that holds the key. One that does not answers FAILED_PRECONDITION, with its own evidence in the trailing metadata
// kEvidenceTrailer (an encoded GetEvidenceResponse) unless that is too large for metadata.
#ifndef INFENCLAVE_OIP_CONFIDENTIAL_H_
#define INFENCLAVE_OIP_CONFIDENTIAL_H_

#include <string_view>

#include "base/status.h"
#include "oip/enclave.pb.h"
#include "protocol/calls.h"

namespace infenclave {

inline constexpr char kSealedInput[] = "sealed_request", kSealedOutput[] = "sealed_answer";
inline constexpr char kKeyIdParameter[] = "infenclave_key_id";
// What a client makes up when it connects and sends with every call, so that a balancer that hashes it sends them all
// to one replica. The key id cannot serve for that: its hash says nothing of who holds the key.
inline constexpr char kAffinityMetadata[] = "infenclave-affinity";
inline constexpr char kEvidenceTrailer[] = "infenclave-evidence-bin";

v1::GetEvidenceResponse ToProto(const GetEvidenceReply& reply);
// Bytes as they came; Appraise() judges them.
GetEvidenceReply FromProto(const v1::GetEvidenceResponse& response);

}  // namespace infenclave

#endif  // INFENCLAVE_OIP_CONFIDENTIAL_H_
