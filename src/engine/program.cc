#include "engine/program.h"

#include <sys/mman.h>

#include <cstring>
#include <utility>

#include "graph/memory_plan.h"

namespace infenclave::engine {

namespace {

constexpr size_t kHugePage = size_t{2} << 20;

}  // namespace

Block::Block(size_t bytes, std::pmr::memory_resource* memory) : bytes_(bytes), memory_(memory) {
  if (bytes == 0) return;
  // Weights that stream through the caches every time cost a tenth less from huge pages. Secret memory has none.
  const bool huge = bytes >= 2 * kHugePage && memory == std::pmr::get_default_resource();
  alignment_ = huge ? kHugePage : kArenaAlignment;
  data_ = static_cast<std::byte*>(memory->allocate(bytes, alignment_));
  if (huge) madvise(data_, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);  // a hint: whether it is taken matters not
  std::memset(data_, 0, bytes);
}

Block::Block(Block&& other) noexcept { *this = std::move(other); }

Block& Block::operator=(Block&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(alignment_, other.alignment_);
  std::swap(memory_, other.memory_);
  return *this;
}

Block::~Block() {
  if (data_ != nullptr) memory_->deallocate(data_, bytes_, alignment_);
}

}  // namespace infenclave::engine
