// What an assessment reads back from disk: records of photographs, assessment.json, and jobs of attacks.
#include <cstddef>
#include <cstdint>

#include "assessment/assessment_json.h"
#include "assessment/attack_job.h"
#include "assessment/state.h"
#include "crypto/primitives.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace infenclave;
  if (size == 0) return 0;
  const ByteSpan bytes(data + 1, size - 1);
  switch (data[0] % 4) {
    case 0:
      (void)ParseAssessmentSummary(bytes);
      return 0;
    case 1:
      break;
    case 2:
      if (const auto job = ParseAttackJob(AsText(bytes)); job.ok()) {
        INFENCLAVE_CHECK(ParseAttackJob(AttackJobToJson(*job)).ok());
      }
      return 0;
    default:
      if (const auto result = ParseAttackResult(AsText(bytes)); result.ok()) {
        INFENCLAVE_CHECK(ParseAttackResult(AttackResultToJson(*result)).ok());
      }
      (void)ParseAttackProgress(AsText(bytes));
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
