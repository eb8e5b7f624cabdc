#include "cli/flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <stdexcept>

namespace infenclave {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

struct Parsed {
  std::string model, precision = "f32";
  std::vector<std::string> images, cuts;
  int64_t batch = 1;
  double share = 0.5;
  bool json = false;
};

struct Result {
  int exit = 0;
  std::string out, err;
  Parsed parsed;
};

Result RunWith(
    std::vector<std::string> arguments, std::function<Status()> run = [] { return OkStatus(); }) {
  Result result;
  Command command{"bench", "Measures the engine.", "infenclave bench model.onnx --batch 8",
                  [&](Flags& flags) {
                    flags.Text("MODEL", &result.parsed.model, "the network", true);
                    flags.Texts("IMAGE", &result.parsed.images, "photographs");
                    flags.Texts("--cuts", &result.parsed.cuts, "cut points");
                    flags.Int("--batch", &result.parsed.batch, "images a run", 1, 64);
                    flags.Real("--share", &result.parsed.share, "a share", 0, 1);
                    flags.OneOf("--precision", &result.parsed.precision, {"f32", "bf16"}, "arithmetic");
                    flags.Switch("--json", &result.parsed.json, "print JSON");
                  },
                  std::move(run)};
  std::ostringstream out, err;
  result.exit = RunCommandLine({&command, 1}, std::move(arguments), out, err);
  result.out = out.str();
  result.err = err.str();
  return result;
}

TEST(CommandLine, FlagsReachTheirTargets) {
  Result r = RunWith({"bench", "m.onnx", "a.jpg", "b.jpg", "--cuts", "x,y", "--batch", "8", "--share=0.25",
                      "--precision", "bf16", "--json"});
  EXPECT_EQ(r.exit, kExitDone) << r.err;
  EXPECT_EQ(r.parsed.model, "m.onnx");
  EXPECT_THAT(r.parsed.images, ElementsAre("a.jpg", "b.jpg"));
  EXPECT_THAT(r.parsed.cuts, ElementsAre("x", "y"));
  EXPECT_EQ(r.parsed.batch, 8);
  EXPECT_EQ(r.parsed.share, 0.25);
  EXPECT_EQ(r.parsed.precision, "bf16");
  EXPECT_TRUE(r.parsed.json);
}

TEST(CommandLine, AListOptionDoesNotSwallowPositionals) {
  Result r = RunWith({"bench", "--cuts", "x,y", "m.onnx", "a.jpg", "--cuts", "z"});
  EXPECT_EQ(r.exit, kExitDone) << r.err;
  EXPECT_THAT(r.parsed.cuts, ElementsAre("x", "y", "z"));
  EXPECT_EQ(r.parsed.model, "m.onnx");
  EXPECT_THAT(r.parsed.images, ElementsAre("a.jpg"));
}

TEST(CommandLine, WrongUsageExitsTwoAndSaysWhatToDoNext) {
  const struct {
    std::vector<std::string> arguments;
    std::string message;
  } cases[] = {
      {{}, "infenclave: a command is needed"},
      {{"bentch"}, "infenclave: there is no command 'bentch'"},
      {{"bench"}, "infenclave bench: MODEL is required"},
      {{"bench", "m", "--bach", "2"}, "infenclave bench: The following argument was not expected: --bach"},
      {{"bench", "m", "--batch", "0"}, "infenclave bench: --batch: '0' is not a number from 1 to 64"},
      {{"bench", "m", "--batch", "two"}, "infenclave bench: --batch: 'two' is not a number from 1 to 64"},
      {{"bench", "m", "--batch", "99999999999999999999"}, "is not a number from 1 to 64"},
      {{"bench", "m", "--share", "nan"}, "infenclave bench: --share: 'nan' is not a number from 0 to 1"},
      {{"bench", "m", "--precision", "f64"}, "infenclave bench: --precision: 'f64' is not one of f32|bf16"},
  };
  for (const auto& c : cases) {
    Result r = RunWith(c.arguments, [] { return Internal("must not run"); });
    EXPECT_EQ(r.exit, kExitUsage) << r.err;
    EXPECT_THAT(r.err, HasSubstr(c.message));
    EXPECT_THAT(r.err, HasSubstr("--help'"));
    EXPECT_EQ(r.out, "");
  }
}

TEST(CommandLine, TheStatusDecidesTheExitStatus) {
  auto exit_of = [](Status status) { return RunWith({"bench", "m"}, [status] { return status; }).exit; };
  EXPECT_EQ(exit_of(OkStatus()), kExitDone);
  EXPECT_EQ(exit_of(NotFound("no such file")), kExitFailed);
  EXPECT_EQ(exit_of(Unavailable("the server has no keys yet")), kExitFailed);
  EXPECT_EQ(exit_of(UsageError("--cut and --assessment exclude each other")), kExitUsage);
  EXPECT_EQ(exit_of(PermissionDenied("the signature is wrong")), kExitRefused);
}

TEST(CommandLine, AnErrorNamesItsCommand) {
  Result r = RunWith({"bench", "m"}, [] { return NotFound("m: no such file"); });
  EXPECT_EQ(r.err, "infenclave bench: m: no such file\n");
}

TEST(CommandLine, ExceptionsBecomeMessages) {
  Result r = RunWith({"bench", "m"}, []() -> Status { throw std::runtime_error("a library's error"); });
  EXPECT_EQ(r.exit, kExitFailed);
  EXPECT_EQ(r.err, "infenclave bench: unexpected: a library's error\n");
}

TEST(CommandLine, HelpShowsTheExample) {
  Result r = RunWith({"bench", "--help"});
  EXPECT_EQ(r.exit, kExitDone);
  EXPECT_THAT(r.out, HasSubstr("infenclave bench model.onnx --batch 8"));
  EXPECT_THAT(r.out, HasSubstr("--precision f32|bf16"));
  EXPECT_THAT(RunWith({"--help"}).out, HasSubstr("Measures the engine."));
  EXPECT_THAT(RunWith({"--version"}).out, StartsWith("infenclave 0."));
}

TEST(RunCommandLine, MessagesDoNotSteerTheTerminal) {
  Result result = RunWith({"bench", "m.onnx"}, [] { return InvalidArgument("node '\x1b]0;title\x07\n\x7f'"); });
  EXPECT_EQ(result.err, "infenclave bench: node '?]0;title???'\n");
}

}  // namespace
}  // namespace infenclave
