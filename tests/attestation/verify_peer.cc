// Our verification of Intel quotes for a peer of another make: by line on standard input, "AT QUOTE COLLATERAL"
// (seconds, and two times hexadecimal), judged as `infenclave verify` does without a policy, answered by "STATUS
// ADVISORY…" or "refused REASON".
#include <iostream>
#include <sstream>

#include "attestation/claims.h"
#include "attestation/policy.h"

int main() {
  using namespace infenclave;  // NOLINT(google-build-using-namespace): a program of one function
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream in(line);
    int64_t at = 0;
    std::string quote, collateral;
    in >> at >> quote >> collateral;
    const Bytes evidence = *HexDecode(quote);
    const auto tee = RecognizeEvidence(evidence);
    auto claims =
        tee.ok() ? VerifyEvidence(*tee, evidence, *HexDecode(collateral), at) : StatusOr<Claims>(tee.status());
    if (claims.ok()) {
      if (const Status always = AppraiseWithoutPolicy(*claims).verdict; !always.ok()) claims = always;
    }
    if (claims.ok()) {
      std::cout << claims->tcb_status;
      for (const std::string& id : claims->advisories) std::cout << " " << id;
    } else {
      std::string reason = MessageOf(claims.status());
      std::replace(reason.begin(), reason.end(), '\n', ' ');
      std::cout << "refused " << reason;
    }
    std::cout << std::endl;
  }
}
