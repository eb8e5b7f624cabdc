// `infenclave verify`: evidence of any TEE, from files, offline.
#include <ctime>
#include <iostream>
#include <nlohmann/json.hpp>

#include "attestation/claims.h"
#include "attestation/policy.h"
#include "base/file.h"
#include "cli/command.h"

namespace infenclave {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::vector<std::string> files;
  std::string collateral, vek, policy, at;
  bool json = false;
};

struct Inputs {
  Bytes collateral, vek;
  std::optional<Policy> policy;
  int64_t at = 0;
};

struct Outcome {
  std::string file;
  Status status;  // OK, or why this file is refused
  std::optional<TeeKind> tee;
  std::optional<Claims> claims;
  std::vector<Finding> findings;
};

StatusOr<Inputs> Load(const Options& options) {
  Inputs in;
  in.at = std::time(nullptr);
  if (!options.at.empty()) {
    const auto at = ParseTime(options.at);
    if (!at.ok()) return UsageError("--at: " + MessageOf(at.status()));
    in.at = *at;
  }
  if (!options.collateral.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(in.collateral, ReadFile(options.collateral, kMaxIntelCollateralBytes));
  }
  if (!options.vek.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(in.vek, ReadFile(options.vek, kMaxChain * kMaxCertificateBytes));
  }
  if (!options.policy.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(in.policy, LoadPolicy(options.policy));
  }
  return in;
}

// For SEV-SNP --vek is the VEK's certificate and --collateral AMD's revocation list; for Intel --collateral is all.
Bytes CollateralFor(TeeKind tee, const Inputs& in) {
  if (tee != TeeKind::kSevSnp) return in.collateral;
  Bytes out = in.vek;
  out.insert(out.end(), in.collateral.begin(), in.collateral.end());
  return out;
}

Status Judge(ByteSpan evidence, const Inputs& in, Outcome& out) {
  INFENCLAVE_ASSIGN_OR_RETURN(const TeeKind tee, RecognizeEvidence(evidence));
  out.tee = tee;
  if (tee == TeeKind::kSevSnp && in.vek.empty() && evidence.size() <= kSnpReportBytes) {
    return InvalidArgument("an SEV-SNP report needs the certificate of the key that signed it: give --vek FILE");
  }
  INFENCLAVE_ASSIGN_OR_RETURN(out.claims, VerifyEvidence(tee, evidence, CollateralFor(tee, in), in.at));
  Appraisal appraisal =
      in.policy.has_value() ? AppraiseClaims(*out.claims, *in.policy) : AppraiseWithoutPolicy(*out.claims);
  out.findings = std::move(appraisal.findings);
  return appraisal.verdict;
}

std::string VerdictOf(const Outcome& o, bool with_policy) {
  if (!o.status.ok()) return "refused: " + MessageOf(o.status);
  if (with_policy) return "accepted by the policy";
  if (o.claims->tee == TeeKind::kSimulated) return "simulated: proves nothing";
  const bool judged = o.claims->tcb_status != "NotJudged";
  return judged ? "valid; no policy was given" : "valid; the TCB was not judged, and no policy was given";
}

Json ToJson(const Outcome& o, bool with_policy) {
  Json out = {{"file", o.file},         {"tee", nullptr},   {"version", nullptr},    {"measurements", Json::object()},
              {"report_data", nullptr}, {"debug", nullptr}, {"tcb_status", nullptr}, {"advisories", Json::array()}};
  if (o.tee.has_value()) out["tee"] = NameOf(*o.tee);
  if (o.claims.has_value()) {
    out["version"] = o.claims->version;
    for (const auto& [name, hex] : o.claims->measurements) out["measurements"][name] = hex;
    out["report_data"] = HexEncode(o.claims->report_data);
    out["debug"] = o.claims->debug;
    out["tcb_status"] = o.claims->tcb_status;
    out["advisories"] = o.claims->advisories;
  }
  out["verdict"] = VerdictOf(o, with_policy);
  return out;
}

void Print(const Outcome& o, bool with_policy) {
  std::cout << o.file << ": ";
  if (o.claims.has_value()) {
    std::cout << NameOf(o.claims->tee) << " evidence, version " << o.claims->version << "\n";
    for (const auto& [name, hex] : o.claims->measurements) std::cout << "  " << name << ": " << hex << "\n";
    std::cout << "  report_data: " << HexEncode(o.claims->report_data) << "\n";
    std::cout << "  debug: " << (o.claims->debug ? "ALLOWED, the host can read its memory" : "off") << "\n";
    std::cout << "  tcb_status: " << o.claims->tcb_status << "\n";
    for (const std::string& id : o.claims->advisories) std::cout << "  advisory: " << id << "\n";
  }
  for (const Finding& f : o.findings) {
    std::cout << (f.passed ? "  ok      " : "  FAILED  ") << f.what << ": " << f.found;
    if (!f.passed && !f.wanted.empty()) std::cout << "; wanted: " << f.wanted;
    std::cout << "\n";
  }
  std::cout << (o.claims.has_value() ? "  " : "") << VerdictOf(o, with_policy) << "\n";
}

Status Verify(const Options& options) {
  INFENCLAVE_ASSIGN_OR_RETURN(const Inputs in, Load(options));
  const bool with_policy = in.policy.has_value();
  Json json = Json::array();
  size_t refused = 0;
  std::string first;
  for (const std::string& file : options.files) {
    INFENCLAVE_ASSIGN_OR_RETURN(const Bytes evidence, ReadFile(file, kMaxQuoteBytes));
    Outcome outcome;
    outcome.file = file;
    outcome.status = Judge(evidence, in, outcome);
    if (!outcome.status.ok() && refused++ == 0) first = Concat(file, ": ", MessageOf(outcome.status));
    if (options.json) {
      json.push_back(ToJson(outcome, with_policy));
    } else {
      Print(outcome, with_policy);
    }
  }
  if (options.json) std::cout << json.dump(2, ' ', false, Json::error_handler_t::replace) << "\n";
  if (refused == 0) return OkStatus();
  return PermissionDenied(refused > 1 ? Concat(refused, " of ", options.files.size(), " refused, first ") : "", first);
}

}  // namespace

Command VerifyCommand() {
  auto options = std::make_shared<Options>();
  Command command;
  command.name = "verify";
  command.summary = "Verify SGX, TDX or SEV-SNP evidence from files, offline";
  command.example = "infenclave verify quote.bin --collateral collateral.json --policy policy.toml";
  command.declare = [options](Flags& flags) {
    flags.Texts("FILE", &options->files, "SGX or TDX quote, SEV-SNP report, or simulated evidence", true);
    flags.Text("--collateral", &options->collateral,
               "Intel's TCB info, QE identity and revocation lists (JSON); for SEV-SNP, AMD's revocation list (PEM)");
    flags.Text("--vek", &options->vek, "certificate of the VCEK or VLEK that signed an SEV-SNP report (DER or PEM)");
    flags.Text("--policy", &options->policy, "judge the evidence by this policy");
    flags.Text("--at", &options->at, "judge as of this time, such as 2025-07-19T10:01:18Z, instead of now");
    flags.Switch("--json", &options->json, "print JSON");
  };
  command.run = [options] { return Verify(*options); };
  return command;
}

}  // namespace infenclave
