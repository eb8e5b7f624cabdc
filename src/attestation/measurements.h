// measurements.json: what a release of the owner's measures on each TEE, signed with the owner's key, so that policies
// name a file rather than repeat digests:
//
//   {"measurements":{
//     "version": 3,
//     "sgx": {"mrenclave": ["<64 hex digits>"]},
//     "tdx": {"mrtd": ["<96 hex digits>"], "rtmr0": [..], "rtmr1": [..], "rtmr2": [..]},
//     "sev-snp": {"measurements": ["<96 hex digits>"]},
//     "simulated": {"measurements": ["<64 hex digits>"]}
//   },"signature":"<128 hex digits>"}
//
// The signature is over a context string and the bytes of the member `measurements`, as they stand in the file; it is
// verified before they are parsed. A higher version replaces a lower one, and whoever has seen it takes no lower one.
#ifndef INFENCLAVE_ATTESTATION_MEASUREMENTS_H_
#define INFENCLAVE_ATTESTATION_MEASUREMENTS_H_

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/primitives.h"

namespace infenclave {

inline constexpr size_t kMaxMeasurementsBytes = 1 << 20;

struct Measurements {
  using Digest48 = std::array<uint8_t, 48>;
  uint64_t version = 0;
  std::vector<Sha256Digest> mrenclave, simulated;
  std::vector<Digest48> mrtd, snp;
  std::array<std::vector<Digest48>, 3> rtmr;

  bool operator==(const Measurements&) const = default;
  // What the other lists and this one does not.
  void Add(const Measurements& other);
};

// The member alone, or a part of it, as deploy/measure prints: every list may be missing, and so may the version (0).
StatusOr<Measurements> ParseMeasurements(std::string_view json);
// The measurements that an evidence file shows, whoever made it: nothing is verified.
StatusOr<Measurements> MeasurementsOfEvidence(ByteSpan evidence);

// The whole file. The signature is the owner's over MeasurementsToSign of the same measurements.
std::string MeasurementsMember(const Measurements& measurements);
Bytes MeasurementsToSign(std::string_view member);
std::string MeasurementsFile(std::string_view member, const Ed25519Signature& signature);
// PERMISSION_DENIED unless `owner` signed it; INVALID_ARGUMENT for another form, and for version 0.
StatusOr<Measurements> OpenMeasurements(std::string_view file, const Ed25519PublicKey& owner);

}  // namespace infenclave

#endif  // INFENCLAVE_ATTESTATION_MEASUREMENTS_H_
