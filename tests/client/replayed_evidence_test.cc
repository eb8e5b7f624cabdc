// A live server whose enclave shows evidence that hardware made for somebody else: with the collateral that the server
// ships, or that the client fetches, every line of the policy passes but the one that binds the evidence to the key.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <filesystem>

#include "attestation/verify/certificate.h"
#include "base/file.h"
#include "cli/collateral.h"
#include "client/client.h"
#include "client/provision.h"
#include "client/release_log.h"
#include "host/confidential_server.h"
#include "import/model.h"
#include "tests/enclave/harness.h"

namespace infenclave {
namespace {

using testing::HasSubstr;

const std::string kVectors = INFENCLAVE_SHARED_DIR "/vectors/attestation/";

Bytes Read(const std::string& file) { return *ReadFile(kVectors + file, 1 << 20); }

class ReplayedEvidence final : public EvidenceMaker {
 public:
  ReplayedEvidence(TeeKind kind, Bytes evidence) : kind_(kind), evidence_(std::move(evidence)) {}
  TeeKind kind() const override { return kind_; }
  StatusOr<Bytes> Make(const ReportData&) override { return ++made_, evidence_; }
  int made_ = 0;

 private:
  TeeKind kind_;
  Bytes evidence_;
};

class CoreLink final : public EnclaveLink {
 public:
  CoreLink(const TestBundle& bundle, std::unique_ptr<EvidenceMaker> maker)
      : core_(EnclaveCore::Create(bundle.Parts(), std::move(maker), {}).value()) {}
  StatusOr<ByteSpan> Call(ByteSpan call, int lane) override {
    reply_ = core_->Handle(call, lane);
    return ByteSpan(reply_);
  }
  bool alive() const override { return true; }
  const std::string& start_line() const override { return line_; }
  int lanes() const override { return 1; }
  uint64_t max_call_bytes() const override { return 1 << 24; }

