// What people read of a bundle: manifest.json and the starter policy.
#include <nlohmann/json.hpp>

#include "bundle/bundle.h"
#include "image/image.h"

namespace infenclave {
namespace {

using Json = nlohmann::ordered_json;

std::string NameOf(TeeClass tee_class) { return tee_class == TeeClass::kSimulated ? "simulated" : "hardware"; }

Json VerdictJson(const Manifest::Verdict& verdict) {
  Json json = {{"assessed", verdict.assessed}};
  if (verdict.assessed) {
    json["safe"] = verdict.safe;
    json["summary"] = verdict.summary;
    json["assessment_sha256"] = HexEncode(verdict.assessment_digest);
  }
  return json;
}

}  // namespace

std::string ManifestToJson(const Manifest& m) {
  Json releases = Json::array();
  for (const Manifest::ReleaseKey& key : m.release_keys) {
    releases.push_back({{"key", "ed25519:" + HexEncode(key.key)}, {"last_version", key.last_version}});
  }
  Json digests = {{"frontnet.sealed", HexEncode(m.frontnet_digest)},
                  {"mapping.sealed", HexEncode(m.mapping_digest)},
                  {"backnet.onnx", HexEncode(m.backnet_digest)}};
  if (m.tail_layers > 0) digests["tail.sealed"] = HexEncode(m.tail_digest);
  if (m.audit_per_million > 0) digests["audit.sealed"] = HexEncode(m.audit_digest);
  Json ir = {{"shape", m.ir_shape}, {"dtype", NameOf(m.ir_precision)}, {"noise", m.ir_noise}};
  if (LargestCode(m.ir_precision) > 0) ir["step"] = m.ir_step;
  Json json = {
      {"format_version", m.format_version},
      {"bundle_id", HexEncode(m.bundle_id)},
      {"model_name", m.model_name},
      {"model_version", m.model_version},
      {"ir", ir},
      {"tail_layers", m.tail_layers},
      {"classes", m.classes},
      {"backnet_output_shape", m.backnet_output_shape},
      {"answer_classes", m.answer_classes},
      {"label_bytes", m.label_bytes},
      {"preprocessing", Json::parse(PreprocessingToJson(m.preprocessing), nullptr, false)},
      {"sha256", digests},
      {"open", m.open},
      {"tee_class", NameOf(m.tee_class)},
      {"audit", {{"per_million", m.audit_per_million}, {"tolerance", m.audit_tolerance}}},
      {"verdict", VerdictJson(m.verdict)},
      {"release_keys", releases},
      {"owner", "ed25519:" + HexEncode(m.owner)},
  };
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string StarterPolicy(const Manifest& manifest, const std::string& measurement_hex) {
  std::string out = Concat("# Appraisal policy for the model ", manifest.model_name,
                           ", made by `infenclave partition`.\n"
                           "# `provision` and `classify` refuse every server whose evidence does not satisfy it.\n\n");
  if (manifest.tee_class == TeeClass::kSimulated) {
    out +=
        "# The simulated TEE proves nothing. Its evidence is unsigned, and whoever owns the machine can read the\n"
        "# enclave's memory, the images and the keys. It is for trying things out. A policy that accepts "
        "\"simulated\"\n"
        "# can accept no other TEE, so that no host can choose the weaker one.\n"
        "accept = [\"simulated\"]\n";
  } else {
    out +=
        "# Keep the TEEs that you trust, and give each the measurements that you built yourself.\n"
        "accept = [\"sgx\", \"tdx\", \"sev-snp\"]\n";
  }
  out += Concat("\n# Whose signature the manifest must carry.\nowner = \"ed25519:", HexEncode(manifest.owner),
                "\"\n\n# Older bundles are refused.\nmin_bundle_version = ", manifest.model_version,
                "\n\n# How old evidence may be before a client asks for new.\nmax_age = \"1h\"\n");
  if (manifest.tee_class == TeeClass::kSimulated) {
    out += Concat(
        "\n[simulated]\n# SHA-256 of the infenclave-enclave executable that lay beside infenclave when the "
        "bundle was made.\nmeasurements = [",
        measurement_hex.empty() ? "" : "\"" + measurement_hex + "\"", "]\n");
  }
  return out;
}

}  // namespace infenclave
