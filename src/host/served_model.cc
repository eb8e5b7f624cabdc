#include "host/served_model.h"

#include <thread>
#include <utility>

namespace infenclave {

StatusOr<ServedModel::Generation> ServedModel::Make(std::unique_ptr<EnclaveLink> link, ByteSpan manifest,
                                                    const BackNetFactory& backnet, ConfidentialModel::Options options) {
  options.statistics = &statistics();
  Generation made{std::move(link), nullptr};
  INFENCLAVE_ASSIGN_OR_RETURN(made.model, ConfidentialModel::Start(made.link.get(), manifest, backnet, options));
  return made;
}

ServedModel::~ServedModel() {
  for (Shared* last : {&current_, &next_}) {
    if (*last != nullptr) retired_.push_back(std::exchange(*last, nullptr));
  }
  Reap();
}

void ServedModel::Use(Generation first) {
  const std::lock_guard lock(mutex_);
  info_ = &infos_.emplace_back(first.model->info());
  current_ = std::make_shared<const Generation>(std::move(first));
}

Status ServedModel::Offer(Generation next) {
  if (next.model->info().name != info().name) {
    return FailedPrecondition("the new bundle is of model '", next.model->info().name, "', and this server has '",
                              info().name, "'");
  }
  const auto shared = std::make_shared<const Generation>(std::move(next));
  {
    const std::lock_guard lock(mutex_);
    if (next_ != nullptr) retired_.push_back(next_);
    next_ = shared;
  }
  if (shared->model->ready()) Adopt(shared);
  return OkStatus();
}

void ServedModel::Adopt(const Shared& next) {
  const std::lock_guard lock(mutex_);
  if (next_ != next) return;
  info_ = &infos_.emplace_back(next->model->info());
  retired_.push_back(std::exchange(current_, std::exchange(next_, nullptr)));
}

void ServedModel::Reap() {
  std::vector<Shared> retired;
  {
    const std::lock_guard lock(mutex_);
    retired.swap(retired_);
  }
  for (Shared& generation : retired) {
    // Whoever is about to call it holds it for an instant; its end, which joins threads, must not be theirs.
    while (generation.use_count() > 1) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    generation.reset();
  }
}

ServedModel::Shared ServedModel::current() const {
  const std::lock_guard lock(mutex_);
  return current_;
}

ServedModel::Shared ServedModel::next() const {
  const std::lock_guard lock(mutex_);
  return next_;
}

void ServedModel::GetEvidence(const std::optional<Nonce>& nonce, bool waiting,
                              const std::function<void(StatusOr<GetEvidenceReply>)>& done) {
  const Shared offered = waiting ? next() : nullptr;
  (offered != nullptr ? offered : current())->model->GetEvidence(nonce, done);
}

void ServedModel::Provision(const Bytes& provision_call, const std::function<void(Status)>& done) {
  const Shared offered = next();
  if (offered == nullptr) return current()->model->Provision(provision_call, done);
  std::weak_ptr<const Generation> weak = offered;  // it owns the thread that runs this
  offered->model->Provision(provision_call, [this, weak, provision_call, done](const Status& status) {
    if (status.code() == StatusCode::kFailedPrecondition) return current()->model->Provision(provision_call, done);
    if (const Shared provisioned = weak.lock(); status.ok() && provisioned != nullptr) Adopt(provisioned);
    done(status);
  });
}

}  // namespace infenclave
