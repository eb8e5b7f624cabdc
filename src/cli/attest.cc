#include "client/attest.h"

#include <ctime>
#include <iostream>
#include <nlohmann/json.hpp>

#include "attestation/policy.h"
#include "attestation/verify/certificate.h"
#include "base/file.h"
#include "cli/collateral.h"
#include "cli/command.h"
#include "cli/serving.h"
#include "tee/evidence.h"

namespace infenclave {
namespace {

constexpr auto kTimeout = std::chrono::seconds(30);

struct Options {
  std::string server, policy, output, pin, collateral, at;
  bool json = false;
};

// Without a policy: the one that accepts just this evidence, so that the appraisal still says whether it is consistent.
StatusOr<Policy> PolicyOf(const GetEvidenceReply& reply, const EvidenceEnvelope& envelope) {
  Policy policy;
  policy.accept = {envelope.tee};
  INFENCLAVE_ASSIGN_OR_RETURN(ManifestSignature signature, DecodeManifestSignature(reply.manifest_signature));
  policy.owner = signature.owner;
  if (envelope.tee == TeeKind::kSimulated) {
    INFENCLAVE_ASSIGN_OR_RETURN(SimulatedEvidence evidence, DecodeSimulatedEvidence(envelope.evidence));
    policy.simulated.measurements = {evidence.measurement};
  }
  return policy;
}

// The policy that accepts this enclave, on this TEE and with this bundle, and no other.
std::string PinnedPolicy(const std::string& server, const Appraisal& a) {
  std::string text = Concat(
      "# Made by 'infenclave attest --pin' for ", server, ": accepts what was seen there then, and nothing else.\n",
      "# A server that has changed is refused, and the refusal says in what.\naccept = [\"", NameOf(a.tee),
      "\"]\nowner = \"ed25519:", HexEncode(a.manifest.owner), "\"\nbundle_id = \"", HexEncode(a.manifest.bundle_id),
      "\"\nmin_bundle_version = ", a.manifest.model_version, "\n\n[", NameOf(a.tee), "]\n");
  for (const auto& [name, hex] : a.measurements) {
    if (name == "measurement") text += Concat("measurements = [\"", hex, "\"]\n");
    if (name == "mrenclave" || name == "mrtd" || name.starts_with("rtmr")) text += Concat(name, " = [\"", hex, "\"]\n");
  }
  return text;
}

std::string VerdictOf(const Appraisal& appraisal, bool judged) {
  if (!appraisal.verdict.ok()) return "refused: " + MessageOf(appraisal.verdict);
  return judged ? "accepted by the policy" : "consistent, but not judged: give --policy FILE";
}

void PrintFindings(const Appraisal& appraisal, bool judged) {
  for (const Finding& finding : appraisal.findings) {
    std::cout << (finding.passed ? "  ok    " : "  FAILED") << "  " << finding.what << ": " << finding.found;
    if (judged && !finding.wanted.empty() && finding.wanted != finding.found) {
      std::cout << (finding.passed ? " (policy: " : "; wanted: ") << finding.wanted << (finding.passed ? ")" : "");
    }
    std::cout << "\n";
  }
}

void PrintJson(const std::string& server, const GetEvidenceReply& reply, TeeKind tee, const Appraisal& appraisal,
               bool judged) {
  nlohmann::ordered_json findings = nlohmann::ordered_json::array();
  for (const Finding& finding : appraisal.findings) {
    findings.push_back({{"what", finding.what},
                        {"found", finding.found},
                        {"wanted", judged ? finding.wanted : ""},
                        {"passed", finding.passed}});
  }
  nlohmann::ordered_json json = {{"server", server},
                                 {"tee", NameOf(tee)},
                                 {"simulated", tee == TeeKind::kSimulated},
                                 {"provisioned", reply.provisioned}};
  if (appraisal.verdict.ok()) {
    const Manifest& manifest = appraisal.manifest;
    json["model"] = manifest.model_name;
    json["version"] = manifest.model_version;
    json["bundle_id"] = HexEncode(manifest.bundle_id);
    json["owner"] = "ed25519:" + HexEncode(manifest.owner);
    json["open"] = manifest.open;
    json["key_id"] = HexEncode(appraisal.key_config.key_id);
  }
  json["findings"] = findings;
  json["judged"] = judged;
  json["verdict"] = VerdictOf(appraisal, judged);
  std::cout << json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << "\n";
}

Status Attest(const Options& options) {
  const bool judged = !options.policy.empty();
  Policy policy;
  if (judged) {
    INFENCLAVE_ASSIGN_OR_RETURN(policy, LoadPolicy(options.policy));
  }
  const ServerConnection server(options.server);
  int64_t at = std::time(nullptr);
  if (!options.at.empty()) {
    const auto given = ParseTime(options.at);
    if (!given.ok()) return UsageError("--at: " + MessageOf(given.status()));
    at = *given;
  }
  INFENCLAVE_ASSIGN_OR_RETURN(const std::shared_ptr<CollateralSource> collateral, OpenCollateral(options.collateral));
  const Nonce nonce = RandomArray<32>();
  INFENCLAVE_ASSIGN_OR_RETURN(GetEvidenceReply reply, FetchEvidence(server, nonce, kTimeout));
  if (collateral != nullptr) INFENCLAVE_RETURN_IF_ERROR(AddCollateral(*collateral, at, reply));
  INFENCLAVE_ASSIGN_OR_RETURN(EvidenceEnvelope envelope, DecodeEvidenceEnvelope(reply.evidence));
  if (!judged) {
    INFENCLAVE_ASSIGN_OR_RETURN(policy, PolicyOf(reply, envelope));
  }
  const Appraisal appraisal = Appraise(reply, nonce, policy, at);
  if (!options.output.empty()) INFENCLAVE_RETURN_IF_ERROR(WriteFileAtomic(options.output, envelope.evidence));
  if (!options.pin.empty() && appraisal.verdict.ok()) {
    INFENCLAVE_RETURN_IF_ERROR(WriteFileAtomic(options.pin, AsBytes(PinnedPolicy(options.server, appraisal))));
  }
  if (envelope.tee == TeeKind::kSimulated) std::cerr << "WARNING: " << kSimulatedWarning << "\n";
  if (options.json) {
    PrintJson(options.server, reply, envelope.tee, appraisal, judged);
  } else {
    std::cout << options.server << ": evidence of TEE " << NameOf(envelope.tee) << ", "
              << (reply.provisioned ? "provisioned" : "without keys") << "\n";
    PrintFindings(appraisal, judged);
    std::cout << VerdictOf(appraisal, judged) << "\n";
  }
  return appraisal.verdict;
}

}  // namespace

Command AttestCommand() {
  auto options = std::make_shared<Options>();
  Command command;
  command.name = "attest";
  command.summary = "Fetch a server's evidence and say what it proves";
  command.example = "infenclave attest --server 127.0.0.1:8001 --policy lite0.bundle.policy.toml";
  command.declare = [options](Flags& flags) {
    flags.Text("--server", &options->server, "HOST:PORT", true);
    flags.Text("--policy", &options->policy, "judge the evidence by this policy");
    flags.Text("-o", &options->output, "write the evidence as the TEE made it, for 'infenclave verify'");
    flags.Text("--pin", &options->pin, "write a policy that accepts this very server, as it is now, and no other");
    DeclareCollateral(flags, &options->collateral);
    flags.Text("--at", &options->at, "judge as of this time, such as 2025-07-19T10:01:18Z, instead of now");
    flags.Switch("--json", &options->json, "print JSON");
  };
  command.run = [options] { return Attest(*options); };
  return command;
}

}  // namespace infenclave
