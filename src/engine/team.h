// The OpenMP team that computes: oneDNN's own, GCC's libgomp.
//
// libgomp is called by name and not through the compiler: clang would bring a second OpenMP runtime into the process.
#ifndef INFENCLAVE_ENGINE_TEAM_H_
#define INFENCLAVE_ENGINE_TEAM_H_

namespace infenclave::engine {

// Calls body(i, threads, context) for i in 0..threads-1, each on a thread of the calling thread's team.
using TeamBody = void (*)(int i, int threads, const void* context);
void RunOnTeam(int threads, TeamBody body, const void* context);

template <typename F>
void RunOnTeam(int threads, const F& body) {
  RunOnTeam(
      threads, [](int i, int n, const void* f) { (*static_cast<const F*>(f))(i, n); }, &body);
}

// While it lives, the calling thread's team has `threads` members and all of them flush subnormals to zero. The calling
// thread's own settings are put back at the end.
class TeamScope {
 public:
  explicit TeamScope(int threads);
  ~TeamScope();
  TeamScope(const TeamScope&) = delete;
  TeamScope& operator=(const TeamScope&) = delete;

 private:
  int threads_before_;
  unsigned mxcsr_before_;
};

}  // namespace infenclave::engine

#endif  // INFENCLAVE_ENGINE_TEAM_H_
