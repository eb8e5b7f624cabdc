// `--collateral FILE|URL|online` of the commands that deal with a server.
#ifndef INFENCLAVE_CLI_COLLATERAL_H_
#define INFENCLAVE_CLI_COLLATERAL_H_

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "attestation/collateral/collateral_source.h"
#include "cli/command.h"

namespace infenclave {

void DeclareCollateral(Flags& flags, std::string* target);
// Null where none is named.
StatusOr<std::shared_ptr<CollateralSource>> OpenCollateral(const std::string& where);

// Keeps the collateral that a server ships with its evidence up to date, on a thread of its own.
class CollateralKeeper {
 public:
  explicit CollateralKeeper(std::shared_ptr<CollateralSource> source) : source_(std::move(source)) {}
  ~CollateralKeeper();

  Bytes current() const;
  // Asks the server at this address for its evidence, and the source for what belongs to it: now, and every few
  // minutes. Complaints go to standard error; the server goes on with what it has.
  void Watch(const std::string& address);

 private:
  Status Refresh(const std::string& address);

  const std::shared_ptr<CollateralSource> source_;
  mutable std::mutex mutex_;
  std::condition_variable stop_;
  bool stopped_ = false;
  Bytes current_;
  std::thread thread_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_CLI_COLLATERAL_H_
