// Requests between Begin and Finish: what is needed to seal their answers, and to whom. Bounded in number; each Begin
// ages them. Not thread-safe: EnclaveCore's mutex guards it.
#ifndef INFENCLAVE_ENCLAVE_PENDING_TABLE_H_
#define INFENCLAVE_ENCLAVE_PENDING_TABLE_H_

#include <map>

#include "protocol/calls.h"
#include "protocol/sealed.h"

namespace infenclave {

struct PendingRequest {
  AnswerSealer answer;
  Bytes ir;  // as it went out, where audits may ask for it; else empty
};

class PendingTable {
 public:
  PendingTable(size_t capacity, uint64_t max_age) : capacity_(capacity), max_age_(max_age) {}

  // A new Begin: drops the requests that have now seen more than `max_age` of them.
  void Age();
  // Room for up to `wanted` requests, kept for the caller until it has added or released each.
  size_t Reserve(size_t wanted);
  void Release(size_t reserved) { reserved_ -= reserved; }
  // Uses up one reserved place.
  RequestId Add(PendingRequest request);
  // The request of that id, which is then gone. NOT_FOUND for one that is unknown, answered or dropped.
  StatusOr<PendingRequest> Take(RequestId id);

 private:
  struct Entry {
    PendingRequest request;
    uint64_t begin;
  };
  const size_t capacity_;
  const uint64_t max_age_;
  std::map<RequestId, Entry> entries_;  // ids ascend, so the oldest comes first
  size_t reserved_ = 0;
  uint64_t begins_ = 0;
  RequestId next_id_ = 1;
};

}  // namespace infenclave

#endif  // INFENCLAVE_ENCLAVE_PENDING_TABLE_H_
