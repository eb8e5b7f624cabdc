#include "attestation/measurements.h"

#include "attestation/claims.h"
#include "attestation/json_members.h"

namespace infenclave {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kContext[] = "infenclave measurements v1\n";
constexpr size_t kMaxListed = 256;
constexpr const char* kRtmrNames[] = {"rtmr0", "rtmr1", "rtmr2"};

template <size_t N>
Json HexList(const std::vector<std::array<uint8_t, N>>& list) {
  Json out = Json::array();
  for (const auto& digest : list) out.push_back(HexEncode(digest));
  return out;
}

template <typename T>
void AddMissing(std::vector<T>& to, const std::vector<T>& from) {
  for (const T& v : from) {
    if (std::ranges::find(to, v) == to.end()) to.push_back(v);
  }
}

}  // namespace

void Measurements::Add(const Measurements& other) {
  AddMissing(mrenclave, other.mrenclave);
  AddMissing(simulated, other.simulated);
  AddMissing(mrtd, other.mrtd);
  AddMissing(snp, other.snp);
  for (size_t i = 0; i < rtmr.size(); ++i) AddMissing(rtmr[i], other.rtmr[i]);
}

StatusOr<Measurements> ParseMeasurements(std::string_view text) {
  INFENCLAVE_ASSIGN_OR_RETURN(const nlohmann::json json,
                              internal::ParseJsonObject(text, kMaxMeasurementsBytes, "measurements"));
  internal::JsonMembers in("measurements");
  Measurements out;
  if (json.contains("version")) out.version = in.Unsigned(json, "version", INT64_MAX);
  auto read = [&](const nlohmann::json& tee, const char* key, auto& list) {
    using Digest = typename std::remove_reference_t<decltype(list)>::value_type;
    if (tee.contains(key)) list = in.HexList<std::tuple_size_v<Digest>>(tee, key, kMaxListed);
  };
  for (const auto& [key, tee] : json.items()) {
    if (key == "version") continue;
    if (!tee.is_object()) {
      in.Fail(key, "is no object");
    } else if (key == "sgx") {
      read(tee, "mrenclave", out.mrenclave);
    } else if (key == "tdx") {
      read(tee, "mrtd", out.mrtd);
      for (size_t i = 0; i < out.rtmr.size(); ++i) read(tee, kRtmrNames[i], out.rtmr[i]);
    } else if (key == "sev-snp") {
      read(tee, "measurements", out.snp);
    } else if (key == "simulated") {
      read(tee, "measurements", out.simulated);
    } else {
      in.Fail(key, "is no TEE known here");
    }
  }
  INFENCLAVE_RETURN_IF_ERROR(in.status());
  return out;
}

StatusOr<Measurements> MeasurementsOfEvidence(ByteSpan evidence) {
  INFENCLAVE_ASSIGN_OR_RETURN(const TeeKind tee, RecognizeEvidence(evidence));
  Measurements out;
  if (tee == TeeKind::kSimulated) {
    INFENCLAVE_ASSIGN_OR_RETURN(const SimulatedEvidence simulated, DecodeSimulatedEvidence(evidence));
    out.simulated = {simulated.measurement};
  } else if (tee == TeeKind::kSevSnp) {
    INFENCLAVE_ASSIGN_OR_RETURN(const SnpReport report, DecodeSnpReport(evidence.first(kSnpReportBytes)));
    out.snp = {report.measurement};
  } else {
    INFENCLAVE_ASSIGN_OR_RETURN(const IntelQuote quote, DecodeIntelQuote(evidence));
    if (const auto* td = std::get_if<TdReport>(&quote.body)) {
      out.mrtd = {td->mrtd};
      for (size_t i = 0; i < out.rtmr.size(); ++i) out.rtmr[i] = {td->rtmr[i]};
    } else {
      out.mrenclave = {std::get<SgxReport>(quote.body).mrenclave};
    }
  }
  return out;
}

std::string MeasurementsMember(const Measurements& m) {
  Json json = {{"version", m.version}};
  if (!m.mrenclave.empty()) json["sgx"]["mrenclave"] = HexList(m.mrenclave);
  if (!m.mrtd.empty()) json["tdx"]["mrtd"] = HexList(m.mrtd);
  for (size_t i = 0; i < m.rtmr.size(); ++i) {
    if (!m.rtmr[i].empty()) json["tdx"][kRtmrNames[i]] = HexList(m.rtmr[i]);
  }
  if (!m.snp.empty()) json["sev-snp"]["measurements"] = HexList(m.snp);
  if (!m.simulated.empty()) json["simulated"]["measurements"] = HexList(m.simulated);
  return json.dump(2);
}

Bytes MeasurementsToSign(std::string_view member) { return ToBytes(AsBytes(Concat(kContext, member))); }

std::string MeasurementsFile(std::string_view member, const Ed25519Signature& signature) {
  return Concat("{\"measurements\":", member, ",\"signature\":\"", HexEncode(signature), "\"}\n");
}

StatusOr<Measurements> OpenMeasurements(std::string_view file, const Ed25519PublicKey& owner) {
  if (file.size() > kMaxMeasurementsBytes) {
    return InvalidArgument("measurements: ", file.size(), " bytes, at most ", kMaxMeasurementsBytes, " are allowed");
  }
  const auto parts = SplitSigned(file, "measurements");
  if (!parts.ok()) return Annotate(parts.status(), "measurements");
  const auto& [member, signature_hex] = *parts;
  const auto signature = HexDecode(signature_hex);
  if (!signature.ok() || !Ed25519Verify(owner, MeasurementsToSign(member), *signature)) {
    return PermissionDenied("measurements: not signed by ed25519:", HexEncode(owner));
  }
  INFENCLAVE_ASSIGN_OR_RETURN(Measurements out, ParseMeasurements(member));
  if (out.version == 0) return InvalidArgument("measurements: 'version' is missing, or 0");
  return out;
}

}  // namespace infenclave
