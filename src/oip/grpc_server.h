// Listening, with errors that say why not, and draining. Every server has gRPC's reflection and its health service.
#ifndef INFENCLAVE_OIP_GRPC_SERVER_H_
#define INFENCLAVE_OIP_GRPC_SERVER_H_

#include <grpcpp/server.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/status.h"

namespace infenclave {

// A listening gRPC server without transport security: what is secret is sealed end to end.
class GrpcServer {
 public:
  // `listen` is HOST:PORT (port 0: any free one), [IPV6]:PORT or unix:PATH. A port that is taken or an address that is
  // none of this machine's is an error of one line. The services must outlive the server, and so must what `ready`
  // uses: it is asked several times a second, and what it says is the health of the server as a whole ("") and of
  // inference.GRPCInferenceService. Without one, both are serving until Shutdown.
  static StatusOr<std::unique_ptr<GrpcServer>> Start(const std::string& listen,
                                                     const std::vector<grpc::Service*>& services,
                                                     size_t max_message_bytes, std::function<bool()> ready = {});
  ~GrpcServer();
  const std::string& address() const { return address_; }  // with the port that was picked
  // Takes no new calls, and waits for those in flight, which are cancelled after `drain`.
  void Shutdown(std::chrono::milliseconds drain);

 private:
  GrpcServer() = default;
  void SetHealth(bool serving);
  void WatchHealth(const std::function<bool()>& ready, bool serving, const std::stop_token& stop);

  std::string address_;
  std::unique_ptr<grpc::Server> server_;
  std::jthread health_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_OIP_GRPC_SERVER_H_
