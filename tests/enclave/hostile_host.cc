#include "tests/enclave/hostile_host.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace infenclave {
namespace {

constexpr uint32_t kPictures = 16;  // few, for each is searched for in every reply

}  // namespace

HostileHost::Known::Known(const TestBundle& bundle)
    : secrets{ToBytes(bundle.frontnet_key.span().first(16)), ToBytes(bundle.mapping_key.span().first(16))},
      credential(EncodeCredential(bundle.MakeCredentialFor("alice"))) {
  for (const std::string& label : bundle.mapping.labels) secrets.push_back(ToBytes(AsBytes(label)));
  for (uint32_t i = 0; i < kPictures; ++i) {
    const Bytes& picture = pictures.emplace_back(RandomPicture(i));
    secrets.push_back(ToBytes(ByteSpan(picture).subspan(48, 16)));
    labels.push_back(bundle.Expected(picture)[0].label);
  }
  const auto* weights = reinterpret_cast<const uint8_t*>(bundle.model.conv_weights.data());
  secrets.emplace_back(weights + 40, weights + 56);
}

const HostileHost::Known& HostileHost::Known::Of(const TestBundle& bundle) {
  static auto& known = *new std::map<BundleId, Known>;
  return known.try_emplace(bundle.manifest.bundle_id, bundle).first->second;
}

HostileHost::HostileHost(const TestBundle& bundle, const EnclaveOptions& options, Caller caller, Choose choose)
    : bundle_(bundle),
      options_(options),
      caller_(std::move(caller)),
      choose_(std::move(choose)),
      known_(Known::Of(bundle)) {
  INFENCLAVE_CHECK(bundle.manifest.audit_per_million % 1'000'000 == 0);
  newest_.config = TestHost(bundle_, caller_).Config();
  configs_.push_back(newest_.config);
}

void HostileHost::Require(bool held, std::string_view rule) {
  if (!held && broken_rule_.empty()) broken_rule_ = rule;
}

Bytes HostileHost::Call(const Bytes& call) {
  Bytes reply = caller_(call);
  for (const Bytes& secret : known_.secrets) {
    Require(::memmem(reply.data(), reply.size(), secret.data(), secret.size()) == nullptr, "a reply shows a secret");
  }
  if (calls_.size() == 8) calls_.erase(calls_.begin());
  calls_.push_back(call);
  return reply;
}

bool HostileHost::Make(Move move) {
  const KeyConfig newest = newest_.config, old = configs_[choose_(configs_.size())];
  const auto any_request = [&] { return choose_(requests_.size()); };
  switch (move) {
    case Move::kAskForEvidence:
      AskForEvidence();
      break;
    case Move::kGrant:
      Grant(newest);
      break;
    case Move::kGrantToAnOldKey:
      Grant(old);
      break;
    case Move::kReplayAGrant:
      if (grants_.empty()) break;
      if (const Bytes& grant = grants_[choose_(grants_.size())]; true) {
        const bool held = Held(DecodeProvisionCall(grant)->key_id) != nullptr;
        SendGrant(grant, held ? StatusCode::kAlreadyExists : StatusCode::kFailedPrecondition);
      }
      break;
    case Move::kAlterAGrant:
      Require(!DecodeProvisionReply(Call(Altered(bundle_.ProvisionCallFor(newest, 1)))).ok(),
              "an altered grant was accepted");
      break;
    case Move::kBegin:
      Begin({{Seal(newest, true), {}}});
      break;
    case Move::kBeginForAnOldKey:
      Begin({{Seal(old, true), {}}});
      break;
    case Move::kBeginWithoutCredential:
      Begin({{Seal(newest, false), {}}});
      break;
    case Move::kReplayARequest:
      if (!requests_.empty()) Begin({{any_request(), {}}});
      break;
    case Move::kReuseAnEncapsulatedKey: {
      const X25519KeyPair ephemeral = X25519KeyPair::Generate();
      for (int i = 0; i < 2; ++i) Begin({{SealUnder(ephemeral), {}}});
      break;
    }
    case Move::kAlterARequest:
      if (const size_t request = requests_.empty() ? Seal(newest, true) : any_request(); true) {
        Begin({{request, Altered(requests_[request].sealed.sealed)}});
      }
      break;
    case Move::kBeginMany: {
      std::vector<Submission> submissions(choose_(static_cast<size_t>(options_.max_batch) + 2));
      for (Submission& submission : submissions) {
        submission.request = choose_(3) > 0 || requests_.empty() ? Seal(newest, choose_(4) > 0) : any_request();
        if (choose_(4) == 3) submission.altered = Altered(requests_[submission.request].sealed.sealed);
      }
      Begin(submissions);
      break;
    }
    case Move::kFinish:
      Finish({AnyPending()}, Scores::kOwn);
      break;
    case Move::kFinishWithScoresOfAnother:
      Finish({AnyPending()}, Scores::kOfAnother);
      break;
    case Move::kFinishWithScoresThatAreNotFinite:
      Finish({AnyPending()}, Scores::kNotFinite);
      break;
    case Move::kFinishTwiceInOneCall:
      if (const RequestId id = AnyPending(); true) Finish({id, id}, Scores::kOwn);
      break;
    case Move::kFinishWhatIsOver:
      Finish({ids_.empty() ? 77 : *std::next(ids_.begin(), static_cast<ptrdiff_t>(choose_(ids_.size())))},
             Scores::kOwn);
      break;
    case Move::kFinishWithAWrongCount: {
      const std::vector<float> scores(TinyModel::kClasses + 1 - 2 * choose_(2));
      const ByteSpan raw(reinterpret_cast<const uint8_t*>(scores.data()), scores.size() * sizeof(float));
      Require(DecodeFinishReply(Call(EncodeCall(FinishCall{{AnyPending()}, raw}))).status().code() ==
                  StatusCode::kInvalidArgument,
              "a wrong number of scores was accepted");
      break;
    }
    case Move::kGiveUp: {
      const RequestId id = AnyPending();
      StatusOr<FinishReply> reply = DecodeFinishReply(Call(EncodeCall(FinishCall{{id}, {}})));
      Require(reply.ok() && reply->items.at(0).status.code() == StatusCode::kNotFound && reply->items[0].answer.empty(),
              "what is given up has no answer");
      pending_.erase(id);
      break;
    }
    case Move::kSendNoise:
      SendNoise();
      break;
  }
  return broken_rule_.empty();
}

