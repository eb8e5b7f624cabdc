// The member of measurements.json that is signed (collateral_fuzz splits it from its signature). What is accepted says
// the same again.
#include "attestation/measurements.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const infenclave::ByteSpan in(data, size);
  const auto found = infenclave::ParseMeasurements(infenclave::AsText(in));
  if (found.ok()) INFENCLAVE_CHECK(*infenclave::ParseMeasurements(infenclave::MeasurementsMember(*found)) == *found);
  return 0;
}
