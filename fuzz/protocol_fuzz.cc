// Every decoder of the protocol (the first byte picks one). What is accepted must encode to the same bytes again.
#include "protocol/calls.h"

using namespace infenclave;  // NOLINT(google-build-using-namespace): a program of one function

namespace {

template <typename T, typename Encode>
void Again(const StatusOr<T>& value, ByteSpan in, Encode encode) {
  if (value.ok()) INFENCLAVE_CHECK(encode(*value) == ToBytes(in));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const ByteSpan in(data + 1, size - 1);
  auto call = [](const auto& v) { return EncodeCall(v); };
  auto reply = [](const auto& v) { return EncodeReply(v); };
  switch (data[0] % 15) {
    case 0:
      Again(DecodeManifest(in), in, EncodeManifest);
      break;
    case 1:
      Again(DecodeManifestSignature(in), in, EncodeManifestSignature);
      break;
    case 2:
      Again(DecodeClassMapping(in), in, [](const auto& v) { return ToBytes(EncodeClassMapping(v).span()); });
      break;
    case 3:
      Again(DecodeKeyConfig(in), in, EncodeKeyConfig);
      break;
    case 4:
      Again(DecodeEvidenceEnvelope(in), in, EncodeEvidenceEnvelope);
      break;
    case 5:
      Again(DecodeCredential(in), in, EncodeCredential);
      break;
    case 6:
      Again(DecodeSealedGrant(in), in, EncodeSealedGrant);
      break;
    case 7:
      Again(DecodeGetEvidenceCall(in), in, call);
      break;
    case 8:
      Again(DecodeGetEvidenceReply(in), in, reply);
      break;
    case 9:
      Again(DecodeProvisionCall(in), in, call);
      break;
    case 10:
      Again(DecodeBeginCall(in), in, call);
      break;
    case 11:
      Again(DecodeBeginReply(in), in, reply);
      break;
    case 12:
      Again(DecodeFinishCall(in), in, call);
      break;
    case 13:
      Again(DecodeFinishReply(in), in, reply);
      break;
    case 14:
      (void)PeekEnc(in);
      (void)PeekCallType(in);
      (void)DecodeProvisionReply(in);
      break;
  }
  return 0;
}
