// The policy file's parser.
#include "attestation/policy.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto policy = infenclave::ParsePolicy(infenclave::AsText({data, size}), "policy.toml");
  if (policy.ok()) INFENCLAVE_CHECK(!policy->accept.empty());
  return 0;
}
