#include "engine/packed_weights.h"

#include <map>
#include <mutex>

#include "engine/onednn.h"
#include "engine/program.h"
#include "graph/memory_plan.h"

namespace infenclave {
namespace {

using engine::Block;
using engine::PendingWeight;

size_t Aligned(size_t bytes) { return (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment; }

void Write(const PendingWeight& weight, std::byte* data, dnnl::stream& stream) {
  using dnnl::memory;
  if (weight.packer) return weight.packer(*weight.source, data);
  dnnl::primitive_attr attributes;
  if (weight.scale != 1) attributes.set_output_scales(0, {weight.scale});
  // oneDNN's interface takes no const pointer; a reorder only reads its source.
  memory from(weight.source_desc, engine::CpuEngine(), const_cast<void*>(weight.source->data()));
  memory to(weight.desc, engine::CpuEngine(), data);
  dnnl::reorder(from, to, attributes).execute(stream, from, to);
}

}  // namespace

struct PackedWeights::Impl {
  struct Packed {
    dnnl::memory::desc desc, source_desc;
    float scale;
    std::byte* data;

    bool Is(const PendingWeight& weight) const {
      return desc == weight.desc && source_desc == weight.source_desc && scale == weight.scale;
    }
  };

  mutable std::mutex mutex;
  std::multimap<ValueId, Packed> packed;
  std::vector<Block> blocks;
  size_t bytes = 0, asked_bytes = 0;

  const Packed* Find(const PendingWeight& weight) const {
    auto [it, end] = packed.equal_range(weight.id);
    while (it != end && !it->second.Is(weight)) ++it;
    return it == end ? nullptr : &it->second;
  }
};

PackedWeights::PackedWeights() : impl_(std::make_unique<Impl>()) {}
PackedWeights::~PackedWeights() = default;

PackedWeights::Located PackedWeights::Pack(const std::vector<PendingWeight>& weights,
                                           std::pmr::memory_resource* memory) {
  const std::lock_guard lock(impl_->mutex);
  std::vector<const PendingWeight*> missing;
  size_t missing_bytes = 0;
  Located out;
  for (const PendingWeight& weight : weights) {
    out.bytes += Aligned(weight.desc.get_size());
    if (impl_->Find(weight) != nullptr) continue;
    missing.push_back(&weight);
    missing_bytes += Aligned(weight.desc.get_size());
  }
  if (!missing.empty()) {
    Block block(missing_bytes, memory);
    dnnl::stream stream(engine::CpuEngine());
    std::multimap<ValueId, Impl::Packed> made;
    std::byte* data = block.data();
    for (const PendingWeight* weight : missing) {
      Write(*weight, data, stream);
      made.emplace(weight->id, Impl::Packed{weight->desc, weight->source_desc, weight->scale, data});
      data += Aligned(weight->desc.get_size());
    }
    impl_->blocks.push_back(std::move(block));
    impl_->packed.merge(made);
  }
  for (const PendingWeight& weight : weights) out.data.push_back(impl_->Find(weight)->data);
  impl_->bytes += missing_bytes;
  impl_->asked_bytes += out.bytes;
  return out;
}

size_t PackedWeights::bytes() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->bytes;
}

size_t PackedWeights::saved_bytes() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->asked_bytes - impl_->bytes;
}

}  // namespace infenclave
