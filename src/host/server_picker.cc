#include "host/server_picker.h"

#include <algorithm>

namespace infenclave {
namespace {

constexpr ServerPicker::Duration kLeastPatience = std::chrono::seconds(1);
constexpr int kPatienceFactor = 10;  // times what an answer usually takes
constexpr int kWeight = 8;           // of the past in that, against one new answer

}  // namespace

bool ServerPicker::Before(size_t a, size_t b, Time now) const {
  const Server &one = servers_[a], &other = servers_[b];
  const bool one_out = one.ejected_until > now, other_out = other.ejected_until > now;
  if (one_out != other_out) return other_out;
  if (one_out) return one.ejected_until < other.ejected_until;
  return one.in_flight < other.in_flight;
}

std::optional<ServerPicker::Picked> ServerPicker::Pick(const std::vector<bool>& tried, Time now) {
  const std::lock_guard lock(mutex_);
  std::optional<size_t> best;
  size_t others = 0;
  const size_t first = next_++;
  for (size_t i = 0; i < servers_.size(); ++i) {
    const size_t server = (first + i) % servers_.size();
    if (tried[server]) continue;
    if (servers_[server].ejected_until <= now) ++others;
    if (!best || Before(server, *best, now)) best = server;
  }
  if (!best) return std::nullopt;
  Server& picked = servers_[*best];
  ++picked.in_flight;
  if (picked.ejected_until <= now) {
    --others;
    // On its return one request tries it out; the others follow when that has come back.
    if (picked.ejections > 0) picked.ejected_until = now + kFirstEjection;
  }
  Picked out{*best, std::nullopt};
  if (others > 0 && usual_ > Duration::zero()) out.patience = std::max(kPatienceFactor * usual_, kLeastPatience);
  return out;
}

void ServerPicker::Finish(size_t server, Outcome outcome, Time started, Time now) {
  const std::lock_guard lock(mutex_);
  Server& self = servers_[server];
  --self.in_flight;
  if (outcome == Outcome::kSuccess) ++self.answered;
  if (outcome == Outcome::kFailure) ++self.failed;
  if (outcome == Outcome::kSuccess) {
    self.failures = self.ejections = 0;
    self.ejected_until = {};
    const Duration took = now - started;
    usual_ = usual_ == Duration::zero() ? took : (usual_ * (kWeight - 1) + took) / kWeight;
  } else if (outcome == Outcome::kFailure && ++self.failures >= kFailuresToEject) {
    self.ejected_until = now + std::min(kLongestEjection, kFirstEjection * (1 << std::min(self.ejections, 10)));
    self.failures = kFailuresToEject - 1;  // on its return, one more is enough
    ++self.ejections;
  }
}

std::vector<ServerPicker::Load> ServerPicker::loads(Time now) const {
  const std::lock_guard lock(mutex_);
  std::vector<Load> loads;
  for (const Server& server : servers_) {
    loads.push_back({server.ejected_until > now, server.in_flight, server.answered, server.failed});
  }
  return loads;
}

bool ServerPicker::ejected(size_t server, Time now) const {
  const std::lock_guard lock(mutex_);
  return servers_[server].ejected_until > now;
}

}  // namespace infenclave
