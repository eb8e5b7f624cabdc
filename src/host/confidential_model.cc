#include "host/confidential_model.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "oip/confidential.h"
#include "oip/infer.h"
#include "protocol/sealed.h"

namespace infenclave {
namespace {

// Trailing metadata has to stay well below gRPC's default limit of 8 KiB, base64 included; larger evidence is fetched.
constexpr size_t kMaxTrailerBytes = 5 << 10;

// The enclave's refusal for want of keys or of a lease, with what to do about it.
Status NoKeys(const Status& refusal) {
  return Unavailable(MessageOf(refusal), " (infenclave provision BUNDLE.keys --policy FILE --server ADDR)");
}

Status CheckOutputs(const inference::ModelInferRequest& request) {
  for (const auto& output : request.outputs()) {
    if (output.name() != kSealedOutput) {
      return InvalidArgument("no output '", output.name(), "': the model's output is '", kSealedOutput, "'");
    }
  }
  return OkStatus();
}

// The parameter is for balancers; one that contradicts the sealed header would send requests to the wrong replica.
Status CheckKeyId(const inference::ModelInferRequest& request, const KeyId& sealed_to) {
  const auto found = request.parameters().find(kKeyIdParameter);
  if (found == request.parameters().end()) return OkStatus();
  if (found->second.string_param() == HexEncode(sealed_to)) return OkStatus();
  return InvalidArgument("parameter '", kKeyIdParameter, "' is not the key id that the request is sealed to");
}

// A picture and a credential with the seal around them. What is longer cannot be one of this model's requests, and must
// not take the place of the others in its batch.
size_t MaxSealedBytes(const Preprocessing& picture) {
  constexpr size_t kSealBytes = 256;
  return size_t{3} * picture.width * picture.height + kMaxCredentialBytes + kSealBytes;
}

Status CheckRequest(const inference::ModelInferRequest& request, const Preprocessing& picture) {
  INFENCLAVE_RETURN_IF_ERROR(CheckOutputs(request));
  INFENCLAVE_ASSIGN_OR_RETURN(ByteSpan sealed, ReadBytesInput(request, kSealedInput));
  if (sealed.size() > MaxSealedBytes(picture)) {
    return InvalidArgument("sealed request of ", sealed.size(), " bytes: this model's have at most ",
                           MaxSealedBytes(picture));
  }
  INFENCLAVE_ASSIGN_OR_RETURN(SealedRequestHeader header, PeekRequestHeader(sealed));
  return CheckKeyId(request, header.key_id);
}

void Deliver(InferCall* call, ByteSpan sealed) {
  AddBytesOutput(call->response(), kSealedOutput, sealed, FormOf(call->request()));
  call->Finish(OkStatus());
}

void FailAll(const std::vector<InferCall*>& calls, const Status& status) {
  for (InferCall* call : calls) call->Finish(status);
}

}  // namespace

StatusOr<std::unique_ptr<ConfidentialModel>> ConfidentialModel::Start(EnclaveLink* link, ByteSpan manifest_bytes,
                                                                      const BackNetFactory& backnet,
                                                                      const Options& options) {
  INFENCLAVE_ASSIGN_OR_RETURN(Manifest manifest, DecodeManifest(manifest_bytes));
  std::unique_ptr<ConfidentialModel> model(new ConfidentialModel(link, std::move(manifest)));
  model->collateral_ = options.collateral;
  model->bind_workers_ = options.bind_workers;
  INFENCLAVE_ASSIGN_OR_RETURN(GetEvidenceReply evidence, model->AskEvidence(std::nullopt, 0));
  if (!std::ranges::equal(evidence.manifest, manifest_bytes)) {
    return FailedPrecondition("the enclave holds another bundle than the one that is to be served");
  }
  INFENCLAVE_ASSIGN_OR_RETURN(EvidenceEnvelope envelope, DecodeEvidenceEnvelope(evidence.evidence));
  model->tee_ = envelope.tee;
  model->shape_ = BackNetShapeOf(model->manifest_);
  model->FillInfo();
  if (options.statistics != nullptr) model->counts_ = options.statistics;
  RequestQueue::Options queue;
  queue.workers = link->lanes();
  queue.max_batch = options.max_batch;
  queue.least_batch = options.least_batch;
  queue.max_delay = options.max_delay;
  queue.max_in_flight = options.max_in_flight;
  queue.max_calls = options.max_queue;
  // Any of the workers' BackNets tells how the servers fare that all of them share.
  const BackNetFactory noted = [model = model.get(), &backnet]() -> StatusOr<std::unique_ptr<BackNet>> {
    static std::mutex mutex;
    INFENCLAVE_ASSIGN_OR_RETURN(std::unique_ptr<BackNet> made, backnet());
    const std::lock_guard lock(mutex);
    model->backnets_ = made->states();
    return made;
  };
  INFENCLAVE_ASSIGN_OR_RETURN(
      model->pool_, WorkerPool::Start(queue, noted, [model = model.get()](auto& batch, int lane, BackNet& net) {
        return model->Serve(batch, lane, net);
      }));
  return model;
}

void ConfidentialModel::FillInfo() {
  const bool simulated = tee_ == TeeKind::kSimulated;
  info_.name = manifest_.model_name;
  info_.version = Concat(manifest_.model_version);
  info_.platform = simulated ? "infenclave_SIMULATED_TEE" : "infenclave";
  info_.inputs = {{kSealedInput, "BYTES", {1}}};
  info_.outputs = {{kSealedOutput, "BYTES", {1}}};
  info_.properties = {{"tee", std::string(NameOf(tee_))}, {"bundle_id", HexEncode(manifest_.bundle_id)}};
  if (simulated) info_.properties.emplace_back("warning", "simulated TEE: no protection from the machine's owner");
}

HostState ConfidentialModel::state() const {
  HostState state;
  state.enclave = true;
  state.enclave_alive = link_->alive();
  state.provisioned = provisioned_;
  state.queued = pool_->queue().waiting();
  if (backnets_) state.backnets = backnets_();
  return state;
}

bool ConfidentialModel::ready() const { return provisioned_.load() && link_->alive(); }

void ConfidentialModel::Infer(InferCall* call) {
  Status status = CheckRequest(call->request(), manifest_.preprocessing);
  if (status.ok()) status = pool_->queue().Push(call);
  if (!status.ok()) call->Finish(status);
}

void ConfidentialModel::GetEvidence(const std::optional<Nonce>& nonce,
                                    const std::function<void(StatusOr<GetEvidenceReply>)>& done) {
  const Status queued = pool_->queue().PushControl([this, nonce, done](int lane) { done(AskEvidence(nonce, lane)); });
  if (!queued.ok()) done(queued);
}

void ConfidentialModel::Provision(Bytes provision_call, const std::function<void(Status)>& done) {
  const Status queued = pool_->queue().PushControl([this, call = std::move(provision_call), done](int lane) {
    StatusOr<ByteSpan> reply = CallEnclave(call, lane);
    const Status status = reply.ok() ? DecodeProvisionReply(*reply) : reply.status();
    if (status.ok()) provisioned_ = true;
    done(status);
  });
  if (!queued.ok()) done(queued);
}

StatusOr<ByteSpan> ConfidentialModel::CallEnclave(ByteSpan call, int lane) {
  return UnlessDead(link_->Call(call, lane));
}

StatusOr<ByteSpan> ConfidentialModel::UnlessDead(StatusOr<ByteSpan> reply) const {
  if (reply.ok() || link_->alive()) return reply;
  return Unavailable("the enclave has died (", MessageOf(reply.status()),
                     "): start 'infenclave serve' again, and provision it");
}

StatusOr<GetEvidenceReply> ConfidentialModel::AskEvidence(const std::optional<Nonce>& nonce, int lane) {
  INFENCLAVE_ASSIGN_OR_RETURN(ByteSpan bytes, CallEnclave(EncodeCall(GetEvidenceCall{nonce}), lane));
  INFENCLAVE_ASSIGN_OR_RETURN(GetEvidenceReply reply, DecodeGetEvidenceReply(bytes));
  provisioned_ = reply.provisioned;
  if (Bytes collateral = collateral_ ? collateral_() : Bytes{}; !collateral.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(EvidenceEnvelope envelope, DecodeEvidenceEnvelope(reply.evidence));
    envelope.collateral = std::move(collateral);
    reply.evidence = EncodeEvidenceEnvelope(envelope);
  }
  return reply;
}

struct ConfidentialModel::Flight {
  explicit Flight(const std::vector<InferCall*>& batch) : timer(batch) {}
  BatchTimer timer;
  std::vector<InferCall*> calls;
  std::vector<RequestId> ids;
  std::vector<float> output;
  std::mutex launching;  // held until the launch is over, so that nobody lands what is not up
  std::function<void()> cancel;
  std::atomic<size_t> wanted;  // callers who still wait
};

bool ConfidentialModel::Serve(std::vector<InferCall*>& batch, int lane, BackNet& backnet) {
  auto flight = std::make_shared<Flight>(batch);
  std::vector<InferCall*> unknown_key;
  ByteSpan ir;
  // Not for longer: threads that gRPC starts meanwhile would inherit it.
  std::optional<CoreBinding> binding;
  if (bind_workers_) binding.emplace(lane);
  const Status status = BeginBatch(batch, lane, flight->ids, unknown_key, ir);
  flight->timer.Ended(Stage::kBegin);
  flight->calls = std::move(batch);
  bool landed = true;
  if (!status.ok()) {
    FailAll(flight->calls, status);
  } else if (!flight->calls.empty()) {
    landed = Launch(flight, ir, lane, backnet, binding);
  }
  binding.reset();
  if (!unknown_key.empty()) RefuseUnknownKey(unknown_key, lane);
  return landed;
}

bool ConfidentialModel::Launch(const std::shared_ptr<Flight>& flight, ByteSpan ir, int lane, BackNet& backnet,
                               std::optional<CoreBinding>& binding) {
  flight->output.resize(flight->calls.size() * shape_.output_floats());
  flight->wanted = flight->calls.size();
  BackNet::Batch batch{ir, static_cast<int64_t>(flight->calls.size()), flight->output, BackNet::Deadline::min()};
  // One impatient caller must not cost the others of its batch their answers.
  for (const InferCall* call : flight->calls) {
    batch.deadline = std::max(batch.deadline, call->deadline());
    if (batch.traceparent.empty()) batch.traceparent = call->traceparent();
  }
  std::unique_lock launching(flight->launching);
  BackNet::Started started = backnet.Start(batch, [this, flight](const Status& status) {
    pool_->queue().PushEnd([this, flight, status](int any_lane) {
      { const std::lock_guard launched(flight->launching); }
      Land(*flight, status, any_lane);
    });
  });
  binding.reset();
  if (started.finished) {
    Land(*flight, *started.finished, lane);
    return true;
  }
  flight->cancel = std::move(started.cancel);
  for (InferCall* call : flight->calls) {
    call->WhenCancelled([flight] {
      if (--flight->wanted == 0) flight->cancel();
    });
  }
  return false;
}

void ConfidentialModel::Land(Flight& flight, Status status, int lane) {
  flight.timer.Ended(Stage::kBackNet);
  if (status.ok()) {
    status = FinishBatch(flight, lane);
  } else {
    Abandon(flight.ids, lane);
    const bool callers_doing =
        status.code() == StatusCode::kDeadlineExceeded || status.code() == StatusCode::kCancelled;
    if (!callers_doing) status = Unavailable(MessageOf(status));
  }
  flight.timer.Ended(Stage::kFinish);
  flight.timer.Count(*counts_);
  if (!status.ok()) FailAll(flight.calls, status);
}

// They would keep their places in the enclave until they are too old.
void ConfidentialModel::Abandon(const std::vector<RequestId>& ids, int lane) {
  (void)CallEnclave(EncodeCall(FinishCall{ids, {}}), lane);
}

Status ConfidentialModel::BeginBatch(std::vector<InferCall*>& batch, int lane, std::vector<RequestId>& ids,
                                     std::vector<InferCall*>& unknown_key, ByteSpan& ir) {
  BeginCall begin;
  for (const InferCall* call : batch) begin.requests.push_back(ReadBytesInput(call->request(), kSealedInput).value());
  const auto write = [&begin](MutableByteSpan out) { EncodeCallInto(begin, out); };
  INFENCLAVE_ASSIGN_OR_RETURN(ByteSpan bytes, UnlessDead(link_->CallWritten(BytesOf(begin), write, lane)));
  StatusOr<BeginReply> reply = DecodeBeginReply(bytes);
  if (!reply.ok()) {
    if (reply.status().code() != StatusCode::kUnavailable) return reply.status();
    provisioned_ = false;
    return NoKeys(reply.status());
  }
  if (reply->items.size() != batch.size()) return Internal("the enclave answered for another number of requests");
  std::vector<InferCall*> accepted;
  for (size_t i = 0; i < batch.size(); ++i) {
    const BeginReply::Item& item = reply->items[i];
    if (item.status.code() == StatusCode::kFailedPrecondition) {
      unknown_key.push_back(batch[i]);
    } else if (item.status.code() == StatusCode::kUnavailable) {
      provisioned_ = false;
      batch[i]->Finish(NoKeys(item.status));
    } else if (!item.status.ok()) {
      batch[i]->Finish(item.status);
    } else if (!item.sealed_refusal.empty()) {
      counts_->CountSealedRefusal();
      Deliver(batch[i], item.sealed_refusal);
    } else {
      accepted.push_back(batch[i]);
      ids.push_back(item.id);
    }
  }
  batch = std::move(accepted);
  ir = reply->ir;
  if (ir.size() != batch.size() * shape_.ir_bytes()) {
    return Internal("the enclave gave ", ir.size(), " bytes for ", batch.size(), " requests, expected ",
                    batch.size() * shape_.ir_bytes());
  }
  return OkStatus();
}

Status ConfidentialModel::FinishBatch(Flight& flight, int lane) {
  const ByteSpan output{reinterpret_cast<const uint8_t*>(flight.output.data()), flight.output.size() * sizeof(float)};
  INFENCLAVE_ASSIGN_OR_RETURN(ByteSpan bytes, CallEnclave(EncodeCall(FinishCall{flight.ids, output}), lane));
  INFENCLAVE_ASSIGN_OR_RETURN(FinishReply reply, DecodeFinishReply(bytes));
  if (reply.items.size() != flight.calls.size()) {
    return Internal("the enclave answered for another number of requests");
  }
  for (size_t i = 0; i < flight.calls.size(); ++i) {
    if (reply.items[i].status.ok()) {
      Deliver(flight.calls[i], reply.items[i].answer);
    } else {
      flight.calls[i]->Finish(reply.items[i].status);
    }
  }
  return OkStatus();
}

void ConfidentialModel::RefuseUnknownKey(std::vector<InferCall*>& calls, int lane) {
  const StatusOr<GetEvidenceReply> evidence = AskEvidence(std::nullopt, lane);
  std::string trailer;
  if (evidence.ok()) trailer = ToProto(*evidence).SerializeAsString();
  const Status status = FailedPrecondition(
      "the enclave here does not hold the key that the request is sealed to: attest it and seal again");
  for (InferCall* call : calls) {
    if (!trailer.empty() && trailer.size() <= kMaxTrailerBytes) {
      call->AddTrailer(kEvidenceTrailer, trailer);
    }
    call->Finish(status);
  }
}

}  // namespace infenclave