// ---- evidence and grants ------------------------------------------------------------------------------------------
void HostileHost::AskForEvidence() {
  StatusOr<GetEvidenceReply> reply = DecodeGetEvidenceReply(Call(EncodeCall(GetEvidenceCall{})));
  Require(reply.ok() && reply->key_config == EncodeKeyConfig(newest_.config), "evidence is for the newest key");
  Require(reply.ok() && reply->provisioned == (provisioned_ && lease_ > 0), "evidence says whether there is a lease");
}

void HostileHost::Grant(const KeyConfig& config) {
  const uint64_t lease = 1 + choose_(4);
  const Bytes call = bundle_.ProvisionCallFor(config, lease);
  Key* key = Held(config.key_id);
  SendGrant(call, key != nullptr ? StatusCode::kOk : StatusCode::kFailedPrecondition);
  if (key == nullptr) return;
  grants_.push_back(call);
  provisioned_ = true;
  lease_ = lease;
  Accept(*key, DecodeProvisionCall(call)->grant.enc);
}

void HostileHost::SendGrant(const Bytes& call, StatusCode expected) {
  Require(DecodeProvisionReply(Call(call)).code() == expected, "a grant opens once, for the key that it was made for");
}

// ---- requests -----------------------------------------------------------------------------------------------------
size_t HostileHost::Seal(const KeyConfig& config, bool credential) {
  const uint32_t picture = next_picture_++ % kPictures;
  RequestPlaintext plaintext{.height = TinyModel::kSide, .width = TinyModel::kSide, .rgb = known_.pictures[picture]};
  if (credential) plaintext.credential = known_.credential;
  requests_.push_back({*SealRequest(config, plaintext), picture, credential});
  return requests_.size() - 1;
}

// As SealRequest, whose ephemeral key is never another's.
size_t HostileHost::SealUnder(const X25519KeyPair& ephemeral) {
  const uint32_t picture = next_picture_++ % kPictures;
  const KeyConfig& config = newest_.config;
  HpkeContext context = *HpkeContext::EncapsulateWith(ephemeral, config.public_key, DigestOf(config));
  ByteWriter header, plaintext, sealed;
  header.U16(kProtocolVersion);
  header.Raw(config.key_id);
  plaintext.Block(known_.credential);
  plaintext.U32(TinyModel::kSide);
  plaintext.U32(TinyModel::kSide);
  plaintext.Raw(known_.pictures[picture]);
  const Bytes aad = header.Take();
  sealed.Raw(aad);
  sealed.Raw(context.enc());
  sealed.Raw(*context.Seal(aad, plaintext.Take()));
  requests_.push_back({{sealed.Take(), std::move(context)}, picture, true});
  return requests_.size() - 1;
}

