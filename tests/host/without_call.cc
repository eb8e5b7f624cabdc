// Preloaded into infenclave-enclave by the test of its sandbox: stands between it and libseccomp.
//   INFENCLAVE_TEST_LIST=FILE    writes the number of every system call that the sandbox allows
//   INFENCLAVE_TEST_WITHOUT=N    leaves this one out
//   INFENCLAVE_TEST_NO_SECRETMEM a kernel without memfd_secret
//   INFENCLAVE_TEST_FULL_HEAP    a heap that the start has used up
//   INFENCLAVE_TEST_LARGE_BLOCKS memory from the kernel, as the blocks of a large network
// It also makes happen every time what else comes about by chance (a thread that ends before its process) or after
// hours.
#include <dlfcn.h>
#include <malloc.h>
#include <seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <ctime>

namespace {

template <typename Function>
Function* Next(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

int seccomp_rule_add(scmp_filter_ctx filter, uint32_t action, int call, unsigned count, ...) {
  if (action == SCMP_ACT_ALLOW) {
    const char* without = std::getenv("INFENCLAVE_TEST_WITHOUT");
    if (without != nullptr && std::atoi(without) == call) return 0;
    if (const char* path = std::getenv("INFENCLAVE_TEST_LIST"); path != nullptr) {
      std::FILE* list = std::fopen(path, "a");
      std::fprintf(list, "%d\n", call);
      std::fclose(list);
    }
  }
  scmp_arg_cmp conditions[6];
  va_list rest;
  va_start(rest, count);
  for (unsigned i = 0; i < count && i < 6; ++i) conditions[i] = va_arg(rest, scmp_arg_cmp);
  va_end(rest);
  return ::seccomp_rule_add_array(filter, action, call, count, conditions);
}

// An hour passes between any two looks at the clock: OpenSSL asks the kernel for new random bytes.
time_t time(time_t* out) noexcept {
  static std::atomic<time_t> hours{0};
  const time_t now = Next<time_t(time_t*)>("time")(nullptr) + 3601 * ++hours;
  if (out != nullptr) *out = now;
  return now;
}

long syscall(long number, ...) noexcept {
  static auto* const real = Next<long(long, ...)>("syscall");
  va_list rest;
  va_start(rest, number);
  long a[6];
  for (long& argument : a) argument = va_arg(rest, long);
  va_end(rest);
  if (number == SYS_memfd_secret && std::getenv("INFENCLAVE_TEST_NO_SECRETMEM") != nullptr) {
    errno = ENOSYS;
    return -1;
  }
  return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int seccomp_load(const scmp_filter_ctx filter) {
  const void* const end = ::sbrk(0);
  if (std::getenv("INFENCLAVE_TEST_FULL_HEAP") != nullptr) {
    while (::sbrk(0) == end) *static_cast<void* volatile*>(std::malloc(4096)) = nullptr;
  }
  return Next<int(const scmp_filter_ctx)>("seccomp_load")(filter);
}

int mallopt(int parameter, int value) noexcept {
  const bool large = parameter == M_MMAP_THRESHOLD && std::getenv("INFENCLAVE_TEST_LARGE_BLOCKS") != nullptr;
  return Next<int(int, int)>("mallopt")(parameter, large ? 1024 : value);
}

void _exit(int status) {
  for (int i = 0; i < 50'000'000; ++i) __asm__ volatile("");
  Next<void(int)>("_exit")(status);
  __builtin_unreachable();
}

}  // extern "C"
