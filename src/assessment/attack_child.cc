#include "assessment/attack_child.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

extern char** environ;

namespace infenclave {
namespace {

constexpr size_t kMaxLogBytes = size_t{64} << 20;

struct FileActions {
  posix_spawn_file_actions_t actions;
  FileActions() { ::posix_spawn_file_actions_init(&actions); }
  ~FileActions() { ::posix_spawn_file_actions_destroy(&actions); }
};

// Passes whole lines on, and keeps the rest.
void TakeLines(std::string& text, const std::function<void(const AttackProgress&)>& progress) {
  size_t begin = 0;
  for (size_t end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    const auto line = ParseAttackProgress(std::string_view(text).substr(begin, end - begin));
    if (line) progress(*line);
  }
  text.erase(0, begin);
}

std::string LastLine(const std::string& path) {
  const auto log = ReadFile(path, kMaxLogBytes);
  if (!log.ok()) return "";
  std::string_view text = AsText(*log);
  while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  return std::string(text.substr(text.find_last_of('\n') + 1));
}

StatusOr<pid_t> Spawn(const std::string& program, const std::string& folder, int threads, int out) {
  const std::string log = folder + "/attack.log";
  FileActions files;
  ::posix_spawn_file_actions_addopen(&files.actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&files.actions, out, STDOUT_FILENO);
  ::posix_spawn_file_actions_addopen(&files.actions, STDERR_FILENO, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  std::array<std::string, 4> words = {program, folder, "--threads", std::to_string(threads)};
  std::array<char*, 5> argv{};
  for (size_t i = 0; i < words.size(); ++i) argv[i] = words[i].data();
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, program.c_str(), &files.actions, nullptr, argv.data(), environ);
  if (error != 0) return FailedPrecondition(program, ": ", std::strerror(error));
  return pid;
}

Status HowItEnded(int status, const std::string& program, const std::string& folder) {
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return OkStatus();
  const std::string said = LastLine(folder + "/attack.log"), name = std::filesystem::path(program).filename();
  if (WIFSIGNALED(status)) {
    return Unavailable(name, " was ended by signal ", WTERMSIG(status), " (", ::strsignal(WTERMSIG(status)),
                       "): the same command goes on from its checkpoint");
  }
  // It begins its last line with its own name.
  return InvalidArgument(said.empty() ? Concat(name, ": exit status ", WEXITSTATUS(status)) : said, " (see ", folder,
                         "/attack.log)");
}

}  // namespace

StatusOr<std::string> FindAttackProgram() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::string program = self.parent_path() / "infenclave-attacks";
  if (!error && ::access(program.c_str(), X_OK) == 0) return program;
  return FailedPrecondition(
      "the attacks patch, decoder and whitebox need the program infenclave-attacks, which is not at ", program,
      ": build it with libtorch (Debian's libtorch-dev), or choose --attacks ",
      "kl,nearest,label, and the verdict will say what has not run");
}

Status RunAttackProgram(const std::string& program, const std::string& folder, int threads,
                        const std::function<void(const AttackProgress&)>& progress) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus("pipe");
  const UniqueFd in(ends[0]);
  UniqueFd out(ends[1]);
  INFENCLAVE_ASSIGN_OR_RETURN(const pid_t pid, Spawn(program, folder, threads, out.get()));
  out.Reset();
  std::string text;
  std::array<char, 4096> buffer;
  for (ssize_t n; (n = ::read(in.get(), buffer.data(), buffer.size())) != 0;) {
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;
    text.append(buffer.data(), static_cast<size_t>(n));
    TakeLines(text, progress);
    if (text.size() > buffer.size()) text.clear();  // no line of ours
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  return HowItEnded(status, program, folder);
}

}  // namespace infenclave
