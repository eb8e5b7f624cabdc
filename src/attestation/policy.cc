#include "attestation/policy.h"

// Header-only and in this file alone: toml++ is heavy to compile.
#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "attestation/measurements.h"
#include "base/file.h"

namespace infenclave {
namespace {

constexpr size_t kMaxPolicyBytes = 64 << 10;
constexpr size_t kMaxListed = 256;  // measurements and the like in one list

// One table of the file. Keeps the first error; then every getter gives its default, and the table is checked once.
class TableReader {
 public:
  TableReader(const toml::table& table, std::string_view file, std::string section)
      : table_(table), file_(file), section_(std::move(section)) {}

  std::vector<std::string> Strings(std::string_view key) {
    std::vector<std::string> out;
    const toml::node* node = Get(key);
    if (node == nullptr) return out;
    const toml::array* list = node->as_array();
    if (list == nullptr || list->size() > kMaxListed) {
      Fail(*node, Name(key), " must be a list of at most ", kMaxListed, " strings");
      return out;
    }
    for (const toml::node& element : *list) {
      if (const auto* text = element.as_string()) {
        out.push_back(text->get());
      } else {
        Fail(element, Name(key), " must be a list of strings");
      }
    }
    return out;
  }

  std::optional<std::string> String(std::string_view key) {
    const toml::node* node = Get(key);
    if (node == nullptr) return std::nullopt;
    if (const auto* text = node->as_string()) return text->get();
    Fail(*node, Name(key), " must be a string");
    return std::nullopt;
  }

  uint64_t Unsigned(std::string_view key, uint64_t otherwise) {
    const toml::node* node = Get(key);
    if (node == nullptr) return otherwise;
    if (const auto* number = node->as_integer(); number != nullptr && number->get() >= 0) {
      return static_cast<uint64_t>(number->get());
    }
    Fail(*node, Name(key), " must be a whole number from 0");
    return otherwise;
  }

  // A list of byte strings of N bytes as hexadecimal text.
  template <size_t N>
  std::vector<std::array<uint8_t, N>> Digests(std::string_view key) {
    std::vector<std::array<uint8_t, N>> out;
    for (const std::string& text : Strings(key)) {
      const auto bytes = HexDecode(text);
      if (!bytes.ok() || bytes->size() != N) {
        FailKey(key, "'", text, "' is not ", 2 * N, " hexadecimal digits");
        continue;
      }
      std::copy(bytes->begin(), bytes->end(), out.emplace_back().begin());
    }
    return out;
  }

  bool Bool(std::string_view key, bool otherwise) {
    const toml::node* node = Get(key);
    if (node == nullptr) return otherwise;
    if (const auto* flag = node->as_boolean()) return flag->get();
    Fail(*node, Name(key), " must be true or false");
    return otherwise;
  }

  bool Has(std::string_view key) const { return table_.contains(key); }

  // A table below this one; empty if it is not there.
  const toml::table& Table(std::string_view key) {
    static const toml::table kEmpty;
    const toml::node* node = Get(key);
    if (node == nullptr) return kEmpty;
    if (const toml::table* table = node->as_table()) return *table;
    Fail(*node, Name(key), " must be a table, [", key, "]");
    return kEmpty;
  }

  template <typename... Args>
  void FailKey(std::string_view key, const Args&... why) {
    const toml::node* node = table_.get(key);
    Fail(node != nullptr ? *node : table_, Name(key), ": ", why...);
  }

  // An error of a table below.
  void Adopt(const Status& status) {
    if (status_.ok()) status_ = status;
  }

  // The first error, or one for a key that nobody asked for.
  Status Finish() {
    for (const auto& [key, node] : table_) {
      if (!known_.contains(std::string(key.str()))) Fail(node, "unknown key ", Name(key.str()));
    }
    return status_;
  }

 private:
  const toml::node* Get(std::string_view key) {
    known_.insert(std::string(key));
    return table_.get(key);
  }
  std::string Name(std::string_view key) const { return section_.empty() ? Concat(key) : Concat(section_, ".", key); }
  template <typename... Args>
  void Fail(const toml::node& node, const Args&... why) {
    if (status_.ok()) status_ = InvalidArgument(file_, ":", node.source().begin.line, ": ", why...);
  }

