// Asking an enclave for evidence, over gRPC.
#ifndef INFENCLAVE_CLIENT_ATTEST_H_
#define INFENCLAVE_CLIENT_ATTEST_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "attestation/collateral/collateral_source.h"
#include "base/status.h"
#include "oip/confidential.h"
#include "protocol/calls.h"

namespace infenclave {

// A server of ours by its address, HOST:PORT or another of gRPC's target URIs.
class ServerConnection {
 public:
  explicit ServerConnection(const std::string& address);

  const std::string& address() const { return address_; }
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  // Metadata (oip/confidential.h) by which a balancer keeps this connection's calls on one replica.
  void AddAffinity(grpc::ClientContext& context) const { context.AddMetadata(kAffinityMetadata, affinity_); }
  // What gRPC says of the connection, as a line that says what to do; other errors with the address before them, and
  // without control characters.
  Status Explain(const Status& status) const;

 private:
  std::string address_, affinity_;
  std::shared_ptr<grpc::Channel> channel_;
};

// `waiting`: of the enclave that waits for its keys before it takes over, if the server has one.
StatusOr<GetEvidenceReply> FetchEvidence(const ServerConnection& server, const std::optional<Nonce>& nonce,
                                         std::chrono::milliseconds timeout, bool waiting = false);

// Puts the source's collateral into the reply, in the place of what the server's host sent along. Where the source has
// none to give, the host's stays; an error if that has sent none, either.
Status AddCollateral(CollateralSource& source, int64_t at, GetEvidenceReply& reply);

}  // namespace infenclave

#endif  // INFENCLAVE_CLIENT_ATTEST_H_