 private:
  std::unique_ptr<EnclaveCore> core_;
  Bytes reply_;
  std::string line_ = "in this process";
};

struct Case {
  TeeKind tee;
  const char *evidence, *collateral, *at, *rules;
};
// The rules accept what the vectors' makers measured, and their platforms as they were.
constexpr Case kCases[] = {
    {TeeKind::kTdx, "tdx-v4-a.quote.bin", "tdx-v4-a.collateral.json", "2025-07-04T10:24:15Z",
     "[tdx]\nmrtd = "
     "[\"91eb2b44d141d4ece09f0c75c2c53d247a3c68edd7fafe8a3520c942a604a407de03ae6dc5f87f27428b2538873118b7\"]"
     "\nrtmr0 = [\"44c0197b39157fdd7a4dcc44767f9d6b0bb3977c7a8e347b8492f827fe9d9e5c48aca29b220b80b6a540cf994b9bc9c0\"]"
     "\nrtmr1 = [\"any\"]\nrtmr2 = [\"any\"]\nmin_tcb_evaluation = 17\n"},
    {TeeKind::kSgx, "sgx-v3.quote.bin", "sgx-v3.collateral.json", "2025-07-04T10:28:44Z",
     "[sgx]\nmrenclave = [\"33d8736db756ed4997e04ba358d27833188f1932ff7b1d156904d3f560452fbb\"]\n"
     "tcb_status = \"ConfigurationAndSWHardeningNeeded\"\n"
     "allow_advisories = [\"INTEL-SA-00289\", \"INTEL-SA-00615\"]\n"},
    {TeeKind::kSevSnp, "snp-vlek.report.bin", "snp-vlek.vek.der", "2025-02-19T00:00:00Z",
     "[sev-snp]\nallow_vlek = true\nmax_vmpl = 3\nmin_tcb = { snp = 1 }\nmeasurements = [\"MEASUREMENT\"]\n"},
};

class Replayed : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (!ReadFile(kVectors + "index.json", 1 << 20).ok()) {
      GTEST_SKIP() << "SKIPPED: no " << kVectors << ": no hardware-made evidence was served";
    }
    std::string pattern = testing::TempDir() + "/replayed-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    std::string rules = GetParam().rules;
    if (const size_t at = rules.find("MEASUREMENT"); at != rules.npos) {
      rules.replace(at, 11, HexEncode(DecodeSnpReport(Read("snp-vlek.report.bin"))->measurement));
    }
    const std::string text = Concat("accept = [\"", NameOf(GetParam().tee),
                                    "\"]\nowner = \"ed25519:", HexEncode(bundle_.owner.public_key()), "\"\n", rules);
    ASSERT_TRUE(WriteFileAtomic(folder_ + "/policy.toml", AsBytes(text)).ok());
    const auto policy = LoadPolicy(folder_ + "/policy.toml");
    ASSERT_TRUE(policy.ok()) << policy.status();
    policy_ = *policy;
    at_ = *ParseTime(GetParam().at);
  }
  void TearDown() override {
    server_.reset();
    if (!folder_.empty()) std::filesystem::remove_all(folder_);
  }
  void Serve(bool with_collateral) {
    Serve(with_collateral ? [] { return Read(GetParam().collateral); } : std::function<Bytes()>());
  }
  void Serve(const std::function<Bytes()>& collateral) {
    auto maker = std::make_unique<ReplayedEvidence>(GetParam().tee, Read(GetParam().evidence));
    maker_ = maker.get();
    const Manifest& manifest = bundle_.manifest;
    const Bytes onnx = ExportOnnx(bundle_.model.BackNet(bundle_.mapping.order), {.anonymous = true}).value();
    auto backnet = BuiltinBackNet(onnx, BackNetShapeOf(manifest));
    ASSERT_TRUE(backnet.ok()) << backnet.status();
    ConfidentialServer::Options options;
    options.listen = "127.0.0.1:0";
    options.model.collateral = collateral;
    auto server = ConfidentialServer::Start(std::make_unique<CoreLink>(bundle_, std::move(maker)),
                                            bundle_.parts.manifest, *backnet, options);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  Appraisal Judge(CollateralSource* source) {
    const Nonce nonce = RandomArray<32>();
    auto reply = FetchEvidence(ServerConnection(server_->address()), nonce, std::chrono::seconds(10));
    EXPECT_TRUE(reply.ok()) << reply.status();
    if (source != nullptr) {
      EXPECT_TRUE(AddCollateral(*source, at_, *reply).ok());
    }
    return Appraise(*reply, nonce, policy_, at_);
  }
  static std::vector<std::string> Failed(const Appraisal& appraisal) {
    std::vector<std::string> out;
    for (const Finding& f : appraisal.findings) {
      if (!f.passed) out.push_back(f.what);
    }
    return out;
  }
  // Exit status and standard output.
  static std::pair<int, std::string> Run(const std::string& command) {
    std::string out;
    FILE* pipe = popen((command + " 2>&1").c_str(), "r");
    std::array<char, 4096> buffer;
    for (size_t n; (n = fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) out.append(buffer.data(), n);
    const int status = pclose(pipe);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, out};
  }

  TestBundle bundle_{[](Manifest& m) { m.tee_class = TeeClass::kHardware; }};
  Policy policy_;
  int64_t at_ = 0;
  std::string folder_;
  std::unique_ptr<ConfidentialServer> server_;
  ReplayedEvidence* maker_ = nullptr;
};

TEST_P(Replayed, WithTheServersCollateralOnlyTheBindingFails) {
  Serve(/*with_collateral=*/true);
  EXPECT_THAT(Failed(Judge(nullptr)), testing::ElementsAre("report data"));
}

TEST_P(Replayed, WithTheClientsCollateralOnlyTheBindingFails) {
  Serve(/*with_collateral=*/false);
  CollateralSource source({.where = kVectors + GetParam().collateral, .cache = folder_});
  EXPECT_THAT(Failed(Judge(&source)), testing::ElementsAre("report data"));
  EXPECT_THAT(Failed(Judge(nullptr)), testing::Not(testing::ElementsAre("report data")))
      << "and without any, more does";
}

// As `serve --collateral` does.
TEST_P(Replayed, TheServerFetchesWhatItShips) {
  const auto source = std::make_shared<CollateralSource>(
      CollateralSource::Options{.where = kVectors + GetParam().collateral, .cache = folder_});
  CollateralKeeper keeper(source);
  Serve([&keeper] { return keeper.current(); });
  EXPECT_THAT(Failed(Judge(nullptr)), testing::Not(testing::ElementsAre("report data")));
  keeper.Watch(server_->address());
  EXPECT_THAT(Failed(Judge(nullptr)), testing::ElementsAre("report data"));
  server_.reset();
}

TEST_P(Replayed, NothingIsSealedAndNoKeyIsReleasedToIt) {
  Serve(/*with_collateral=*/true);
  const BundleKeys keys{bundle_.manifest.bundle_id, bundle_.frontnet_key.Clone(), bundle_.mapping_key.Clone(),
                        bundle_.release.seed().Clone(), bundle_.manifest.model_version};
  ProvisionOptions options{.policy = policy_, .lease = 1};
  options.log = folder_ + "/log";
  EXPECT_EQ(ProvisionEnclave(ServerConnection(server_->address()), keys, options).status().code(),
            StatusCode::kPermissionDenied);
  EXPECT_TRUE(ReadReleaseLog(options.log)->releases.empty());
  Client::Options client;
  client.server = server_->address();
  client.policy = policy_;
  client.seen_versions = folder_ + "/versions";
  EXPECT_EQ(Client::Connect(client).status().code(), StatusCode::kPermissionDenied);
}

TEST_P(Replayed, EvidenceIsMadeOncePerKeyUnlessThereIsANonce) {
  Serve(/*with_collateral=*/true);
  const int made = maker_->made_;
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(FetchEvidence(ServerConnection(server_->address()), std::nullopt, std::chrono::seconds(10)).ok());
  }
  EXPECT_EQ(maker_->made_, made);
  Judge(nullptr);
  EXPECT_EQ(maker_->made_, made + 1);
}

