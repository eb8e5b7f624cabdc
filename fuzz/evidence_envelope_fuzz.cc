// Evidence as it travels. What is accepted encodes to the same bytes again.
#include "protocol/key_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const infenclave::ByteSpan in(data, size);
  const auto envelope = infenclave::DecodeEvidenceEnvelope(in);
  if (envelope.ok()) INFENCLAVE_CHECK(std::ranges::equal(infenclave::EncodeEvidenceEnvelope(*envelope), in));
  return 0;
}
