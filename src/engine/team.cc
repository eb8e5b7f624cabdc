#include "engine/team.h"

#include <xmmintrin.h>

extern "C" {
void GOMP_parallel(void (*body)(void*), void* data, unsigned threads, unsigned flags);
int omp_get_thread_num();
int omp_get_num_threads();
int omp_get_max_threads();
void omp_set_num_threads(int threads);
}

namespace infenclave::engine {
namespace {

constexpr unsigned kFlushToZero = 1u << 15, kDenormalsAreZero = 1u << 6;

void FlushSubnormals() { _mm_setcsr(_mm_getcsr() | kFlushToZero | kDenormalsAreZero); }

struct Call {
  TeamBody body;
  const void* context;
};

}  // namespace

void RunOnTeam(int threads, TeamBody body, const void* context) {
  if (threads == 1) return body(0, 1, context);
  Call call{body, context};
  GOMP_parallel(
      [](void* data) {
        const Call& c = *static_cast<const Call*>(data);
        c.body(omp_get_thread_num(), omp_get_num_threads(), c.context);
      },
      &call, static_cast<unsigned>(threads), 0);
}

TeamScope::TeamScope(int threads) : threads_before_(omp_get_max_threads()), mxcsr_before_(_mm_getcsr()) {
  omp_set_num_threads(threads);
  RunOnTeam(threads, [](int, int) { FlushSubnormals(); });
}

TeamScope::~TeamScope() {
  _mm_setcsr(mxcsr_before_);
  omp_set_num_threads(threads_before_);
}

}  // namespace infenclave::engine
