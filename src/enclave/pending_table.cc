#include "enclave/pending_table.h"

#include <algorithm>
#include <utility>

namespace infenclave {

void PendingTable::Age() {
  ++begins_;
  while (!entries_.empty() && begins_ - entries_.begin()->second.begin > max_age_) entries_.erase(entries_.begin());
}

size_t PendingTable::Reserve(size_t wanted) {
  const size_t granted = std::min(wanted, capacity_ - entries_.size() - reserved_);
  reserved_ += granted;
  return granted;
}

RequestId PendingTable::Add(PendingRequest request) {
  INFENCLAVE_CHECK(reserved_ > 0);
  --reserved_;
  entries_.emplace_hint(entries_.end(), next_id_, Entry{std::move(request), begins_});
  return next_id_++;
}

StatusOr<PendingRequest> PendingTable::Take(RequestId id) {
  auto node = entries_.extract(id);
  if (node.empty()) return NotFound("request ", id, " is unknown, answered or dropped");
  return std::move(node.mapped().request);
}

}  // namespace infenclave
