#include "tee/gramine.h"

#include <utility>

#include "tee/attribute.h"

namespace infenclave {
namespace {

constexpr size_t kMaxQuoteBytes = 16 << 10;

class GramineEvidenceMaker : public EvidenceMaker {
 public:
  explicit GramineEvidenceMaker(UniqueFd folder) : folder_(std::move(folder)) {}

  TeeKind kind() const override { return TeeKind::kSgx; }

  StatusOr<Bytes> Make(const ReportData& report_data) override {
    INFENCLAVE_RETURN_IF_ERROR(WriteAttribute(folder_.get(), "user_report_data", report_data));
    return ReadAttribute(folder_.get(), "quote", kMaxQuoteBytes);
  }

 private:
  UniqueFd folder_;
};

}  // namespace

StatusOr<std::unique_ptr<EvidenceMaker>> MakeGramineEvidenceMaker(const std::string& folder) {
  StatusOr<UniqueFd> opened = OpenFolder(folder);
  if (!opened.ok())
    return Annotate(opened.status(), "Gramine's attestation files (an SGX enclave under Gramine has them)");
  INFENCLAVE_ASSIGN_OR_RETURN(std::string type, ReadTextAttribute(opened->get(), "attestation_type"));
  if (type != "dcap") {
    return FailedPrecondition("Gramine: attestation_type is '", type,
                              "'; set sgx.remote_attestation = \"dcap\" in its manifest");
  }
  return std::make_unique<GramineEvidenceMaker>(*std::move(opened));
}

}  // namespace infenclave
