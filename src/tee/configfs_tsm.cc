#include "tee/configfs_tsm.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <utility>

#include "tee/attribute.h"

namespace infenclave {
namespace {

constexpr size_t kMaxReportBytes = 32 << 10;  // the kernel's own limit (TSM_OUTBLOB_MAX)
constexpr int kAttempts = 3;

class ConfigfsTsmEvidenceMaker : public EvidenceMaker {
 public:
  ConfigfsTsmEvidenceMaker(UniqueFd reports, std::string name, UniqueFd entry, TeeKind kind)
      : reports_(std::move(reports)), name_(std::move(name)), entry_(std::move(entry)), kind_(kind) {}
  // Fails in a sandbox that forbids it; the kernel then keeps an unused entry until the guest ends.
  ~ConfigfsTsmEvidenceMaker() override { ::unlinkat(reports_.get(), name_.c_str(), AT_REMOVEDIR); }

  TeeKind kind() const override { return kind_; }

  StatusOr<Bytes> Make(const ReportData& report_data) override {
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      INFENCLAVE_ASSIGN_OR_RETURN(uint64_t before, Generation());
      INFENCLAVE_RETURN_IF_ERROR(WriteAttribute(entry_.get(), "inblob", report_data));
      StatusOr<Bytes> report = Report();
      INFENCLAVE_ASSIGN_OR_RETURN(uint64_t after, Generation());
      if (after != before + 1) continue;
      return report;
    }
    return Unavailable("configfs-tsm: somebody else writes to the entry ", name_, ": its generation jumped ", kAttempts,
                       " times");
  }

 private:
  // SEV-SNP's with the host's certificates behind it, where it gives any.
  StatusOr<Bytes> Report() {
    INFENCLAVE_ASSIGN_OR_RETURN(Bytes report, ReadAttribute(entry_.get(), "outblob", kMaxReportBytes));
    if (kind_ != TeeKind::kSevSnp) return report;
    const StatusOr<Bytes> certificates = ReadAttribute(entry_.get(), "auxblob", kMaxReportBytes);
    if (certificates.ok()) report.insert(report.end(), certificates->begin(), certificates->end());
    return report;
  }
  StatusOr<uint64_t> Generation() {
    INFENCLAVE_ASSIGN_OR_RETURN(std::string text, ReadTextAttribute(entry_.get(), "generation"));
    uint64_t v = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
    if (error != std::errc() || end != text.data() + text.size()) {
      return Internal("configfs-tsm: generation is '", text, "', expected a number");
    }
    return v;
  }

  UniqueFd reports_;
  std::string name_;
  UniqueFd entry_;
  TeeKind kind_;
};

StatusOr<TeeKind> KindOf(int entry) {
  INFENCLAVE_ASSIGN_OR_RETURN(std::string provider, ReadTextAttribute(entry, "provider"));
  if (provider == "tdx_guest") return TeeKind::kTdx;
  if (provider == "sev_guest") return TeeKind::kSevSnp;
  return Unimplemented("configfs-tsm: provider '", provider, "' is neither tdx_guest nor sev_guest");
}

}  // namespace

StatusOr<std::unique_ptr<EvidenceMaker>> MakeConfigfsTsmEvidenceMaker(const std::string& reports) {
  StatusOr<UniqueFd> folder = OpenFolder(reports);
  if (!folder.ok()) {
    return Annotate(folder.status(), "configfs-tsm (a TDX or SEV-SNP guest with Linux 6.7 or later has it)");
  }
  // The name says whose entry it is; the process id keeps two enclaves of one guest apart.
  std::string name = Concat("infenclave-", ::getpid(), "-", HexEncode(RandomArray<4>()));
  if (::mkdirat(folder->get(), name.c_str(), 0700) != 0) return ErrnoStatus(Concat(reports, "/", name));
  auto give_up = [&](const Status& status) {
    ::unlinkat(folder->get(), name.c_str(), AT_REMOVEDIR);
    return status;
  };
  StatusOr<UniqueFd> entry = OpenFolder(Concat(reports, "/", name));
  if (!entry.ok()) return give_up(entry.status());
  StatusOr<TeeKind> kind = KindOf(entry->get());
  if (!kind.ok()) return give_up(kind.status());
  return std::make_unique<ConfigfsTsmEvidenceMaker>(*std::move(folder), name, *std::move(entry), *kind);
}

}  // namespace infenclave