  const toml::table& table_;
  std::string_view file_;
  std::string section_;
  std::set<std::string> known_;
  Status status_;
};

// "90s", "15m", "1h", "7d"; nullopt for anything else, and for more than a year.
std::optional<int64_t> ParseDuration(std::string_view text) {
  if (text.size() < 2 || text.size() > 9) return std::nullopt;
  int64_t n = 0;
  for (char c : text.substr(0, text.size() - 1)) {
    if (c < '0' || c > '9') return std::nullopt;
    n = 10 * n + (c - '0');
  }
  const std::string_view kUnits = "smhd";
  const size_t unit = kUnits.find(text.back());
  if (unit == kUnits.npos) return std::nullopt;
  constexpr int64_t kSeconds[] = {1, 60, 3600, 86400};
  n *= kSeconds[unit];
  return n >= 1 && n <= 366 * kSeconds[3] ? std::optional(n) : std::nullopt;
}

void ReadAccept(TableReader& in, Policy& policy) {
  for (const std::string& name : in.Strings("accept")) {
    const auto kind = ParseTeeKind(name);
    if (!kind.ok()) {
      in.FailKey("accept", MessageOf(kind.status()));
    } else if (std::ranges::find(policy.accept, *kind) != policy.accept.end()) {
      in.FailKey("accept", "'", name, "' is there twice");
    } else {
      policy.accept.push_back(*kind);
    }
  }
  if (policy.accept.empty()) in.FailKey("accept", "name at least one of \"sgx\", \"tdx\", \"sev-snp\", \"simulated\"");
  if (policy.accept.size() > 1 && std::ranges::find(policy.accept, TeeKind::kSimulated) != policy.accept.end()) {
    in.FailKey("accept", "\"simulated\" must stand alone, or a host could choose it, which proves nothing");
  }
}

void ReadOwner(TableReader& in, Policy& policy) {
  constexpr std::string_view kScheme = "ed25519:";
  const std::string owner = in.String("owner").value_or("");
  const auto key = HexDecode(owner.starts_with(kScheme) ? owner.substr(kScheme.size()) : "");
  if (!key.ok() || key->size() != policy.owner.size()) {
    in.FailKey("owner", "expected the key that signs the bundle, \"ed25519:<64 hexadecimal digits>\"");
    return;
  }
  std::copy(key->begin(), key->end(), policy.owner.begin());
}

void ReadBundleId(TableReader& in, Policy& policy) {
  const auto text = in.String("bundle_id");
  if (!text.has_value()) return;
  const auto id = HexDecode(*text);
  if (id.ok() && id->size() == policy.bundle_id.emplace().size()) {
    std::copy(id->begin(), id->end(), policy.bundle_id->begin());
  } else {
    in.FailKey("bundle_id", "'", *text, "' is not ", 2 * sizeof(BundleId), " hexadecimal digits");
  }
}

void ReadMaxAge(TableReader& in, Policy& policy) {
  const auto text = in.String("max_age");
  if (!text.has_value()) return;
  if (const auto seconds = ParseDuration(*text)) {
    policy.max_age_seconds = *seconds;
  } else {
    in.FailKey("max_age", "'", *text, "' is no duration such as \"90s\", \"15m\", \"1h\" or \"7d\"");
  }
}

IntelTcbPolicy ReadIntelTcb(TableReader& in) {
  IntelTcbPolicy out;
  if (const auto name = in.String("tcb_status")) {
    const auto status = ParseTcbStatus(*name);
    if (status.ok() && *status != TcbStatus::kRevoked) {
      out.worst = *status;
    } else {
      in.FailKey("tcb_status", status.ok() ? "a revoked platform is never accepted" : MessageOf(status.status()));
    }
  }
  out.allow_advisories = in.Strings("allow_advisories");
  out.min_evaluation = in.Unsigned("min_tcb_evaluation", 0);
  return out;
}

void ReadSgx(TableReader& in, Policy::Sgx& out) {
  out.mrenclave = in.Digests<32>("mrenclave");
  out.mrsigner = in.Digests<32>("mrsigner");
  out.product_id = in.Unsigned("product_id", 0);
  out.min_svn = in.Unsigned("min_svn", 0);
  // A signer signs more than one thing, old versions with known holes among them.
  if (!out.mrsigner.empty() && !(in.Has("product_id") && in.Has("min_svn"))) {
    in.FailKey("mrsigner", "needs product_id and min_svn beside it");
  }
  out.tcb = ReadIntelTcb(in);
}

void ReadTdx(TableReader& in, Policy::Tdx& out) {
  out.mrtd = in.Digests<48>("mrtd");
  for (size_t i = 0; i < out.rtmr.size(); ++i) {
    const std::string key = Concat("rtmr", i);
    if (in.Strings(key) == std::vector<std::string>{"any"}) {
      out.rtmr[i].any = true;
    } else {
      out.rtmr[i].accepted = in.Digests<48>(key);
    }
    // RTMR 3 is the guest's own and counts where it is named; the others hold firmware settings, kernel and initrd.
    if (!in.Has(key)) {
      if (i == 3) out.rtmr[i].any = true;
      if (i < 3 && !out.mrtd.empty()) in.FailKey("mrtd", "needs ", key, " beside it (a list, or [\"any\"])");
    }
  }
  out.service_tds = in.Digests<48>("service_tds");
  out.tcb = ReadIntelTcb(in);
}

uint8_t ReadLevel(TableReader& in, std::string_view key) {
  const uint64_t v = in.Unsigned(key, 0);
  if (v > 255) in.FailKey(key, "must be at most 255");
  return static_cast<uint8_t>(v);
}

void ReadSnp(TableReader& in, std::string_view file, Policy::Snp& out) {
  out.measurements = in.Digests<48>("measurements");
  out.id_key_digests = in.Digests<48>("id_key_digests");
  out.min_guest_svn = in.Unsigned("min_guest_svn", 0);
  if (!out.id_key_digests.empty() && !in.Has("min_guest_svn")) {
    in.FailKey("id_key_digests", "needs min_guest_svn beside it");
  }
  out.max_vmpl = in.Unsigned("max_vmpl", 0);
  out.allow_vlek = in.Bool("allow_vlek", false);
  out.allow_migration_agent = in.Bool("allow_migration_agent", false);
  out.allow_cxl = in.Bool("allow_cxl", false);
  out.require_crl = in.Bool("require_crl", false);
  for (const std::string& name : in.Strings("guest_policy")) {
    const auto* demand = std::ranges::find(kSnpGuestDemands, name, &SnpGuestDemand::name);
    if (demand != std::end(kSnpGuestDemands)) {
      out.guest_policy.push_back(*demand);
    } else {
      in.FailKey("guest_policy", "'", name,
                 "' is unknown; there are no-smt, single-socket, aes-256-xts, no-rapl, "
                 "ciphertext-hiding, no-page-swap");
    }
  }
  const bool has_tcb = in.Has("min_tcb");
  TableReader tcb(in.Table("min_tcb"), file, "sev-snp.min_tcb");
  const SnpTcb minimum{ReadLevel(tcb, "fmc"), ReadLevel(tcb, "boot_loader"), ReadLevel(tcb, "tee"),
                       ReadLevel(tcb, "snp"), ReadLevel(tcb, "microcode")};
  if (has_tcb) out.min_tcb = minimum;
  in.Adopt(tcb.Finish());
}

}  // namespace

StatusOr<Policy> ParsePolicy(std::string_view text, std::string_view file_name) {
  if (text.size() > kMaxPolicyBytes) return InvalidArgument(file_name, ": ", text.size(), " bytes are no policy");
  // toml++ 3.3 runs into undefined behaviour on some letters outside ASCII where no letter belongs. No value of a
  // policy has any, and in comments they do not matter.
  std::string ascii(text);
  std::ranges::replace_if(
      ascii, [](char c) { return static_cast<unsigned char>(c) >= 0x80; }, '?');
  const toml::parse_result parsed = toml::parse(ascii);
  if (!parsed) {
    return InvalidArgument(file_name, ":", parsed.error().source().begin.line, ": ", parsed.error().description());
  }
  Policy policy;
  TableReader in(parsed.table(), file_name, "");
  ReadAccept(in, policy);
  ReadOwner(in, policy);
  ReadMaxAge(in, policy);
  policy.min_bundle_version = in.Unsigned("min_bundle_version", 0);
  ReadBundleId(in, policy);
  policy.measurements_file = in.String("measurements").value_or("");
  policy.min_measurements_version = in.Unsigned("min_measurements_version", 0);
  TableReader simulated(in.Table("simulated"), file_name, "simulated");
  policy.simulated.measurements = simulated.Digests<32>("measurements");
  TableReader sgx(in.Table("sgx"), file_name, "sgx");
  ReadSgx(sgx, policy.sgx);
  TableReader tdx(in.Table("tdx"), file_name, "tdx");
  ReadTdx(tdx, policy.tdx);
  TableReader snp(in.Table("sev-snp"), file_name, "sev-snp");
  ReadSnp(snp, file_name, policy.snp);
  for (TableReader* table : {&in, &simulated, &sgx, &tdx, &snp}) INFENCLAVE_RETURN_IF_ERROR(table->Finish());
  return policy;
}

Status AddMeasurements(std::string_view file, Policy& policy) {
  INFENCLAVE_ASSIGN_OR_RETURN(const Measurements m, OpenMeasurements(file, policy.owner));
  if (m.version < policy.min_measurements_version) {
    return PermissionDenied("measurements: version ", m.version, "; wanted: at least ",
                            policy.min_measurements_version);
  }
  auto add = [](auto& to, const auto& from) { to.insert(to.end(), from.begin(), from.end()); };
  add(policy.sgx.mrenclave, m.mrenclave);
  add(policy.tdx.mrtd, m.mrtd);
  for (size_t i = 0; i < m.rtmr.size(); ++i) add(policy.tdx.rtmr[i].accepted, m.rtmr[i]);
  add(policy.snp.measurements, m.snp);
  add(policy.simulated.measurements, m.simulated);
  policy.measurements_version = m.version;
  return OkStatus();
}

StatusOr<Policy> LoadPolicy(const std::string& path) {
  INFENCLAVE_ASSIGN_OR_RETURN(const Bytes text, ReadFile(path, kMaxPolicyBytes));
  INFENCLAVE_ASSIGN_OR_RETURN(Policy policy, ParsePolicy(AsText(text), path));
  if (policy.measurements_file.empty()) return policy;
  const std::string file = (std::filesystem::path(path).parent_path() / policy.measurements_file).string();
  INFENCLAVE_ASSIGN_OR_RETURN(const Bytes measurements, ReadFile(file, kMaxMeasurementsBytes));
  INFENCLAVE_RETURN_IF_ERROR(Annotate(AddMeasurements(AsText(measurements), policy), file));
  return policy;
}

}  // namespace infenclave