// One byte altered, cut short, or longer; what is empty can only grow.
Bytes HostileHost::Altered(Bytes bytes) {
  switch (bytes.empty() ? 2 : choose_(3)) {
    case 0:
      bytes[choose_(bytes.size())] ^= static_cast<uint8_t>(1 << choose_(8));
      break;
    case 1:
      bytes.resize(choose_(bytes.size()));
      break;
    default:
      bytes.resize(bytes.size() + 1 + choose_(3));
  }
  return bytes;
}

void HostileHost::Begin(const std::vector<Submission>& submissions) {
  BeginCall call;
  for (const Submission& s : submissions) {
    call.requests.push_back(s.altered ? ByteSpan(*s.altered) : ByteSpan(requests_[s.request].sealed.sealed));
  }
  const Bytes bytes = Call(EncodeCall(call));
  StatusOr<BeginReply> reply = DecodeBeginReply(bytes);
  if (call.requests.empty() || call.requests.size() > static_cast<size_t>(options_.max_batch)) {
    return Require(reply.status().code() == StatusCode::kInvalidArgument, "batches are bounded");
  }
  ++begins_;
  std::erase_if(pending_, [&](const auto& entry) { return begins_ - entry.second.begin > options_.max_age; });
  if (!provisioned_) {
    return Require(reply.status().code() == StatusCode::kUnavailable, "without keys there is no Begin");
  }
  Require(reply.ok() && reply->items.size() == submissions.size(), "a Begin answers for each of its requests");
  if (!reply.ok()) return;
  // First all are opened, and each that opens takes a place among the pending, then all are computed.
  const size_t waiting = pending_.size();
  size_t reserved = 0, ir_at = 0;
  for (size_t i = 0; i < submissions.size(); ++i) {
    const Submission& submission = submissions[i];
    const Request& request = requests_[submission.request];
    const BeginReply::Item& item = reply->items[i];
    if (submission.altered) {
      Require(!item.status.ok() && item.sealed_refusal.empty(), "an altered request does not open");
      continue;
    }
    const StatusCode expected = Opened(submission, waiting + reserved);
    if (item.status.code() != expected) {
      Require(false, Concat("a request got ", item.status.ToString(), ", expected code ", static_cast<int>(expected)));
    }
    if (expected != StatusCode::kOk) continue;
    --lease_;
    ++reserved;
    if (!request.credential) {
      StatusOr<Answer> refusal = OpenAnswer(request.sealed.context, item.sealed_refusal);
      Require(refusal.ok() && refusal->code == StatusCode::kPermissionDenied, "without a credential, a sealed refusal");
      continue;
    }
    const size_t ir_bytes = TinyModel::kIrElements * sizeof(float);
    Require(item.accepted() && ids_.insert(item.id).second, "each accepted request has an id of its own");
    Require(ir_at + ir_bytes <= reply->ir.size(), "each accepted request has its IR");
    if (!broken_rule_.empty()) return;
    pending_[item.id] = {submission.request, begins_, ToBytes(reply->ir.subspan(ir_at, ir_bytes))};
    ir_at += ir_bytes;
  }
  Require(ir_at == reply->ir.size(), "no other IR is shown");
}

// What comes of opening it, with so many places taken; the key counts it.
StatusCode HostileHost::Opened(const Submission& submission, size_t taken) {
  if (lease_ == 0) return StatusCode::kUnavailable;
  const Bytes& sealed = requests_[submission.request].sealed.sealed;
  Key* key = Held(PeekRequestHeader(sealed)->key_id);
  if (key == nullptr) return StatusCode::kFailedPrecondition;
  if (taken >= options_.max_pending) return StatusCode::kResourceExhausted;
  return Accept(*key, *PeekEnc(sealed));
}

// ---- answers ------------------------------------------------------------------------------------------------------
RequestId HostileHost::AnyPending() {
  if (pending_.empty()) return 0;
  return std::next(pending_.begin(), static_cast<ptrdiff_t>(choose_(pending_.size())))->first;
}

