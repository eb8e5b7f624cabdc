// EnclaveCore against an honest host and against hostile ones. Answers are compared with a plain evaluation of the
// whole network in double precision (tests/enclave/harness.h).
#include "enclave/enclave_core.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <set>

#include "tests/enclave/harness.h"

namespace infenclave {
namespace {

using testing::HasSubstr;

void ExpectEqualAnswers(const Answer& answer, const std::vector<AnswerClass>& expected, double tolerance) {
  ASSERT_EQ(answer.code, StatusCode::kOk) << answer.message;
  ASSERT_EQ(answer.classes.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(answer.classes[i].label, expected[i].label);
    EXPECT_NEAR(answer.classes[i].probability, expected[i].probability, tolerance);
  }
}

StatusOr<std::unique_ptr<EnclaveCore>> CreateFrom(EnclaveBundle parts) {
  return EnclaveCore::Create(std::move(parts), MakeSimulatedEvidenceMaker({}), {});
}

std::vector<ByteSpan> Spans(const std::vector<SealedRequest>& requests) {
  std::vector<ByteSpan> out;
  for (const SealedRequest& r : requests) out.push_back(r.sealed);
  return out;
}

class EnclaveCoreTest : public testing::Test {
 protected:
  void Start(const EnclaveOptions& options = {}) { enclave_ = std::make_unique<LocalEnclave>(bundle_, options); }
  void StartProvisioned(const EnclaveOptions& options = {}, uint64_t lease = 1'000'000) {
    Start(options);
    ASSERT_EQ(host().Provision(lease), OkStatus());
  }
  TestHost& host() { return enclave_->host; }
  Bytes Handle(ByteSpan call) { return enclave_->core->Handle(call, 0); }

  // A request that was begun, and the scores of its IR.
  struct Begun {
    SealedRequest request;
    RequestId id;
    std::vector<float> scores;
  };
  Begun BeginPicture(uint32_t seed) {
    SealedRequest request = host().Seal(RandomPicture(seed));
    StatusOr<BeginResult> begun = host().Begin({request.sealed});
    EXPECT_TRUE(begun.ok() && begun->reply.items[0].status.ok() && begun->reply.items[0].sealed_refusal.empty());
    return {std::move(request), begun->reply.items[0].id, bundle_.BackNetScores(begun->reply.ir)};
  }

