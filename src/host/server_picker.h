// Which of several servers is asked next: the least loaded one that is not known to fail.
//
// A server that failed kFailuresToEject times in a row is ejected: for a second, twice as long each time it fails again
// on its return, up to half a minute. When nobody else is left, an ejected one is asked all the same. Time is passed
// in, so that nothing here depends on a clock.
#ifndef INFENCLAVE_HOST_SERVER_PICKER_H_
#define INFENCLAVE_HOST_SERVER_PICKER_H_

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

namespace infenclave {

class ServerPicker {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Duration = std::chrono::steady_clock::duration;
  static constexpr int kFailuresToEject = 3;
  static constexpr Duration kFirstEjection = std::chrono::seconds(1), kLongestEjection = std::chrono::seconds(30);

  enum class Outcome {
    kSuccess,
    kFailure,  // its own fault
    kNeither,  // the caller's doing, or a full queue
  };
  struct Picked {
    size_t server;
    // What to wait before another one is asked: much longer than an answer takes. None if there is no other.
    std::optional<Duration> patience;
  };

  explicit ServerPicker(size_t count) : servers_(count) {}

  // Nothing if all were tried. `tried[i]` is set for servers that are out of the question.
  std::optional<Picked> Pick(const std::vector<bool>& tried, Time now);
  // Once for each that was picked.
  void Finish(size_t server, Outcome outcome, Time started, Time now);

  bool ejected(size_t server, Time now) const;
  struct Load {
    bool ejected = false;
    int in_flight = 0;
    uint64_t answered = 0, failed = 0;  // so far
  };
  std::vector<Load> loads(Time now) const;
  size_t size() const { return servers_.size(); }

 private:
  struct Server {
    int in_flight = 0;
    uint64_t answered = 0, failed = 0;
    int failures = 0;   // in a row
    int ejections = 0;  // since it last succeeded
    Time ejected_until{};
  };
  // With the mutex held.
  bool Before(size_t a, size_t b, Time now) const;

  mutable std::mutex mutex_;
  std::vector<Server> servers_;
  size_t next_ = 0;  // among equals they take turns
  Duration usual_{};
};

}  // namespace infenclave

#endif  // INFENCLAVE_HOST_SERVER_PICKER_H_
