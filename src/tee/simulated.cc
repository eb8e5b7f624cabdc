#include "tee/evidence.h"

namespace infenclave {
namespace {

class SimulatedEvidenceMaker : public EvidenceMaker {
 public:
  explicit SimulatedEvidenceMaker(const Sha256Digest& measurement) : measurement_(measurement) {}
  TeeKind kind() const override { return TeeKind::kSimulated; }
  StatusOr<Bytes> Make(const ReportData& report_data) override {
    ByteWriter out;
    out.Raw(AsBytes(kSimulatedMagic));
    out.Raw(measurement_);
    out.Raw(report_data);
    return out.Take();
  }

 private:
  Sha256Digest measurement_;
};

}  // namespace

std::unique_ptr<EvidenceMaker> MakeSimulatedEvidenceMaker(const Sha256Digest& measurement) {
  return std::make_unique<SimulatedEvidenceMaker>(measurement);
}

StatusOr<SimulatedEvidence> DecodeSimulatedEvidence(ByteSpan evidence) {
  ByteReader in(evidence, "simulated evidence");
  if (AsText(in.Raw(kSimulatedMagic.size())) != kSimulatedMagic) in.Fail("it does not start with the magic string");
  SimulatedEvidence out;
  out.measurement = in.Array<std::tuple_size_v<Sha256Digest>>();
  out.report_data = in.Array<std::tuple_size_v<ReportData>>();
  INFENCLAVE_RETURN_IF_ERROR(in.Finish());
  return out;
}

}  // namespace infenclave