  TestBundle bundle_;
  std::unique_ptr<LocalEnclave> enclave_;
};

// ---- the honest path ----------------------------------------------------------------------------------------------
TEST_F(EnclaveCoreTest, AnswersAsAPlainEvaluationDoes) {
  StartProvisioned();
  for (uint32_t seed = 0; seed < 20; ++seed) {
    const Bytes rgb = RandomPicture(seed);
    StatusOr<Answer> answer = host().Classify(rgb);
    ASSERT_TRUE(answer.ok()) << answer.status();
    ExpectEqualAnswers(*answer, bundle_.Expected(rgb), 1e-5);
  }
}

TEST(EnclaveCore, AnswersInBf16AreNearAndTheIrIsHalfAsLarge) {
  TestBundle bundle([](Manifest& m) { m.ir_precision = IrPrecision::kBf16; });
  LocalEnclave enclave(bundle);
  ASSERT_EQ(enclave.host.Provision(), OkStatus());
  const Bytes rgb = RandomPicture(1);
  SealedRequest request = enclave.host.Seal(rgb);
  StatusOr<BeginResult> begun = enclave.host.Begin({request.sealed});
  ASSERT_TRUE(begun.ok()) << begun.status();
  ASSERT_EQ(begun->reply.ir.size(), size_t{2} * TinyModel::kIrElements);
  const std::vector<double> expected = bundle.model.Ir(rgb);
  for (size_t i = 0; i < expected.size(); ++i) {
    uint16_t bits;
    std::memcpy(&bits, begun->reply.ir.data() + 2 * i, 2);
    ASSERT_NEAR(Bf16ToF32(bits), expected[i], 1e-5 + expected[i] / 250) << i;
  }
  StatusOr<Answer> answer = enclave.host.Classify(rgb);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->classes[0].label, bundle.Expected(rgb)[0].label);
}

TEST(EnclaveCore, CodesAreNearAndTheIrIsAQuarterOrAnEighthAsLarge) {
  for (const auto& [precision, step, bytes] : {std::tuple{IrPrecision::kInt8, 0.05f, TinyModel::kIrElements},
                                               {IrPrecision::kInt4, 0.5f, TinyModel::kIrElements / 2}}) {
    SCOPED_TRACE(NameOf(precision));
    TestBundle bundle([&, precision = precision, step = step](Manifest& m) {
      m.ir_precision = precision;
      m.ir_step = step;
    });
    LocalEnclave enclave(bundle);
    ASSERT_EQ(enclave.host.Provision(), OkStatus());
    const Bytes rgb = RandomPicture(1);
    const std::vector<double> exact = bundle.model.Ir(rgb);
    const double largest = step * LargestCode(precision);
    ASSERT_LT(*std::max_element(exact.begin(), exact.end()), largest);
    const SealedRequest request = enclave.host.Seal(rgb);
    const StatusOr<BeginResult> begun = enclave.host.Begin({request.sealed});
    ASSERT_TRUE(begun.ok()) << begun.status();
    const ByteSpan ir = begun->reply.ir;
    ASSERT_EQ(ir.size(), static_cast<size_t>(bytes));
    for (size_t i = 0; i < exact.size(); ++i) {
      const int code = precision == IrPrecision::kInt8 ? ir[i] : i < ir.size() ? ir[i] & 15 : ir[i - ir.size()] >> 4;
      ASSERT_NEAR(step * static_cast<float>(code), exact[i], step / 2 + 1e-5) << i;
    }
    const StatusOr<Answer> answer = enclave.host.Classify(rgb);
    ASSERT_TRUE(answer.ok()) << answer.status();
    if (precision == IrPrecision::kInt8) ExpectEqualAnswers(*answer, bundle.Expected(rgb), 0.05);
  }
}

TEST_F(EnclaveCoreTest, ABatchComesBackInOrderAndIsFinishedInAnyOrder) {
  StartProvisioned({.max_batch = 5});
  std::vector<SealedRequest> requests;
  for (uint32_t seed = 0; seed < 5; ++seed) requests.push_back(host().Seal(RandomPicture(seed)));
  StatusOr<BeginResult> begun = host().Begin(Spans(requests));
  ASSERT_TRUE(begun.ok()) << begun.status();
  const size_t ir_bytes = 4 * TinyModel::kIrElements;
  ASSERT_EQ(begun->reply.ir.size(), 5 * ir_bytes);
  std::vector<RequestId> ids;
  std::vector<float> scores;
  for (size_t at : {3, 0, 4, 1, 2}) {
    ids.push_back(begun->reply.items[at].id);
    const std::vector<float> own = bundle_.BackNetScores(begun->reply.ir.subspan(at * ir_bytes, ir_bytes));
    scores.insert(scores.end(), own.begin(), own.end());
  }
  StatusOr<FinishReply> finished = host().Finish(ids, scores);
  ASSERT_TRUE(finished.ok()) << finished.status();
  for (size_t i = 0; size_t at : {3, 0, 4, 1, 2}) {
    StatusOr<Answer> answer = OpenAnswer(requests[at].context, finished->items[i++].answer);
    ASSERT_TRUE(answer.ok()) << answer.status();
    ExpectEqualAnswers(*answer, bundle_.Expected(RandomPicture(static_cast<uint32_t>(at))), 1e-5);
  }
}

TEST_F(EnclaveCoreTest, EveryLaneComputesTheSame) {
  StartProvisioned({.lanes = 3});
  const Bytes rgb = RandomPicture(4);
  for (int lane = 0; lane < 3; ++lane) {
    TestHost other(bundle_, [&](ByteSpan call) { return enclave_->core->Handle(call, lane); });
    StatusOr<Answer> answer = other.Classify(rgb);
    ASSERT_TRUE(answer.ok()) << answer.status();
    ExpectEqualAnswers(*answer, bundle_.Expected(rgb), 1e-5);
  }
}

TEST_F(EnclaveCoreTest, AnswersAndRefusalsAllHaveOneLength) {
  StartProvisioned();
  std::set<size_t> lengths;
  for (uint32_t seed = 0; seed < 10; ++seed) {
    Begun begun = BeginPicture(seed);
    if (seed % 3 == 0) begun.scores[0] = NAN;
    lengths.insert(host().Finish({begun.id}, begun.scores)->items[0].answer.size());
  }
  const Bytes rgb = RandomPicture(1);
  lengths.insert(host()
                     .BeginOne(host().Seal(host().Config(), {.height = 8, .width = 8, .rgb = rgb}).sealed)
                     .sealed_refusal.size());
  EXPECT_EQ(lengths, std::set<size_t>{SealedAnswerBytes(bundle_.manifest)});
}

// ---- evidence -----------------------------------------------------------------------------------------------------
TEST_F(EnclaveCoreTest, EvidenceBindsTheKeyTheManifestAndTheNonce) {
  Start();
  const Nonce nonce = RandomArray<32>();
  for (std::optional<Nonce> asked : {std::optional<Nonce>(), std::optional<Nonce>(nonce)}) {
    StatusOr<GetEvidenceReply> reply = host().GetEvidence(asked);
    ASSERT_TRUE(reply.ok()) << reply.status();
    EXPECT_EQ(reply->manifest, bundle_.parts.manifest);
    EXPECT_EQ(reply->manifest_signature, bundle_.parts.manifest_signature);
    EXPECT_FALSE(reply->provisioned);
    KeyConfig config = *DecodeKeyConfig(reply->key_config);
    EXPECT_EQ(config.manifest_digest, Sha256(bundle_.parts.manifest));
    EvidenceEnvelope envelope = *DecodeEvidenceEnvelope(reply->evidence);
    EXPECT_EQ(envelope.tee, TeeKind::kSimulated);
    SimulatedEvidence evidence = *DecodeSimulatedEvidence(envelope.evidence);
    EXPECT_EQ(evidence.measurement, Sha256(AsBytes("test")));
    EXPECT_EQ(evidence.report_data, ReportDataFor(config, asked));
  }
  ASSERT_EQ(host().Provision(), OkStatus());
  EXPECT_TRUE(host().GetEvidence()->provisioned);
}

class CountingMaker : public EvidenceMaker {
 public:
  explicit CountingMaker(int* count) : count_(count) {}
  TeeKind kind() const override { return TeeKind::kSimulated; }
  StatusOr<Bytes> Make(const ReportData&) override {
    ++*count_;
    return Bytes(1);
  }

