#include "client/client.h"

#include <grpcpp/client_context.h>

#include <ctime>
#include <future>
#include <optional>

#include "oip/confidential.h"
#include "oip/infer.h"
#include "oip/status.h"

namespace infenclave {

using Clock = std::chrono::steady_clock;
constexpr int kMaxReseals = 12;

struct Client::Session {
  Appraisal appraisal;
  Clock::time_point attested_at;
};

struct Client::Request {
  Image picture;  // as the manifest's preprocessing makes it
  Done done;
  std::chrono::system_clock::time_point deadline;
  int reseals = 0;
  std::shared_ptr<const Session> session;  // whose key it is sealed to
  std::optional<HpkeContext> context;      // opens the answer

  std::unique_ptr<grpc::ClientContext> call;
  inference::ModelInferRequest request;
  inference::ModelInferResponse response;
  v1::GetEvidenceRequest evidence_request;
  v1::GetEvidenceResponse evidence_response;

  grpc::ClientContext* NewCall(const ServerConnection& server) {
    call = std::make_unique<grpc::ClientContext>();
    call->set_deadline(deadline);
    server.AddAffinity(*call);
    return call.get();
  }
};

StatusOr<std::unique_ptr<Client>> Client::Connect(Options options) {
  if (options.seen_versions.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(options.seen_versions, DefaultSeenVersionsPath());
  }
  std::unique_ptr<Client> client(new Client(std::move(options)));
  INFENCLAVE_RETURN_IF_ERROR(client->FreshSession().status());
  return client;
}

Client::Client(Options options)
    : options_(std::move(options)),
      server_(options_.server),
      seen_versions_(options_.seen_versions),
      infer_(inference::GRPCInferenceService::NewStub(server_.channel())),
      enclave_(v1::Enclave::NewStub(server_.channel())) {}

Client::~Client() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [this] { return in_flight_ == 0; });
}

Appraisal Client::appraisal() const {
  const std::lock_guard lock(mutex_);
  return session_->appraisal;
}

StatusOr<std::shared_ptr<const Client::Session>> Client::FreshSession() {
  const std::lock_guard attest_lock(attest_mutex_);
  {
    const std::lock_guard lock(mutex_);
    const auto max_age = std::chrono::seconds(options_.policy.max_age_seconds);
    if (session_ != nullptr && Clock::now() - session_->attested_at < max_age) return session_;
  }
  const Nonce nonce = RandomArray<32>();
  const Clock::time_point now = Clock::now();
  INFENCLAVE_ASSIGN_OR_RETURN(GetEvidenceReply reply, FetchEvidence(server_, nonce, options_.timeout));
  return Accept(reply, nonce, now);
}

StatusOr<std::shared_ptr<const Client::Session>> Client::Accept(const GetEvidenceReply& reply,
                                                                const std::optional<Nonce>& nonce,
                                                                Clock::time_point attested_at) {
  GetEvidenceReply complete = reply;
  if (options_.collateral != nullptr) {
    INFENCLAVE_RETURN_IF_ERROR(AddCollateral(*options_.collateral, std::time(nullptr), complete));
  }
  auto session = std::make_shared<Session>(Session{Appraise(complete, nonce, options_.policy), attested_at});
  const Appraisal& appraisal = session->appraisal;
  INFENCLAVE_RETURN_IF_ERROR(appraisal.verdict);
  INFENCLAVE_RETURN_IF_ERROR(seen_versions_.CheckAndRecord(options_.policy, appraisal));
  const std::lock_guard lock(mutex_);
  session_ = session;
  return session;
}

StatusOr<Answer> Client::Classify(const Image& image) {
  // Shared, for set_value may still be on its way out when get() returns.
  auto promise = std::make_shared<std::promise<StatusOr<Answer>>>();
  std::future<StatusOr<Answer>> future = promise->get_future();
  ClassifyAsync(image, [promise](StatusOr<Answer> answer) { promise->set_value(std::move(answer)); });
  return future.get();
}

void Client::ClassifyAsync(const Image& image, Done done) {
  StatusOr<std::shared_ptr<const Session>> session = FreshSession();
  if (!session.ok()) return done(session.status());
  auto request = std::make_unique<Request>();
  request->session = *session;
  request->picture = Prepare(image, request->session->appraisal.manifest.preprocessing);
  request->done = std::move(done);
  request->deadline = std::chrono::system_clock::now() + options_.timeout;
  {
    const std::lock_guard lock(mutex_);
    ++in_flight_;
  }
  Send(std::move(request));
  // Here, where the caller keeps this alive, and the server is at work. What has just been sent goes first: gRPC's
  // thread may wait for this one's processor.
  std::this_thread::yield();
  EncapsulateAhead(*session);
}

StatusOr<HpkeContext> Client::Encapsulate(const std::shared_ptr<const Session>& session) {
  {
    const std::lock_guard lock(mutex_);
    if (ahead_.has_value() && ahead_for_ == session) {
      HpkeContext context = *std::move(ahead_);
      ahead_.reset();
      return context;
    }
  }
  return EncapsulateFor(session->appraisal.key_config);
}

