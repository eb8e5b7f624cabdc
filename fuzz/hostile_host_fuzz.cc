// A hostile host whose calls the fuzzer chooses, and what it does to them: tests/enclave/hostile_host.h, which knows
// what each must come to.
#include <fuzzer/FuzzedDataProvider.h>

#include <cstdio>
#include <cstdlib>

#include "tests/enclave/hostile_host.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace infenclave;
  static const TestBundle plain;
  static const TestBundle audited([](Manifest& m) {
    m.audit_per_million = 1'000'000;
    m.audit_tolerance = 1e-3F;
  });
  FuzzedDataProvider in(data, size);
  const TestBundle& bundle = in.ConsumeIntegralInRange(0, 7) == 0 ? audited : plain;
  EnclaveOptions options;
  options.max_batch = 3;
  options.max_pending = in.ConsumeIntegralInRange<size_t>(1, 4);
  options.max_age = in.ConsumeIntegralInRange<uint64_t>(1, 5);
  options.requests_per_key = in.ConsumeIntegralInRange<uint64_t>(1, 6);
  options.overlap = in.ConsumeIntegralInRange<uint64_t>(0, 6);
  const LocalEnclave enclave(bundle, options);
  HostileHost host(
      bundle, options, [&](ByteSpan call) { return enclave.core->Handle(call, 0); },
      [&](size_t n) { return in.ConsumeIntegralInRange<size_t>(0, n - 1); });
  for (int step = 0; step < 40 && in.remaining_bytes() > 0; ++step) {
    if (host.Make(static_cast<Move>(in.ConsumeIntegralInRange(0, kMoves - 1)))) continue;
    std::fprintf(stderr, "%s\n", host.broken_rule().c_str());
    std::abort();
  }
  return 0;
}
