// The client against a real server, a real enclave core in this process and a host that tampers. What it should answer
// is computed by the test harness in plain loops.
#include "client/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <latch>

#include "client/provision.h"
#include "host/confidential_server.h"
#include "import/model.h"
#include "tests/enclave/harness.h"

namespace infenclave {
namespace {

using testing::HasSubstr;

// One lane on one worker's thread. The host may change what goes in and comes out, as hosts can.
class CoreLink final : public EnclaveLink {
 public:
  CoreLink(const TestBundle& bundle, const EnclaveOptions& options) : enclave_(bundle, options) {}

  StatusOr<ByteSpan> Call(ByteSpan call, int lane) override {
    const CallType type = PeekCallType(call).value();
    if (type == CallType::kGetEvidence) {
      (DecodeGetEvidenceCall(call)->nonce.has_value() ? with_nonce_ : without_nonce_)++;
    }
    reply_ = enclave_.core->Handle(call, lane);
    if (tamper_) tamper_(type, reply_);
    return ByteSpan(reply_);
  }
  bool alive() const override { return true; }
  const std::string& start_line() const override { return line_; }
  int lanes() const override { return 1; }
  uint64_t max_call_bytes() const override { return 1 << 24; }

  std::function<void(CallType, Bytes& reply)> tamper_;
  std::atomic<int> with_nonce_ = 0, without_nonce_ = 0;

 private:
  LocalEnclave enclave_;
  Bytes reply_;
  std::string line_ = "in this process";
};

class ClientTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/client-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    policy_.accept = {TeeKind::kSimulated};
    policy_.owner = bundle_.owner.public_key();
    policy_.simulated.measurements = {Sha256(AsBytes("test"))};
  }
  void TearDown() override {
    server_.reset();
    std::filesystem::remove_all(folder_);
  }

