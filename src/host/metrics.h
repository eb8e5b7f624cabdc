// What Prometheus scrapes: counts, times and states of a served model, in its text format. No metric and no label tells
// what a request or an answer holds.
#ifndef INFENCLAVE_HOST_METRICS_H_
#define INFENCLAVE_HOST_METRICS_H_

#include <string>
#include <vector>

#include "oip/model.h"

namespace infenclave {

struct BackNetState {
  std::string address;
  bool up = false;  // not left alone because it failed
  int in_flight = 0;
  uint64_t answered = 0, failed = 0;
};

struct HostState {
  bool enclave = false;  // whether there is one, and the fields of this line say something
  bool enclave_alive = false, provisioned = false;
  size_t queued = 0;
  std::vector<BackNetState> backnets;  // those on servers
};

// infenclave_requests_total{code}, infenclave_sealed_refusals_total, infenclave_request_seconds,
// infenclave_stage_seconds{stage}, infenclave_batch_size, infenclave_ready, and of the state what it has: of each
// BackNet infenclave_backnet_up, _in_flight and _batches_total{result}.
std::string WriteMetrics(const OipModel& model, const HostState& state);
inline constexpr char kMetricsContentType[] = "text/plain; version=0.0.4; charset=utf-8";

}  // namespace infenclave

#endif  // INFENCLAVE_HOST_METRICS_H_
