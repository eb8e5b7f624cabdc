// What Prometheus scrapes: counts, times and states of a served model, in its text format. No metric and no label tells
// what a request or an answer holds.
#ifndef INFENCLAVE_HOST_METRICS_H_
#define INFENCLAVE_HOST_METRICS_H_

#include <string>

#include "oip/model.h"

namespace infenclave {

struct HostState {
  bool enclave = false;  // whether there is one, and the fields of this line say something
  bool enclave_alive = false, provisioned = false;
  size_t queued = 0;
};

// infenclave_requests_total{code}, infenclave_sealed_refusals_total, infenclave_request_seconds,
// infenclave_stage_seconds{stage}, infenclave_batch_size, infenclave_ready, and of the state what it has.
std::string WriteMetrics(const OipModel& model, const HostState& state);
inline constexpr char kMetricsContentType[] = "text/plain; version=0.0.4; charset=utf-8";

}  // namespace infenclave

#endif  // INFENCLAVE_HOST_METRICS_H_
