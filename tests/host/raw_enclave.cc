#include "tests/host/raw_enclave.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <iterator>
#include <utility>

extern char** environ;

namespace infenclave {
namespace {

const char kExecutable[] = INFENCLAVE_BINARY_DIR "/infenclave-enclave";

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (std::string& s : strings) out.push_back(s.data());
  out.push_back(nullptr);
  return out;
}

}  // namespace

EnclaveProcess::EnclaveProcess(const std::vector<std::string>& arguments, const std::vector<std::string>& environment,
                               int channel) {
  std::vector<std::string> all_arguments = {kExecutable}, all_environment = environment;
  all_arguments.insert(all_arguments.end(), arguments.begin(), arguments.end());
  for (char** entry = environ; *entry != nullptr; ++entry) all_environment.emplace_back(*entry);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  if (channel >= 0) ::posix_spawn_file_actions_adddup2(&actions, channel, kChannel);
  ::posix_spawn_file_actions_addclosefrom_np(&actions, channel >= 0 ? kChannel + 1 : kChannel);
  const int error = ::posix_spawn(&pid_, kExecutable, &actions, nullptr, Pointers(all_arguments).data(),
                                  Pointers(all_environment).data());
  INFENCLAVE_CHECK(error == 0);
  ::posix_spawn_file_actions_destroy(&actions);
}

EnclaveProcess::~EnclaveProcess() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

bool EnclaveProcess::running() const {
  siginfo_t info{};
  return ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
}

int EnclaveProcess::Wait() {
  int status = 0;
  ::waitpid(std::exchange(pid_, -1), &status, 0);
  return status;
}

RawEnclave::RawEnclave(const TestBundle& bundle, std::vector<std::string> arguments,
                       const std::vector<std::string>& environment)
    : folder_(bundle.Write()) {
  int pair[2];
  INFENCLAVE_CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
  channel_.Reset(pair[0]);
  UniqueFd theirs(pair[1]);
  const std::string own[] = {"--bundle", folder_, "--channel-fd", std::to_string(EnclaveProcess::kChannel)};
  arguments.insert(arguments.end(), std::begin(own), std::end(own));
  process_.emplace(arguments, environment, theirs.get());
  theirs.Reset();
  Bytes payload;
  std::vector<UniqueFd> descriptors;
  if (!ReadFrame(channel_.get(), kMaxHelloBytes, payload, &descriptors).ok()) return;
  const Hello hello = *DecodeHello(payload);
  if (!hello.status.ok() || descriptors.empty()) return;
  max_reply_ = hello.max_reply_bytes;
  slots_.emplace(
      *SharedSlots::Map(std::move(descriptors[0]), hello.lanes, hello.max_call_bytes, hello.max_reply_bytes));
  doorbells_.assign(std::make_move_iterator(descriptors.begin() + 1), std::make_move_iterator(descriptors.end()));
}

RawEnclave::~RawEnclave() { std::filesystem::remove_all(folder_); }

Bytes RawEnclave::Call(ByteSpan call, int lane) const {
  std::memcpy(call_area(lane).data(), call.data(), call.size());
  if (Status status = RingDoorbell(doorbell(lane), call.size()); !status.ok()) return EncodeErrorReply(status);
  StatusOr<uint64_t> reply = AwaitDoorbell(doorbell(lane), max_reply_);
  return reply.ok() ? ToBytes(slots_->reply(lane).first(*reply)) : EncodeErrorReply(reply.status());
}

}  // namespace infenclave
