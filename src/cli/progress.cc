#include "cli/progress.h"

#include <unistd.h>

#include <cmath>
#include <cstdio>

#include "base/status.h"

namespace infenclave {
namespace {

constexpr auto kBetweenUpdates = std::chrono::milliseconds(200);
constexpr auto kBetweenLines = std::chrono::seconds(30);
constexpr double kSecondsToKnowThePace = 2;

}  // namespace

std::string FormatDuration(double seconds) {
  const int64_t s = static_cast<int64_t>(std::ceil(std::max(0.0, seconds)));
  if (s < 90) return Concat(s, " s");
  const int64_t minutes = (s + 30) / 60;
  if (minutes < 90) return Concat(minutes, " min");
  return Concat(minutes / 60, " h ", minutes % 60, " min");
}

ProgressLine::ProgressLine() : terminal_(::isatty(STDERR_FILENO) != 0) {}

ProgressLine::~ProgressLine() {
  if (line_open_) std::fputc('\n', stderr);
}

void ProgressLine::Update(std::string_view stage, int64_t done, int64_t total) {
  const Clock::time_point now = Clock::now();
  const bool fresh = stage != stage_;
  if (fresh) {
    if (line_open_) std::fputc('\n', stderr);
    line_open_ = false;
    stage_ = stage;
    first_ = done;
    began_ = now;
  }
  const bool last = done >= total;
  if (!fresh && !last &&
      now - printed_ < (terminal_ ? Clock::duration(kBetweenUpdates) : Clock::duration(kBetweenLines))) {
    return;
  }
  printed_ = now;
  const double seconds = std::chrono::duration<double>(now - began_).count();
  std::string left;
  if (last) {
    left = Concat(", ", FormatDuration(seconds));
  } else if (seconds >= kSecondsToKnowThePace && done > first_) {
    left =
        Concat(", ", FormatDuration(seconds / static_cast<double>(done - first_) * static_cast<double>(total - done)),
               " left");
  }
  const std::string text = Concat(stage_, ": ", done, " of ", total, left);
  std::fprintf(stderr, terminal_ ? "\r\033[K%s" : "%s\n", text.c_str());
  std::fflush(stderr);
  line_open_ = terminal_;
}

}  // namespace infenclave
