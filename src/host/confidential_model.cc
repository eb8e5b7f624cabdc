#include "host/confidential_model.h"

#include <algorithm>
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
  INFENCLAVE_ASSIGN_OR_RETURN(GetEvidenceReply evidence, model->AskEvidence(std::nullopt, 0));
  if (!std::ranges::equal(evidence.manifest, manifest_bytes)) {
    return FailedPrecondition("the enclave holds another bundle than the one that is to be served");
  }
  INFENCLAVE_ASSIGN_OR_RETURN(EvidenceEnvelope envelope, DecodeEvidenceEnvelope(evidence.evidence));
  model->tee_ = envelope.tee;
  model->shape_ = {model->manifest_.ir_shape, model->manifest_.ir_dtype, model->manifest_.backnet_output_shape};
  model->FillInfo();
  RequestQueue::Options queue;
  queue.max_calls = options.max_queue;
  queue.workers = link->lanes();
  queue.max_batch = options.max_batch;
  INFENCLAVE_ASSIGN_OR_RETURN(
      model->pool_, WorkerPool::Start(queue, backnet, [model = model.get()](auto& batch, int lane, BackNet& net) {
        model->Serve(batch, lane, net);
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
  return {.enclave = true,
          .enclave_alive = link_->alive(),
          .provisioned = provisioned_,
          .queued = pool_->queue().waiting()};
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
  StatusOr<ByteSpan> reply = link_->Call(call, lane);
  if (reply.ok() || link_->alive()) return reply;
  return Unavailable("the enclave has died (", MessageOf(reply.status()),
                     "): start 'infenclave serve' again, and provision it");
}

StatusOr<GetEvidenceReply> ConfidentialModel::AskEvidence(const std::optional<Nonce>& nonce, int lane) {
  INFENCLAVE_ASSIGN_OR_RETURN(ByteSpan bytes, CallEnclave(EncodeCall(GetEvidenceCall{nonce}), lane));
  INFENCLAVE_ASSIGN_OR_RETURN(GetEvidenceReply reply, DecodeGetEvidenceReply(bytes));
  provisioned_ = reply.provisioned;
  return reply;
}

void ConfidentialModel::Serve(std::vector<InferCall*>& batch, int lane, BackNet& backnet) {
  std::vector<RequestId> ids;
  std::vector<InferCall*> unknown_key;
  ByteSpan ir;
  BatchTimer timer(batch);
  Status status = BeginBatch(batch, lane, ids, unknown_key, ir);
  timer.Ended(Stage::kBegin);
  if (status.ok() && !batch.empty()) {
    std::vector<float> scores(batch.size() * shape_.output_floats());
    // One impatient caller must not cost the others of its batch their answers.
    auto deadline = BackNet::Deadline::min();
    for (const InferCall* call : batch) deadline = std::max(deadline, call->deadline());
    status = backnet.Run(ir, static_cast<int64_t>(batch.size()), scores, deadline);
    if (!status.ok() && status.code() != StatusCode::kDeadlineExceeded) status = Unavailable(MessageOf(status));
    const ByteSpan output{reinterpret_cast<const uint8_t*>(scores.data()), scores.size() * sizeof(float)};
    timer.Ended(Stage::kBackNet);
    if (status.ok()) status = FinishBatch(batch, ids, output, lane);
    timer.Ended(Stage::kFinish);
    timer.Count(statistics());
  }
  if (!status.ok()) FailAll(batch, status);
  if (!unknown_key.empty()) RefuseUnknownKey(unknown_key, lane);
}

Status ConfidentialModel::BeginBatch(std::vector<InferCall*>& batch, int lane, std::vector<RequestId>& ids,
                                     std::vector<InferCall*>& unknown_key, ByteSpan& ir) {
  BeginCall begin;
  for (const InferCall* call : batch) begin.requests.push_back(ReadBytesInput(call->request(), kSealedInput).value());
  INFENCLAVE_ASSIGN_OR_RETURN(ByteSpan bytes, CallEnclave(EncodeCall(begin), lane));
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
      statistics().CountSealedRefusal();
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

Status ConfidentialModel::FinishBatch(std::vector<InferCall*>& batch, const std::vector<RequestId>& ids,
                                      ByteSpan output, int lane) {
  INFENCLAVE_ASSIGN_OR_RETURN(ByteSpan bytes, CallEnclave(EncodeCall(FinishCall{ids, output}), lane));
  INFENCLAVE_ASSIGN_OR_RETURN(FinishReply reply, DecodeFinishReply(bytes));
  if (reply.items.size() != batch.size()) return Internal("the enclave answered for another number of requests");
  for (size_t i = 0; i < batch.size(); ++i) {
    if (reply.items[i].status.ok()) {
      Deliver(batch[i], reply.items[i].answer);
    } else {
      batch[i]->Finish(reply.items[i].status);
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
