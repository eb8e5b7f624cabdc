#include "oip/statistics.h"

#include <numeric>

namespace infenclave {
namespace {

double Seconds(ServingStatistics::Clock::duration time) { return std::chrono::duration<double>(time).count(); }

}  // namespace

uint64_t ServingStatistics::Totals::failed() const {
  return std::accumulate(by_code.begin() + 1, by_code.end(), uint64_t{0});
}

void ServingStatistics::CountFinished(StatusCode code, Clock::duration took) {
  const auto index = static_cast<size_t>(code);
  const std::lock_guard lock(mutex_);
  ++totals_.by_code[index < kStatusCodes ? index : static_cast<size_t>(StatusCode::kUnknown)];
  if (code == StatusCode::kOk) {
    totals_.succeeded_for += took;
    totals_.request_seconds.Observe(Seconds(took), kSecondsBounds);
  } else {
    totals_.failed_for += took;
  }
}

void ServingStatistics::CountSealedRefusal() {
  const std::lock_guard lock(mutex_);
  ++totals_.sealed_refusals;
}

void ServingStatistics::CountBatch(int64_t size, const StageTimes& times) {
  if (size < 1) return;
  const auto now = std::chrono::system_clock::now();
  const std::lock_guard lock(mutex_);
  totals_.last = now;
  totals_.batch_sizes.Observe(static_cast<double>(size), kBatchBounds);
  Batches& same = totals_.by_batch_size[size];
  ++same.count;
  for (size_t stage = 0; stage < kStages; ++stage) {
    const bool queue = stage == static_cast<size_t>(Stage::kQueue);
    same.times[stage] += queue ? size * times[stage] : times[stage];
    totals_.stage_seconds[stage].Observe(Seconds(times[stage]), kSecondsBounds,
                                         queue ? static_cast<uint64_t>(size) : 1);
  }
}

ServingStatistics::Totals ServingStatistics::Read() const {
  const std::lock_guard lock(mutex_);
  return totals_;
}

}  // namespace infenclave
