// What a served model has done since it started: counted once, told as Triton's ModelStatistics and as Prometheus
// metrics. Numbers and times only; nothing of what requests or answers hold.
//
// Thread-safe. One short lock per finished request and one per batch.
#ifndef INFENCLAVE_OIP_STATISTICS_H_
#define INFENCLAVE_OIP_STATISTICS_H_

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>

#include "base/status.h"

namespace infenclave {

// Of a batch. kBegin and kFinish are the enclave's; a BackNet on its own has neither.
enum class Stage { kQueue, kBegin, kBackNet, kFinish };
inline constexpr size_t kStages = 4;
inline constexpr size_t kStatusCodes = 17;

// Observations in buckets with fixed upper bounds, as Prometheus counts them.
template <size_t kBounds>
struct BucketCounts {
  std::array<uint64_t, kBounds + 1> buckets{};  // not cumulative; the last has no bound
  uint64_t count = 0;
  double sum = 0;

  void Observe(double value, const std::array<double, kBounds>& bounds, uint64_t times = 1) {
    size_t i = 0;
    while (i < kBounds && value > bounds[i]) ++i;
    buckets[i] += times;
    count += times;
    sum += value * static_cast<double>(times);
  }
};
inline constexpr std::array<double, 15> kSecondsBounds = {.0001, .00025, .0005, .001, .0025, .005, .01, .025,
                                                          .05,   .1,     .25,   .5,   1,     2.5,  10};
inline constexpr std::array<double, 8> kBatchBounds = {1, 2, 4, 8, 16, 32, 64, 128};
using SecondsCounts = BucketCounts<kSecondsBounds.size()>;
using BatchCounts = BucketCounts<kBatchBounds.size()>;

class ServingStatistics {
 public:
  using Clock = std::chrono::steady_clock;
  using StageTimes = std::array<Clock::duration, kStages>;

  struct Batches {  // of one size
    uint64_t count = 0;
    StageTimes times{};  // kQueue summed over the requests
  };
  struct Totals {
    std::array<uint64_t, kStatusCodes> by_code{};  // finished requests
    // Requests that the enclave refused, with a reason that only the caller can read; among by_code's OK.
    uint64_t sealed_refusals = 0;
    Clock::duration succeeded_for{}, failed_for{};
    SecondsCounts request_seconds;                     // of those that succeeded
    std::array<SecondsCounts, kStages> stage_seconds;  // kQueue per request, the others per batch
    BatchCounts batch_sizes;
    std::map<int64_t, Batches> by_batch_size;
    std::chrono::system_clock::time_point last{};

    uint64_t succeeded() const { return by_code[0]; }
    uint64_t failed() const;
  };

  void CountFinished(StatusCode code, Clock::duration took);
  void CountSealedRefusal();
  // `queued` is the mean of the batch's requests.
  void CountBatch(int64_t size, const StageTimes& times);
  Totals Read() const;

 private:
  mutable std::mutex mutex_;
  Totals totals_;
};

// Times the stages of one batch, from its requests' arrival.
class BatchTimer {
 public:
  // `batch` is a container of InferCall*.
  template <typename Calls>
  explicit BatchTimer(const Calls& batch) : size_(static_cast<int64_t>(batch.size())) {
    for (const auto* call : batch) times_[0] += last_ - call->received();
    if (size_ > 0) times_[0] /= size_;
  }
  // What passed since the last stage ended was `stage`.
  void Ended(Stage stage) {
    const auto now = ServingStatistics::Clock::now();
    times_[static_cast<size_t>(stage)] = now - last_;
    last_ = now;
  }
  void Count(ServingStatistics& statistics) const { statistics.CountBatch(size_, times_); }

 private:
  const int64_t size_;
  ServingStatistics::Clock::time_point last_ = ServingStatistics::Clock::now();
  ServingStatistics::StageTimes times_{};
};

}  // namespace infenclave

#endif  // INFENCLAVE_OIP_STATISTICS_H_
