// A manifest with something in every field, for the tests of this module.
#ifndef INFENCLAVE_TESTS_PROTOCOL_SAMPLES_H_
#define INFENCLAVE_TESTS_PROTOCOL_SAMPLES_H_

#include "protocol/manifest.h"

namespace infenclave {

template <size_t N>
std::array<uint8_t, N> Filled(uint8_t v) {
  std::array<uint8_t, N> out;
  out.fill(v);
  return out;
}

inline Manifest SampleManifest() {
  Manifest m;
  m.bundle_id = Filled<16>(1);
  m.model_name = "efficientnet-lite0";
  m.model_version = 3;
  m.ir_shape = {24, 56, 56};
  m.ir_precision = IrPrecision::kBf16;
  m.ir_noise = 0.25f;
  m.classes = 1000;
  m.backnet_output_shape = {1000};
  m.answer_classes = 3;
  m.label_bytes = 40;
  m.preprocessing.mean = {127, 127, 127};
  m.preprocessing.scale = {1 / 128.f, 1 / 128.f, 1 / 128.f};
  m.frontnet_digest = Filled<32>(2);
  m.mapping_digest = Filled<32>(3);
  m.backnet_digest = Filled<32>(4);
  m.tee_class = TeeClass::kSimulated;
  m.audit_per_million = 1000;
  m.audit_tolerance = 1e-3f;
  m.verdict = {true, false, "no cut was safe", Filled<32>(5)};
  m.release_keys = {{Filled<32>(6), 9}, {Filled<32>(7), UINT64_MAX}};
  m.owner = Filled<32>(8);
  return m;
}

}  // namespace infenclave

#endif  // INFENCLAVE_TESTS_PROTOCOL_SAMPLES_H_
