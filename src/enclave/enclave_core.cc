#include "enclave/enclave_core.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <exception>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "crypto/secret.h"
#include "enclave/channel.h"
#include "enclave/class_scores.h"
#include "enclave/front_net.h"
#include "enclave/key_ring.h"
#include "enclave/lane_network.h"
#include "enclave/narrow_ir.h"
#include "enclave/pending_table.h"
#include "graph/serialize.h"
#include "protocol/calls.h"
#include "protocol/sealed.h"

namespace infenclave {
namespace {

constexpr size_t kSlackBytes = 4096;  // headers, lengths and messages, per request

size_t ElementsOf(const Shape& shape) {
  size_t elements = 1;
  for (int64_t extent : shape) elements *= static_cast<size_t>(extent);
  return elements;
}

// A bundle is for simulated TEEs or never for one.
Status CheckSupported(const Manifest& manifest, TeeKind tee) {
  if (ClassOf(tee) != manifest.tee_class) {
    return PermissionDenied("the bundle is for ",
                            manifest.tee_class == TeeClass::kSimulated ? "the simulated TEE" : "hardware TEEs",
                            " only, and this enclave is ", NameOf(tee));
  }
  return OkStatus();
}

bool DrawAudit(uint32_t per_million) {
  const std::array<uint8_t, 8> random = RandomArray<8>();
  uint64_t draw;
  std::memcpy(&draw, random.data(), sizeof(draw));
  return draw % 1'000'000 < per_million;  // uniform but for 2^-44
}

bool AllFinite(std::span<const float> values) {
  bool finite = true;
  for (float value : values) finite &= std::isfinite(value);
  return finite;
}

class Core : public EnclaveCore {
 public:
  Core(EnclaveBundle bundle, Manifest manifest, std::unique_ptr<EvidenceMaker> evidence, const EnclaveOptions& options,
       LaneThreads* threads)
      : bundle_(std::move(bundle)),
        manifest_(std::move(manifest)),
        options_(options),
        threads_(threads),
        evidence_(std::move(evidence)),
        ring_(Sha256(bundle_.manifest), options.requests_per_key, options.overlap),
        pending_(options.max_pending, options.max_age) {}

  Bytes Handle(ByteSpan call, int lane) override;
  uint64_t max_call_bytes() const override;
  uint64_t max_reply_bytes() const override;

 private:
  struct Model {
    FrontNet front;
    ClassScores scores;
    std::optional<LaneNetwork> tail, backnet;  // backnet: the audits' own
  };
  // One request of a Begin, while it is worked on.
  struct Work {
    OpenedRequest opened;
    BeginReply::Item* item;
  };

  StatusOr<Bytes> Dispatch(ByteSpan call, int lane);
  StatusOr<Bytes> GetEvidence(const GetEvidenceCall& call);
  StatusOr<Bytes> Evidence(const EnclaveKey& key, const std::optional<Nonce>& nonce);
  StatusOr<Bytes> Provision(const ProvisionCall& call);
  StatusOr<Model> OpenModel(const Grant& grant);
  StatusOr<Bytes> Begin(const BeginCall& call, int lane);
  StatusOr<OpenedRequest> Open(ByteSpan sealed);
  Status CheckPlaintext(const RequestPlaintext& request) const;
  StatusOr<Bytes> Finish(const FinishCall& call, int lane);
  StatusOr<Bytes> Answered(RequestId id, std::span<float> output, int lane);
  StatusOr<Answer> AnswerTo(const PendingRequest& request, std::span<float> output, int lane);
  StatusOr<bool> Audit(ByteSpan ir, std::span<float> output, int lane);
  StatusOr<Bytes> GiveUp(const std::vector<RequestId>& ids);

  EnclaveBundle bundle_;
  const Manifest manifest_;
  const EnclaveOptions options_;
  LaneThreads* const threads_;

  std::mutex evidence_mutex_;
  std::unique_ptr<EvidenceMaker> evidence_;
  KeyId cached_for_{};
  Bytes cached_evidence_;