// The command that users see.
TEST_P(Replayed, TheCommandExplainsLineByLine) {
  const std::string infenclave = INFENCLAVE_BINARY_DIR "/infenclave";
  if (!std::filesystem::exists(infenclave)) GTEST_SKIP() << "SKIPPED: no " << infenclave;
  Serve(/*with_collateral=*/false);
  const std::string command =
      Concat("XDG_CACHE_HOME=", folder_, " ", infenclave, " attest --server ", server_->address(), " --policy ",
             folder_, "/policy.toml --collateral ", kVectors, GetParam().collateral, " --at ", GetParam().at);
  const auto [status, out] = Run(command);
  EXPECT_EQ(status, 3) << out;
  const size_t failed = out.find("FAILED");
  ASSERT_NE(failed, out.npos) << out;
  EXPECT_THAT(out.substr(failed), testing::StartsWith("FAILED  report data: another key configuration or nonce"));
  EXPECT_EQ(out.find("FAILED", failed + 1), out.npos) << out;
  EXPECT_THAT(out, HasSubstr("ok      evidence: signed by a key that leads to "));
  EXPECT_THAT(out, HasSubstr("ok      owner: ed25519:"));
}

INSTANTIATE_TEST_SUITE_P(Hardware, Replayed, testing::ValuesIn(kCases), [](const auto& c) {
  return std::string(c.param.tee == TeeKind::kTdx ? "Tdx" : c.param.tee == TeeKind::kSgx ? "Sgx" : "Snp");
});

}  // namespace
}  // namespace infenclave
