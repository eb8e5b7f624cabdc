// The enclave's lanes as threads: each warms its engine up, waits until the sandbox is closed, and then takes calls
// from its connection and answers them. The code of a network is generated on the lanes' own threads, and never after.
//
// A host that stops in the middle of a call holds that lane up, and with it a compilation that waits for all lanes: it
// can deny service, and nothing else.
#ifndef INFENCLAVE_ENCLAVE_SERVICE_H_
#define INFENCLAVE_ENCLAVE_SERVICE_H_

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "enclave/channel.h"
#include "enclave/enclave_core.h"
#include "enclave/sandbox.h"

namespace infenclave {

class Service : public LaneThreads {
 public:
  // The sandbox, null where there is none, must outlive the service and is not used before Start.
  Service(const EnclaveOptions& options, Sandbox* sandbox);
  // Waits for the lanes, which end when their connections have closed; those of a listener never do.
  ~Service() override;

  // Starts the threads and returns when all engines are warm. They take no call yet.
  Status Start(EnclaveCore* core);
  // One port per lane. Returns when the first of them is closed: the host is gone.
  void Serve(std::vector<std::unique_ptr<LanePort>> ports);
  // Each lane takes one connection at a time, greets it with the hello, and serves it until it closes. Does not return.
  void ServeListener(UniqueFd listener, Bytes hello);

  Status CompileOnEach(const std::function<Status(int lane)>& compile) override;

 private:
  struct Lane {
    std::thread thread;
    UniqueFd wake;  // an eventfd: there is something to compile
    std::unique_ptr<LanePort> port;
    bool compiling = false;
  };

  void Run(int lane);
  void ServePort(LanePort& port, int lane);
  void ServeConnections(int lane);
  // Waits until the descriptor is readable, compiling meanwhile if asked to.
  void AwaitReadable(int descriptor, int lane);
  void CompileIfAsked(int lane);
  void Open();

  const EnclaveOptions options_;
  Sandbox* const sandbox_;
  EnclaveCore* core_ = nullptr;
  UniqueFd listener_;
  Bytes hello_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Lane> lanes_;
  int warm_ = 0, to_compile_ = 0;
  bool open_ = false, closed_ = false;
  const std::function<Status(int lane)>* compile_ = nullptr;
  Status compiled_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_ENCLAVE_SERVICE_H_
