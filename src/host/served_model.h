// The model as the world sees it, while enclaves come and go behind it.
//
// A new bundle is a new enclave with a model of its own. It is offered, waits until it has its keys, and then takes all
// new requests; the one before it answers what it has, and ends. A request that was sealed to the old enclave's key and
// comes late is refused with the new one's evidence, as after any rotation, and its client seals again.
//
// Thread-safe, but Reap, which waits, belongs to one thread.
#ifndef INFENCLAVE_HOST_SERVED_MODEL_H_
#define INFENCLAVE_HOST_SERVED_MODEL_H_

#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "host/confidential_model.h"

namespace infenclave {

class ServedModel final : public OipModel {
 public:
  ServedModel() = default;
  ~ServedModel() override;

  // An enclave and the model behind it. Its end waits for the requests that it has.
  struct Generation {
    std::unique_ptr<EnclaveLink> link;
    std::unique_ptr<ConfidentialModel> model;  // uses the link
  };
  // `backnet` and `options` as for ConfidentialModel.
  StatusOr<Generation> Make(std::unique_ptr<EnclaveLink> link, ByteSpan manifest, const BackNetFactory& backnet,
                            ConfidentialModel::Options options);

  // In use at once: the first.
  void Use(Generation first);
  // In use once it has keys, instead of what was offered before. FAILED_PRECONDITION for a model of another name.
  Status Offer(Generation next);
  // Ends the generations that are no longer in use, when they have answered everything.
  void Reap();

  const ModelInfo& info() const override { return *info_.load(); }
  bool ready() const override { return current()->model->ready(); }
  void Infer(InferCall* call) override { current()->model->Infer(call); }

  // The enclave's own calls. `waiting`: of the enclave that waits for its keys, if there is one.
  void GetEvidence(const std::optional<Nonce>& nonce, bool waiting,
                   const std::function<void(StatusOr<GetEvidenceReply>)>& done);
  // To whichever enclave holds the key.
  void Provision(const Bytes& provision_call, const std::function<void(Status)>& done);

  HostState state() const { return current()->model->state(); }
  bool alive() const { return current()->link->alive(); }
  int lanes() const { return current()->link->lanes(); }
  TeeKind tee() const { return current()->model->tee(); }
  Manifest manifest() const { return current()->model->manifest(); }

 private:
  using Shared = std::shared_ptr<const Generation>;  // by those who are about to call it
  Shared current() const;
  Shared next() const;
  // If `next` still is the one that was offered last.
  void Adopt(const Shared& next);

  mutable std::mutex mutex_;
  Shared current_, next_;
  std::vector<Shared> retired_;
  std::deque<ModelInfo> infos_;  // info() gives references away: a few hundred bytes per reload stay
  std::atomic<const ModelInfo*> info_{nullptr};
};

}  // namespace infenclave

#endif  // INFENCLAVE_HOST_SERVED_MODEL_H_
