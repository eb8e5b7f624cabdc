#include "crypto/secret.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <mutex>
#include <new>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/file.h"

#if defined(__SANITIZE_ADDRESS__)
#define INFENCLAVE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define INFENCLAVE_ASAN 1
#endif
#endif
#ifdef INFENCLAVE_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) (static_cast<void>(address), static_cast<void>(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) (static_cast<void>(address), static_cast<void>(size))
#endif

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447  // the same number on every architecture; older kernel headers lack it
#endif

namespace infenclave {
namespace {

enum Kind { kMemfdSecret, kLocked, kUnlocked, kKinds };

constexpr size_t kPage = 4096;
constexpr size_t kMinBlock = 64;
constexpr size_t kMaxSmallBlock = 64 << 10;  // larger blocks are mappings of their own
constexpr size_t kChunk = 256 << 10;         // small blocks are carved from these, which are never unmapped
// Freed large blocks kept for the next request: mapping secret pages costs more than opening a photograph.
constexpr size_t kMaxIdle = 16 << 20;

struct Mapping {
  void* address = nullptr;
  size_t size = 0;
  Kind kind = kUnlocked;
};

void* MapMemfdSecret(size_t size) {
  UniqueFd fd(static_cast<int>(syscall(SYS_memfd_secret, O_CLOEXEC)));
  if (!fd.valid() || ftruncate(fd.get(), static_cast<off_t>(size)) != 0) return MAP_FAILED;
  return mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
}

// The strongest kind of `size` bytes that is to be had; address null if there is no memory at all.
Mapping Map(size_t size, Kind weakest) {
  Mapping out{MapMemfdSecret(size), size, kMemfdSecret};
  if (out.address == MAP_FAILED) {
    out.address = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (out.address == MAP_FAILED) return {};
    out.kind = mlock(out.address, size) == 0 ? kLocked : kUnlocked;
    if (out.kind > weakest) {
      munmap(out.address, size);
      return {};
    }
  }
  madvise(out.address, size, MADV_DONTDUMP);
  madvise(out.address, size, MADV_DONTFORK);
  return out;
}

// Powers of two up to kMaxSmallBlock, so that a block is aligned to its own size; then four steps a doubling, in pages.
size_t BlockSize(size_t bytes) {
  if (bytes <= kMaxSmallBlock) return std::bit_ceil(std::max(bytes, kMinBlock));
  const size_t step = std::max(kPage, std::bit_floor(bytes) / 4);
  return (bytes + step - 1) / step * step;
}

class SecretArena : public std::pmr::memory_resource {
 public:
  std::string_view kind() {
    std::lock_guard lock(mutex_);
    if (std::all_of(mapped_.begin(), mapped_.end(), [](size_t n) { return n == 0; })) Refill(kMinBlock);
    return mapped_[kUnlocked] != 0 ? "unlocked" : mapped_[kLocked] != 0 ? "locked" : "memfd_secret";
  }

 private:
  void* do_allocate(size_t bytes, size_t alignment) override {
    if (alignment > kPage || bytes > SIZE_MAX / 2) throw std::bad_alloc();
    const size_t size = BlockSize(std::max(bytes, alignment));
    std::lock_guard lock(mutex_);
    void* block = size <= kMaxSmallBlock ? TakeSmall(size) : TakeLarge(size);
    ASAN_UNPOISON_MEMORY_REGION(block, bytes);
    return block;
  }

  void do_deallocate(void* block, size_t bytes, size_t alignment) override {
    const size_t size = BlockSize(std::max(bytes, alignment));
    ASAN_UNPOISON_MEMORY_REGION(block, size);
    Wipe({static_cast<uint8_t*>(block), size});
    std::lock_guard lock(mutex_);
    if (size <= kMaxSmallBlock) {
      ASAN_POISON_MEMORY_REGION(block, size);
      free_[std::countr_zero(size)].push_back(block);
    } else if (idle_bytes_ + size <= kMaxIdle) {
      ASAN_POISON_MEMORY_REGION(block, size);
      idle_.push_back(large_.at(block));
      idle_bytes_ += size;
    } else {
      Unmap(large_.at(block));
    }
  }

  bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }

  void* TakeSmall(size_t size) {
    auto& free = free_[std::countr_zero(size)];
    if (free.empty()) Refill(size);
    void* block = free.back();
    free.pop_back();
    return block;
  }

  void* TakeLarge(size_t size) {
    auto fits = [size](const Mapping& m) { return m.size == size; };
    if (auto it = std::find_if(idle_.begin(), idle_.end(), fits); it != idle_.end()) {
      void* block = it->address;
      idle_.erase(it);
      idle_bytes_ -= size;
      return block;
    }
    const Mapping mapping = MapCounted(size);
    large_.emplace(mapping.address, mapping);
    return mapping.address;
  }

  // A new chunk, all of it as free blocks of one size.
  void Refill(size_t size) {
    const Mapping chunk = MapCounted(kChunk);
    ASAN_POISON_MEMORY_REGION(chunk.address, chunk.size);
    auto& free = free_[std::countr_zero(size)];
    for (size_t at = kChunk; at != 0; at -= size) {
      free.push_back(static_cast<uint8_t*>(chunk.address) + at - size);
    }
  }

  // Idle blocks give way before a new mapping goes without a lock.
  Mapping MapCounted(size_t size) {
    Mapping mapping = Map(size, kLocked);
    if (mapping.address == nullptr) {
      for (const Mapping& idle : idle_) Unmap(idle);
      idle_.clear();
      idle_bytes_ = 0;
      mapping = Map(size, kUnlocked);
    }
    if (mapping.address == nullptr) throw std::bad_alloc();
    mapped_[mapping.kind] += size;
    return mapping;
  }

  void Unmap(Mapping mapping) {
    mapped_[mapping.kind] -= mapping.size;
    large_.erase(mapping.address);
    ASAN_UNPOISON_MEMORY_REGION(mapping.address, mapping.size);
    munmap(mapping.address, mapping.size);
  }

  std::mutex mutex_;
  std::array<std::vector<void*>, std::countr_zero(kMaxSmallBlock) + 1> free_;  // by log2 of the block size
  std::unordered_map<void*, Mapping> large_;                                   // in use or idle
  std::vector<Mapping> idle_;
  size_t idle_bytes_ = 0;
  std::array<size_t, kKinds> mapped_{};
};

SecretArena& Arena() {
  static SecretArena* arena = new SecretArena;  // never destroyed: static objects may hold secrets
  return *arena;
}

}  // namespace

std::pmr::memory_resource* SecretMemory() { return &Arena(); }
std::string_view SecretMemoryKind() { return Arena().kind(); }

void Wipe(MutableByteSpan bytes) {
  if (bytes.empty()) return;
  std::memset(bytes.data(), 0, bytes.size());
  asm volatile("" : : "r"(bytes.data()) : "memory");
}

bool ConstantTimeEqual(ByteSpan a, ByteSpan b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

SecretBytes::SecretBytes(size_t size) : size_(size), capacity_(size) {
  if (size != 0) data_ = static_cast<uint8_t*>(SecretMemory()->allocate(size));
}

SecretBytes SecretBytes::CopyOf(ByteSpan bytes) {
  SecretBytes out(bytes.size());
  std::copy(bytes.begin(), bytes.end(), out.data_);
  return out;
}

SecretBytes::SecretBytes(SecretBytes&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      capacity_(std::exchange(other.capacity_, 0)) {}

SecretBytes& SecretBytes::operator=(SecretBytes&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(capacity_, other.capacity_);
  return *this;
}

SecretBytes::~SecretBytes() {
  if (data_ != nullptr) SecretMemory()->deallocate(data_, capacity_);
}

void SecretBytes::Truncate(size_t size) {
  INFENCLAVE_CHECK(size <= size_);
  Wipe(mutable_span().subspan(size));
  size_ = size;
}

}  // namespace infenclave
