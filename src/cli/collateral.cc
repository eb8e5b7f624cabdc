#include "cli/collateral.h"

#include <chrono>
#include <ctime>
#include <iostream>

#include "client/attest.h"

namespace infenclave {
namespace {

constexpr auto kEvery = std::chrono::minutes(10), kAfterFailure = std::chrono::minutes(1);
constexpr auto kTimeout = std::chrono::seconds(30);

}  // namespace

void DeclareCollateral(Flags& flags, std::string* target) {
  flags.Text(
      "--collateral", target,
      "of hardware evidence: a file, the URL of a PCS, PCCS or AMD key distribution service, or 'online' for the "
      "manufacturers' own; what is fetched is kept and used while it is valid");
}

StatusOr<std::shared_ptr<CollateralSource>> OpenCollateral(const std::string& where) {
  if (where.empty()) return nullptr;
  CollateralSource::Options options;
  options.where = where;
  INFENCLAVE_ASSIGN_OR_RETURN(options.cache, DefaultCacheFolder());
  return std::make_shared<CollateralSource>(std::move(options));
}

CollateralKeeper::~CollateralKeeper() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  stop_.notify_all();
  if (thread_.joinable()) thread_.join();
}

Bytes CollateralKeeper::current() const {
  const std::lock_guard lock(mutex_);
  return current_;
}

Status CollateralKeeper::Refresh(const std::string& address) {
  INFENCLAVE_ASSIGN_OR_RETURN(const GetEvidenceReply reply,
                              FetchEvidence(ServerConnection(address), std::nullopt, kTimeout));
  INFENCLAVE_ASSIGN_OR_RETURN(const EvidenceEnvelope envelope, DecodeEvidenceEnvelope(reply.evidence));
  INFENCLAVE_ASSIGN_OR_RETURN(Bytes collateral, source_->For(envelope.tee, envelope.evidence, std::time(nullptr)));
  const std::lock_guard lock(mutex_);
  current_ = std::move(collateral);
  return OkStatus();
}

void CollateralKeeper::Watch(const std::string& address) {
  auto refresh = [this, address] {
    const Status status = Refresh(address);
    if (!status.ok()) std::cerr << "infenclave serve: no new collateral: " << status.message() << "\n";
    return status.ok() ? std::chrono::seconds(kEvery) : std::chrono::seconds(kAfterFailure);
  };
  const auto first = refresh();
  thread_ = std::thread([this, refresh, wait = first]() mutable {
    std::unique_lock lock(mutex_);
    while (!stop_.wait_for(lock, wait, [this] { return stopped_; })) {
      lock.unlock();
      wait = refresh();
      lock.lock();
    }
  });
}

}  // namespace infenclave
