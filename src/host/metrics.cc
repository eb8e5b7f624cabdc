#include "host/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <limits>

namespace infenclave {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<std::pair<std::string, std::string>>;

// Families with the labels that every metric has: the model and its version.
class Families {
 public:
  explicit Families(const ModelInfo& info) : common_{{"model", info.name}, {"version", info.version}} {}

  void Begin(const std::string& name, const std::string& help, MetricType type) {
    families_.push_back({name, help, type, {}});
  }
  void Counter(double value, const Labels& labels = {}) { Add(labels).counter.value = value; }
  void Gauge(double value, const Labels& labels = {}) { Add(labels).gauge.value = value; }
  template <size_t kBounds>
  void Histogram(const BucketCounts<kBounds>& counts, const std::array<double, kBounds>& bounds,
                 const Labels& labels = {}) {
    ClientMetric::Histogram& histogram = Add(labels).histogram;
    histogram.sample_count = counts.count;
    histogram.sample_sum = counts.sum;
    uint64_t below = 0;
    for (size_t i = 0; i <= kBounds; ++i) {
      below += counts.buckets[i];
      histogram.bucket.push_back({below, i < kBounds ? bounds[i] : std::numeric_limits<double>::infinity()});
    }
  }
  std::string Text() const { return prometheus::TextSerializer().Serialize(families_); }

 private:
  ClientMetric& Add(const Labels& labels) {
    ClientMetric& metric = families_.back().metric.emplace_back();
    for (const Labels* list : {&common_, &labels}) {
      for (const auto& [name, value] : *list) metric.label.push_back({name, value});
    }
    return metric;
  }

  const Labels common_;
  std::vector<MetricFamily> families_;
};

constexpr std::array<const char*, kStages> kStageNames = {"queue", "begin", "backnet", "finish"};

void AddRequests(const ServingStatistics::Totals& totals, Families& out) {
  out.Begin("infenclave_requests_total", "Finished requests by status code.", MetricType::Counter);
  for (size_t code = 0; code < kStatusCodes; ++code) {
    if (code != 0 && totals.by_code[code] == 0) continue;
    out.Counter(static_cast<double>(totals.by_code[code]),
                {{"code", absl::StatusCodeToString(static_cast<StatusCode>(code))}});
  }
  out.Begin("infenclave_sealed_refusals_total",
            "Requests that the enclave refused with a reason that only the caller can read; they have code OK.",
            MetricType::Counter);
  out.Counter(static_cast<double>(totals.sealed_refusals));
  out.Begin("infenclave_request_seconds", "From a request's arrival to its answer, where it succeeded.",
            MetricType::Histogram);
  out.Histogram(totals.request_seconds, kSecondsBounds);
  out.Begin("infenclave_stage_seconds",
            "Time by stage: queue for a request; begin and finish (enclave) and backnet for a batch.",
            MetricType::Histogram);
  for (size_t stage = 0; stage < kStages; ++stage) {
    out.Histogram(totals.stage_seconds[stage], kSecondsBounds, {{"stage", kStageNames[stage]}});
  }
  out.Begin("infenclave_batch_size", "Requests per batch.", MetricType::Histogram);
  out.Histogram(totals.batch_sizes, kBatchBounds);
}

void AddBackNets(const std::vector<BackNetState>& backnets, Families& out) {
  out.Begin("infenclave_backnet_up", "0 while a BackNet is left alone because it failed.", MetricType::Gauge);
  for (const BackNetState& one : backnets) out.Gauge(one.up ? 1 : 0, {{"backnet", one.address}});
  out.Begin("infenclave_backnet_in_flight", "Calls that a BackNet has not answered.", MetricType::Gauge);
  for (const BackNetState& one : backnets) out.Gauge(one.in_flight, {{"backnet", one.address}});
  out.Begin("infenclave_backnet_batches_total", "Calls that a BackNet answered, or failed to.", MetricType::Counter);
  for (const BackNetState& one : backnets) {
    out.Counter(static_cast<double>(one.answered), {{"backnet", one.address}, {"result", "answered"}});
    out.Counter(static_cast<double>(one.failed), {{"backnet", one.address}, {"result", "failed"}});
  }
}

}  // namespace

std::string WriteMetrics(const OipModel& model, const HostState& state) {
  Families out(model.info());
  AddRequests(model.statistics().Read(), out);
  out.Begin("infenclave_ready", "1 while requests are answered.", MetricType::Gauge);
  out.Gauge(model.ready() ? 1 : 0);
  if (state.enclave) {
    out.Begin("infenclave_enclave_alive", "1 while the enclave lives.", MetricType::Gauge);
    out.Gauge(state.enclave_alive ? 1 : 0);
    out.Begin("infenclave_enclave_provisioned", "1 while the enclave holds keys and a lease.", MetricType::Gauge);
    out.Gauge(state.provisioned ? 1 : 0);
    out.Begin("infenclave_queued_requests", "Requests that wait for a worker.", MetricType::Gauge);
    out.Gauge(static_cast<double>(state.queued));
  }
  if (!state.backnets.empty()) AddBackNets(state.backnets, out);
  return out.Text();
}

}  // namespace infenclave
