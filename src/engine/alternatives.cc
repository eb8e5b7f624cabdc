#include "engine/alternatives.h"

#include <cpuid.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <mutex>
#include <optional>
#include <sstream>
#include <unordered_map>

#include "engine/compiled_network.h"
#include "engine/program.h"
#include "graph/memory_plan.h"

namespace infenclave {
namespace {

// What repeated runs do not show: in a network, weights and scratch come from outside the core's own caches.
constexpr double kMsPerByte = 1e3 / 100e9;
// Who grants no time to measure is an enclave, as a rule, where memory is scarce.
constexpr size_t kMostExtraMemory = size_t{8} << 20;
// A file of choices beyond this is not one of ours.
constexpr size_t kMostChoices = 100'000, kLongestChoice = 512;

struct Choices {
  std::mutex mutex;
  std::map<std::string, std::string, std::less<>> name_of;  // by processor and layer
};

Choices& AllChoices() {
  static auto* choices = new Choices;
  return *choices;
}

// Choices are good for processors of one make only.
const std::string& Processor() {
  static const std::string* processor = [] {
    unsigned a = 0, b = 0, c = 0, d = 0;
    __get_cpuid(1, &a, &b, &c, &d);
    std::ostringstream out;
    out << EffectiveIsa() << ' ' << std::hex << a << ' ';
    return new std::string(out.str());
  }();
  return *processor;
}

}  // namespace

std::string LayerChoices() {
  const std::lock_guard lock(AllChoices().mutex);
  std::string out;
  for (const auto& [layer, name] : AllChoices().name_of) out += layer + '\t' + name + '\n';
  return out;
}

void AddLayerChoices(std::string_view text) {
  const std::lock_guard lock(AllChoices().mutex);
  while (!text.empty() && AllChoices().name_of.size() < kMostChoices) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const size_t tab = line.find('\t');
    if (tab == std::string_view::npos || line.size() > kLongestChoice) continue;
    AllChoices().name_of.insert_or_assign(std::string(line.substr(0, tab)), std::string(line.substr(tab + 1)));
  }
}

namespace engine {

namespace {

std::optional<size_t> IndexOf(std::string_view name, std::span<const Alternative> alternatives) {
  for (size_t i = 0; i < alternatives.size(); ++i) {
    if (alternatives[i].name == name) return i;
  }
  return std::nullopt;
}

}  // namespace

size_t Chooser::Choose(const std::string& layer, double flops, std::span<const Alternative> alternatives) {
  if (alternatives.size() == 1) return 0;
  if (!measures_) return Estimate(flops, alternatives);
  const std::string key = Concat(Processor(), layer, " threads ", threads_);
  {
    const std::lock_guard lock(AllChoices().mutex);
    if (auto known = AllChoices().name_of.find(key); known != AllChoices().name_of.end()) {
      if (std::optional<size_t> index = IndexOf(known->second, alternatives)) return *index;
    }
  }
  if (left_ <= std::chrono::nanoseconds::zero()) return Estimate(flops, alternatives);
  const size_t best = Measure(alternatives);
  const std::lock_guard lock(AllChoices().mutex);
  // Networks of one process agree: where two threads have measured the same layer, the first has said.
  const auto [said, first] = AllChoices().name_of.emplace(key, alternatives[best].name);
  return first ? best : IndexOf(said->second, alternatives).value_or(best);
}

size_t Chooser::Estimate(double flops, std::span<const Alternative> alternatives) const {
  size_t least = SIZE_MAX;
  for (const Alternative& a : alternatives) least = std::min(least, a.memory);
  auto ms = [&](const Alternative& a) {
    if (a.memory - least > kMostExtraMemory) return std::numeric_limits<double>::infinity();
    return flops / (a.gflops * 1e6 * threads_) + kMsPerByte * static_cast<double>(a.memory);
  };
  auto it = std::min_element(alternatives.begin(), alternatives.end(),
                             [&](const Alternative& a, const Alternative& b) { return ms(a) < ms(b); });
  return static_cast<size_t>(it - alternatives.begin());
}

namespace {

// One alternative with memory to run on, which holds zeros.
class Trial {
 public:
  explicit Trial(const Alternative& alternative) : alternative_(alternative) {
    size_t bytes = 0;
    for (const Alternative::Part& part : alternative.parts) {
      for (const auto& [id, desc] : part.arguments) bytes += Aligned(desc.get_size());
    }
    block_ = Block(bytes, std::pmr::get_default_resource());
    std::byte* data = block_.data();
    for (const Alternative::Part& part : alternative.parts) {
      auto& memories = memories_.emplace_back();
      auto& pointers = pointers_.emplace_back();
      for (const auto& [id, desc] : part.arguments) {
        memories.emplace(id, memory(desc, CpuEngine(), data));
        pointers.push_back(data);
        data += Aligned(desc.get_size());
      }
    }
    penalty_ms_ = kMsPerByte * static_cast<double>(alternative.memory);
  }

  void Run(dnnl::stream& stream) {
    const auto before = std::chrono::steady_clock::now();
    for (size_t i = 0; i < alternative_.parts.size(); ++i) {
      const Alternative::Part& part = alternative_.parts[i];
      if (part.kernel) {
        part.kernel(pointers_[i]);
      } else {
        part.primitive.execute(stream, memories_[i]);
      }
    }
    const std::chrono::duration<double, std::milli> ms = std::chrono::steady_clock::now() - before;
    best_ms_ = std::min(best_ms_, ms.count());
  }

  double cost() const { return best_ms_ * alternative_.handicap + penalty_ms_; }

 private:
  static size_t Aligned(size_t bytes) { return (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment; }

  const Alternative& alternative_;
  Block block_;
  std::vector<std::unordered_map<int, memory>> memories_;  // of each part
  std::vector<std::vector<void*>> pointers_;               // likewise
  double best_ms_ = 1e9, penalty_ms_ = 0;
};

}  // namespace

size_t Chooser::Measure(std::span<const Alternative> alternatives) {
  // Rounds until the layer has had its share of the time (the next one's is a little less, none gets nothing), or one
  // alternative is clearly the best, or nothing new is to be learnt.
  constexpr int kFewestRounds = 2, kEnoughToBeClear = 12, kMostRounds = 40;
  constexpr double kClearly = 1.25;
  const std::chrono::nanoseconds share = left_ / 12;
  const auto before = std::chrono::steady_clock::now();
  auto spent = [&] { return std::chrono::steady_clock::now() - before; };
  dnnl::stream stream(CpuEngine());
  std::vector<Trial> trials;
  for (const Alternative& alternative : alternatives) trials.emplace_back(alternative).Run(stream);
  auto cost_less = [](const Trial& a, const Trial& b) { return a.cost() < b.cost(); };
  for (int round = 0; round < kMostRounds && spent() < (round < kFewestRounds ? left_ : share); ++round) {
    const double best = std::min_element(trials.begin(), trials.end(), cost_less)->cost();
    const double limit = (round < kEnoughToBeClear ? 2 : kClearly) * best;
    int run = 0;
    for (Trial& trial : trials) {
      if (trial.cost() >= limit) continue;
      trial.Run(stream);
      ++run;
    }
    if (run == 1) break;
  }
  left_ -= spent();
  return static_cast<size_t>(std::min_element(trials.begin(), trials.end(), cost_less) - trials.begin());
}

}  // namespace engine
}  // namespace infenclave
