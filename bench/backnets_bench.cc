// backnets_bench MODEL...: how much a second BackNet worker process on a second core brings where the BackNet
// dominates.
//
// Cut early, so that nearly all of the work is outside. Client, host and enclave need the same cores as the workers:
// what two workers can bring at most, where a request costs that much processor time, is printed beside what they
// bring.
#include <algorithm>
#include <filesystem>
#include <iomanip>
#include <iostream>

#include "bench/served.h"
#include "graph/cuts.h"
#include "import/model.h"

namespace infenclave {
namespace {

constexpr int kRounds = 3;
constexpr double kInside = 0.03;  // of the work, at most
constexpr auto kTime = std::chrono::seconds(6);

struct Cut {
  std::string name;
  double inside = 0;
  int64_t carried = 0;  // numbers of the IR
};

// With the least to carry among those that leave nearly all of the work outside.
StatusOr<Cut> EarlyCut(const Graph& graph) {
  INFENCLAVE_ASSIGN_OR_RETURN(Cost total, CostOf(graph));
  INFENCLAVE_ASSIGN_OR_RETURN(std::vector<ValueId> cuts, CutPoints(graph));
  Cut best{"", 0, INT64_MAX};
  for (ValueId id : cuts) {
    INFENCLAVE_ASSIGN_OR_RETURN(Partition parts, SplitAt(graph, id));
    INFENCLAVE_ASSIGN_OR_RETURN(Cost front, CostOf(parts.front));
    const double inside = static_cast<double>(front.flops) / static_cast<double>(total.flops);
    const int64_t carried = NumElements(graph.value(id).shape).value_or(INT64_MAX);
    if (inside <= kInside && carried < best.carried) best = {graph.value(id).name, inside, carried};
  }
  if (best.name.empty()) return FailedPrecondition("no cut leaves ", 100 * (1 - kInside), " % of the work outside");
  return best;
}

// One request at a time to a worker: a batch that ends in the window or after it would weigh too much.
StatusOr<Rate> RateWith(int backnets, const Graph& graph, const std::string& cut) {
  INFENCLAVE_ASSIGN_OR_RETURN(std::unique_ptr<Service> service,
                              Serve(graph, {.cut = cut, .backnets = backnets, .max_batch = 1}));
  return ServedThroughput(*service->client, SomePicture(graph), kTime);
}

Status Measure(const std::string& file) {
  INFENCLAVE_ASSIGN_OR_RETURN(ImportedModel model, ImportModel(file));
  INFENCLAVE_ASSIGN_OR_RETURN(const Cut cut, EarlyCut(model.graph));
  std::vector<double> one, two, times, bounds, cpu;
  for (int round = 0; round < kRounds; ++round) {
    INFENCLAVE_ASSIGN_OR_RETURN(const Rate with_one, RateWith(1, model.graph, cut.name));
    INFENCLAVE_ASSIGN_OR_RETURN(const Rate with_two, RateWith(2, model.graph, cut.name));
    one.push_back(with_one.per_second);
    two.push_back(with_two.per_second);
    times.push_back(two.back() / one.back());
    cpu.push_back(with_one.cpu_ms);
    bounds.push_back(std::min(2.0, 1000 * Cores() / with_one.cpu_ms / with_one.per_second));
  }
  std::cout << std::left << std::setw(16) << std::filesystem::path(file).stem().string() << std::right << std::fixed
            << std::setprecision(1) << std::setw(9) << 100 * (1 - cut.inside) << " %" << std::setw(10)
            << static_cast<double>(cut.carried) * sizeof(float) / 1024 << std::setprecision(2) << std::setw(12)
            << Median(one) << std::setw(13) << Median(two) << std::setw(9) << Median(cpu) << std::setw(7)
            << Median(times) << std::setw(9) << Median(bounds) << std::endl;
  return OkStatus();
}

Status Run(const std::vector<std::string>& files) {
  std::cout << Machine() << ", simulated TEE; requests a second, " << kRounds << " rounds (goal: 1.9 times)\n"
            << "                    outside    IR, KiB  one worker  two workers  CPU, ms  times  at most\n";
  for (const std::string& file : files) INFENCLAVE_RETURN_IF_ERROR(Measure(file));
  return OkStatus();
}

}  // namespace
}  // namespace infenclave

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: backnets_bench MODEL...\n";
    return 2;
  }
  const infenclave::Status status = infenclave::Run({argv + 1, argv + argc});
  if (status.ok()) return 0;
  std::cerr << "backnets_bench: " << infenclave::MessageOf(status) << "\n";
  return 1;
}
