// How far a long command is, and how long it will take: on standard error, one line that keeps its place on a terminal,
// a line now and then elsewhere.
#ifndef INFENCLAVE_CLI_PROGRESS_H_
#define INFENCLAVE_CLI_PROGRESS_H_

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace infenclave {

// "1 h 20 min", "3 min", "40 s".
std::string FormatDuration(double seconds);

class ProgressLine {
 public:
  ProgressLine();
  ~ProgressLine();  // ends the line
  // `done` of `total` units of the stage. The time left follows from the pace since the stage began here.
  void Update(std::string_view stage, int64_t done, int64_t total);

 private:
  using Clock = std::chrono::steady_clock;
  bool terminal_;
  std::string stage_;
  int64_t first_ = 0;  // units that were done when the stage began
  Clock::time_point began_, printed_;
  bool line_open_ = false;
};

}  // namespace infenclave

#endif  // INFENCLAVE_CLI_PROGRESS_H_
