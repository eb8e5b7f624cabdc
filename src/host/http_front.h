// What the HTTP port answers: the protocol's REST half under /v2, /metrics for Prometheus, and the enclave's own calls,
// so that a client without gRPC can do everything:
//
//   POST /infenclave/v1/evidence   {"nonce","waiting"}
//                                  -> {"evidence","key_config","manifest","manifest_signature","provisioned"}
//   POST /infenclave/v1/provision  {"key_id","sealed_grant"} -> {}
//
// with the fields of oip/enclave.proto, bytes as base64; each may be left out.
#ifndef INFENCLAVE_HOST_HTTP_FRONT_H_
#define INFENCLAVE_HOST_HTTP_FRONT_H_

#include "host/metrics.h"
#include "host/served_model.h"
#include "oip/rest.h"

namespace infenclave {

// JSON is larger than what it says; the larger the body, the longer one caller has the parser.
size_t MaxHttpBody(size_t max_message_bytes);

// `model` is the description's if there is an enclave behind it, nullptr for a BackNet. All must outlive the handler.
HttpHandler HttpFront(const OipDescription* description, ServedModel* model);

}  // namespace infenclave

#endif  // INFENCLAVE_HOST_HTTP_FRONT_H_
