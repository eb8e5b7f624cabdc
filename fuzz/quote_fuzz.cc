// SGX and TDX quotes. What is accepted encodes to the same bytes again.
#include "attestation/abi/intel_quote.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const infenclave::ByteSpan in(data, size);
  const auto quote = infenclave::DecodeIntelQuote(in);
  if (quote.ok()) {
    const infenclave::Bytes again = infenclave::EncodeIntelQuote(*quote);
    INFENCLAVE_CHECK(std::ranges::equal(again, in.first(quote->size)));
  }
  return 0;
}
