#include "assessment/recover.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "assessment/attack_runner.h"
#include "assessment/campaign.h"
#include "assessment/label.h"
#include "bundle/class_order.h"
#include "graph/cuts.h"
#include "graph/passes.h"

namespace infenclave {
namespace {

constexpr int kBatch = 8;
constexpr int kQueriesPerClass[] = {1, 5};
constexpr int64_t kFeatureSide = 112, kLeastFeatureSide = 14;

bool Has(const std::vector<std::string>& attacks, std::string_view name) {
  return std::find(attacks.begin(), attacks.end(), name) != attacks.end();
}

std::string FileName(const std::string& path) { return path.substr(path.find_last_of('/') + 1); }

// Readable photographs in an order drawn by seed, so that the first of them are a fair sample.
std::vector<std::string> TargetFiles(const KlJob& job) {
  std::vector<int> order(job.plan->files.size());
  std::iota(order.begin(), order.end(), 0);
  Random random(job.plan->seed ^ 0x7a29e75);
  Shuffle(order, random);
  std::vector<std::string> files;
  for (int i : order) {
    if (static_cast<int>(files.size()) == kMostTargets) break;
    std::string path = job.folder + "/" + job.plan->files[i];
    if (LoadImage(path).ok()) files.push_back(std::move(path));
  }
  return files;
}

// What the oracle says of pictures, each shown by `show`; [n,classes].
template <typename Show>
StatusOr<std::vector<float>> Answers(OraclePool& pool, size_t n, Show show) {
  const size_t classes = pool.classes(), batch = pool.batch();
  std::vector<float> out(n * classes);
  for (size_t begin = 0; begin < n; begin += batch) {
    const size_t end = std::min(n, begin + batch);
    const auto ask = [&, begin, end](Oracle& oracle) -> Status {
      for (size_t i = begin; i < end; ++i) {
        INFENCLAVE_RETURN_IF_ERROR(show(oracle, static_cast<int>(i - begin), i));
      }
      INFENCLAVE_RETURN_IF_ERROR(oracle.Evaluate(static_cast<int>(end - begin)));
      for (size_t i = begin; i < end; ++i) {
        const auto answer = oracle.Probabilities(static_cast<int>(i - begin));
        std::copy(answer.begin(), answer.end(), out.begin() + static_cast<ptrdiff_t>(i * classes));
      }
      return OkStatus();
    };
    INFENCLAVE_RETURN_IF_ERROR(pool.Submit(ask));
  }
  INFENCLAVE_RETURN_IF_ERROR(pool.Drain());
  return out;
}

StatusOr<Targets> MakeTargets(const std::vector<std::string>& files, const PictureFiles& pictures,
                              const PictureFiles& attacker, OraclePool& pool) {
  Targets targets;
  for (int64_t i = 0; i < pictures.rgb.rows(); ++i) {
    const ByteSpan row = pictures.rgb.Row(i);
    targets.truth.insert(targets.truth.end(), row.begin(), row.end());
  }
  std::vector<double> sum(kPictureValues);
  int64_t photographs = 0;
  for (int64_t i = 0; i < attacker.rgb.rows(); ++i) {
    const bool first_view =
        attacker.photograph[i] != kNoPhotograph && (i == 0 || attacker.photograph[i] != attacker.photograph[i - 1]);
    if (!first_view) continue;
    const ByteSpan row = attacker.rgb.Row(i);
    for (size_t k = 0; k < sum.size(); ++k) sum[k] += row[k];
    ++photographs;
  }
  for (double v : sum) targets.mean.push_back(static_cast<float>(v / static_cast<double>(photographs)));
  FillMeanScores(targets);
  targets.classes = pool.classes();
  const auto show = [&files](Oracle& oracle, int slot, size_t i) -> Status {
    INFENCLAVE_ASSIGN_OR_RETURN(const Image image, LoadImage(files[i]));
    oracle.SetPhotograph(slot, image);
    return OkStatus();
  };
  INFENCLAVE_ASSIGN_OR_RETURN(targets.probabilities, Answers(pool, files.size(), show));
  return targets;
}

// The last tensor of the public network with maps of at least 14x14, for pictures of 112x112 where its layers can.
StatusOr<Graph> FeaturesOf(const Graph& network) {
  Graph small = network.Clone();
  Shape& shape = small.value(small.inputs[0]).shape;
  if (shape.size() == 4 && shape[2] > kFeatureSide && shape[3] > kFeatureSide) shape[2] = shape[3] = kFeatureSide;
  INFENCLAVE_ASSIGN_OR_RETURN(const std::vector<ValueId> cuts, CutPoints(network));
  StatusOr<Graph> best = InvalidArgument("the public network has no feature maps of 14x14 or more");
  for (ValueId cut : cuts) {
    Graph part = small.Clone();
    part.outputs = {cut};
    StatusOr<Graph> graph = RemoveDead(std::move(part));
    if (graph.ok()) graph = InferShapes(*std::move(graph));
    if (!graph.ok()) break;
    const Shape& maps = graph->value(graph->outputs[0]).shape;
    if (maps.size() != 4 || maps[2] < kLeastFeatureSide || maps[3] < kLeastFeatureSide) break;
    best = std::move(graph);
  }
  return best;
}

StatusOr<std::vector<Query>> MakeQueries(const PictureFiles& attacker, const std::string& scores_folder,
                                         OraclePool& pool) {
  INFENCLAVE_ASSIGN_OR_RETURN(const RowFile scores, RowFile::Open(scores_folder + "/attacker.ir.npy"));
  std::vector<int64_t> rows;
  std::vector<size_t> first;  // of each photograph, in rows
  for (int64_t i = 0, view = 0; i < attacker.rgb.rows(); ++i) {
    if (attacker.photograph[i] == kNoPhotograph) continue;
    view = i > 0 && attacker.photograph[i] == attacker.photograph[i - 1] ? view + 1 : 0;
    if (view < kQueriesPerClass[1]) rows.push_back(i);
    if (view == 0) first.push_back(rows.size() - 1);
  }
  // The attacker knows what its photographs show: the public network's answer to each stands for that.
  const int64_t height = attacker.pictures.shape()[1], width = attacker.pictures.shape()[2];
  const auto show = [&](Oracle& oracle, int slot, size_t i) -> Status {
    oracle.SetPicture(slot, Image{static_cast<uint32_t>(width), static_cast<uint32_t>(height),
                                  ToBytes(attacker.pictures.Row(rows[first[i]]))});
    return OkStatus();
  };
  INFENCLAVE_ASSIGN_OR_RETURN(const std::vector<float> answers, Answers(pool, first.size(), show));
  std::vector<Query> queries;
  for (size_t p = 0; p < first.size(); ++p) {
    const auto begin = answers.begin() + static_cast<ptrdiff_t>(p * pool.classes());
    const int known = static_cast<int>(std::max_element(begin, begin + pool.classes()) - begin);
    const size_t end = p + 1 < first.size() ? first[p + 1] : rows.size();
    for (size_t at = first[p]; at < end; ++at) {
      const ByteSpan row = scores.Row(rows[at]);
      Query query{known, {}};
      for (size_t i = 0; i + 2 <= row.size(); i += 2) {
        uint16_t v;
        std::memcpy(&v, &row[i], 2);
        query.scores.push_back(Bf16ToF32(v));
      }
      queries.push_back(std::move(query));
    }
  }
  return queries;
}

std::string AdviceOf(const LabelResult& label) {
  bool rows = false, queries = false;
  for (const LabelAttempt& attempt : label.attempts) {
    (attempt.method == "rows" ? rows : queries) |= attempt.safety != Safety::kSafe;
  }
  if (!rows && !queries) return "Neither the head's rows nor a few questions tell which score is which class.";
  std::string advice = "Do not count on the secret order of the classes: ";
  if (rows) advice += "the head's rows are known from a public network, so keep the last layers inside (--tail)";
  if (queries) advice += Concat(rows ? "; and " : "", "whoever may ask learns it, so let only invited users ask");
  return advice + ".";
}

class Recovery {
 public:
  Recovery(const AssessOptions& options, const KlJob& job, const StateFolder& state, const std::string& program,
           const ProgressFn& progress, Assessment& assessment)
      : options_(options), job_(job), state_(state), program_(program), progress_(progress), a_(assessment) {}

