#include "assessment/assess.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <utility>

#include "assessment/attack_child.h"
#include "assessment/cost.h"
#include "assessment/recover.h"
#include "crypto/primitives.h"
#include "engine/compiled_network.h"
#include "graph/cuts.h"
#include "image/image.h"

namespace infenclave {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxModelBytes = size_t{4} << 30;

StatusOr<std::string> FileSha256(const std::string& path, size_t limit) {
  INFENCLAVE_ASSIGN_OR_RETURN(const Bytes bytes, ReadFile(path, limit));
  return HexEncode(Sha256(bytes));
}

// Regular files, hidden ones aside, by name. Those that are no photographs are found out when they are decoded.
StatusOr<std::vector<std::string>> ListFiles(const std::string& folder, std::string_view flag) {
  std::error_code error;
  fs::directory_iterator it(folder, error);
  if (error) return NotFound(folder, ": ", error.message(), "; ", flag, " names a folder of photographs");
  std::vector<std::string> files;
  for (; it != fs::directory_iterator(); it.increment(error)) {
    if (error) return Internal(folder, ": ", error.message());
    std::string name = it->path().filename().string();
    std::error_code ignored;
    if (!name.starts_with('.') && it->is_regular_file(ignored)) files.push_back(std::move(name));
  }
  if (files.empty()) return InvalidArgument(folder, ": no files; ", flag, " names a folder of photographs");
  std::sort(files.begin(), files.end());
  return files;
}

// The cut points to assess, in order. Those behind operators that the engine does not know cannot be; naming one is an
// error.
StatusOr<std::vector<ValueId>> ResolveCuts(const Graph& model, const std::vector<std::string>& names, Assessment& out) {
  INFENCLAVE_ASSIGN_OR_RETURN(const std::vector<ValueId> points, CutPoints(model));
  out.cut_points = static_cast<int>(points.size());
  std::vector<bool> wanted(points.size(), names.empty());
  for (const std::string& name : names) {
    INFENCLAVE_ASSIGN_OR_RETURN(const ValueId cut, FindCut(model, name));
    wanted[std::find(points.begin(), points.end(), cut) - points.begin()] = true;
  }
  std::vector<ValueId> cuts;
  for (size_t depth = 0; depth < points.size(); ++depth) {
    if (!wanted[depth]) continue;
    const Value& value = model.value(points[depth]);
    INFENCLAVE_ASSIGN_OR_RETURN(const Partition sides, SplitAt(model, points[depth]));
    INFENCLAVE_ASSIGN_OR_RETURN(const Cost front, CostOf(sides.front));
    if (front.opaque && !names.empty()) {
      return InvalidArgument("cut '", value.name,
                             "' lies behind operators that the engine does not know: its FrontNet ", "cannot run");
    }
    if (front.opaque) continue;
    CutResult result;
    result.name = value.name;
    result.depth = static_cast<int>(depth);
    result.shape = value.shape;
    out.cuts.push_back(std::move(result));
    cuts.push_back(points[depth]);
  }
  if (cuts.empty()) return InvalidArgument("the model has no cut point that can be assessed: see `infenclave inspect`");
  return cuts;
}

// Of each file the digest of its contents, "" where it cannot be read, and of them all.
std::string DigestFiles(const std::string& folder, const std::vector<std::string>& files,
                        std::vector<std::string>& digests) {
  ByteWriter contents;
  for (const std::string& file : files) {
    const auto digest = FileSha256(Concat(folder, "/", file), kMaxImageFileBytes);
    digests.push_back(digest.ok() ? *digest : "");
    contents.Text(digests.back());
  }
  return HexEncode(Sha256(contents.bytes()));
}

// Half of the files to the attacker, the other half under attack, both in order.
void Split(uint64_t seed, std::vector<std::string>& files, std::vector<std::string>& attacker) {
  const int n = static_cast<int>(files.size());
  Random random(seed ^ 0x5b117);
  const std::vector<int> chosen = Sample(n, n / 2, random);
  std::vector<std::string> kept;
  for (int i = 0, at = 0; i < n; ++i) {
    const bool taken = at < static_cast<int>(chosen.size()) && chosen[at] == i;
    at += taken;
    (taken ? attacker : kept).push_back(std::move(files[i]));
  }
  files = std::move(kept);
}

// The attacker's files. One that is under attack as well would make the attack too easy: it is left out.
Status AddAttacker(const AssessOptions& options, const std::vector<std::string>& digests, Plan& plan,
                   std::vector<Skipped>& skipped) {
  const std::string& folder = options.attacker_images.empty() ? options.images : options.attacker_images;
  if (!options.attacker_images.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(plan.attacker_files, ListFiles(folder, "--attacker-images"));
  }
  std::vector<std::string> own, kept;
  plan.attacker_sha256 = DigestFiles(folder, plan.attacker_files, own);
  for (size_t i = 0; i < own.size(); ++i) {
    if (std::find(digests.begin(), digests.end(), own[i]) == digests.end() || own[i].empty()) {
      kept.push_back(std::move(plan.attacker_files[i]));
    } else {
      skipped.push_back({plan.attacker_files[i], Concat(folder, "/", plan.attacker_files[i],
                                                        ": the attacker's photograph is also under attack")});
    }
  }
  plan.attacker_files = std::move(kept);
  if (plan.attacker_files.empty()) {
    return InvalidArgument(folder,
                           ": no photograph is left for the attacker: --attacker-images names a folder of others");
  }
  return OkStatus();
}

// File contents' digests go to `digests`.
StatusOr<Plan> MakePlan(const AssessOptions& options, Assessment& assessment, std::vector<std::string>& digests) {
  Plan plan;
  plan.model_sha256 = assessment.model_sha256;
  plan.oracle_sha256 = assessment.oracle_sha256;
  plan.preprocessing = PreprocessingToJson(options.preprocessing);
  plan.oracle_preprocessing = PreprocessingToJson(options.oracle_preprocessing);
  INFENCLAVE_ASSIGN_OR_RETURN(plan.files, ListFiles(options.images, "--images"));
  const bool attacker = NeedsAttacker(options.attacks);
  if (attacker && options.attacker_images.empty()) Split(options.seed, plan.files, plan.attacker_files);
  plan.images_sha256 = DigestFiles(options.images, plan.files, digests);
  if (attacker) INFENCLAVE_RETURN_IF_ERROR(AddAttacker(options, digests, plan, assessment.skipped));
  for (const CutResult& cut : assessment.cuts) plan.cuts.push_back(cut.name);
  plan.maps_limit = options.maps;
  plan.seed = options.seed;
  plan.ir_noise = NoiseLeft(options);
  Random random(options.seed);
  plan.control = Sample(static_cast<int>(plan.files.size()), kMostControlPhotographs, random);
  return plan;
}

Status CheckLabels(const AssessOptions& options, Assessment& assessment) {
  if (options.oracle.remote != nullptr) {
    assessment.classes = options.oracle.remote->classes();
  } else if (options.oracle.graph->outputs.size() == 1) {
    const Graph& oracle = *options.oracle.graph;
    INFENCLAVE_ASSIGN_OR_RETURN(const int64_t classes, NumElements(oracle.value(oracle.outputs[0]).shape));
    assessment.classes = static_cast<int>(classes);
  }
  assessment.labels = options.oracle_labels;
  if (!assessment.labels.empty() && static_cast<int>(assessment.labels.size()) != assessment.classes) {
    return InvalidArgument("the oracle has ", assessment.classes, " classes, its labels are ", assessment.labels.size(),
                           ": --oracle-labels takes one line per class, in the oracle's order");
  }
  return OkStatus();
}

std::string NowUtc() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

std::string ProcessorName() {
  const auto info = ReadFile("/proc/cpuinfo", size_t{16} << 20);
  if (!info.ok()) return "unknown";
  const std::string_view text = AsText(*info);
  const size_t at = text.find("model name");
  if (at == std::string_view::npos) return "unknown";
  const size_t from = text.find(": ", at) + 2;
  return std::string(text.substr(from, text.find('\n', from) - from));
}

// Disks that are full or failing, and children that were killed, are nothing that the next run would meet again.
Status SayWhatIsKept(const Status& status, const std::string& out) {
  if (status.code() != StatusCode::kResourceExhausted && status.code() != StatusCode::kInternal) return status;
  return MakeStatus(status.code(), Concat(MessageOf(status), "; what was computed is kept in ", out,
                                          "/state: the same command goes on from there"));
}

Status MeasureCosts(const Graph& model, const std::vector<ValueId>& cuts, const ProgressFn& progress,
                    Assessment& assessment) {
  INFENCLAVE_ASSIGN_OR_RETURN(const Cost whole, CostOf(model));
  assessment.total_flops = whole.flops;
  for (size_t i = 0; i < cuts.size(); ++i) {
    INFENCLAVE_ASSIGN_OR_RETURN(assessment.cuts[i].cost, MeasureCost(model, cuts[i], whole.flops));
    progress("latency of each cut", static_cast<int64_t>(i + 1), static_cast<int64_t>(cuts.size()));
  }
  return OkStatus();
}

void DescribeRun(const AssessOptions& options, int threads, Assessment& assessment) {
  assessment.run.command = options.command;
  assessment.run.version = options.version;
  assessment.run.processor = ProcessorName();
  assessment.run.engine = EffectiveIsa();
  assessment.run.threads = threads;
  assessment.run.finished = NowUtc();
}

// In the report's order, each once.
std::vector<std::string> InOrder(const std::vector<std::string>& attacks) {
  std::vector<std::string> ordered;
  for (std::string_view attack : kAllAttacks) {
    if (std::find(attacks.begin(), attacks.end(), attack) != attacks.end()) ordered.emplace_back(attack);
  }
  return ordered;
}

}  // namespace

