#include "engine/program.h"

#include <cstring>
#include <utility>

#include "graph/memory_plan.h"

namespace infenclave::engine {

Block::Block(size_t bytes, std::pmr::memory_resource* memory) : bytes_(bytes), memory_(memory) {
  if (bytes == 0) return;
  data_ = static_cast<std::byte*>(memory->allocate(bytes, kArenaAlignment));
  std::memset(data_, 0, bytes);
}

Block::Block(Block&& other) noexcept { *this = std::move(other); }

Block& Block::operator=(Block&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(memory_, other.memory_);
  return *this;
}

Block::~Block() {
  if (data_ != nullptr) memory_->deallocate(data_, bytes_, kArenaAlignment);
}

}  // namespace infenclave::engine
