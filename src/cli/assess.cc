#include "assessment/assess.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <iostream>
#include <memory>

#include "assessment/assessment_json.h"
#include "cli/command.h"
#include "cli/cores.h"
#include "cli/model_files.h"
#include "cli/progress.h"
#include "image/image.h"
#include "import/model.h"
#include "report/report.h"
#include "report/text.h"

namespace infenclave {
namespace {

struct AssessFlags {
  std::string model, oracle, images, attacker_images, out, preprocessing, oracle_preprocessing, labels, oracle_labels,
      known, known_preprocessing, known_labels, shard;
  std::vector<std::string> cuts, attacks = {"kl"};
  int64_t maps = 0, seed = 1, threads = 0, attack_steps = 0, whitebox_images = AssessOptions().whitebox_images;
  double attack_seconds = 0, ir_noise = 0;
  int64_t ir_views = 1;
  Margins margins;
  bool merge = false, json = false, exhaustive = false;
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

// The most that any attack recovered there beyond the baseline, as SSIM: what people can picture.
std::string MostRecovered(const CutResult& cut) {
  const Score* most = nullptr;
  for (const AttackRun& run : cut.attacks) {
    for (const Score& score : run.differences) {
      if (score.name == "ssim" && (most == nullptr || score.estimate.value > most->estimate.value)) most = &score;
    }
  }
  return most == nullptr ? "" : Concat(Fixed(most->estimate.value, 2), ' ', most->attack);
}

void PrintSummary(const Assessment& a, const std::string& report) {
  const bool attacked = !a.baselines.empty();
  std::printf("%4s  %-40s %16s  %6s %-16s %-14s %s\n", "#", "cut", "shape", a.cuts.empty() ? "" : "AUC", "kl",
              attacked ? "SSIM gained" : "", "verdict");
  for (const CutResult& cut : a.cuts) {
    const std::string auc = cut.kl ? Fixed(cut.kl->auc.value, 3) : "",
                      interval = cut.kl ? FormatInterval(cut.kl->auc, 3) : "";
    std::printf("%4d  %-40s %16s  %6s %-16s %-14s %s\n", cut.depth + 1, cut.name.c_str(), ToString(cut.shape).c_str(),
                auc.c_str(), interval.c_str(), MostRecovered(cut).c_str(),
                std::string(NameOf(cut.verdict.safety)).c_str());
  }
  if (a.label) {
    for (const LabelAttempt& attempt : a.label->attempts) {
      std::printf("\nlabel, %s: %s of %d classes named, chance %s: %s", attempt.method.c_str(),
                  Percent(attempt.named.value).c_str(), attempt.classes, Percent(attempt.chance, 1).c_str(),
                  std::string(NameOf(attempt.safety)).c_str());
    }
    std::printf("\n%s\n", a.label->advice.c_str());
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
  const std::string page = RenderReport(result.assessment, result.exhibits, result.gallery);
  INFENCLAVE_RETURN_IF_ERROR(WriteFileAtomic(report, AsBytes(page)));
  if (flags.json) {
    std::cout << json << std::flush;
  } else {
    PrintSummary(result.assessment, report);
  }
  return OkStatus();
}

// A network with its preprocessing and labels, as three flags name them.
struct Network {
  ImportedModel model;
  Preprocessing preprocessing;
  std::vector<std::string> labels;
};
StatusOr<Network> LoadNetwork(const std::string& path, const std::string& preprocessing, const std::string& labels,
                              std::string_view flag) {
  Network network;
  INFENCLAVE_ASSIGN_OR_RETURN(network.model, ImportModel(path));
  const auto chosen = ChoosePreprocessing(preprocessing, network.model);
  if (!chosen.ok()) return Annotate(chosen.status(), Concat(path, " (", flag, ")"));
  network.preprocessing = *chosen;
  if (!labels.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(network.labels, LoadLabels(labels));
  }
  return network;
}

Status RunAssess(const AssessFlags& flags) {
  INFENCLAVE_RETURN_IF_ERROR(CheckAttacks(flags.attacks));
  AssessOptions options;
  INFENCLAVE_ASSIGN_OR_RETURN(options.shard, ParseShard(flags.shard));
  if (flags.merge && !flags.shard.empty()) return UsageError("--merge puts all shards together: leave --shard out");
  INFENCLAVE_ASSIGN_OR_RETURN(const Network model,
                              LoadNetwork(flags.model, flags.preprocessing, flags.labels, "--preprocessing"));
  Network oracle;
  std::unique_ptr<RemoteModel> remote;
  if (RemoteModel::IsUrl(flags.oracle)) {
    if (flags.oracle_preprocessing.empty()) {
      return UsageError("--oracle on a server does not say how photographs are prepared: give --oracle-preprocessing");
    }
    INFENCLAVE_ASSIGN_OR_RETURN(oracle.preprocessing, LoadPreprocessing(flags.oracle_preprocessing));
    if (!flags.oracle_labels.empty()) {
      INFENCLAVE_ASSIGN_OR_RETURN(oracle.labels, LoadLabels(flags.oracle_labels));
    }
    INFENCLAVE_ASSIGN_OR_RETURN(remote, RemoteModel::Connect(flags.oracle));
    options.oracle = *remote;
  } else {
    INFENCLAVE_ASSIGN_OR_RETURN(
        oracle, LoadNetwork(flags.oracle, flags.oracle_preprocessing, flags.oracle_labels, "--oracle-preprocessing"));
    options.oracle = oracle.model.graph;
  }
  Network known;
  if (!flags.known.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(
        known, LoadNetwork(flags.known, flags.known_preprocessing, flags.known_labels, "--public-preprocessing"));
    options.public_model = &known.model.graph;
    options.public_preprocessing = known.preprocessing;
    options.public_labels = known.labels;
  }
  options.preprocessing = model.preprocessing;
  options.labels = model.labels;
  options.oracle_preprocessing = oracle.preprocessing;
  options.oracle_labels = oracle.labels;
  options.model_path = flags.model;
  options.oracle_path = flags.oracle;
  options.model = &model.model.graph;
  options.images = flags.images;
  options.out = flags.out;
  options.cuts = flags.cuts;
  options.maps = static_cast<int>(flags.maps);
  options.seed = static_cast<uint64_t>(flags.seed);
  options.attacks = flags.attacks;
  options.attacker_images = flags.attacker_images;
  options.attack_seconds = flags.attack_seconds;
  options.attack_steps = flags.attack_steps;
  options.whitebox_images = static_cast<int>(flags.whitebox_images);
  options.exhaustive = flags.exhaustive;
  options.ir_noise = flags.ir_noise;
  options.ir_views = static_cast<int>(flags.ir_views);
  options.margins = flags.margins;
  options.threads = flags.threads > 0 ? static_cast<int>(flags.threads) : AvailableCores();
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
  command.summary = "Measure what each cut gives away, and recommend one";
  command.example = "infenclave assess lite0.onnx --oracle lite2.onnx --images photographs -o assessment --maps 16";
  command.declare = [flags](Flags& f) {
    f.Text("MODEL", &flags->model, "the network to be cut (ONNX)", true);
    f.Text("--oracle", &flags->oracle,
           "an independently trained classifier, which judges the feature maps: ONNX, or grpc://HOST:PORT/MODEL on an "
           "OIP server",
           true);
    f.Text("--images", &flags->images, "folder of photographs; 24 or more to decide anything", true);
    f.Text("-o", &flags->out, "folder for report.html, assessment.json and the state of the work", true);
    f.Texts("--cuts", &flags->cuts, "cut points to assess (default: all; `infenclave inspect` lists them)");
    f.Texts("--attacks", &flags->attacks, "kl, patch, decoder, whitebox, nearest, label (default: kl)");
    f.Text("--attacker-images", &flags->attacker_images,
           "the attacker's photographs (default: half of --images, and the other half is under attack)");
    f.Int("--maps", &flags->maps, "feature maps per cut, a sample drawn by seed (default: 0, all)", 0, 1 << 20);
    f.Switch("--exhaustive", &flags->exhaustive, "train at every cut, not only where the verdict turns");
    f.Int("--attack-steps", &flags->attack_steps, "most steps of one training (default: 0, the attack's own limit)", 0,
          1 << 30);
    f.Real("--attack-seconds", &flags->attack_seconds, "most seconds of one training (default: 0, until it converges)",
           0, 1e9);
    f.Int("--whitebox-images", &flags->whitebox_images, "photographs that whitebox attacks (default: 32)", 2, 1 << 20);
    f.Real("--ir-noise", &flags->ir_noise,
           "attack IRs with noise, in deviations of each channel, as after `partition --ir-noise` (default: 0)", 0,
           100);
    f.Int("--ir-views", &flags->ir_views, "views of each picture that the attacker averages against it (default: 1)", 1,
          1 << 20);
    f.Text("--public", &flags->known,
           "a public network of the attacker's, for decoder and label (default: none, and the oracle)");
    f.Text("--preprocessing", &flags->preprocessing, "how photographs are prepared for MODEL: preset or JSON file");
    f.Text("--oracle-preprocessing", &flags->oracle_preprocessing, "the same for the oracle");
    f.Text("--public-preprocessing", &flags->known_preprocessing, "the same for the public network");
    f.Text("--labels", &flags->labels, "names of MODEL's classes, one a line, for label");
    f.Text("--oracle-labels", &flags->oracle_labels, "names of the oracle's classes, for the report and label");
    f.Text("--public-labels", &flags->known_labels, "names of the public network's classes, for label");
    f.Real("--kl-margin", &flags->margins.kl_auc, "largest AUC of the KL oracle that counts as safe (default: 0.6)",
           0.5, 1);
    f.Real("--auc-margin", &flags->margins.auc, "largest gain over the baseline that counts as safe (default: 0.1)", 0,
           1);
    f.Real("--ssim-margin", &flags->margins.ssim, "the same in SSIM (default: 0.05)", 0, 1);
    f.Real("--psnr-margin", &flags->margins.psnr, "the same in PSNR, dB (default: 0.5)", 0, 100);
    f.Real("--top1-margin", &flags->margins.top1, "the same in the oracle's top-1, as a share (default: 0.05)", 0, 1);
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