 private:
  int* count_;
};

TEST(EnclaveCore, MakesEvidenceOncePerKeyUnlessThereIsANonce) {
  TestBundle bundle;
  int made = 0;
  auto core = EnclaveCore::Create(bundle.Parts(), std::make_unique<CountingMaker>(&made), {.requests_per_key = 1});
  ASSERT_TRUE(core.ok()) << core.status();
  TestHost host(bundle, [&](ByteSpan call) { return (*core)->Handle(call, 0); });
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(host.GetEvidence().ok());
  EXPECT_EQ(made, 1);
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(host.GetEvidence(Nonce{}).ok());
  EXPECT_EQ(made, 3);
  ASSERT_EQ(host.Send(bundle.ProvisionCallFor(host.Config(), 1)), OkStatus());  // uses the key up
  EXPECT_EQ(made, 3);
  EXPECT_TRUE(host.GetEvidence().ok());
  EXPECT_EQ(made, 4);
}

// ---- start --------------------------------------------------------------------------------------------------------
TEST(EnclaveCore, StartsOnlyFromTheFilesThatTheOwnerSigned) {
  TestBundle bundle;
  EXPECT_TRUE(CreateFrom(bundle.Parts()).ok());
  for (Bytes EnclaveBundle::*part : {&EnclaveBundle::manifest, &EnclaveBundle::manifest_signature,
                                     &EnclaveBundle::frontnet_sealed, &EnclaveBundle::mapping_sealed}) {
    for (size_t at : {size_t{0}, (bundle.parts.*part).size() / 2, (bundle.parts.*part).size() - 1}) {
      EnclaveBundle altered = bundle.Parts();
      (altered.*part)[at] ^= 1;
      EXPECT_EQ(CreateFrom(altered).status().code(), StatusCode::kPermissionDenied);
    }
    EnclaveBundle truncated = bundle.Parts();
    (truncated.*part).pop_back();
    EXPECT_FALSE(CreateFrom(truncated).ok());
    (truncated.*part).clear();
    EXPECT_FALSE(CreateFrom(truncated).ok());
  }
  EnclaveBundle foreign = bundle.Parts();
  foreign.frontnet_sealed = TestBundle().parts.frontnet_sealed;
  EXPECT_THAT(MessageOf(CreateFrom(foreign).status()), HasSubstr("frontnet.sealed"));
}

TEST(EnclaveCore, RefusesABundleSignedByAnotherThanItsOwner) {
  const auto other = Ed25519PrivateKey::Generate();
  TestBundle bundle;
  EnclaveBundle parts = bundle.Parts();
  parts.manifest_signature = EncodeManifestSignature(*SignManifest(other, parts.manifest));
  EXPECT_EQ(CreateFrom(parts).status().code(), StatusCode::kPermissionDenied);
}

TEST(EnclaveCore, RefusesABundleForHardware) {
  TestBundle hardware([](Manifest& m) { m.tee_class = TeeClass::kHardware; });
  EXPECT_EQ(CreateFrom(hardware.Parts()).status(),
            PermissionDenied("the bundle is for hardware TEEs only, and this enclave is simulated"));
}

TEST(EnclaveCore, AddsNoiseToTheIrThatARepetitionOfThePictureRepeats) {
  for (const IrPrecision precision : {IrPrecision::kF32, IrPrecision::kBf16, IrPrecision::kInt8, IrPrecision::kInt4}) {
    const TestBundle noisy([precision](Manifest& m) {
      m.ir_noise = 0.5f;
      m.ir_precision = precision;
      m.ir_step = 0.25f;
    });
    const LocalEnclave enclave(noisy);
    ASSERT_EQ(enclave.host.Provision(), OkStatus());
    const auto ir_of = [&](uint32_t seed) {
      const SealedRequest request = enclave.host.Seal(RandomPicture(seed));
      const auto begun = enclave.host.Begin({request.sealed});
      EXPECT_TRUE(begun.ok());
      return begun.ok() ? ToBytes(begun->reply.ir) : Bytes();
    };
    const Bytes first = ir_of(1);
    EXPECT_EQ(ir_of(1), first);
    EXPECT_NE(ir_of(2), first);
    if (precision != IrPrecision::kF32) continue;
    const std::vector<double> clean = noisy.model.Ir(RandomPicture(1));
    std::vector<float> sent(clean.size());
    ASSERT_EQ(first.size(), sent.size() * sizeof(float));
    std::memcpy(sent.data(), first.data(), first.size());
    double squares = 0;
    for (size_t i = 0; i < clean.size(); ++i) squares += (sent[i] - clean[i]) * (sent[i] - clean[i]);
    EXPECT_NEAR(std::sqrt(squares / static_cast<double>(clean.size())), 0.5, 0.1);  // of 256 values
  }
}

// ---- grants -------------------------------------------------------------------------------------------------------
TEST_F(EnclaveCoreTest, IsUnavailableUntilItHasKeys) {
  Start();
  SealedRequest request = host().Seal(RandomPicture(1));
  EXPECT_EQ(host().Begin({request.sealed}).status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(host().Finish({1}, std::vector<float>(10)).status().code(), StatusCode::kUnavailable);
  ASSERT_EQ(host().Provision(), OkStatus());
  EXPECT_EQ(host().BeginOne(request.sealed).status, OkStatus());  // and the request was not used up
}

TEST_F(EnclaveCoreTest, AGrantCountsOnlyFromAReleaseKeyAndForThisKeyConfiguration) {
  Start();
  const KeyConfig config = host().Config();
  auto send = [&](const KeyConfig& sealed_to, const Ed25519PrivateKey& signer, const KeyId& id) {
    return host().Send(EncodeCall(ProvisionCall{id, *SealGrant(sealed_to, signer, bundle_.MakeGrant(10))}));
  };
  EXPECT_EQ(send(config, bundle_.owner, config.key_id).code(), StatusCode::kPermissionDenied);
  EXPECT_EQ(send(config, Ed25519PrivateKey::Generate(), config.key_id).code(), StatusCode::kPermissionDenied);

  LocalEnclave other(bundle_);
  EXPECT_EQ(send(other.host.Config(), bundle_.release, config.key_id).code(), StatusCode::kPermissionDenied);
  EXPECT_EQ(send(config, bundle_.release, other.host.Config().key_id).code(), StatusCode::kFailedPrecondition);
  KeyConfig other_manifest = config;
  other_manifest.manifest_digest[0] ^= 1;
  EXPECT_EQ(send(other_manifest, bundle_.release, config.key_id).code(), StatusCode::kPermissionDenied);
  EXPECT_FALSE(host().GetEvidence()->provisioned);
  EXPECT_EQ(send(config, bundle_.release, config.key_id), OkStatus());
}

TEST(EnclaveCore, AReleaseKeyIsGoodUpToItsLastVersion) {
  TestBundle bundle([](Manifest& m) { m.release_keys[0].last_version = m.model_version - 1; });
  LocalEnclave enclave(bundle);
  EXPECT_EQ(enclave.host.Provision().code(), StatusCode::kPermissionDenied);
}

TEST_F(EnclaveCoreTest, EveryAlteredByteOfAGrantIsRefusedAndLeavesTheEnclaveReady) {
  Start();
  const Bytes call = bundle_.ProvisionCallFor(host().Config(), 10);
  for (size_t i = 0; i < call.size(); ++i) {
    Bytes altered = call;
    altered[i] ^= 0x40;
    EXPECT_FALSE(host().Send(altered).ok()) << i;
  }
  EXPECT_EQ(host().Send(call), OkStatus());
}

TEST_F(EnclaveCoreTest, WrongPartKeysFailAndRightOnesMayFollow) {
  Start();
  for (SecretBytes Grant::*key : {&Grant::frontnet_key, &Grant::mapping_key}) {
    Grant grant = bundle_.MakeGrant(10);
    (grant.*key).data()[3] ^= 1;
    const KeyConfig config = host().Config();
    EXPECT_EQ(host().Send(EncodeCall(ProvisionCall{config.key_id, *SealGrant(config, bundle_.release, grant)})).code(),
              StatusCode::kPermissionDenied);
    EXPECT_FALSE(host().GetEvidence()->provisioned);
  }
  EXPECT_EQ(host().Provision(), OkStatus());
}

TEST(EnclaveCore, RefusesAFrontNetThatDoesNotFitItsManifest) {
  TestBundle bundle([](Manifest& m) { m.ir_shape = {4, 8, 9}; });
  LocalEnclave enclave(bundle);
  Status status = enclave.host.Provision();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(MessageOf(status), HasSubstr("[1,4,8,9]"));
}

// ---- the lease ----------------------------------------------------------------------------------------------------
TEST_F(EnclaveCoreTest, TheLeaseCountsRequestsAndOnlyAFreshGrantRenewsIt) {
  Start();
  const Bytes grant = bundle_.ProvisionCallFor(host().Config(), 2);
  ASSERT_EQ(host().Send(grant), OkStatus());
  EXPECT_TRUE(host().Classify(RandomPicture(1)).ok());
  Begun last = BeginPicture(2);
  SealedRequest third = host().Seal(RandomPicture(3));
  EXPECT_EQ(host().BeginOne(third.sealed).status.code(), StatusCode::kUnavailable);
  EXPECT_EQ(host().Finish({last.id}, last.scores)->items[0].status, OkStatus());  // what was begun is answered

  EXPECT_EQ(host().Send(grant).code(), StatusCode::kAlreadyExists);  // the host plays the old grant again
  EXPECT_EQ(host().BeginOne(third.sealed).status.code(), StatusCode::kUnavailable);
  ASSERT_EQ(host().Provision(1), OkStatus());
  EXPECT_EQ(host().BeginOne(third.sealed).status, OkStatus());  // it was not used up
  EXPECT_EQ(host().BeginOne(host().Seal(RandomPicture(4)).sealed).status.code(), StatusCode::kUnavailable);
}

TEST_F(EnclaveCoreTest, WithinABatchTheLeaseServesTheFirstAndOnlyOpenedRequestsCount) {
  StartProvisioned({}, 2);
  std::vector<SealedRequest> requests;
  for (uint32_t seed = 0; seed < 4; ++seed) requests.push_back(host().Seal(RandomPicture(seed)));
  requests[0].sealed.back() ^= 1;
  StatusOr<BeginResult> begun = host().Begin(Spans(requests));
  ASSERT_TRUE(begun.ok()) << begun.status();
  EXPECT_EQ(begun->reply.items[0].status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(begun->reply.items[1].status, OkStatus());
  EXPECT_EQ(begun->reply.items[2].status, OkStatus());
  EXPECT_EQ(begun->reply.items[3].status.code(), StatusCode::kUnavailable);
  EXPECT_EQ(begun->reply.ir.size(), size_t{2} * 4 * TinyModel::kIrElements);
}

TEST_F(EnclaveCoreTest, AGrantSetsTheLeaseItDoesNotAddUp) {
  StartProvisioned({}, 5);
  ASSERT_EQ(host().Provision(1), OkStatus());
  EXPECT_TRUE(host().Classify(RandomPicture(1)).ok());
  EXPECT_EQ(host().Classify(RandomPicture(2)).status().code(), StatusCode::kUnavailable);
}

// ---- requests -----------------------------------------------------------------------------------------------------
TEST_F(EnclaveCoreTest, ARequestIsAcceptedOnce) {
  StartProvisioned();
  SealedRequest request = host().Seal(RandomPicture(1));
  EXPECT_EQ(host().BeginOne(request.sealed).status, OkStatus());
  EXPECT_EQ(host().BeginOne(request.sealed).status.code(), StatusCode::kAlreadyExists);
  StatusOr<BeginResult> twice = host().Begin({request.sealed, host().Seal(RandomPicture(2)).sealed, request.sealed});
  ASSERT_TRUE(twice.ok());
  EXPECT_EQ(twice->reply.items[0].status.code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(twice->reply.items[1].status, OkStatus());
  SealedRequest fresh = host().Seal(RandomPicture(3));
  StatusOr<BeginResult> same = host().Begin({fresh.sealed, fresh.sealed});
  ASSERT_TRUE(same.ok());
  EXPECT_EQ(same->reply.items[0].status, OkStatus());
  EXPECT_EQ(same->reply.items[1].status.code(), StatusCode::kAlreadyExists);
}

TEST_F(EnclaveCoreTest, AnAlteredRequestDoesNotOpenAndDoesNotUseTheOriginalUp) {
  StartProvisioned();
  SealedRequest request = host().Seal(RandomPicture(1));
  for (size_t i = 0; i < request.sealed.size(); i += 1 + i / 40) {
    Bytes altered = request.sealed;
    altered[i] ^= 2;
    BeginReply::Item item = host().BeginOne(altered);
    EXPECT_FALSE(item.status.ok()) << i;
    EXPECT_TRUE(item.sealed_refusal.empty()) << i;
  }
  EXPECT_EQ(host().BeginOne(request.sealed).status, OkStatus());
  Bytes same_enc = request.sealed;  // the same encapsulated key, another ciphertext
  same_enc.back() ^= 1;
  EXPECT_FALSE(host().BeginOne(same_enc).status.ok());
}

TEST_F(EnclaveCoreTest, EveryTruncationIsRefusedInTheClear) {
  StartProvisioned({}, 1);
  SealedRequest request = host().Seal(RandomPicture(1));
  for (size_t n = 0; n < request.sealed.size(); ++n) {
    BeginReply::Item item = host().BeginOne(ByteSpan(request.sealed).first(n));
    EXPECT_EQ(item.status.code(), StatusCode::kInvalidArgument) << n;
  }
  Bytes longer = request.sealed;
  longer.push_back(0);
  EXPECT_EQ(host().BeginOne(longer).status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(host().BeginOne(request.sealed).status, OkStatus());  // the lease of 1 is still there
}

TEST_F(EnclaveCoreTest, OneBadRequestOfABatchDoesNotDisturbTheOthers) {
  StartProvisioned();
  const Bytes good = RandomPicture(1), large(3 * 9 * 8);
  const Bytes credential = EncodeCredential(bundle_.MakeCredentialFor("alice"));
  std::vector<SealedRequest> requests;
  requests.push_back(host().Seal(good));
  requests.push_back(host().Seal(host().Config(), {.credential = credential, .height = 9, .width = 8, .rgb = large}));
  requests.push_back(host().Seal(host().Config(), {.height = 8, .width = 8, .rgb = good}));  // no credential
  requests.push_back(host().Seal(good));
  requests[3].sealed[60] ^= 1;
  requests.push_back(host().Seal(good));
  StatusOr<BeginResult> begun = host().Begin(Spans(requests));
  ASSERT_TRUE(begun.ok()) << begun.status();
  const std::vector<BeginReply::Item>& items = begun->reply.items;
  StatusOr<Answer> refusal = OpenAnswer(requests[1].context, items[1].sealed_refusal);
  ASSERT_TRUE(refusal.ok()) << refusal.status();
  EXPECT_EQ(refusal->code, StatusCode::kInvalidArgument);
  EXPECT_THAT(refusal->message, HasSubstr("9x8"));
  refusal = OpenAnswer(requests[2].context, items[2].sealed_refusal);
  ASSERT_TRUE(refusal.ok()) << refusal.status();
  EXPECT_EQ(refusal->code, StatusCode::kPermissionDenied);
  EXPECT_FALSE(items[3].status.ok());
  // The two good ones are equal pictures, and so are their IRs.
  ASSERT_EQ(begun->reply.ir.size(), size_t{2} * 4 * TinyModel::kIrElements);
  EXPECT_EQ(0, std::memcmp(begun->reply.ir.data(), begun->reply.ir.data() + 4 * TinyModel::kIrElements,
                           4 * TinyModel::kIrElements));
  std::vector<float> scores = bundle_.BackNetScores(begun->reply.ir.first(4 * TinyModel::kIrElements));
  StatusOr<FinishReply> finished = host().Finish({items[4].id}, scores);
  ASSERT_TRUE(finished.ok());
  ExpectEqualAnswers(*OpenAnswer(requests[4].context, finished->items[0].answer), bundle_.Expected(good), 1e-5);
}

TEST_F(EnclaveCoreTest, CredentialsAreTheOwnersAndForThisVersion) {
  StartProvisioned();
  const Bytes rgb = RandomPicture(1);
  const uint64_t version = bundle_.manifest.model_version;
  auto code = [&](const Bytes& credential) {
    SealedRequest request =
        host().Seal(host().Config(), {.credential = credential, .height = 8, .width = 8, .rgb = rgb});
    BeginReply::Item item = host().BeginOne(request.sealed);
    EXPECT_EQ(item.status, OkStatus());
    return item.sealed_refusal.empty() ? StatusCode::kOk : OpenAnswer(request.context, item.sealed_refusal)->code;
  };
  EXPECT_EQ(code(EncodeCredential(*MakeCredential(bundle_.owner, "bob", version, version))), StatusCode::kOk);
  EXPECT_EQ(code(EncodeCredential(*MakeCredential(bundle_.owner, "bob", version + 1, version + 2))),
            StatusCode::kPermissionDenied);
  EXPECT_EQ(code(EncodeCredential(*MakeCredential(bundle_.owner, "bob", 1, version - 1))),
            StatusCode::kPermissionDenied);
  EXPECT_EQ(code(EncodeCredential(*MakeCredential(Ed25519PrivateKey::Generate(), "bob", 1, version))),
            StatusCode::kPermissionDenied);
  EXPECT_EQ(code({}), StatusCode::kPermissionDenied);
  EXPECT_EQ(code({1, 2, 3}), StatusCode::kInvalidArgument);
}

TEST(EnclaveCore, AnOpenBundleAsksForNoCredential) {
  TestBundle bundle([](Manifest& m) { m.open = true; });
  LocalEnclave enclave(bundle);
  ASSERT_EQ(enclave.host.Provision(), OkStatus());
  const Bytes rgb = RandomPicture(1);
  SealedRequest request = enclave.host.Seal(enclave.host.Config(), {.height = 8, .width = 8, .rgb = rgb});
  BeginReply::Item item = enclave.host.BeginOne(request.sealed);
  EXPECT_EQ(item.status, OkStatus());
  EXPECT_TRUE(item.sealed_refusal.empty());
}

// ---- Finish -------------------------------------------------------------------------------------------------------
TEST_F(EnclaveCoreTest, AnIdIsAnsweredOnceAndUnknownOnesNever) {
  StartProvisioned();
  Begun a = BeginPicture(1), b = BeginPicture(2);
  std::vector<float> scores(4 * TinyModel::kClasses, 1);
  StatusOr<FinishReply> finished = host().Finish({a.id, a.id, 999'999, b.id}, scores);
  ASSERT_TRUE(finished.ok()) << finished.status();
  EXPECT_EQ(finished->items[0].status, OkStatus());
  EXPECT_EQ(finished->items[1].status.code(), StatusCode::kNotFound);
  EXPECT_EQ(finished->items[2].status.code(), StatusCode::kNotFound);
  EXPECT_EQ(finished->items[3].status, OkStatus());
  EXPECT_EQ(host().Finish({a.id}, a.scores)->items[0].status.code(), StatusCode::kNotFound);
  EXPECT_EQ(host().Finish({0}, a.scores)->items[0].status.code(), StatusCode::kNotFound);
}

TEST_F(EnclaveCoreTest, ScoresThatAreNotFiniteGetASealedErrorAndTheOthersGoOn) {
  StartProvisioned();
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                    -std::numeric_limits<float>::infinity()}) {
    Begun a = BeginPicture(1), b = BeginPicture(2);
    std::vector<float> scores = a.scores;
    scores[7] = bad;
    scores.insert(scores.end(), b.scores.begin(), b.scores.end());
    StatusOr<FinishReply> finished = host().Finish({a.id, b.id}, scores);
    ASSERT_TRUE(finished.ok()) << finished.status();
    EXPECT_EQ(finished->items[0].status, OkStatus());
    StatusOr<Answer> answer = OpenAnswer(a.request.context, finished->items[0].answer);
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(answer->code, StatusCode::kInvalidArgument);
    EXPECT_TRUE(answer->classes.empty());
    ExpectEqualAnswers(*OpenAnswer(b.request.context, finished->items[1].answer), bundle_.Expected(RandomPicture(2)),
                       1e-5);
    EXPECT_EQ(host().Finish({a.id}, a.scores)->items[0].status.code(), StatusCode::kNotFound);
  }
}

TEST_F(EnclaveCoreTest, WithoutScoresARequestIsGivenUpAndItsPlaceIsFree) {
  EnclaveOptions options;
  options.max_pending = 1;
  StartProvisioned(options);
  Begun a = BeginPicture(1);
  StatusOr<FinishReply> given_up = host().Finish({a.id, 999'999}, {});
  ASSERT_TRUE(given_up.ok()) << given_up.status();
  EXPECT_EQ(MessageOf(given_up->items[0].status), Concat("request ", a.id, " was given up"));
  EXPECT_EQ(given_up->items[1].status.code(), StatusCode::kNotFound);
  EXPECT_EQ(host().Finish({a.id}, a.scores)->items[0].status.code(), StatusCode::kNotFound);
  EXPECT_TRUE(BeginPicture(2).id > 0);
}

TEST_F(EnclaveCoreTest, AWrongNumberOfScoresFailsTheCallAndUsesNothingUp) {
  StartProvisioned();
  Begun a = BeginPicture(1);
  for (size_t count : {1, 9, 11, 20}) {
    EXPECT_EQ(host().Finish({a.id}, std::vector<float>(count)).status().code(), StatusCode::kInvalidArgument) << count;
  }
  EXPECT_EQ(host().Finish({}, {}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(host().Finish({a.id}, a.scores)->items[0].status, OkStatus());
}

TEST_F(EnclaveCoreTest, AnAnswerOpensOnlyForTheRequestItAnswers) {
  StartProvisioned();
  Begun a = BeginPicture(1), b = BeginPicture(2);
  Bytes answer = host().Finish({a.id}, a.scores)->items[0].answer;
  EXPECT_FALSE(OpenAnswer(b.request.context, answer).ok());
  EXPECT_TRUE(OpenAnswer(a.request.context, answer).ok());
  for (size_t i = 0; i < answer.size(); ++i) {
    Bytes altered = answer;
    altered[i] ^= 1;
    EXPECT_FALSE(OpenAnswer(a.request.context, altered).ok()) << i;
  }
}

// ---- bounds -------------------------------------------------------------------------------------------------------
TEST_F(EnclaveCoreTest, BatchesAreBoundedInBothCalls) {
  StartProvisioned({.max_batch = 2});
  std::vector<SealedRequest> requests;
  for (uint32_t seed = 0; seed < 3; ++seed) requests.push_back(host().Seal(RandomPicture(seed)));
  EXPECT_EQ(host().Begin(Spans(requests)).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(host().Begin({}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(host().Finish({1, 2, 3}, std::vector<float>(30)).status().code(), StatusCode::kInvalidArgument);
}

TEST_F(EnclaveCoreTest, PendingRequestsAreBoundedInNumber) {
  StartProvisioned({.max_pending = 3});
  std::vector<Begun> begun;
  for (uint32_t seed = 0; seed < 3; ++seed) begun.push_back(BeginPicture(seed));
  SealedRequest fourth = host().Seal(RandomPicture(3));
  EXPECT_EQ(host().BeginOne(fourth.sealed).status.code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(host().Finish({begun[1].id}, begun[1].scores)->items[0].status, OkStatus());
  EXPECT_EQ(host().BeginOne(fourth.sealed).status, OkStatus());
  EXPECT_EQ(host().BeginOne(host().Seal(RandomPicture(4)).sealed).status.code(), StatusCode::kResourceExhausted);
}

TEST_F(EnclaveCoreTest, RefusedRequestsTakeNoPlaceAmongThePending) {
  StartProvisioned({.max_pending = 1});
  const Bytes rgb = RandomPicture(1);
  for (int i = 0; i < 5; ++i) {
    SealedRequest request = host().Seal(host().Config(), {.height = 8, .width = 8, .rgb = rgb});
    BeginReply::Item item = host().BeginOne(request.sealed);
    EXPECT_EQ(item.status, OkStatus());
    EXPECT_FALSE(item.sealed_refusal.empty());
  }
  EXPECT_TRUE(host().Classify(rgb).ok());
}

TEST_F(EnclaveCoreTest, PendingRequestsAgeByBegins) {
  StartProvisioned({.max_age = 2});
  Begun a = BeginPicture(1);
  Begun b = BeginPicture(2);
  BeginPicture(3);
  EXPECT_EQ(host().Finish({a.id}, a.scores)->items[0].status, OkStatus());  // two Begins later
  EXPECT_FALSE(host().Begin({ByteSpan()})->reply.items[0].status.ok());
  EXPECT_FALSE(host().Begin({ByteSpan()})->reply.items[0].status.ok());
  EXPECT_EQ(host().Finish({b.id}, b.scores)->items[0].status.code(), StatusCode::kNotFound);  // three
}

// ---- rotation -----------------------------------------------------------------------------------------------------
TEST_F(EnclaveCoreTest, TheKeyRotatesAndTheOldOneStaysOpenForTheOverlap) {
  StartProvisioned({.requests_per_key = 4, .overlap = 3});  // the grant was the first
  const KeyConfig first = host().Config();
  const Bytes credential = EncodeCredential(bundle_.MakeCredentialFor("alice"));
  const Bytes rgb = RandomPicture(1);
  auto seal = [&](const KeyConfig& config) {
    return host().Seal(config, {.credential = credential, .height = 8, .width = 8, .rgb = rgb}).sealed;
  };
  const Bytes replayed = seal(first);
  EXPECT_EQ(host().BeginOne(replayed).status, OkStatus());
  EXPECT_EQ(host().BeginOne(seal(first)).status, OkStatus());
  EXPECT_EQ(host().Config(), first);
  EXPECT_EQ(host().BeginOne(seal(first)).status, OkStatus());
  const KeyConfig second = host().Config();
  EXPECT_NE(second.key_id, first.key_id);
  EXPECT_NE(second.public_key, first.public_key);

  EXPECT_EQ(host().BeginOne(replayed).status.code(), StatusCode::kAlreadyExists);  // remembered over the rotation
  EXPECT_EQ(host().BeginOne(seal(first)).status, OkStatus());
  EXPECT_EQ(host().BeginOne(seal(second)).status, OkStatus());
  EXPECT_EQ(host().BeginOne(seal(first)).status, OkStatus());  // the third of the overlap
  const Status erased = host().BeginOne(seal(first)).status;
  EXPECT_EQ(erased.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(MessageOf(erased), HasSubstr("rotated key"));
  EXPECT_EQ(host().Send(bundle_.ProvisionCallFor(first, 5)).code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(host().BeginOne(seal(second)).status, OkStatus());
  EXPECT_EQ(host().Config(), second);
}

TEST_F(EnclaveCoreTest, AnUnknownKeyIdIsARotatedKey) {
  StartProvisioned();
  KeyConfig config = host().Config();
  config.key_id[0] ^= 1;
  const Bytes rgb = RandomPicture(1);
  Status status = host().BeginOne(host().Seal(config, {.height = 8, .width = 8, .rgb = rgb}).sealed).status;
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(MessageOf(status), HasSubstr("rotated key"));
}

TEST_F(EnclaveCoreTest, RequestsThatWaitOutliveTheirKey) {
  StartProvisioned({.requests_per_key = 2, .overlap = 0});
  Begun a = BeginPicture(1);  // the key is used up with it
  ASSERT_TRUE(host().Classify(RandomPicture(2)).ok());
  ExpectEqualAnswers(*OpenAnswer(a.request.context, host().Finish({a.id}, a.scores)->items[0].answer),
                     bundle_.Expected(RandomPicture(1)), 1e-5);
}

// ---- malformed calls ----------------------------------------------------------------------------------------------
TEST_F(EnclaveCoreTest, EveryTruncatedOrUnknownCallGetsAnErrorReply) {
  StartProvisioned();
  SealedRequest request = host().Seal(RandomPicture(1));
  const std::vector<float> scores(10);
  const Bytes calls[] = {
      EncodeCall(GetEvidenceCall{Nonce{}}), bundle_.ProvisionCallFor(host().Config(), 1),
      EncodeCall(BeginCall{{request.sealed}}),
      EncodeCall(FinishCall{{1}, {reinterpret_cast<const uint8_t*>(scores.data()), scores.size() * sizeof(float)}})};
  for (const Bytes& call : calls) {
    for (size_t n = 0; n < call.size(); ++n) {
      EXPECT_FALSE(DecodeProvisionReply(Handle(ByteSpan(call).first(n))).ok()) << int{call[0]} << " cut to " << n;
    }
  }
  for (int type : {0, 5, 255}) {
    Bytes call = calls[0];
    call[0] = static_cast<uint8_t>(type);
    EXPECT_EQ(DecodeProvisionReply(Handle(call)).code(), StatusCode::kInvalidArgument);
  }
}

TEST_F(EnclaveCoreTest, RepliesFitTheSizesItAnnounces) {
  StartProvisioned({.max_batch = 3});
  std::vector<SealedRequest> requests;
  for (uint32_t seed = 0; seed < 3; ++seed) requests.push_back(host().Seal(RandomPicture(seed)));
  const Bytes call = EncodeCall(BeginCall{Spans(requests)});
  EXPECT_LE(call.size(), enclave_->core->max_call_bytes());
  EXPECT_LE(Handle(call).size(), enclave_->core->max_reply_bytes());
  EXPECT_LE(Handle(EncodeCall(GetEvidenceCall{})).size(), enclave_->core->max_reply_bytes());
}

}  // namespace
}  // namespace infenclave
