// The end user's side: attest the enclave, seal pictures to its key, open its answers.
//
// Nothing is sealed before the evidence passed the policy, and nothing to a bundle version lower than one seen before.
// The key is attested with a fresh nonce at first and again after the policy's max_age; a key that has rotated (or is
// another replica's) costs the request that finds it one more round trip, in which it is attested and sealed again.
//
// Thread-safe. At most one request is sealed per call; nothing is retried but that. The key exchange for the next
// request is made while the last one is under way: one that is used once, as always, and for the same attested key.
#ifndef INFENCLAVE_CLIENT_CLIENT_H_
#define INFENCLAVE_CLIENT_CLIENT_H_

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "attestation/policy.h"
#include "client/attest.h"
#include "client/seen_versions.h"
#include "image/image.h"
#include "oip/enclave.grpc.pb.h"
#include "oip/open_inference.grpc.pb.h"
#include "protocol/sealed.h"

namespace infenclave {

class Client {
 public:
  struct Options {
    std::string server;  // HOST:PORT or another of gRPC's target URIs
    Policy policy;
    Bytes credential;                              // an encoded Credential; empty for bundles that are open to everyone
    std::string seen_versions;                     // a file; empty: DefaultSeenVersionsPath()
    std::shared_ptr<CollateralSource> collateral;  // shared by clients; null: what servers send along is all there is
    std::chrono::milliseconds timeout = std::chrono::seconds(30);  // of attesting, and of each request
  };
  // Attests before it returns. PERMISSION_DENIED if the policy refuses.
  static StatusOr<std::unique_ptr<Client>> Connect(Options options);
  // Waits for the requests in flight.
  ~Client();

  // Of the enclave that was attested last.
  Appraisal appraisal() const;

  // An error of the server's, or the answer that the enclave sealed: its status, if not OK, is returned as such.
  StatusOr<Answer> Classify(const Image& image);
  // Resizes and seals on the calling thread (and attests there, when the evidence has become too old), then returns;
  // `done` runs once, on a thread of gRPC's, where it must not block.
  using Done = std::function<void(StatusOr<Answer>)>;
  void ClassifyAsync(const Image& image, Done done);

 private:
  struct Session;  // an attested key
  struct Request;  // one in flight

  explicit Client(Options options);
  StatusOr<std::shared_ptr<const Session>> FreshSession();
  StatusOr<std::shared_ptr<const Session>> Accept(const GetEvidenceReply& reply, const std::optional<Nonce>& nonce,
                                                  std::chrono::steady_clock::time_point attested_at);
  // An encapsulation for one request: the one made ahead, if it is for this key, else a new one.
  StatusOr<HpkeContext> Encapsulate(const std::shared_ptr<const Session>& session);
  void EncapsulateAhead(const std::shared_ptr<const Session>& session);
  void Send(std::unique_ptr<Request> request);
  void Receive(std::unique_ptr<Request> request, const grpc::Status& status);
  // After FAILED_PRECONDITION: with the evidence that came along, or else with evidence that is asked for now.
  void Reseal(std::unique_ptr<Request> request);
  void ResealWith(std::unique_ptr<Request> request, const StatusOr<GetEvidenceReply>& evidence);
  void Finish(std::unique_ptr<Request> request, StatusOr<Answer> answer);

  const Options options_;
  const ServerConnection server_;
  const SeenVersions seen_versions_;
  const std::unique_ptr<inference::GRPCInferenceService::Stub> infer_;
  const std::unique_ptr<v1::Enclave::Stub> enclave_;

  std::mutex attest_mutex_;  // held while attesting: one does, the others wait for it
  mutable std::mutex mutex_;
  std::condition_variable idle_;
  std::shared_ptr<const Session> session_;  // shared by the requests that were sealed to it
  std::shared_ptr<const Session> ahead_for_;
  std::optional<HpkeContext> ahead_;
  int in_flight_ = 0;
};

}  // namespace infenclave

#endif  // INFENCLAVE_CLIENT_CLIENT_H_
