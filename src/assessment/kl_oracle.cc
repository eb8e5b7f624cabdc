#include "assessment/kl_oracle.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>

#include "assessment/feature_map.h"
#include "assessment/front_net.h"
#include "assessment/oracle_pool.h"
#include "image/image.h"

namespace infenclave {
namespace {

constexpr int kMostBatch = 8;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNoValueYet = std::numeric_limits<float>::quiet_NaN();

using Clock = std::chrono::steady_clock;
double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

Answer MostLikely(std::span<const float> probabilities) {
  const auto it = std::max_element(probabilities.begin(), probabilities.end());
  return {static_cast<int>(it - probabilities.begin()), *it};
}

// One photograph on its way: its maps wait to be shown, and its record fills. Shared by the batches' jobs; the last of
// them to finish saves the record.
struct Work {
  struct Task {
    int cut, map, height, width;
    size_t at;  // in pixels
    size_t size() const { return static_cast<size_t>(height) * width; }
  };
  std::vector<Task> tasks;
  std::vector<float> pixels;  // normalised
  KlRows own;                 // V of this photograph
  std::mutex mutex;           // for what follows
  KlRecord record;
  size_t batches_left = 0;
};

class Scorer {
 public:
  Scorer(const KlJob& job, const StateFolder& state, const ProgressFn& progress)
      : job_(job), state_(state), progress_(progress) {}

  Status Start(const std::vector<uint32_t>& files);
  Status Score(uint32_t file);
  Status Finish() { return pool_->Drain(); }

 private:
  StatusOr<Image> Load(uint32_t file) const { return LoadImage(job_.folder + "/" + job_.plan->files[file]); }
  Status AnswerControl();
  Status AnswerSome(Oracle& oracle, size_t begin, size_t end);
  Status AnswerGrey();
  Status AnswerOwn(const Image& photograph, Work& work);
  Status QueueMaps(const FrontNet& front, Work& work, size_t cut);
  Status ShowBatch(Oracle& oracle, const std::shared_ptr<Work>& work, size_t begin, size_t end);
  void Merge(Work& work, int cut, int map, std::span<const float> answer, std::span<const float> against) const;
  void BeginStage(std::string_view stage, int64_t total);
  void Advance(int64_t done);

  const KlJob& job_;
  const StateFolder& state_;
  const ProgressFn& progress_;
  std::vector<MapChoice> choices_;
  int64_t maps_per_photograph_ = 0;
  std::optional<FrontNet> front_;
  std::optional<Oracle> single_;  // for photographs outside the control

  KlRows control_;                           // the readable photographs of the control
  std::vector<int> slots_;                   // of the control, its place in the plan's control
  std::vector<std::vector<float>> answers_;  // V(x) for the plan's control; empty where unreadable
  std::vector<float> grey_, grey_against_;   // V(grey), KL(V(x) || V(grey))

  std::mutex progress_mutex_;
  std::string_view stage_;
  int64_t done_ = 0, total_ = 0;