double NoiseLeft(const AssessOptions& options) { return options.ir_noise / std::sqrt(options.ir_views); }

StatusOr<std::optional<AssessResult>> Assess(const AssessOptions& options, const ProgressFn& progress) {
  AssessResult result;
  Assessment& assessment = result.assessment;
  assessment.model = options.model_path;
  assessment.oracle = options.oracle_path;
  assessment.attacks = InOrder(options.attacks);
  assessment.margins = options.margins;
  assessment.seed = options.seed;
  assessment.maps_limit = options.maps;
  assessment.ir_noise = options.ir_noise;
  assessment.ir_views = options.ir_views;
  if (options.ir_noise > 0 && assessment.attacks.front() == "kl") {
    return InvalidArgument("--ir-noise: the KL oracle judges IRs without noise; leave kl out of --attacks");
  }
  INFENCLAVE_ASSIGN_OR_RETURN(assessment.model_sha256, FileSha256(options.model_path, kMaxModelBytes));
  if (options.oracle.remote != nullptr) {
    assessment.oracle_sha256 = HexEncode(Sha256(AsBytes(options.oracle.remote->identity())));
  } else {
    INFENCLAVE_ASSIGN_OR_RETURN(assessment.oracle_sha256, FileSha256(options.oracle_path, kMaxModelBytes));
  }
  INFENCLAVE_RETURN_IF_ERROR(CheckLabels(options, assessment));
  std::string program = options.attack_program;
  if (program.empty() && !options.merge && NeedsAttackProgram(options.attacks)) {
    INFENCLAVE_ASSIGN_OR_RETURN(program, FindAttackProgram());
  }

  KlJob job;
  job.model = options.model;
  job.preprocessing = options.preprocessing;
  job.oracle = options.oracle;
  job.oracle_preprocessing = options.oracle_preprocessing;
  job.folder = options.images;
  job.threads = options.threads;
  job.maps = assessment.attacks.front() == "kl";
  INFENCLAVE_ASSIGN_OR_RETURN(job.cuts, ResolveCuts(*options.model, options.cuts, assessment));
  std::vector<std::string> digests;
  INFENCLAVE_ASSIGN_OR_RETURN(const Plan plan, MakePlan(options, assessment, digests));
  job.plan = &plan;
  INFENCLAVE_ASSIGN_OR_RETURN(const StateFolder state,
                              StateFolder::Open(options.out, plan, options.merge ? kNoShard : options.shard));

  if (!options.merge) {
    INFENCLAVE_RETURN_IF_ERROR(SayWhatIsKept(ScorePhotographs(job, options.shard, state, progress), options.out));
  }
  const bool whole = options.merge || options.shard.count == 1;
  if (whole) INFENCLAVE_RETURN_IF_ERROR(CollectKl(job, state, assessment));
  if (NeedsAttacker(options.attacks)) {
    INFENCLAVE_RETURN_IF_ERROR(SayWhatIsKept(Recover(options, job, state, program, progress, assessment), options.out));
  }
  if (!whole) return std::optional<AssessResult>();
  for (Photograph& photograph : assessment.photographs) {
    const auto file = std::lower_bound(plan.files.begin(), plan.files.end(), photograph.file);
    photograph.sha256 = digests[file - plan.files.begin()];
  }
  INFENCLAVE_RETURN_IF_ERROR(MeasureCosts(*options.model, job.cuts, progress, assessment));
  Conclude(assessment);
  INFENCLAVE_ASSIGN_OR_RETURN(result.exhibits, MakeExhibits(job, assessment));
  INFENCLAVE_ASSIGN_OR_RETURN(result.gallery, MakeGallery(options.out, assessment));
  DescribeRun(options, job.threads, assessment);
  return std::optional<AssessResult>(std::move(result));
}

}  // namespace infenclave
