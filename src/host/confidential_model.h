// The served model: sealed requests in, sealed answers out, by way of the enclave and the BackNet.
//
// A batch is Begin (enclave), BackNet, Finish (enclave), each by a worker on its lane of the enclave. While a worker
// waits for the enclave its core computes there, so as many workers as cores keep all of them busy. A BackNet elsewhere
// keeps no worker waiting: the batch is in flight, and some worker finishes it when the scores have come.
//
// The host holds no secret: what it reads of a request is the key id that chooses the key.
#ifndef INFENCLAVE_HOST_CONFIDENTIAL_MODEL_H_
#define INFENCLAVE_HOST_CONFIDENTIAL_MODEL_H_

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/core_binding.h"
#include "host/enclave_link.h"
#include "host/metrics.h"
#include "host/worker_pool.h"
#include "oip/service.h"
#include "protocol/calls.h"
#include "protocol/manifest.h"

namespace infenclave {

class ConfidentialModel final : public OipModel {
 public:
  struct Options {
    int max_batch = 1;
    int least_batch = 1;                     // see RequestQueue
    std::chrono::microseconds max_delay{0};  // that a request may wait for company
    bool bind_workers = false;  // each to a core while its batch is computed: its lane's, where that is bound in order
    size_t max_queue = 256;
    ServingStatistics* statistics = nullptr;  // where batches are counted; null: its own
    int max_in_flight = 0;              // batches; 0: no bound but the number of workers, for a BackNet in this process
    std::function<Bytes()> collateral;  // to ship with the evidence, where there is any at the time
  };
  // One worker per lane of the link, which must outlive the model. Asks the enclave for evidence: FAILED_PRECONDITION
  // if it holds another bundle than `manifest_bytes`.
  static StatusOr<std::unique_ptr<ConfidentialModel>> Start(EnclaveLink* link, ByteSpan manifest_bytes,
                                                            const BackNetFactory& backnet, const Options& options);

  const ModelInfo& info() const override { return info_; }
  // Provisioned, and the enclave lives.
  bool ready() const override;
  void Infer(InferCall* call) override;

  TeeKind tee() const { return tee_; }
  HostState state() const;
  const Manifest& manifest() const { return manifest_; }

  // The enclave's own calls; `done` is called once, perhaps before this returns, perhaps on a worker.
  void GetEvidence(const std::optional<Nonce>& nonce, const std::function<void(StatusOr<GetEvidenceReply>)>& done);
  void Provision(Bytes provision_call, const std::function<void(Status)>& done);

 private:
  struct Flight;  // a batch between Begin and Finish

  ConfidentialModel(EnclaveLink* link, Manifest manifest) : link_(link), manifest_(std::move(manifest)) {}
  void FillInfo();
  StatusOr<ByteSpan> CallEnclave(ByteSpan call, int lane);
  StatusOr<ByteSpan> UnlessDead(StatusOr<ByteSpan> reply) const;
  StatusOr<GetEvidenceReply> AskEvidence(const std::optional<Nonce>& nonce, int lane);
  // False if the batch is in flight when it returns.
  bool Serve(std::vector<InferCall*>& batch, int lane, BackNet& backnet);
  // Finishes what Begin refused; what remains in `batch` is accepted, with its ids.
  Status BeginBatch(std::vector<InferCall*>& batch, int lane, std::vector<RequestId>& ids,
                    std::vector<InferCall*>& unknown_key, ByteSpan& ir);
  // Ends the binding when the scores are in.
  bool Launch(const std::shared_ptr<Flight>& flight, ByteSpan ir, int lane, BackNet& backnet,
              std::optional<CoreBinding>& binding);
  void Land(Flight& flight, Status status, int lane);
  Status FinishBatch(Flight& flight, int lane);
  void Abandon(const std::vector<RequestId>& ids, int lane);
  void RefuseUnknownKey(std::vector<InferCall*>& calls, int lane);

  EnclaveLink* const link_;
  const Manifest manifest_;
  ModelInfo info_;
  ServingStatistics* counts_ = &statistics();
  std::function<Bytes()> collateral_;
  bool bind_workers_ = false;
  TeeKind tee_ = TeeKind::kSimulated;
  BackNetShape shape_;
  BackNetStates backnets_;
  std::atomic<bool> provisioned_{false};  // as the enclave said last; it decides itself whether it answers
  std::unique_ptr<WorkerPool> pool_;      // last: its threads use the rest
};

}  // namespace infenclave

#endif  // INFENCLAVE_HOST_CONFIDENTIAL_MODEL_H_