  std::unique_ptr<OraclePool> pool_;  // last, so that its threads end before what they use
};

Status Scorer::Start(const std::vector<uint32_t>& files) {
  for (ValueId cut : job_.cuts) {
    choices_.push_back(ChooseMaps(job_.model->value(cut), job_.plan->maps_limit, job_.plan->seed));
    if (!job_.maps) choices_.back().chosen.clear();
    maps_per_photograph_ += static_cast<int64_t>(choices_.back().chosen.size());
  }
  INFENCLAVE_ASSIGN_OR_RETURN(front_, FrontNet::Create(*job_.model, job_.preprocessing, job_.cuts, choices_));
  // A photograph's maps fill batches of their own, so that its figures do not depend on its neighbours.
  const int batch = static_cast<int>(std::clamp<int64_t>(maps_per_photograph_, 1, kMostBatch));
  INFENCLAVE_ASSIGN_OR_RETURN(pool_, OraclePool::Start(job_.oracle, job_.oracle_preprocessing, job_.threads, batch));
  INFENCLAVE_RETURN_IF_ERROR(AnswerControl());
  INFENCLAVE_RETURN_IF_ERROR(AnswerGrey());
  BeginStage("maps", maps_per_photograph_ * static_cast<int64_t>(files.size()));
  return OkStatus();
}

Status Scorer::AnswerSome(Oracle& oracle, size_t begin, size_t end) {
  std::vector<size_t> shown;
  for (size_t i = begin; i < end; ++i) {
    const StatusOr<Image> image = Load(job_.plan->control[i]);
    if (!image.ok()) continue;  // Score() meets it again and says why
    oracle.SetPhotograph(static_cast<int>(shown.size()), *image);
    shown.push_back(i);
  }
  if (!shown.empty()) INFENCLAVE_RETURN_IF_ERROR(oracle.Evaluate(static_cast<int>(shown.size())));
  for (size_t k = 0; k < shown.size(); ++k) {
    const auto answer = oracle.Probabilities(static_cast<int>(k));
    answers_[shown[k]].assign(answer.begin(), answer.end());
  }
  Advance(static_cast<int64_t>(end - begin));
  return OkStatus();
}

Status Scorer::AnswerControl() {
  const std::vector<int>& control = job_.plan->control;
  answers_.resize(control.size());
  BeginStage("photographs", static_cast<int64_t>(control.size()));
  for (size_t begin = 0; begin < control.size(); begin += pool_->batch()) {
    const size_t end = std::min(control.size(), begin + pool_->batch());
    INFENCLAVE_RETURN_IF_ERROR(
        pool_->Submit([this, begin, end](Oracle& oracle) { return AnswerSome(oracle, begin, end); }));
  }
  INFENCLAVE_RETURN_IF_ERROR(pool_->Drain());
  control_ = KlRows(pool_->classes());
  for (size_t i = 0; i < answers_.size(); ++i) {
    if (answers_[i].empty()) continue;
    control_.Add(answers_[i]);
    slots_.push_back(static_cast<int>(i));
  }
  return OkStatus();
}

Status Scorer::AnswerGrey() {
  const auto show = [this](Oracle& oracle) -> Status {
    oracle.SetMap(0, std::span(&kMidGrey, 1), 1, 1);
    INFENCLAVE_RETURN_IF_ERROR(oracle.Evaluate(1));
    const auto answer = oracle.Probabilities(0);
    grey_.assign(answer.begin(), answer.end());
    return OkStatus();
  };
  INFENCLAVE_RETURN_IF_ERROR(pool_->Submit(show));
  INFENCLAVE_RETURN_IF_ERROR(pool_->Drain());
  grey_against_.resize(control_.size());
  control_.Against(grey_, grey_against_);
  return OkStatus();
}

// V of the photograph itself: known if it is in the control.
Status Scorer::AnswerOwn(const Image& photograph, Work& work) {
  const std::vector<int>& control = job_.plan->control;
  const auto it = std::lower_bound(control.begin(), control.end(), static_cast<int>(work.record.file));
  std::span<const float> answer;
  if (it != control.end() && *it == static_cast<int>(work.record.file)) {
    answer = answers_[it - control.begin()];
    if (answer.empty()) return Unavailable("photograph '", job_.plan->files[*it], "' changed while it was read");
  } else {
    if (!single_) {
      INFENCLAVE_ASSIGN_OR_RETURN(single_, Oracle::Create(job_.oracle, job_.oracle_preprocessing, 1, pool_->weights()));
    }
    single_->SetPhotograph(0, photograph);
    INFENCLAVE_RETURN_IF_ERROR(single_->Evaluate(1));
    answer = single_->Probabilities(0);
  }
  work.own = KlRows(pool_->classes());
  work.own.Add(answer);
  work.record.answer = MostLikely(answer);
  work.record.bound = work.own.Bound(0);
  float grey;
  work.own.Against(grey_, std::span(&grey, 1));
  work.record.grey = grey;
  return OkStatus();
}

// Normalises the cut's maps and queues those that must be shown; constant ones are answered here.
Status Scorer::QueueMaps(const FrontNet& front, Work& work, size_t cut) {
  const MapChoice& choice = choices_[cut];
  const size_t size = static_cast<size_t>(choice.height) * choice.width;
  std::unordered_multimap<size_t, size_t> seen;  // hash of the pixels -> task
  KlRecord::Cut& record = work.record.cuts[cut];
  for (int map : choice.chosen) {
    const size_t at = work.pixels.size();
    work.pixels.resize(at + size);
    const std::span<float> picture = std::span(work.pixels).subspan(at);
    const MapKind kind = NormaliseMap(front.Map(cut, map, choice), picture);
    if (kind == MapKind::kNotFinite) {
      return InvalidArgument("the model gives NaN or infinity at cut '", job_.plan->cuts[cut], "', map ", map,
                             ", for photograph '", job_.plan->files[work.record.file],
                             "': check the model and --preprocessing");
    }
    const auto bytes = std::string_view(reinterpret_cast<const char*>(picture.data()), picture.size_bytes());
    bool drop = kind == MapKind::kConstant;
    if (drop && record.constant++ == 0) Merge(work, static_cast<int>(cut), map, grey_, grey_against_);
    if (!drop) {
      const size_t hash = std::hash<std::string_view>()(bytes);
      for (auto [it, last] = seen.equal_range(hash); it != last && !drop; ++it) {
        drop = std::equal(picture.begin(), picture.end(), work.pixels.begin() + work.tasks[it->second].at);
      }
      record.repeated += drop;
      if (!drop) seen.emplace(hash, work.tasks.size());
    }
    if (drop) {
      work.pixels.resize(at);
    } else {
      work.tasks.push_back({static_cast<int>(cut), map, choice.height, choice.width, at});
    }
  }
  return OkStatus();
}

Status Scorer::Score(uint32_t file) {
  auto work = std::make_shared<Work>();
  work->record.file = file;
  const StatusOr<Image> photograph = Load(file);
  if (!photograph.ok()) {
    work->record.skipped = MessageOf(photograph.status());
    Advance(maps_per_photograph_);
    return state_.Save(work->record);
  }
  INFENCLAVE_RETURN_IF_ERROR(AnswerOwn(*photograph, *work));
  INFENCLAVE_RETURN_IF_ERROR(front_->Run(*photograph));
  for (size_t cut = 0; job_.maps && cut < choices_.size(); ++cut) {
    KlRecord::Cut& record = work->record.cuts.emplace_back();
    if (choices_[cut].chosen.empty()) continue;
    record.own.d = kInfinity;
    record.against.assign(answers_.size(), kNoValueYet);
    INFENCLAVE_RETURN_IF_ERROR(QueueMaps(*front_, *work, cut));
  }
  const size_t tasks = work->tasks.size(), batch = pool_->batch();
  Advance(maps_per_photograph_ - static_cast<int64_t>(tasks));
  work->record.evaluations = tasks;
  work->batches_left = (tasks + batch - 1) / batch;
  if (tasks == 0) return state_.Save(work->record);
  for (size_t begin = 0; begin < tasks; begin += batch) {
    const size_t end = std::min(tasks, begin + batch);
    INFENCLAVE_RETURN_IF_ERROR(
        pool_->Submit([this, work, begin, end](Oracle& oracle) { return ShowBatch(oracle, work, begin, end); }));
  }
  return OkStatus();
}

Status Scorer::ShowBatch(Oracle& oracle, const std::shared_ptr<Work>& work, size_t begin, size_t end) {
  const Clock::time_point start = Clock::now();
  for (size_t i = begin; i < end; ++i) {
    const Work::Task& task = work->tasks[i];
    oracle.SetMap(static_cast<int>(i - begin), std::span(work->pixels).subspan(task.at, task.size()), task.height,
                  task.width);
  }
  if (const Status status = oracle.Evaluate(static_cast<int>(end - begin)); !status.ok()) {
    return Annotate(status, Concat("photograph '", job_.plan->files[work->record.file], "', maps of cut '",
                                   job_.plan->cuts[work->tasks[begin].cut], "'"));
  }
  std::vector<float> against((end - begin) * control_.size());
  for (size_t i = begin; i < end; ++i) {
    control_.Against(oracle.Probabilities(static_cast<int>(i - begin)),
                     std::span(against).subspan((i - begin) * control_.size(), control_.size()));
  }
  std::unique_lock lock(work->mutex);
  for (size_t i = begin; i < end; ++i) {
    Merge(*work, work->tasks[i].cut, work->tasks[i].map, oracle.Probabilities(static_cast<int>(i - begin)),
          std::span(against).subspan((i - begin) * control_.size(), control_.size()));
  }
  work->record.seconds += SecondsSince(start);
  const bool last = --work->batches_left == 0;
  lock.unlock();
  Advance(static_cast<int64_t>(end - begin));
  return last ? state_.Save(work->record) : OkStatus();
}

void Scorer::Merge(Work& work, int cut, int map, std::span<const float> answer, std::span<const float> against) const {
  KlRecord::Cut& record = work.record.cuts[cut];
  for (size_t x = 0; x < slots_.size(); ++x) {
    float& least = record.against[slots_[x]];
    if (!(least <= against[x])) least = against[x];  // also where there is no value yet
  }
  float own;
  work.own.Against(answer, std::span(&own, 1));
  // Batches end in any order: of equal maps the first decides.
  if (own < record.own.d || (own == record.own.d && map < record.own.map)) record.own = {own, map, MostLikely(answer)};
}

void Scorer::BeginStage(std::string_view stage, int64_t total) {
  const std::lock_guard lock(progress_mutex_);
  stage_ = stage;
  done_ = 0;
  total_ = total;
}

void Scorer::Advance(int64_t done) {
  const std::lock_guard lock(progress_mutex_);
  done_ += done;
  progress_(stage_, done_, total_);
}

}  // namespace

Status ScorePhotographs(const KlJob& job, Shard shard, const StateFolder& state, const ProgressFn& progress) {
  std::vector<uint32_t> files;
  for (uint32_t file = 0; file < job.plan->files.size(); ++file) {
    if (!shard.Holds(file)) continue;
    const std::optional<KlRecord> record = state.Load(file);
    // A record without cuts is of a run whose attacks did not include this one.
    if (!record || (job.maps && record->skipped.empty() && record->cuts.empty())) files.push_back(file);
  }
  if (files.empty()) return OkStatus();
  Scorer scorer(job, state, progress);
  INFENCLAVE_RETURN_IF_ERROR(scorer.Start(files));
  for (uint32_t file : files) INFENCLAVE_RETURN_IF_ERROR(scorer.Score(file));
  return scorer.Finish();
}

}  // namespace infenclave
