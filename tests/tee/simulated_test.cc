#include <gtest/gtest.h>

#include "tee/evidence.h"

namespace infenclave {
namespace {

TEST(SimulatedEvidence, SaysThatItProvesNothingAndCarriesWhatItWasGiven) {
  const auto measurement = RandomArray<32>();
  const auto report_data = RandomArray<64>();
  auto maker = MakeSimulatedEvidenceMaker(measurement);
  EXPECT_EQ(maker->kind(), TeeKind::kSimulated);
  Bytes evidence = *maker->Make(report_data);
  EXPECT_TRUE(AsText(evidence).starts_with("INFENCLAVE SIMULATED EVIDENCE: PROVES NOTHING\n"));
  StatusOr<SimulatedEvidence> decoded = DecodeSimulatedEvidence(evidence);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->measurement, measurement);
  EXPECT_EQ(decoded->report_data, report_data);
}

TEST(SimulatedEvidence, EveryOtherLengthAndEveryOtherMagicIsRefused) {
  Bytes evidence = *MakeSimulatedEvidenceMaker({})->Make({});
  for (size_t n = 0; n < evidence.size(); ++n) {
    EXPECT_FALSE(DecodeSimulatedEvidence(ByteSpan(evidence).first(n)).ok()) << n;
  }
  for (size_t i = 0; i < kSimulatedMagic.size(); ++i) {
    Bytes altered = evidence;
    altered[i] ^= 1;
    EXPECT_FALSE(DecodeSimulatedEvidence(altered).ok()) << i;
  }
  evidence.push_back(0);
  EXPECT_FALSE(DecodeSimulatedEvidence(evidence).ok());
}

}  // namespace
}  // namespace infenclave
