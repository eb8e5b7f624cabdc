#include "oip/confidential.h"

namespace infenclave {

v1::GetEvidenceResponse ToProto(const GetEvidenceReply& reply) {
  v1::GetEvidenceResponse response;
  response.set_evidence(std::string(AsText(reply.evidence)));
  response.set_key_config(std::string(AsText(reply.key_config)));
  response.set_manifest(std::string(AsText(reply.manifest)));
  response.set_manifest_signature(std::string(AsText(reply.manifest_signature)));
  response.set_provisioned(reply.provisioned);
  return response;
}

GetEvidenceReply FromProto(const v1::GetEvidenceResponse& response) {
  GetEvidenceReply reply;
  reply.evidence = ToBytes(AsBytes(response.evidence()));
  reply.key_config = ToBytes(AsBytes(response.key_config()));
  reply.manifest = ToBytes(AsBytes(response.manifest()));
  reply.manifest_signature = ToBytes(AsBytes(response.manifest_signature()));
  reply.provisioned = response.provisioned();
  return reply;
}

}  // namespace infenclave