  void Serve(const EnclaveOptions& options = {}) {
    auto link = std::make_unique<CoreLink>(bundle_, options);
    link_ = link.get();
    const Manifest& manifest = bundle_.manifest;
    const Bytes onnx = ExportOnnx(bundle_.model.BackNet(bundle_.mapping.order), {.anonymous = true}).value();
    auto backnet = BuiltinBackNet(onnx, BackNetShapeOf(manifest));
    ASSERT_TRUE(backnet.ok()) << backnet.status();
    auto server =
        ConfidentialServer::Start(std::move(link), bundle_.parts.manifest, *backnet, {.listen = "127.0.0.1:0"});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  void ServeWithKeys(const EnclaveOptions& options = {}) {
    Serve(options);
    const auto done =
        ProvisionEnclave(ServerConnection(server_->address()), Keys(), {.policy = policy_, .lease = 1'000'000});
    ASSERT_TRUE(done.ok()) << done.status();
  }
  BundleKeys Keys() const {
    return {bundle_.manifest.bundle_id, bundle_.frontnet_key.Clone(), bundle_.mapping_key.Clone(),
            bundle_.release.seed().Clone(), bundle_.manifest.model_version};
  }
  Client::Options Options() const {
    Client::Options options;
    options.server = server_->address();
    options.policy = policy_;
    options.credential = EncodeCredential(bundle_.MakeCredentialFor("alice"));
    options.seen_versions = folder_ + "/versions";
    return options;
  }
  std::unique_ptr<Client> Connect() {
    auto client = Client::Connect(Options());
    EXPECT_TRUE(client.ok()) << client.status();
    return client.ok() ? *std::move(client) : nullptr;
  }
  static Image Picture(uint32_t seed) { return {TinyModel::kSide, TinyModel::kSide, RandomPicture(seed)}; }

  void ExpectRight(const StatusOr<Answer>& answer, const Image& picture) const {
    ASSERT_TRUE(answer.ok()) << answer.status();
    const std::vector<AnswerClass> expected = bundle_.Expected(picture.rgb);
    ASSERT_EQ(answer->classes.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(answer->classes[i].label, expected[i].label);
      EXPECT_NEAR(answer->classes[i].probability, expected[i].probability, 1e-5);
    }
  }

  TestBundle bundle_;
  Policy policy_;
  std::string folder_;
  std::unique_ptr<ConfidentialServer> server_;
  CoreLink* link_ = nullptr;
};

TEST_F(ClientTest, AnswersAreThoseOfAPlainEvaluation) {
  ServeWithKeys();
  const auto client = Connect();
  for (uint32_t seed = 0; seed < 10; ++seed) ExpectRight(client->Classify(Picture(seed)), Picture(seed));
}

TEST_F(ClientTest, ManyInFlightEachGetTheirOwn) {
  ServeWithKeys();
  const auto client = Connect();
  constexpr uint32_t kRequests = 100;
  std::vector<StatusOr<Answer>> answers(kRequests, Internal("no answer"));
  std::latch left(kRequests);
  for (uint32_t i = 0; i < kRequests; ++i) {
    client->ClassifyAsync(Picture(i), [&, i](StatusOr<Answer> answer) {
      answers[i] = std::move(answer);
      left.count_down();
    });
  }
  left.wait();
  for (uint32_t i = 0; i < kRequests; ++i) ExpectRight(answers[i], Picture(i));
}

TEST_F(ClientTest, ARotatedKeyCostsOneMoreRoundTripAndNothingElse) {
  ServeWithKeys({.requests_per_key = 3, .overlap = 1});
  const auto client = Connect();
  const KeyId first = client->appraisal().key_config.key_id;
  const int attested = link_->with_nonce_;
  for (uint32_t seed = 0; seed < 20; ++seed) ExpectRight(client->Classify(Picture(seed)), Picture(seed));
  EXPECT_NE(client->appraisal().key_config.key_id, first);
  EXPECT_GE(link_->without_nonce_, 3) << "the evidence came with the refusals";
  EXPECT_EQ(link_->with_nonce_, attested) << "nothing was asked for";
}

TEST_F(ClientTest, ARefusalWithoutEvidenceIsFollowedByAQuestionForIt) {
  ServeWithKeys({.requests_per_key = 3, .overlap = 1});
  const auto client = Connect();
  // Every second time there is none, as if it were too large for a refusal's trailer.
  int asked = 0;
  link_->tamper_ = [&](CallType type, Bytes& bytes) {
    if (type == CallType::kGetEvidence && asked++ % 2 == 0) bytes = EncodeErrorReply(Internal("not now"));
  };
  const int attested = link_->with_nonce_;
  for (uint32_t seed = 0; seed < 10; ++seed) ExpectRight(client->Classify(Picture(seed)), Picture(seed));
  EXPECT_GE(asked, 4);
  EXPECT_EQ(link_->with_nonce_, attested) << "evidence made before does";
  link_->tamper_ = [&](CallType type, Bytes& bytes) {
    if (type == CallType::kGetEvidence) bytes = EncodeErrorReply(Internal("no evidence at all"));
  };
  Status last;
  for (uint32_t seed = 0; seed < 6 && last.ok(); ++seed) last = client->Classify(Picture(seed)).status();
  EXPECT_EQ(last.code(), StatusCode::kInternal) << "a key rotated, and nothing says to which";
  EXPECT_THAT(MessageOf(last), HasSubstr("no evidence at all"));
}

TEST_F(ClientTest, EvidenceIsAskedForOncePerMaxAge) {
  ServeWithKeys();
  const auto client = Connect();
  const int attested = link_->with_nonce_;
  for (uint32_t seed = 0; seed < 5; ++seed) ExpectRight(client->Classify(Picture(seed)), Picture(seed));
  EXPECT_EQ(link_->with_nonce_, attested) << "a request pays nothing for attestation";
  policy_.max_age_seconds = 0;
  const auto impatient = Connect();
  const int before = link_->with_nonce_;
  for (uint32_t seed = 0; seed < 5; ++seed) ExpectRight(impatient->Classify(Picture(seed)), Picture(seed));
  EXPECT_EQ(link_->with_nonce_, before + 5);
}

TEST_F(ClientTest, WithoutACredentialTheEnclaveRefusesUnderSeal) {
  ServeWithKeys();
  Client::Options options = Options();
  options.credential.clear();
  const auto client = Client::Connect(options).value();
  const auto answer = client->Classify(Picture(1));
  EXPECT_EQ(answer.status().code(), StatusCode::kPermissionDenied);
  EXPECT_THAT(MessageOf(answer.status()), HasSubstr("credential"));
}

TEST_F(ClientTest, AServerWithoutKeysSaysWhatToDo) {
  Serve();
  const auto client = Connect();
  const auto answer = client->Classify(Picture(1));
  EXPECT_EQ(answer.status().code(), StatusCode::kUnavailable);
  EXPECT_THAT(MessageOf(answer.status()), HasSubstr("infenclave provision"));
}

TEST_F(ClientTest, ALeaseThatIsUsedUpNeedsANewGrant) {
  Serve();
  const ServerConnection connection(server_->address());
  ASSERT_TRUE(ProvisionEnclave(connection, Keys(), {.policy = policy_, .lease = 2}).ok());
  const auto client = Connect();
  ExpectRight(client->Classify(Picture(1)), Picture(1));
  ExpectRight(client->Classify(Picture(2)), Picture(2));
  const auto third = client->Classify(Picture(3));
  EXPECT_EQ(third.status().code(), StatusCode::kUnavailable);
  EXPECT_THAT(MessageOf(third.status()), HasSubstr("infenclave provision"));
  EXPECT_FALSE(server_->model().ready());
  EXPECT_FALSE(FetchEvidence(connection, std::nullopt, std::chrono::seconds(10))->provisioned);
  ASSERT_TRUE(ProvisionEnclave(connection, Keys(), {.policy = policy_, .lease = 1}).ok());
  EXPECT_TRUE(server_->model().ready());
  ExpectRight(client->Classify(Picture(3)), Picture(3));
}

TEST_F(ClientTest, NothingIsSealedForEvidenceThatThePolicyRefuses) {
  ServeWithKeys();
  policy_.simulated.measurements = {Sha256(AsBytes("another enclave"))};
  const auto client = Client::Connect(Options());
  EXPECT_EQ(client.status().code(), StatusCode::kPermissionDenied);
  EXPECT_THAT(MessageOf(client.status()), HasSubstr("measurement"));
}

TEST_F(ClientTest, AnOlderVersionThanOneSeenIsRefused) {
  ServeWithKeys();
  const SeenVersions seen(folder_ + "/versions");
  Appraisal newer;
  newer.manifest.model_name = "tiny";
  newer.manifest.model_version = bundle_.manifest.model_version + 1;
  ASSERT_TRUE(seen.CheckAndRecord(policy_, newer).ok());
  const auto client = Client::Connect(Options());
  EXPECT_EQ(client.status().code(), StatusCode::kPermissionDenied);
  EXPECT_THAT(MessageOf(client.status()), HasSubstr("was seen before"));
}

TEST_F(ClientTest, KeysOfAnotherBundleAreNotGivenAway) {
  Serve();
  BundleKeys keys = Keys();
  keys.bundle_id[0] ^= 1;
  const auto done = ProvisionEnclave(ServerConnection(server_->address()), keys, {.policy = policy_, .lease = 1});
  EXPECT_EQ(done.status().code(), StatusCode::kPermissionDenied);
  EXPECT_THAT(MessageOf(done.status()), HasSubstr("these keys are for bundle"));
  EXPECT_FALSE(server_->model().ready());
}

TEST_F(ClientTest, NoKeyIsGivenToAnEnclaveThatThePolicyRefuses) {
  Serve();
  policy_.simulated.measurements = {};
  const auto done = ProvisionEnclave(ServerConnection(server_->address()), Keys(), {.policy = policy_, .lease = 1});
  EXPECT_EQ(done.status().code(), StatusCode::kPermissionDenied);
  EXPECT_FALSE(server_->model().ready());
}

TEST_F(ClientTest, GrantsOfAStrangersReleaseKeyAreRefused) {
  Serve();
  BundleKeys keys = Keys();
  keys.release_seed = Ed25519PrivateKey::Generate().seed().Clone();
  const auto done = ProvisionEnclave(ServerConnection(server_->address()), keys, {.policy = policy_, .lease = 1});
  EXPECT_EQ(done.status().code(), StatusCode::kPermissionDenied);
  EXPECT_FALSE(server_->model().ready());
}

// What a host may try. Every bit of the evidence is bound to something that the client checks.
TEST_F(ClientTest, AHostThatAltersEvidenceIsFoundOut) {
  ServeWithKeys();
  const std::vector<std::function<void(GetEvidenceReply&)>> tricks = {
      [](GetEvidenceReply& reply) { reply.evidence.back() ^= 1; },
      [](GetEvidenceReply& reply) { reply.key_config[30] ^= 1; },  // a public key of the host's own
      [](GetEvidenceReply& reply) { reply.manifest[40] ^= 1; },
      [](GetEvidenceReply& reply) { reply.manifest_signature[50] ^= 1; },
      [](GetEvidenceReply& reply) { reply.evidence.clear(); },
  };
  for (size_t i = 0; i < tricks.size(); ++i) {
    link_->tamper_ = [&](CallType type, Bytes& bytes) {
      if (type != CallType::kGetEvidence) return;
      GetEvidenceReply reply = DecodeGetEvidenceReply(bytes).value();
      tricks[i](reply);
      bytes = EncodeReply(reply);
    };
    EXPECT_EQ(Client::Connect(Options()).status().code(), StatusCode::kPermissionDenied) << i;
  }
}

TEST_F(ClientTest, OldEvidenceDoesNotPassForFresh) {
  ServeWithKeys();
  Bytes recorded;
  link_->tamper_ = [&](CallType type, Bytes& bytes) {
    if (type != CallType::kGetEvidence) return;
    if (recorded.empty()) recorded = bytes;
    bytes = recorded;
  };
  EXPECT_NE(Connect(), nullptr);
  const auto replayed = Client::Connect(Options());
  EXPECT_EQ(replayed.status().code(), StatusCode::kPermissionDenied);
  EXPECT_THAT(MessageOf(replayed.status()), HasSubstr("report data"));
}

TEST_F(ClientTest, AHostThatAltersOrSwapsAnswersIsFoundOut) {
  ServeWithKeys();
  const auto client = Connect();
  Bytes earlier;
  link_->tamper_ = [&](CallType type, Bytes& bytes) {
    if (type != CallType::kFinish) return;
    FinishReply reply = DecodeFinishReply(bytes).value();
    earlier = reply.items[0].answer;
    reply.items[0].answer[60] ^= 1;
    bytes = EncodeReply(reply);
  };
  EXPECT_FALSE(client->Classify(Picture(1)).ok());
  link_->tamper_ = [&](CallType type, Bytes& bytes) {
    if (type != CallType::kFinish) return;
    FinishReply reply = DecodeFinishReply(bytes).value();
    reply.items[0].answer = earlier;
    bytes = EncodeReply(reply);
  };
  EXPECT_FALSE(client->Classify(Picture(1)).ok()) << "the answer to an earlier request of the same picture";
  link_->tamper_ = nullptr;
  ExpectRight(client->Classify(Picture(1)), Picture(1));
}

TEST_F(ClientTest, AServerThatIsGoneIsSaidInOneLine) {
  ServeWithKeys();
  const auto client = Connect();
  server_.reset();
  const auto answer = client->Classify(Picture(1));
  EXPECT_EQ(answer.status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(MessageOf(answer.status()).find('\n'), std::string::npos);
  const auto gone = FetchEvidence(ServerConnection("127.0.0.1:1"), std::nullopt, std::chrono::seconds(10));
  EXPECT_THAT(MessageOf(gone.status()), HasSubstr("cannot connect to 127.0.0.1:1"));
}

}  // namespace
}  // namespace infenclave