void Client::EncapsulateAhead(const std::shared_ptr<const Session>& session) {
  {
    const std::lock_guard lock(mutex_);
    if (session != session_ || (ahead_.has_value() && ahead_for_ == session)) return;
  }
  StatusOr<HpkeContext> context = EncapsulateFor(session->appraisal.key_config);
  if (!context.ok()) return;  // the next request will say why
  const std::lock_guard lock(mutex_);
  ahead_ = *std::move(context);
  ahead_for_ = session;
}

void Client::Send(std::unique_ptr<Request> request) {
  const Appraisal& appraisal = request->session->appraisal;
  RequestPlaintext plaintext;
  plaintext.credential = options_.credential;
  plaintext.height = request->picture.height;
  plaintext.width = request->picture.width;
  plaintext.rgb = request->picture.rgb;
  inference::ModelInferRequest& infer = request->request;
  infer.Clear();
  infer.set_model_name(appraisal.manifest.model_name);
  (*infer.mutable_parameters())[kKeyIdParameter].set_string_param(HexEncode(appraisal.key_config.key_id));
  StatusOr<HpkeContext> context = Encapsulate(request->session);
  if (!context.ok()) return Finish(std::move(request), context.status());
  const Status sealed = SealRequestInto(appraisal.key_config, plaintext, *context,
                                        AddBytesInput(infer, kSealedInput, SealedRequestBytes(plaintext)));
  if (!sealed.ok()) return Finish(std::move(request), sealed);
  request->context = *std::move(context);
  Request* raw = request.release();  // the callback's, until it runs
  infer_->async()->ModelInfer(raw->NewCall(server_), &infer, &raw->response, [this, raw](const grpc::Status& status) {
    Receive(std::unique_ptr<Request>(raw), status);
  });
}

void Client::Receive(std::unique_ptr<Request> request, const grpc::Status& status) {
  if (status.error_code() == grpc::StatusCode::FAILED_PRECONDITION && request->reseals < kMaxReseals) {
    return Reseal(std::move(request));
  }
  if (!status.ok()) return Finish(std::move(request), server_.Explain(FromGrpc(status)));
  StatusOr<ByteSpan> sealed = ReadBytesOutput(request->response, kSealedOutput);
  StatusOr<Answer> answer = sealed.ok() ? OpenAnswer(*request->context, *sealed) : sealed.status();
  if (!answer.ok()) answer = server_.Explain(answer.status());
  if (answer.ok() && answer->code != StatusCode::kOk) answer = MakeStatus(answer->code, answer->message);
  if (answer.ok() && answer->audited && !answer->audit_passed) {
    answer = PermissionDenied("the audit failed: the host's BackNet did not compute what its network computes");
  }
  Finish(std::move(request), std::move(answer));
}

void Client::Reseal(std::unique_ptr<Request> request) {
  // The first refusal is a key that has rotated, or a balancer that has changed its mind, and the refusing replica is
  // the one to seal to. If others answer again, a balancer deals requests out in turn: any of them may be next.
  if (++request->reseals > 1 && RandomArray<1>()[0] % 2 == 0) return Send(std::move(request));
  const auto& trailers = request->call->GetServerTrailingMetadata();
  v1::GetEvidenceResponse evidence;
  if (const auto found = trailers.find(kEvidenceTrailer);
      found != trailers.end() &&
      evidence.ParseFromArray(found->second.data(), static_cast<int>(found->second.size()))) {
    return ResealWith(std::move(request), FromProto(evidence));
  }
  // Too large for a trailer, with its collateral: asked for, and without a nonce, so that no evidence has to be made
  // anew for every client whenever a key rotates.
  Request* raw = request.release();
  enclave_->async()->GetEvidence(
      raw->NewCall(server_), &raw->evidence_request, &raw->evidence_response, [this, raw](const grpc::Status& status) {
        const StatusOr<GetEvidenceReply> reply = status.ok()
                                                     ? StatusOr<GetEvidenceReply>(FromProto(raw->evidence_response))
                                                     : server_.Explain(FromGrpc(status));
        ResealWith(std::unique_ptr<Request>(raw), reply);
      });
}

void Client::ResealWith(std::unique_ptr<Request> request, const StatusOr<GetEvidenceReply>& evidence) {
  if (!evidence.ok()) return Finish(std::move(request), evidence.status());
  // Evidence without a nonce proves the key but not that it is fresh: the time of the last nonce stays.
  StatusOr<std::shared_ptr<const Session>> session = Accept(*evidence, std::nullopt, request->session->attested_at);
  if (!session.ok()) return Finish(std::move(request), session.status());
  if ((*session)->appraisal.manifest.preprocessing != request->session->appraisal.manifest.preprocessing) {
    return Finish(
        std::move(request),
        Unavailable("the server has taken another bundle into use, for pictures of another form: send again"));
  }
  request->session = *std::move(session);
  Send(std::move(request));
}

void Client::Finish(std::unique_ptr<Request> request, StatusOr<Answer> answer) {
  request->done(std::move(answer));
  request.reset();
  const std::lock_guard lock(mutex_);
  if (--in_flight_ == 0) idle_.notify_all();
}

}  // namespace infenclave
