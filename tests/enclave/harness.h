// What tests of the enclave and of the host around it need: a small real network with its plain evaluation, a bundle of
// it made by hand, and the client's, the owner's and the host's parts in the protocol.
//
// The network: u8 RGB 8x8, normalised, Conv 3x3 (3 to 4 channels, padded) and Relu | cut, IR [4,8,8] | Gemm to 10
// classes. With a tail the Gemm is inside, and the BackNet is a Relu that changes nothing.
#ifndef INFENCLAVE_TESTS_ENCLAVE_HARNESS_H_
#define INFENCLAVE_TESTS_ENCLAVE_HARNESS_H_

#include <functional>
#include <string>
#include <vector>

#include "enclave/enclave_core.h"
#include "graph/graph.h"
#include "protocol/calls.h"
#include "protocol/sealed.h"

namespace infenclave {

struct TinyModel {
  static constexpr int64_t kSide = 8, kChannels = 4, kClasses = 10, kIrElements = kChannels * kSide * kSide;
  static constexpr size_t kPictureBytes = 3 * kSide * kSide;
  Preprocessing preprocessing;
  std::vector<float> conv_weights, conv_bias;  // [4,3,3,3], [4]
  std::vector<float> gemm_weights, gemm_bias;  // [10,256], [10]

  explicit TinyModel(uint32_t seed = 1);
  Graph FrontNet() const;
  // Class order[i] at position i of the scores.
  Graph BackNet(const std::vector<uint32_t>& order) const;
  Graph BackNetBeforeTail() const;
  // Loops as in a textbook, in double precision.
  std::vector<double> Ir(ByteSpan rgb) const;
  std::vector<double> Scores(std::span<const double> ir) const;  // in the model's own order
};

Bytes RandomPicture(uint32_t seed);

struct TestBundle {
  Ed25519PrivateKey owner = Ed25519PrivateKey::Generate(), release = Ed25519PrivateKey::Generate();
  TinyModel model;
  Manifest manifest;
  ClassMapping mapping;
  SecretBytes frontnet_key = SecretBytes::CopyOf(RandomArray<32>());
  SecretBytes mapping_key = SecretBytes::CopyOf(RandomArray<32>());
  EnclaveBundle parts;

  // Simulated, not open, answers of 3 classes; `adjust` may change the manifest before it is signed.
  explicit TestBundle(const std::function<void(Manifest&)>& adjust = nullptr);
  // Seals the parts again and signs the manifest with their digests.
  void Sign();
  EnclaveBundle Parts() const { return parts; }
  // The files that infenclave-enclave reads, in a new folder of the test's temporary directory.
  std::string Write() const;

  Grant MakeGrant(uint64_t lease) const;
  Bytes ProvisionCallFor(const KeyConfig& config, uint64_t lease) const;
  Credential MakeCredentialFor(std::string_view user) const;

  // What the BackNet answers to an IR as it crosses the cut: f32 scores in the secret order, or the tail's input.
  std::vector<float> BackNetScores(ByteSpan ir) const;
  // The answer of a plain evaluation of the whole network.
  std::vector<AnswerClass> Expected(ByteSpan rgb) const;
};

// Carries calls to an enclave, however it is reached.
using Caller = std::function<Bytes(ByteSpan call)>;

struct BeginResult {
  Bytes bytes;  // what `reply` borrows from
  BeginReply reply;
};

// The host, who is also client and owner here.
class TestHost {
 public:
  TestHost(const TestBundle& bundle, Caller caller) : bundle_(bundle), caller_(std::move(caller)) {}

  StatusOr<GetEvidenceReply> GetEvidence(const std::optional<Nonce>& nonce = std::nullopt) const;
  KeyConfig Config() const;  // the newest
  Status Provision(uint64_t lease = 1'000'000) const;
  Status Send(ByteSpan provision_call) const { return DecodeProvisionReply(caller_(provision_call)); }

  // Sealed to the newest key, with a valid credential.
  SealedRequest Seal(ByteSpan rgb) const;
  SealedRequest Seal(const KeyConfig& config, const RequestPlaintext& request) const;
  StatusOr<BeginResult> Begin(const std::vector<ByteSpan>& requests) const;
  // A Begin of one, which must succeed as a call.
  BeginReply::Item BeginOne(ByteSpan request) const;
  StatusOr<FinishReply> Finish(const std::vector<RequestId>& ids, std::span<const float> scores) const;

  // All of it: seal, Begin, BackNet, Finish, open.
  StatusOr<Answer> Classify(ByteSpan rgb) const;

 private:
  const TestBundle& bundle_;
  Caller caller_;
};

// An enclave in this process, on this thread.
struct LocalEnclave {
  std::unique_ptr<EnclaveCore> core;
  TestHost host;
  explicit LocalEnclave(const TestBundle& bundle, const EnclaveOptions& options = {});
};

}  // namespace infenclave

#endif  // INFENCLAVE_TESTS_ENCLAVE_HARNESS_H_
