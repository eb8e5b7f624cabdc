// Gaussian noise on what leaves the enclave at the cut (manifest.ir_noise).
//
// It is drawn from a key of the bundle and the decoded pixels: the same picture gets the same noise, so that sending it
// again shows nothing new, and whoever does not hold the key cannot take the noise away from a picture that he guesses.
// The units are those in which `partition` lets the IR out: every channel has deviation 1 over photographs.
//
// Data-oblivious: no branch and no address depends on key or pixels, and neither division nor square root is used,
// whose time may depend on the operands.
#ifndef INFENCLAVE_ENCLAVE_IR_NOISE_H_
#define INFENCLAVE_ENCLAVE_IR_NOISE_H_

#include <cstdint>
#include <span>

#include "crypto/secret.h"
#include "protocol/manifest.h"

namespace infenclave {

class IrNoise {
 public:
  // The key is derived from that of the FrontNet.
  IrNoise(ByteSpan frontnet_key, const BundleId& bundle_id, float deviation);

  void Add(ByteSpan rgb, std::span<float> ir) const;

 private:
  SecretBytes key_;
  float deviation_;
};

// Two independent values of the standard normal distribution out of 64 uniform bits (Box and Muller 1958), no larger
// than 6.8.
struct NormalPair {
  double first, second;
};
NormalPair NormalFromBits(uint32_t radius, uint32_t angle);

}  // namespace infenclave

#endif  // INFENCLAVE_ENCLAVE_IR_NOISE_H_
