#include "assessment/assess.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <iostream>
#include <memory>

#include "assessment/assessment_json.h"
#include "cli/command.h"
#include "cli/model_files.h"
#include "cli/progress.h"
#include "image/image.h"
#include "import/model.h"
#include "report/report.h"
#include "report/text.h"

namespace infenclave {
namespace {

struct AssessFlags {
  std::string model, oracle, images, out, preprocessing, oracle_preprocessing, oracle_labels, shard;
  std::vector<std::string> cuts, attacks = {"kl"};
  int64_t maps = 0, seed = 1, threads = 0;
  double kl_margin = Margins().kl_auc;
  bool merge = false, json = false;
};

// The command as it was typed, for the report: arguments that a shell would take apart are quoted.
std::string TypedCommand() {
  const auto raw = ReadFile("/proc/self/cmdline", size_t{1} << 20);
  if (!raw.ok()) return "infenclave assess";
  std::string command;
  for (std::string_view rest = AsText(*raw); !rest.empty();) {
    std::string argument(rest.substr(0, rest.find('\0')));
    rest.remove_prefix(std::min(rest.size(), argument.size() + 1));
    const bool plain = !argument.empty() && argument.find_first_not_of(
                                                "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                                "0123456789_-+=./,:@%") == std::string::npos;
    if (!plain) {
      for (size_t at = 0; (at = argument.find('\'', at)) != std::string::npos; at += 4)
        argument.replace(at, 1, "'\\''");
      argument = Concat("'", argument, "'");
    }
    command += (command.empty() ? "" : " ") + argument;
  }
  return command;
}

Status CheckAttacks(const std::vector<std::string>& attacks) {
  for (const std::string& attack : attacks) {
    if (std::find(std::begin(kAllAttacks), std::end(kAllAttacks), attack) == std::end(kAllAttacks)) {
      return UsageError(Concat("--attacks: '", attack, "' is not one of kl, patch, decoder, whitebox, nearest, label"));
    }
    if (attack != "kl") return Unimplemented("attack '", attack, "' is not in this build, which has: kl");
  }
  return attacks.empty() ? UsageError("--attacks: name at least one") : OkStatus();
}

// "2/8": the third of eight.
StatusOr<Shard> ParseShard(const std::string& text) {
  if (text.empty()) return Shard();
  Shard shard;
  const char* end = text.data() + text.size();
  const auto index = std::from_chars(text.data(), end, shard.index);
  if (index.ec == std::errc() && index.ptr != end && *index.ptr == '/') {
    const auto count = std::from_chars(index.ptr + 1, end, shard.count);
    if (count.ec == std::errc() && count.ptr == end && shard.index >= 0 && shard.index < shard.count) return shard;
  }
  return UsageError(Concat("--shard: '", text, "' is not I/N with 0 <= I < N, for example 0/4"));
}

void PrintSummary(const Assessment& a, const std::string& report) {
  std::printf("%4s  %-40s %16s  %6s %-16s %s\n", "#", "cut", "shape", "AUC", "", "verdict");
  for (const CutResult& cut : a.cuts) {
    const std::string auc = cut.kl ? Fixed(cut.kl->auc.value, 3) : "",
                      interval = cut.kl ? FormatInterval(cut.kl->auc, 3) : "";
    std::printf("%4d  %-40s %16s  %6s %-16s %s\n", cut.depth + 1, cut.name.c_str(), ToString(cut.shape).c_str(),
                auc.c_str(), interval.c_str(), std::string(NameOf(cut.verdict.safety)).c_str());
  }
  std::printf("\n%s\n", a.why.c_str());
  std::string missing;
  for (const std::string& attack : AttacksNotRun(a)) missing += (missing.empty() ? "" : ", ") + attack;
  if (!missing.empty()) std::printf("Provisional: these attacks have not run: %s.\n", missing.c_str());
  for (const Skipped& s : a.skipped) std::printf("Skipped %s\n", s.reason.c_str());
  std::printf("Report: %s\n", report.c_str());
}

Status WriteResult(const AssessResult& result, const AssessFlags& flags) {
  const std::string json = AssessmentToJson(result.assessment), report = flags.out + "/report.html";
  INFENCLAVE_RETURN_IF_ERROR(WriteFileAtomic(flags.out + "/assessment.json", AsBytes(json)));
  INFENCLAVE_RETURN_IF_ERROR(WriteFileAtomic(report, AsBytes(RenderReport(result.assessment, result.exhibits))));
  if (flags.json) {
    std::cout << json << std::flush;
  } else {
    PrintSummary(result.assessment, report);
  }
  return OkStatus();
}

Status RunAssess(const AssessFlags& flags) {
  INFENCLAVE_RETURN_IF_ERROR(CheckAttacks(flags.attacks));
  AssessOptions options;
  INFENCLAVE_ASSIGN_OR_RETURN(options.shard, ParseShard(flags.shard));
  if (flags.merge && !flags.shard.empty()) return UsageError("--merge puts all shards together: leave --shard out");
  INFENCLAVE_ASSIGN_OR_RETURN(const ImportedModel model, ImportModel(flags.model));
  INFENCLAVE_ASSIGN_OR_RETURN(const ImportedModel oracle, ImportModel(flags.oracle));
  const auto preprocessing = ChoosePreprocessing(flags.preprocessing, model);
  if (!preprocessing.ok()) return Annotate(preprocessing.status(), flags.model);
  options.preprocessing = *preprocessing;
  const auto oracle_preprocessing = ChoosePreprocessing(flags.oracle_preprocessing, oracle);
  if (!oracle_preprocessing.ok()) {
    return Annotate(oracle_preprocessing.status(), Concat(flags.oracle, " (--oracle-preprocessing)"));
  }
  options.oracle_preprocessing = *oracle_preprocessing;
  if (!flags.oracle_labels.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(options.oracle_labels, LoadLabels(flags.oracle_labels));
  }
  options.model_path = flags.model;
  options.oracle_path = flags.oracle;
  options.model = &model.graph;
  options.oracle = &oracle.graph;
  options.images = flags.images;
  options.out = flags.out;
  options.cuts = flags.cuts;
  options.maps = static_cast<int>(flags.maps);
  options.seed = static_cast<uint64_t>(flags.seed);
  options.margins.kl_auc = flags.kl_margin;
  options.threads = static_cast<int>(flags.threads);
  options.merge = flags.merge;
  options.command = TypedCommand();
  options.version = INFENCLAVE_VERSION;
  std::optional<AssessResult> result;
  {
    ProgressLine line;
    INFENCLAVE_ASSIGN_OR_RETURN(result, Assess(options, [&line](std::string_view stage, int64_t done, int64_t total) {
                                  line.Update(stage, done, total);
                                }));
  }
  if (result) return WriteResult(*result, flags);
  if (!flags.json) {
    std::printf("Shard %s is done. When all are, in %s: the same command with --merge instead of --shard.\n",
                flags.shard.c_str(), flags.out.c_str());
  }
  return OkStatus();
}

}  // namespace

Command AssessCommand() {
  auto flags = std::make_shared<AssessFlags>();
  Command command;
  command.name = "assess";
  command.summary = "Measures what each cut gives away, and recommends one";
  command.example = "infenclave assess lite0.onnx --oracle lite2.onnx --images photographs -o assessment --maps 16";
  command.declare = [flags](Flags& f) {
    f.Text("MODEL", &flags->model, "the network to be cut (ONNX)", true);
    f.Text("--oracle", &flags->oracle, "an independently trained classifier (ONNX), which judges the feature maps",
           true);
    f.Text("--images", &flags->images, "folder of photographs; 24 or more to decide anything", true);
    f.Text("-o", &flags->out, "folder for report.html, assessment.json and the state of the work", true);
    f.Texts("--cuts", &flags->cuts, "cut points to assess (default: all; `infenclave inspect` lists them)");
    f.Texts("--attacks", &flags->attacks, "attacks to run (default: kl)");
    f.Int("--maps", &flags->maps, "feature maps per cut, a sample drawn by seed (default: 0, all)", 0, 1 << 20);
    f.Text("--preprocessing", &flags->preprocessing, "how photographs are prepared for MODEL: preset or JSON file");
    f.Text("--oracle-preprocessing", &flags->oracle_preprocessing, "the same for the oracle");
    f.Text("--oracle-labels", &flags->oracle_labels, "names of the oracle's classes, one a line, for the report");
    f.Real("--kl-margin", &flags->kl_margin, "largest AUC of the KL oracle that counts as safe (default: 0.6)", 0.5, 1);
    f.Int("--seed", &flags->seed, "seed of every random choice (default: 1)", 0, INT64_MAX);
    f.Int("--threads", &flags->threads, "oracles at work, one thread each (default: 0, one per processor)", 0, 1024);
    f.Text("--shard", &flags->shard, "work on a part only: I/N, with I from 0; then once with --merge");
    f.Switch("--merge", &flags->merge, "put the shards in the output folder together");
    f.Switch("--json", &flags->json, "print assessment.json");
  };
  command.run = [flags] { return RunAssess(*flags); };
  return command;
}

}  // namespace infenclave
