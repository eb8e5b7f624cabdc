// After WarmUpEngine, compiling and running open no file and start no thread or process: the kernel kills whoever
// tries.
#include <seccomp.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/engine/one_node.h"

namespace infenclave {
namespace {

using testing::GraphBuilder;
using testing::Random;
using Ints = std::vector<int64_t>;

Graph AllKinds() {
  GraphBuilder g;
  ValueId in = g.Input({1, 3, 64, 64});
  ValueId x = g.Add("Conv", {in, g.Constant({32, 3, 3, 3}, Random(32 * 27, 1))},
                    {{"strides", Ints{2, 2}}, {"pads", Ints{1, 1, 1, 1}}}, {FusedActivation::Kind::kRelu});
  ValueId y = g.Add("Conv", {x, g.Constant({32, 1, 3, 3}, Random(32 * 9, 2))},
                    {{"group", int64_t{32}}, {"pads", Ints{1, 1, 1, 1}}});
  x = g.Add("Concat", {g.Add("Add", {x, y}), g.Add("HardSwish", {x})}, {{"axis", int64_t{1}}});
  x = g.Add("MaxPool", {x}, {{"kernel_shape", Ints{2, 2}}, {"strides", Ints{2, 2}}});
  x = g.Add("Flatten", {g.Add("GlobalAveragePool", {x})});
  x = g.Add("Softmax", {g.Add("Gemm", {x, g.Constant({64, 10}, Random(640, 3))})});
  return g.Build({x});
}

// In a child process: warm up, shut the door, compile, run.
int CompileBehindFilter(const Graph& graph, int threads, Precision precision, int warm_threads) {
  WarmUpEngine(warm_threads);
  scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
  for (int call : {SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(openat2), SCMP_SYS(creat), SCMP_SYS(clone),
                   SCMP_SYS(clone3), SCMP_SYS(fork), SCMP_SYS(vfork), SCMP_SYS(execve), SCMP_SYS(socket)}) {
    if (seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, call, 0) != 0) return 10;
  }
  if (seccomp_load(filter) != 0) return 11;
  StatusOr<CompiledNetwork> network = CompiledNetwork::Compile(graph, {.precision = precision, .threads = threads});
  if (!network.ok()) return 12;
  for (int i = 0; i < 3; ++i) testing::RunNetwork(*network, {Random(3 * 64 * 64, 4)});
  return 0;
}

int StatusOfChild(const Graph& graph, int threads, Precision precision, int warm_threads) {
  // A fresh process image is not needed: this test makes no engine call before it forks.
  const pid_t child = fork();
  if (child == 0) _exit(CompileBehindFilter(graph, threads, precision, warm_threads));
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

TEST(Sandbox, CompilesAndRunsAfterTheDoorIsShut) {
  const Graph graph = AllKinds();
  for (int threads : {1, 2}) {
    for (Precision precision : {Precision::kF32, Precision::kBf16}) {
      const int status = StatusOfChild(graph, threads, precision, threads);
      EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
          << threads << " threads, " << NameOf(precision) << ": wait status " << status;
    }
  }
}

// The filter is real: a team that was not warmed up must start threads, and dies.
TEST(Sandbox, AColdTeamIsKilled) {
  const int status = StatusOfChild(AllKinds(), 2, Precision::kF32, 1);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) << status;
}

}  // namespace
}  // namespace infenclave
