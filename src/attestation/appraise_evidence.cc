#include "attestation/appraise_evidence.h"

#include <algorithm>

namespace infenclave {
namespace {

template <typename Range, typename F>
std::string OneOf(const Range& range, F text, std::string_view if_empty) {
  std::string out;
  for (const auto& v : range) out += Concat(out.empty() ? "" : " or ", text(v));
  return out.empty() ? Concat("nothing: ", if_empty) : out;
}

template <size_t N>
bool AddMeasurement(std::string_view what, const std::array<uint8_t, N>& found,
                    const std::vector<std::array<uint8_t, N>>& accepted, std::string_view if_none, Findings& findings) {
  auto hex = [](const auto& m) { return HexEncode(m); };
  return findings.Add(what, hex(found), OneOf(accepted, hex, if_none),
                      std::ranges::find(accepted, found) != accepted.end());
}

// What no policy can allow: it is refused without a policy, too.
void AppraiseDebug(const Claims& claims, Findings& findings) {
  findings.Add("debugging", claims.debug ? "allowed: the host can read its memory" : "off", "off", !claims.debug);
}

void AppraiseIntelTcb(const VerifiedIntel& v, const IntelTcbPolicy& policy, Findings& findings) {
  const std::string wanted = Concat(NameOf(policy.worst), policy.worst == TcbStatus::kUpToDate ? "" : " or better");
  if (!v.tcb_status.has_value()) {
    findings.Add("TCB status", "not judged, for there is no collateral", wanted, false);
    return;
  }
  findings.Add("TCB status", NameOf(*v.tcb_status), wanted, *v.tcb_status <= policy.worst);
  if (*v.tcb_status != TcbStatus::kUpToDate) {
    auto allowed = [&](const std::string& id) {
      return std::ranges::find(policy.allow_advisories, id) != policy.allow_advisories.end();
    };
    auto same = [](const std::string& id) { return id; };
    findings.Add("advisories", OneOf(v.advisories, same, "none apply"),
                 OneOf(policy.allow_advisories, same, "allow_advisories names none"),
                 std::ranges::all_of(v.advisories, allowed));
  }
  findings.Add("TCB evaluation number", Concat(v.evaluation_number), Concat("at least ", policy.min_evaluation),
               v.evaluation_number >= policy.min_evaluation);
}

void AppraiseSgx(const Claims& claims, const VerifiedIntel& v, const Policy::Sgx& policy, Findings& findings) {
  const SgxReport& r = std::get<SgxReport>(v.quote.body);
  const bool by_signer = std::ranges::find(policy.mrsigner, r.mrsigner) != policy.mrsigner.end();
  const bool by_measurement = std::ranges::find(policy.mrenclave, r.mrenclave) != policy.mrenclave.end();
  if (by_signer && !by_measurement) {
    findings.Add("MRSIGNER", HexEncode(r.mrsigner), HexEncode(r.mrsigner), true);
    findings.Add("product", Concat(r.isv_prod_id), Concat(policy.product_id), r.isv_prod_id == policy.product_id);
    findings.Add("version (ISVSVN)", Concat(r.isv_svn), Concat("at least ", policy.min_svn),
                 r.isv_svn >= policy.min_svn);
  } else {
    AddMeasurement("MRENCLAVE", r.mrenclave, policy.mrenclave, "the policy lists none under [sgx], nor this MRSIGNER",
                   findings);
  }
  AppraiseDebug(claims, findings);
  AppraiseIntelTcb(v, policy.tcb, findings);
}

void AppraiseTdAttributes(const TdReport& r, const std::vector<Policy::Digest48>& service_tds, Findings& findings) {
  findings.Add("SEPT_VE_DISABLE", r.sept_ve_disable() ? "set" : "not set", "set", r.sept_ve_disable());
  const bool plain = !r.reserved_attributes() && !r.protection_keys() && !r.key_locker();
  findings.Add("TD attributes",
               plain                 ? "known ones"
               : r.protection_keys() ? "supervisor protection keys (PKS) are on"
               : r.key_locker()      ? "key locker (KL) is on"
                                     : "unknown bits are set",
               "known ones, without PKS and KL", plain);
  const bool service_td = std::ranges::any_of(r.mrservicetd, [](uint8_t b) { return b != 0; });
  if (service_td || r.migratable() || r.service_td_extension()) {
    AddMeasurement("migratable, by service TD", r.mrservicetd, service_tds,
                   "the policy lists no service_tds, so the TD must not be migratable", findings);
  } else {
    findings.Add("migration", "off", "off", true);
  }
}

void AppraiseTdx(const Claims& claims, const VerifiedIntel& v, const Policy::Tdx& policy, Findings& findings) {
  const TdReport& r = std::get<TdReport>(v.quote.body);
  AddMeasurement("MRTD", r.mrtd, policy.mrtd, "the policy lists none under [tdx]", findings);
  for (size_t i = 0; i < r.rtmr.size(); ++i) {
    const std::string name = Concat("RTMR", i);
    if (policy.rtmr[i].any) {
      findings.Add(name, HexEncode(r.rtmr[i]), "any", true);
    } else {
      AddMeasurement(name, r.rtmr[i], policy.rtmr[i].accepted, Concat("the policy lists no rtmr", i), findings);
    }
  }
  AppraiseDebug(claims, findings);
  AppraiseTdAttributes(r, policy.service_tds, findings);
  AppraiseIntelTcb(v, policy.tcb, findings);
}

void AppraiseSnpTcb(const VerifiedSnp& v, const std::optional<SnpTcb>& minimum, Findings& findings) {
  const std::string wanted =
      minimum.has_value() ? "at least " + ToString(*minimum) : "nothing: the policy has no [sev-snp] min_tcb";
  for (const auto& [what, tcb] : {std::pair{"reported TCB", v.reported_tcb}, {"committed TCB", v.committed_tcb}}) {
    findings.Add(what, ToString(tcb), wanted, minimum.has_value() && tcb.AtLeast(*minimum));
  }
}

// What the policy wants of the guest's own policy, and of that what is missing.
void AppraiseGuestPolicy(const SnpReport& r, const Policy::Snp& policy, Findings& findings) {
  auto asks = [&r](const SnpGuestDemand& d) { return (r.policy >> d.bit & 1) == d.set; };
  std::string found, wanted;
  for (const SnpGuestDemand& d : policy.guest_policy) {
    wanted += Concat(wanted.empty() ? "" : " and ", d.name);
    if (!asks(d)) found += Concat(found.empty() ? "without " : " and ", d.name);
  }
  if (!wanted.empty()) findings.Add("guest policy", found.empty() ? wanted : found, wanted, found.empty());
  findings.Add("CXL memory", r.cxl_allowed() ? "allowed" : "off", policy.allow_cxl ? "allowed or off" : "off",
               policy.allow_cxl || !r.cxl_allowed());
}

void AppraiseSnp(const Claims& claims, const VerifiedSnp& v, const Policy::Snp& policy, Findings& findings) {
  const SnpReport& r = v.report;
  const bool by_key = std::ranges::find(policy.id_key_digests, r.id_key_digest) != policy.id_key_digests.end();
  const bool by_measurement = std::ranges::find(policy.measurements, r.measurement) != policy.measurements.end();
  if (by_key && !by_measurement) {
    findings.Add("id key", HexEncode(r.id_key_digest), HexEncode(r.id_key_digest), true);
    findings.Add("guest SVN", Concat(r.guest_svn), Concat("at least ", policy.min_guest_svn),
                 r.guest_svn >= policy.min_guest_svn);
  } else {
    AddMeasurement("measurement", r.measurement, policy.measurements,
                   "the policy lists none under [sev-snp], nor this id key", findings);
  }
  AppraiseDebug(claims, findings);
  findings.Add("migration agent", r.migration_agent_allowed() ? "allowed" : "off",
               policy.allow_migration_agent ? "allowed or off" : "off",
               policy.allow_migration_agent || !r.migration_agent_allowed());
  findings.Add("VMPL", Concat(r.vmpl), Concat("at most ", policy.max_vmpl), r.vmpl <= policy.max_vmpl);
  findings.Add("signed by", v.vlek ? "a key of the cloud provider (VLEK)" : "the chip's key (VCEK)",
               policy.allow_vlek ? "either" : "the chip's key (VCEK)", policy.allow_vlek || !v.vlek);
  AppraiseGuestPolicy(r, policy, findings);
  findings.Add("AMD's revocation list", v.crl_checked ? "names neither key" : "not given",
               policy.require_crl ? "names neither key" : "need not be given", v.crl_checked || !policy.require_crl);
  AppraiseSnpTcb(v, policy.min_tcb, findings);
}

}  // namespace

bool AppraiseTee(TeeKind tee, const Policy& policy, Findings& findings) {
  const bool accepted = std::ranges::find(policy.accept, tee) != policy.accept.end();
  const std::string wanted = OneOf(
      policy.accept, [](TeeKind k) { return NameOf(k); }, "the policy accepts no TEE");
  return findings.Add("TEE", NameOf(tee), wanted, accepted);
}

void AppraiseEvidence(const Claims& claims, const Policy& policy, Findings& findings) {
  if (const auto* simulated = std::get_if<SimulatedEvidence>(&claims.evidence)) {
    AddMeasurement("measurement", simulated->measurement, policy.simulated.measurements,
                   "the policy lists none under [simulated]", findings);
  } else if (const auto* snp = std::get_if<VerifiedSnp>(&claims.evidence)) {
    AppraiseSnp(claims, *snp, policy.snp, findings);
  } else if (claims.tee == TeeKind::kTdx) {
    AppraiseTdx(claims, std::get<VerifiedIntel>(claims.evidence), policy.tdx, findings);
  } else {
    AppraiseSgx(claims, std::get<VerifiedIntel>(claims.evidence), policy.sgx, findings);
  }
}

Appraisal AppraiseWithoutPolicy(const Claims& claims) {
  Appraisal out;
  Findings findings(out);
  if (claims.tee == TeeKind::kSimulated) return out;
  AppraiseDebug(claims, findings);
  if (const auto* intel = std::get_if<VerifiedIntel>(&claims.evidence); intel && claims.tee == TeeKind::kTdx) {
    AppraiseTdAttributes(std::get<TdReport>(intel->quote.body), {}, findings);
  }
  return out;
}

Appraisal AppraiseClaims(const Claims& claims, const Policy& policy) {
  Appraisal out;
  Findings findings(out);
  if (AppraiseTee(claims.tee, policy, findings)) AppraiseEvidence(claims, policy, findings);
  return out;
}

}  // namespace infenclave
