// What tests alter a byte by, to see that whoever reads it notices.
#ifndef INFENCLAVE_TESTS_ATTESTATION_MUTATIONS_H_
#define INFENCLAVE_TESTS_ATTESTATION_MUTATIONS_H_

#include <cstdint>
#include <cstdlib>
#include <vector>

namespace infenclave {

// For the byte at `i`: one bit of it, each byte another. With INFENCLAVE_EVERY_MUTATION in the environment all 255
// other values, which takes an hour of one core for all tests.
inline std::vector<uint8_t> Alterations(size_t i) {
  if (std::getenv("INFENCLAVE_EVERY_MUTATION") == nullptr) return {static_cast<uint8_t>(1 << i % 8)};
  std::vector<uint8_t> all;
  for (int v = 1; v < 256; ++v) all.push_back(static_cast<uint8_t>(v));
  return all;
}

}  // namespace infenclave

#endif  // INFENCLAVE_TESTS_ATTESTATION_MUTATIONS_H_