void HostileHost::Finish(const std::vector<RequestId>& ids, Scores kind) {
  std::vector<float> scores;
  for (RequestId id : ids) {
    const auto found = pending_.find(id);
    std::vector<float> own(TinyModel::kClasses, 0.5F);
    if (found != pending_.end()) own = bundle_.BackNetScores(found->second.ir);
    if (kind == Scores::kOfAnother) std::reverse(own.begin(), own.end());
    constexpr float kBad[] = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                              -std::numeric_limits<float>::infinity()};
    if (kind == Scores::kNotFinite) own[choose_(own.size())] = kBad[choose_(3)];
    scores.insert(scores.end(), own.begin(), own.end());
  }
  const ByteSpan raw(reinterpret_cast<const uint8_t*>(scores.data()), scores.size() * sizeof(float));
  StatusOr<FinishReply> reply = DecodeFinishReply(Call(EncodeCall(FinishCall{ids, raw})));
  if (ids.size() > static_cast<size_t>(options_.max_batch)) {
    return Require(reply.status().code() == StatusCode::kInvalidArgument, "batches are bounded");
  }
  if (!provisioned_) {
    return Require(reply.status().code() == StatusCode::kUnavailable, "without keys there is no Finish");
  }
  Require(reply.ok() && reply->items.size() == ids.size(), "a Finish answers for each of its requests");
  for (size_t i = 0; reply.ok() && i < ids.size(); ++i) {
    auto pending = pending_.extract(ids[i]);
    const FinishReply::Item& item = reply->items[i];
    Require(item.status.code() == (pending.empty() ? StatusCode::kNotFound : StatusCode::kOk),
            "a request is answered once");
    Require(item.answer.size() == (pending.empty() ? 0 : SealedAnswerBytes(bundle_.manifest)),
            "all answers have one length");
    if (pending.empty() || !broken_rule_.empty()) continue;
    CheckAnswer(pending.mapped(), item.answer, std::span(scores).subspan(i * TinyModel::kClasses, TinyModel::kClasses),
                kind);
  }
}

void HostileHost::CheckAnswer(const Pending& pending, ByteSpan sealed, std::span<const float> scores, Scores kind) {
  const Request& request = requests_[pending.request];
  StatusOr<Answer> answer = OpenAnswer(request.sealed.context, sealed);
  Require(answer.ok(), "the answer opens for who asked");
  if (!answer.ok()) return;
  ++answered_;
  const bool audits = bundle_.manifest.audit_per_million > 0;
  Require(answer->audited == audits && answer->audit_passed == (audits && kind == Scores::kOwn),
          "an audit tells honest scores from others");
  if (!audits && kind == Scores::kNotFinite) {
    return Require(answer->code == StatusCode::kInvalidArgument && answer->classes.empty(),
                   "of scores that are not finite comes an error");
  }
  // What the audit found stands in for the host's scores.
  std::string label = known_.labels[request.picture];
  if (!audits && kind == Scores::kOfAnother) {
    const auto best = static_cast<size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
    label = bundle_.mapping.labels[bundle_.mapping.order[best]];
  }
  Require(answer->code == StatusCode::kOk && !answer->classes.empty() && answer->classes[0].label == label,
          "the answer is what the scores say");
}

// ---- noise --------------------------------------------------------------------------------------------------------
// An earlier call cut short, made longer or of another type, or bytes at random: nothing that is a call.
void HostileHost::SendNoise() {
  Bytes noise;
  if (calls_.empty() || choose_(2) == 0) {
    noise.resize(choose_(64));
    for (uint8_t& byte : noise) byte = static_cast<uint8_t>(choose_(256));
  } else {
    noise = Altered(calls_[choose_(calls_.size())]);
    if (!noise.empty() && choose_(4) == 0) noise[0] = static_cast<uint8_t>(choose_(256));
  }
  if (DecodeGetEvidenceCall(noise).ok() || DecodeProvisionCall(noise).ok() || DecodeBeginCall(noise).ok() ||
      DecodeFinishCall(noise).ok()) {
    return;
  }
  Require(!DecodeProvisionReply(Call(noise)).ok(), "what is no call gets an error");
}

// ---- the rules ----------------------------------------------------------------------------------------------------
HostileHost::Key* HostileHost::Held(const KeyId& id) {
  if (newest_.config.key_id == id) return &newest_;
  return previous_ && previous_->config.key_id == id ? &*previous_ : nullptr;
}

StatusCode HostileHost::Accept(Key& key, const Enc& enc) {
  if (!key.accepted.insert(enc).second) return StatusCode::kAlreadyExists;
  ++since_rotation_;
  if (previous_ && since_rotation_ >= options_.overlap) previous_.reset();
  if (newest_.accepted.size() < options_.requests_per_key) return StatusCode::kOk;
  previous_ = std::exchange(newest_, {});
  since_rotation_ = 0;
  if (options_.overlap == 0) previous_.reset();
  newest_.config = TestHost(bundle_, caller_).Config();
  Require(std::find(configs_.begin(), configs_.end(), newest_.config) == configs_.end(), "a new key is a new key");
  configs_.push_back(newest_.config);
  return StatusCode::kOk;
}

}  // namespace infenclave