  std::mutex mutex_;
  KeyRing ring_;
  PendingTable pending_;
  uint64_t lease_ = 0;
  bool provisioning_ = false, provisioned_ = false;
  // Written once, before provisioned_ is set under the mutex; lanes read it after they have seen that.
  std::optional<Model> model_;
};

Bytes Core::Handle(ByteSpan call, int lane) {
  INFENCLAVE_CHECK(lane >= 0 && lane < options_.lanes);
  try {
    StatusOr<Bytes> reply = Dispatch(call, lane);
    return reply.ok() ? *std::move(reply) : EncodeErrorReply(reply.status());
  } catch (const std::exception&) {  // no memory, above all
    return EncodeErrorReply(ResourceExhausted("the enclave could not carry out the call"));
  }
}

StatusOr<Bytes> Core::Dispatch(ByteSpan bytes, int lane) {
  INFENCLAVE_ASSIGN_OR_RETURN(CallType type, PeekCallType(bytes));
  switch (type) {
    case CallType::kGetEvidence: {
      INFENCLAVE_ASSIGN_OR_RETURN(GetEvidenceCall call, DecodeGetEvidenceCall(bytes));
      return GetEvidence(call);
    }
    case CallType::kProvision: {
      INFENCLAVE_ASSIGN_OR_RETURN(ProvisionCall call, DecodeProvisionCall(bytes));
      return Provision(call);
    }
    case CallType::kBegin: {
      INFENCLAVE_ASSIGN_OR_RETURN(BeginCall call, DecodeBeginCall(bytes));
      return Begin(call, lane);
    }
    case CallType::kFinish: {
      INFENCLAVE_ASSIGN_OR_RETURN(FinishCall call, DecodeFinishCall(bytes));
      return Finish(call, lane);
    }
  }
  return InvalidArgument("unknown call");
}

// ---- GetEvidence --------------------------------------------------------------------------------------------------
StatusOr<Bytes> Core::GetEvidence(const GetEvidenceCall& call) {
  EnclaveKeyRef key;
  GetEvidenceReply reply;
  {
    std::lock_guard lock(mutex_);
    key = ring_.newest();
    reply.provisioned = provisioned_ && lease_ > 0;
  }
  INFENCLAVE_ASSIGN_OR_RETURN(reply.evidence, Evidence(*key, call.nonce));
  reply.key_config = key->encoded;
  reply.manifest = bundle_.manifest;
  reply.manifest_signature = bundle_.manifest_signature;
  return EncodeReply(reply);
}

// Without a nonce it is made once per key, so that a request pays nothing for it.
StatusOr<Bytes> Core::Evidence(const EnclaveKey& key, const std::optional<Nonce>& nonce) {
  std::lock_guard lock(evidence_mutex_);
  if (!nonce && cached_for_ == key.config.key_id && !cached_evidence_.empty()) return cached_evidence_;
  EvidenceEnvelope envelope{.tee = evidence_->kind()};
  INFENCLAVE_ASSIGN_OR_RETURN(envelope.evidence, evidence_->Make(ReportDataFor(key.config, nonce)));
  Bytes encoded = EncodeEvidenceEnvelope(envelope);
  if (!nonce) {
    cached_for_ = key.config.key_id;
    cached_evidence_ = encoded;
  }
  return encoded;
}

// ---- Provision ----------------------------------------------------------------------------------------------------
StatusOr<Bytes> Core::Provision(const ProvisionCall& call) {
  EnclaveKeyRef key;
  {
    std::lock_guard lock(mutex_);
    INFENCLAVE_ASSIGN_OR_RETURN(key, ring_.Find(call.key_id));
  }
  INFENCLAVE_ASSIGN_OR_RETURN(Grant grant, OpenGrant(key->config, key->pair, manifest_, call.grant));
  {
    std::lock_guard lock(mutex_);
    if (provisioning_) return Unavailable("the enclave is being provisioned");
    INFENCLAVE_RETURN_IF_ERROR(ring_.Accept(*key, call.grant.enc));
    if (provisioned_) {
      lease_ = grant.lease;
      return EncodeProvisionReply();
    }
    provisioning_ = true;
  }
  StatusOr<Model> model = OpenModel(grant);
  std::lock_guard lock(mutex_);
  provisioning_ = false;
  INFENCLAVE_RETURN_IF_ERROR(model.status());
  model_.emplace(*std::move(model));
  bundle_.frontnet_sealed = bundle_.mapping_sealed = bundle_.tail_sealed = bundle_.audit_sealed = {};
  lease_ = grant.lease;
  provisioned_ = true;
  return EncodeProvisionReply();
}

StatusOr<Core::Model> Core::OpenModel(const Grant& grant) try {
  const BundleId& id = manifest_.bundle_id;
  INFENCLAVE_ASSIGN_OR_RETURN(SecretBytes mapping_bytes,
                              OpenPart(grant.mapping_key.span(), id, "mapping", bundle_.mapping_sealed));
  INFENCLAVE_ASSIGN_OR_RETURN(ClassMapping mapping, DecodeClassMapping(mapping_bytes.span()));
  INFENCLAVE_ASSIGN_OR_RETURN(ClassScores scores, ClassScores::Create(manifest_, std::move(mapping)));
  auto open = [&](std::string_view part, ByteSpan sealed) -> StatusOr<Graph> {
    INFENCLAVE_ASSIGN_OR_RETURN(SecretBytes bytes, OpenPart(grant.frontnet_key.span(), id, part, sealed));
    return DecodeGraph(bytes.span(), SecretMemory());
  };
  Model model{FrontNet(manifest_, options_, grant.frontnet_key.span()), std::move(scores), {}, {}};
  INFENCLAVE_ASSIGN_OR_RETURN(Graph front, open("frontnet", bundle_.frontnet_sealed));
  Graph tail, backnet;
  if (manifest_.tail_layers > 0) {
    INFENCLAVE_ASSIGN_OR_RETURN(tail, open("tail", bundle_.tail_sealed));
    model.tail.emplace(manifest_.backnet_output_shape, Shape{manifest_.classes}, options_);
  }
  if (manifest_.audit_per_million > 0) {
    INFENCLAVE_ASSIGN_OR_RETURN(backnet, open("audit", bundle_.audit_sealed));
    model.backnet.emplace(manifest_.ir_shape, manifest_.backnet_output_shape, options_);
  }
  auto compile = [&](int lane) {
    Status status = model.front.Compile(front, lane);
    if (status.ok() && model.tail) status = model.tail->Compile(tail, "tail", lane);
    if (status.ok() && model.backnet) status = model.backnet->Compile(backnet, "audits' BackNet", lane);
    return status;
  };
  if (threads_ != nullptr) {
    INFENCLAVE_RETURN_IF_ERROR(threads_->CompileOnEach(compile));
    return model;
  }
  for (int lane = 0; lane < options_.lanes; ++lane) INFENCLAVE_RETURN_IF_ERROR(compile(lane));
  return model;
} catch (const std::exception&) {
  return ResourceExhausted("the enclave has not enough memory for the model");
}

// ---- Begin --------------------------------------------------------------------------------------------------------
StatusOr<Bytes> Core::Begin(const BeginCall& call, int lane) {
  if (call.requests.empty() || call.requests.size() > static_cast<size_t>(options_.max_batch)) {
    return InvalidArgument("Begin: ", call.requests.size(), " requests, expected 1 to ", options_.max_batch);
  }
  {
    std::lock_guard lock(mutex_);
    pending_.Age();
    if (!provisioned_) return Unavailable("the enclave has no keys yet: provision it");
  }
  BeginReply reply;
  reply.items.resize(call.requests.size());
  // All memory first: a request that was taken on must not be lost to a failed allocation.
  const size_t ir_bytes = model_->front.ir_bytes();
  Bytes out = BeginReplyWithRoom(call.requests.size() * ir_bytes);
  const MutableByteSpan ir = MutableByteSpan(out).subspan(kIrOffset);
  std::vector<Work> accepted;
  accepted.reserve(call.requests.size());
  for (size_t i = 0; i < call.requests.size(); ++i) {
    BeginReply::Item& item = reply.items[i];
    StatusOr<OpenedRequest> opened = Open(call.requests[i]);
    item.status = opened.status();
    if (opened.ok()) accepted.push_back({*std::move(opened), &item});
  }
  size_t used = 0;
  for (Work& work : accepted) {
    Status status = CheckPlaintext(work.opened.plaintext);
    if (status.ok()) {
      status = model_->front.Run(work.opened.plaintext.rgb, ir.subspan(used, ir_bytes), lane);
    }
    Bytes kept;  // of every request: whether one is audited is not drawn yet
    if (status.ok() && model_->backnet) {
      kept = ToBytes(ir.subspan(used, ir_bytes));
    }
    if (status.ok()) used += ir_bytes;
    std::unique_lock lock(mutex_);
    if (status.ok()) {
      work.item->id = pending_.Add({std::move(work.opened.answer), std::move(kept)});
      continue;
    }
    pending_.Release(1);
    lock.unlock();
    StatusOr<Bytes> refusal = work.opened.answer.Seal(manifest_, {status.code(), MessageOf(status)});
    work.item->status = refusal.status();
    if (refusal.ok()) work.item->sealed_refusal = *std::move(refusal);
  }
  reply.ir = ir.first(used);
  return CompleteReply(std::move(out), reply);
}

// Opens a request and takes it on: from here on its encapsulated key is used up, it counts against the lease, and a
// place among the pending requests is reserved for it. Whatever fails in here is told in the clear.
StatusOr<OpenedRequest> Core::Open(ByteSpan sealed) {
  INFENCLAVE_ASSIGN_OR_RETURN(SealedRequestHeader header, PeekRequestHeader(sealed));
  INFENCLAVE_ASSIGN_OR_RETURN(auto enc, PeekEnc(sealed));
  EnclaveKeyRef key;
  {
    std::lock_guard lock(mutex_);
    if (lease_ == 0) return Unavailable("the lease is used up: provision the enclave again");
    INFENCLAVE_ASSIGN_OR_RETURN(key, ring_.Find(header.key_id));
  }
  StatusOr<OpenedRequest> opened = OpenRequest(key->config, key->pair, sealed);
  // One message, whatever it is that does not fit: what is inside concerns nobody out here.
  if (!opened.ok()) return InvalidArgument("the sealed request does not open");
  std::lock_guard lock(mutex_);
  if (lease_ == 0) return Unavailable("the lease is used up: provision the enclave again");
  if (pending_.Reserve(1) == 0) return ResourceExhausted("too many requests wait for their answers");
  if (Status status = ring_.Accept(*key, enc); !status.ok()) {
    pending_.Release(1);
    return status;
  }
  --lease_;
  return opened;
}

Status Core::CheckPlaintext(const RequestPlaintext& request) const {
  if (!manifest_.open) {
    if (request.credential.empty()) return PermissionDenied("the model's owner asks for a credential");
    INFENCLAVE_ASSIGN_OR_RETURN(Credential credential, DecodeCredential(request.credential));
    INFENCLAVE_RETURN_IF_ERROR(VerifyCredential(credential, manifest_.owner, manifest_.model_version));
  }
  const Preprocessing& wanted = manifest_.preprocessing;
  if (request.height != wanted.height || request.width != wanted.width ||
      request.rgb.size() != size_t{3} * wanted.height * wanted.width) {
    return InvalidArgument("a picture of ", request.height, "x", request.width, " in ", request.rgb.size(),
                           " bytes, expected ", wanted.height, "x", wanted.width, " RGB");
  }
  return OkStatus();
}

// ---- Finish -------------------------------------------------------------------------------------------------------
StatusOr<Bytes> Core::Finish(const FinishCall& call, int lane) {
  const size_t elements = ElementsOf(manifest_.backnet_output_shape);
  const size_t wanted = call.ids.size() * elements * sizeof(float);
  if (call.ids.empty() || call.ids.size() > static_cast<size_t>(options_.max_batch)) {
    return InvalidArgument("Finish: ", call.ids.size(), " requests, expected 1 to ", options_.max_batch);
  }
  if (call.output.empty()) return GiveUp(call.ids);
  if (call.output.size() != wanted) {
    return InvalidArgument("Finish: ", call.output.size(), " bytes of output for ", call.ids.size(),
                           " requests, expected ", wanted);
  }
  {
    std::lock_guard lock(mutex_);
    if (!provisioned_) return Unavailable("the enclave has no keys yet: provision it");
  }
  FinishReply reply;
  std::vector<float> output(elements);
  for (size_t i = 0; i < call.ids.size(); ++i) {
    std::memcpy(output.data(), call.output.data() + i * elements * sizeof(float), elements * sizeof(float));
    StatusOr<Bytes> answer = Answered(call.ids[i], output, lane);
    FinishReply::Item& item = reply.items.emplace_back();
    item.status = answer.status();
    if (answer.ok()) item.answer = *std::move(answer);
  }
  return EncodeReply(reply);
}

// The host has no scores for them. Their places are free again, and nothing answers them any more.
StatusOr<Bytes> Core::GiveUp(const std::vector<RequestId>& ids) {
  FinishReply reply;
  std::lock_guard lock(mutex_);
  for (RequestId id : ids) {
    Status status = pending_.Take(id).status();
    reply.items.push_back({status.ok() ? NotFound("request ", id, " was given up") : status, {}});
  }
  return EncodeReply(reply);
}

StatusOr<Bytes> Core::Answered(RequestId id, std::span<float> output, int lane) {
  std::optional<PendingRequest> request;
  {
    std::lock_guard lock(mutex_);
    INFENCLAVE_ASSIGN_OR_RETURN(request, pending_.Take(id));
  }
  StatusOr<Answer> made = AnswerTo(*request, output, lane);
  Answer answer = made.ok() ? *std::move(made) : Answer{made.status().code(), MessageOf(made.status())};
  StatusOr<Bytes> sealed = request->answer.Seal(manifest_, answer);
  for (AnswerClass& found : answer.classes) Wipe({reinterpret_cast<uint8_t*>(found.label.data()), found.label.size()});
  return sealed;
}

StatusOr<Answer> Core::AnswerTo(const PendingRequest& request, std::span<float> output, int lane) {
  bool passed = false;
  const bool audited = model_->backnet && DrawAudit(manifest_.audit_per_million);
  if (audited) {
    INFENCLAVE_ASSIGN_OR_RETURN(passed, Audit(request.ir, output, lane));
  }
  std::span<const float> scores = output;
  if (model_->tail) {
    if (!AllFinite(output)) return InvalidArgument(kNotFinite);
    INFENCLAVE_ASSIGN_OR_RETURN(scores, model_->tail->Run(output, lane));
  }
  Answer answer = model_->scores.Top(scores);
  answer.audited = audited;
  answer.audit_passed = passed;
  return answer;
}

// Whether the BackNet's output is what the IR gives, within the tolerance. What it ought to be takes its place.
StatusOr<bool> Core::Audit(ByteSpan ir, std::span<float> output, int lane) {
  INFENCLAVE_ASSIGN_OR_RETURN(const std::span<const float> own, model_->backnet->Run(WidenIr(manifest_, ir), lane));
  const auto [low, high] = std::minmax_element(own.begin(), own.end());
  const float most = manifest_.audit_tolerance * (*high - *low);
  bool passed = true;
  for (size_t i = 0; i < own.size(); ++i) passed &= std::abs(own[i] - output[i]) <= most;  // false for a NaN
  std::copy(own.begin(), own.end(), output.begin());
  return passed;
}

// ---- sizes --------------------------------------------------------------------------------------------------------
uint64_t Core::max_call_bytes() const {
  const Preprocessing& picture = manifest_.preprocessing;
  const uint64_t request = uint64_t{3} * picture.height * picture.width + kMaxCredentialBytes + kSlackBytes;
  const uint64_t output = ElementsOf(manifest_.backnet_output_shape) * sizeof(float) + kSlackBytes;
  return static_cast<uint64_t>(options_.max_batch) * std::max(request, output);
}

uint64_t Core::max_reply_bytes() const {
  const uint64_t ir = IrWireOf(manifest_).bytes();
  const uint64_t batch = static_cast<uint64_t>(options_.max_batch) * (ir + SealedAnswerBytes(manifest_) + kSlackBytes);
  const uint64_t evidence = kMaxEvidenceBytes + kMaxCollateralBytes + kMaxManifestBytes + kSlackBytes;
  return std::max(batch, evidence);
}

}  // namespace

StatusOr<std::unique_ptr<EnclaveCore>> EnclaveCore::Create(EnclaveBundle bundle,
                                                           std::unique_ptr<EvidenceMaker> evidence,
                                                           const EnclaveOptions& options, LaneThreads* threads) {
  INFENCLAVE_CHECK(options.lanes > 0 && options.threads_per_lane > 0 && options.max_batch > 0 &&
                   options.max_pending > 0);
  INFENCLAVE_ASSIGN_OR_RETURN(ManifestSignature signature, DecodeManifestSignature(bundle.manifest_signature));
  INFENCLAVE_RETURN_IF_ERROR(VerifyManifest(bundle.manifest, signature));
  INFENCLAVE_ASSIGN_OR_RETURN(Manifest manifest, DecodeManifest(bundle.manifest));
  if (manifest.owner != signature.owner) {
    return PermissionDenied("manifest: signed by another key than the owner it names");
  }
  if (Sha256(bundle.frontnet_sealed) != manifest.frontnet_digest) {
    return PermissionDenied("frontnet.sealed is not the file that the manifest signs");
  }
  if (Sha256(bundle.mapping_sealed) != manifest.mapping_digest) {
    return PermissionDenied("mapping.sealed is not the file that the manifest signs");
  }
  if (manifest.tail_layers > 0 && Sha256(bundle.tail_sealed) != manifest.tail_digest) {
    return PermissionDenied("tail.sealed is not the file that the manifest signs");
  }
  if (manifest.audit_per_million > 0 && Sha256(bundle.audit_sealed) != manifest.audit_digest) {
    return PermissionDenied("audit.sealed is not the file that the manifest signs");
  }
  INFENCLAVE_RETURN_IF_ERROR(CheckSupported(manifest, evidence->kind()));
  auto core = std::make_unique<Core>(std::move(bundle), std::move(manifest), std::move(evidence), options, threads);
  if (std::max(core->max_call_bytes(), core->max_reply_bytes()) > kMaxMessageBytes) {
    return InvalidArgument("a batch of ", options.max_batch, " is too large for this model: a message would exceed ",
                           kMaxMessageBytes, " bytes");
  }
  return core;
}

}  // namespace infenclave
