// Memory for secrets, and the byte string type for keys.
//
// SecretMemory() is a std::pmr::memory_resource whose pages are memfd_secret where the kernel and RLIMIT_MEMLOCK allow,
// else anonymous memory that is mlock'ed and left out of core dumps (MADV_DONTDUMP, MADV_DONTFORK), else, where even
// mlock is refused, the same without the lock. Each mapping falls back on its own, so a network larger than
// RLIMIT_MEMLOCK does not take the keys out of locked memory. What it hands out is zero and 64-byte aligned (up to a
// page where asked); it wipes what is given back. Thread-safe. No child of fork() sees any of it.
//
// A sandbox around it must allow memfd_secret, ftruncate, close, mmap, munmap, mlock and madvise; the first three may
// also fail, but not kill.
#ifndef INFENCLAVE_CRYPTO_SECRET_H_
#define INFENCLAVE_CRYPTO_SECRET_H_

#include <cstdint>
#include <memory_resource>
#include <string_view>

#include "base/bytes.h"

namespace infenclave {

std::pmr::memory_resource* SecretMemory();
// The weakest kind that is mapped now: "memfd_secret", "locked" or "unlocked".
std::string_view SecretMemoryKind();

// Zeroes in a way the compiler keeps.
void Wipe(MutableByteSpan bytes);

// Constant time in the contents (not in the lengths).
bool ConstantTimeEqual(ByteSpan a, ByteSpan b);

// Bytes that live in secret memory, cannot be copied, printed or compared by accident, and are wiped at the end.
class SecretBytes {
 public:
  SecretBytes() = default;
  explicit SecretBytes(size_t size);          // zeros
  static SecretBytes CopyOf(ByteSpan bytes);  // the caller wipes its own copy
  SecretBytes(SecretBytes&& other) noexcept;
  SecretBytes& operator=(SecretBytes&& other) noexcept;
  SecretBytes(const SecretBytes&) = delete;
  SecretBytes& operator=(const SecretBytes&) = delete;
  ~SecretBytes();

  SecretBytes Clone() const { return CopyOf(span()); }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  uint8_t* data() { return data_; }
  const uint8_t* data() const { return data_; }
  ByteSpan span() const { return {data_, size_}; }
  MutableByteSpan mutable_span() { return {data_, size_}; }
  // Keeps the first `size` bytes (at most size()); the rest is wiped.
  void Truncate(size_t size);

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0, capacity_ = 0;
};

}  // namespace infenclave

#endif  // INFENCLAVE_CRYPTO_SECRET_H_