  Status Run();

 private:
  Status MakePictures();
  Status MakeSetting();
  Status AttackLabels(AttackRunner& runner, OraclePool& pool);
  Status MapTargets();

  const AssessOptions& options_;
  const KlJob& job_;
  const StateFolder& state_;
  const std::string& program_;
  const ProgressFn& progress_;
  Assessment& a_;
  std::vector<std::string> target_files_;
  PictureFiles attacker_, target_pictures_;
  Graph scores_, features_;
  Preprocessing features_preprocessing_;
  AttackSetting setting_;
};

Status Recovery::MakePictures() {
  const std::string folder = options_.attacker_images.empty() ? options_.images : options_.attacker_images;
  std::vector<std::string> files;
  for (const std::string& file : job_.plan->attacker_files) files.push_back(folder + "/" + file);
  INFENCLAVE_ASSIGN_OR_RETURN(
      attacker_, MakeAttackerPictures(options_.out + "/state/attacker", files, job_.preprocessing, options_.seed,
                                      options_.views, progress_));
  for (Skipped& skipped : attacker_.skipped) a_.skipped.push_back(std::move(skipped));
  target_files_ = TargetFiles(job_);
  if (target_files_.size() < 2) {
    return InvalidArgument(
        options_.images, ": ", target_files_.size(), " of ", job_.plan->files.size(),
        " files under attack are photographs; at least 2 are needed, and about 100 to decide anything");
  }
  INFENCLAVE_ASSIGN_OR_RETURN(target_pictures_,
                              MakeTargetPictures(options_.out + "/state/targets", target_files_, job_.preprocessing));
  a_.attacker_pictures = static_cast<int>(attacker_.photograph.size());
  a_.attacker_photographs = *std::max_element(attacker_.photograph.begin(), attacker_.photograph.end()) + 1;
  return OkStatus();
}

Status Recovery::MakeSetting() {
  INFENCLAVE_ASSIGN_OR_RETURN(scores_, StripFinalSoftmax(job_.model->Clone()));
  setting_.model = job_.model;
  setting_.scores = &scores_;
  setting_.preprocessing = &job_.preprocessing;
  setting_.cuts = job_.cuts;
  setting_.out = options_.out;
  setting_.plan = state_.digest();
  setting_.program = program_;
  setting_.threads = job_.threads;
  setting_.seed = options_.seed;
  setting_.budget_seconds = options_.attack_seconds;
  setting_.max_steps = options_.attack_steps;
  setting_.whitebox_images = options_.whitebox_images;
  setting_.ir_noise = NoiseLeft(options_);
  if (options_.public_model != nullptr && Has(options_.attacks, "decoder")) {
    INFENCLAVE_ASSIGN_OR_RETURN(features_, FeaturesOf(*options_.public_model));
    features_preprocessing_ = options_.public_preprocessing;
    const Shape& input = features_.value(features_.inputs[0]).shape;
    features_preprocessing_.height = static_cast<uint32_t>(input[2]);
    features_preprocessing_.width = static_cast<uint32_t>(input[3]);
    setting_.features = &features_;
    setting_.features_preprocessing = &features_preprocessing_;
  }
  return OkStatus();
}

Status Recovery::AttackLabels(AttackRunner& runner, OraclePool& pool) {
  LabelResult label;
  const Graph* const known = options_.public_model != nullptr ? options_.public_model : job_.oracle.graph;
  const std::vector<std::string>& known_labels =
      options_.public_model != nullptr ? options_.public_labels : options_.oracle_labels;
  INFENCLAVE_ASSIGN_OR_RETURN(const int64_t classes, NumElements(scores_.value(scores_.outputs[0]).shape));
  int64_t known_classes = a_.classes;  // of an oracle on a server, whose head nobody sees
  if (known != nullptr) {
    INFENCLAVE_ASSIGN_OR_RETURN(known_classes, NumElements(known->value(known->outputs[0]).shape));
  }
  const int n = static_cast<int>(classes);
  const auto head = HeadRowsOf(scores_);
  const auto other = known != nullptr ? HeadRowsOf(*known) : NotFound("no network");
  const std::vector<int> same = SameClasses(n, options_.labels, static_cast<int>(known_classes), known_labels);
  if (same.empty()) {
    label.not_applicable = Concat("the model has ", n, " classes, the public network ", known_classes,
                                  ": --labels and the public network's labels would say which are the same");
  } else if (head.ok() && other.ok() && head->classes == other->classes && n <= kMostClassesToMatch) {
    progress_("label: matching rows", 0, 1);
    label.attempts.push_back(AttemptRows(*head, *other, same, options_.margins.label));
    progress_("label: matching rows", 1, 1);
  }
  const std::vector<int> asked = SameClasses(n, options_.labels, a_.classes, options_.oracle_labels);
  if (!asked.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(const std::string folder, runner.Irs(kScoresOnly));
    INFENCLAVE_ASSIGN_OR_RETURN(const std::vector<Query> queries, MakeQueries(attacker_, folder, pool));
    for (int per_class : kQueriesPerClass) {
      label.attempts.push_back(AttemptQueries(queries, per_class, asked, options_.margins.label));
    }
  }
  label.advice = AdviceOf(label);
  a_.label = std::move(label);
  return OkStatus();
}

// Where the photographs under attack stand among all; not known while a shard is at work.
Status Recovery::MapTargets() {
  for (const std::string& path : target_files_) {
    const std::string name = FileName(path);
    const auto it =
        std::find_if(a_.photographs.begin(), a_.photographs.end(), [&](const Photograph& p) { return p.file == name; });
    if (it != a_.photographs.end()) a_.targets.push_back(static_cast<int>(it - a_.photographs.begin()));
  }
  return OkStatus();
}

Status Recovery::Run() {
  INFENCLAVE_RETURN_IF_ERROR(MakePictures());
  INFENCLAVE_RETURN_IF_ERROR(MakeSetting());
  INFENCLAVE_RETURN_IF_ERROR(MapTargets());
  INFENCLAVE_ASSIGN_OR_RETURN(const auto pool,
                              OraclePool::Start(job_.oracle, job_.oracle_preprocessing, job_.threads, kBatch));
  INFENCLAVE_ASSIGN_OR_RETURN(const Targets targets, MakeTargets(target_files_, target_pictures_, attacker_, *pool));
  AttackRunner runner(setting_, attacker_, target_pictures_, targets, *pool, progress_);
  CampaignOptions campaign;
  for (const char* attack : {"nearest", "patch", "decoder", "whitebox"}) {
    if (Has(options_.attacks, attack)) campaign.attacks.push_back(attack);
  }
  campaign.shard = options_.merge ? kNoShard : options_.shard;
  campaign.merge = options_.merge;
  campaign.exhaustive = options_.exhaustive;
  campaign.seed = options_.seed;
  if (!campaign.attacks.empty()) {
    INFENCLAVE_RETURN_IF_ERROR(RunCampaign(campaign, targets, *pool, runner, a_));
  }
  if (Has(options_.attacks, "label") && options_.shard.index <= 0)
    INFENCLAVE_RETURN_IF_ERROR(AttackLabels(runner, *pool));
  return OkStatus();
}

}  // namespace

bool NeedsAttacker(const std::vector<std::string>& attacks) {
  return std::any_of(attacks.begin(), attacks.end(), [](const std::string& attack) { return attack != "kl"; });
}

bool NeedsAttackProgram(const std::vector<std::string>& attacks) {
  return Has(attacks, "patch") || Has(attacks, "decoder") || Has(attacks, "whitebox");
}

Status Recover(const AssessOptions& options, const KlJob& job, const StateFolder& state, const std::string& program,
               const ProgressFn& progress, Assessment& assessment) {
  return Recovery(options, job, state, program, progress, assessment).Run();
}

}  // namespace infenclave
