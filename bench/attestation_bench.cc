// Microseconds to verify evidence on one core, the least of many runs; driven by attestation.py, which lets others
// verify the same.
//   attestation_bench AT QUOTE COLLATERAL   with Intel's collateral verified beforehand; handed over with each quote,
//   as
//                                           clients have it; and verified anew each time
//   attestation_bench AT QUOTE              signatures and chains alone
//   attestation_bench AT REPORT VEK         SEV-SNP
#include <chrono>
#include <cstdio>

#include "attestation/claims.h"
#include "base/file.h"

namespace infenclave {
namespace {

template <typename F>
void Time(F verify) {
  double best = 1e9;
  for (int i = 0; i < 300; ++i) {
    const auto start = std::chrono::steady_clock::now();
    const Status status = verify();
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
    if (!status.ok()) {
      std::fprintf(stderr, "%s\n", MessageOf(status).c_str());
      std::exit(1);
    }
    best = std::min(best, took.count());
  }
  std::printf("%.0f\n", best);
}

int Run(const char* at_text, const char* evidence_path, const char* collateral_path) {
  const auto at = ParseTime(at_text);
  const auto evidence = ReadFile(evidence_path, kMaxQuoteBytes);
  if (!at.ok() || !evidence.ok()) return 2;
  if (collateral_path == nullptr) {
    Time([&] { return VerifyIntel(*evidence, nullptr, *at).status(); });
    return 0;
  }
  const auto collateral = ReadFile(collateral_path, 1 << 20);
  if (!collateral.ok()) return 2;
  if (RecognizeEvidence(*evidence).value_or(TeeKind::kSimulated) == TeeKind::kSevSnp) {
    Time([&] { return VerifySnp(*evidence, {*collateral, {}}, *at).status(); });
    return 0;
  }
  const auto text = ParseIntelCollateral(AsText(*collateral));
  const auto loaded = text.ok() ? IntelCollateral::Load(*text) : StatusOr<IntelCollateral>(text.status());
  if (!loaded.ok()) return 2;
  Time([&] { return VerifyIntel(*evidence, &*loaded, *at).status(); });
  Time([&] { return VerifyEvidence(*RecognizeEvidence(*evidence), *evidence, *collateral, *at).status(); });
  Time([&] {
    const auto fresh = IntelCollateral::Load(*text);
    return fresh.ok() ? VerifyIntel(*evidence, &*fresh, *at).status() : fresh.status();
  });
  return 0;
}

}  // namespace
}  // namespace infenclave

int main(int argc, char** argv) { return argc == 3 || argc == 4 ? infenclave::Run(argv[1], argv[2], argv[3]) : 2; }
