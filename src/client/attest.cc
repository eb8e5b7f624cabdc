#include "client/attest.h"

#include <grpcpp/client_context.h>

#include <algorithm>

#include "oip/client.h"
#include "oip/confidential.h"
#include "oip/enclave.grpc.pb.h"
#include "oip/status.h"

namespace infenclave {
namespace {

// Evidence with collateral is the largest that comes back; sealed requests, bounded by the manifest, go out.
constexpr size_t kMaxMessageBytes = kMaxSealedRequestBytes + (1 << 20);

}  // namespace

ServerConnection::ServerConnection(const std::string& address)
    : address_(address), affinity_(HexEncode(RandomArray<8>())), channel_(MakeChannel(address, kMaxMessageBytes)) {}

Status ServerConnection::Explain(const Status& status) const {
  if (status.ok()) return status;
  // The server is not trusted with the user's terminal.
  std::string message = MessageOf(status);
  std::ranges::replace_if(
      message, [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  if (status.code() == StatusCode::kUnavailable && message.starts_with("failed to connect")) {
    const size_t colon = message.rfind(": ");
    return Unavailable("cannot connect to ", address_, " (",
                       colon == std::string::npos ? message : message.substr(colon + 2),
                       "): is 'infenclave serve' running there?");
  }
  // Nobody here cancels calls: it is how a server that stops ends those that came too late.
  if (status.code() == StatusCode::kCancelled) return Unavailable(address_, " is shutting down: try again");
  if (status.code() == StatusCode::kUnimplemented && message.empty()) {
    return Unimplemented(address_, " is no 'infenclave serve': it has no enclave to ask for evidence");
  }
  return MakeStatus(status.code(), Concat(address_, ": ", message));
}

StatusOr<GetEvidenceReply> FetchEvidence(const ServerConnection& server, const std::optional<Nonce>& nonce,
                                         std::chrono::milliseconds timeout, bool waiting) {
  v1::GetEvidenceRequest request;
  request.set_waiting(waiting);
  if (nonce.has_value()) request.set_nonce(std::string(AsText(*nonce)));
  v1::GetEvidenceResponse response;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + timeout);
  server.AddAffinity(context);
  const grpc::Status status = v1::Enclave::NewStub(server.channel())->GetEvidence(&context, request, &response);
  if (!status.ok()) return server.Explain(FromGrpc(status));
  return FromProto(response);
}

Status AddCollateral(CollateralSource& source, int64_t at, GetEvidenceReply& reply) {
  INFENCLAVE_ASSIGN_OR_RETURN(EvidenceEnvelope envelope, DecodeEvidenceEnvelope(reply.evidence));
  StatusOr<Bytes> collateral = source.For(envelope.tee, envelope.evidence, at);
  if (!collateral.ok()) return envelope.collateral.empty() ? collateral.status() : OkStatus();
  envelope.collateral = *std::move(collateral);
  reply.evidence = EncodeEvidenceEnvelope(envelope);
  return OkStatus();
}

}  // namespace infenclave
