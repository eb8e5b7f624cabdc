// What an assessment reads back from disk: records of photographs, and assessment.json.
#include <cstddef>
#include <cstdint>

#include "assessment/assessment_json.h"
#include "assessment/state.h"
#include "crypto/primitives.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace infenclave;
  if (size == 0) return 0;
  const ByteSpan bytes(data + 1, size - 1);
  if (data[0] % 2 == 0) {
    (void)ParseAssessmentSummary(bytes);
    return 0;
  }
  // The checksum would stop every mutation: it is made good first.
  Bytes record = ToBytes(bytes);
  const Sha256Digest digest = Sha256(record);
  record.insert(record.end(), digest.begin(), digest.end());
  const Bytes plan(32, 0);
  if (const auto decoded = DecodeKlRecord(record, plan); decoded.ok()) {
    const Bytes again = EncodeKlRecord(*decoded, plan);
    if (!DecodeKlRecord(again, plan).ok()) __builtin_trap();
  }
  return 0;
}
