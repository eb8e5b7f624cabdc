#include "engine/onednn.h"

#include <algorithm>

namespace infenclave::engine {
namespace {

memory::dims DimsFor(const Shape& shape) { return shape.empty() ? memory::dims{1} : memory::dims(shape); }

}  // namespace

const dnnl::engine& CpuEngine() {
  static const dnnl::engine* engine = new dnnl::engine(dnnl::engine::kind::cpu, 0);  // outlives every network
  return *engine;
}

bool HasAvx512() {
  const unsigned needed = dnnl_cpu_isa_avx512_core;
  return (static_cast<unsigned>(dnnl_get_effective_cpu_isa()) & needed) == needed;
}

memory::desc PlainDesc(const Shape& shape, memory::data_type type) {
  memory::dims dims = DimsFor(shape), strides(dims.size());
  memory::dim stride = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    strides[i] = stride;
    stride *= std::max<memory::dim>(dims[i], 1);
  }
  return memory::desc(dims, type, strides);
}

memory::desc ChannelsLastDesc(const Shape& shape, memory::data_type type) {
  memory::dims dims = DimsFor(shape), strides(dims.size());
  if (dims.size() < 3) return PlainDesc(shape, type);
  memory::dim stride = dims[1];
  strides[1] = 1;
  for (size_t i = dims.size(); i-- > 2;) {
    strides[i] = stride;
    stride *= std::max<memory::dim>(dims[i], 1);
  }
  strides[0] = stride;
  return memory::desc(dims, type, strides);
}

bool IsPlain(const memory::desc& desc) {
  const dnnl_memory_desc_t& d = desc.data;
  if (d.format_kind != dnnl_blocked || d.offset0 != 0 || d.extra.flags != 0) return false;
  const dnnl_blocking_desc_t& blocking = d.format_desc.blocking;
  if (blocking.inner_nblks > 1) return false;
  const bool blocked = blocking.inner_nblks == 1;
  const int block_axis = blocked ? static_cast<int>(blocking.inner_idxs[0]) : -1;
  memory::dim stride = 1;
  for (int i = d.ndims - 1; i >= 0; --i) {
    if (d.padded_dims[i] != d.dims[i]) return false;
    // A blocked axis is in order if nothing but it has varied yet and its blocks lie one after the other.
    if (i == block_axis) {
      if (stride != 1 || (d.dims[i] > blocking.inner_blks[0] && blocking.strides[i] != blocking.inner_blks[0])) {
        return false;
      }
    } else if (d.dims[i] != 1 && blocking.strides[i] != stride) {
      return false;
    }
    stride *= d.dims[i];
  }
  return true;
}

bool IsOutermost(const memory::desc& desc, int axis) {
  const dnnl_memory_desc_t& d = desc.data;
  if (d.format_kind != dnnl_blocked || d.offset0 != 0 || d.extra.flags != 0) return false;
  const dnnl_blocking_desc_t& blocking = d.format_desc.blocking;
  for (int i = 0; i < d.ndims; ++i) {
    if (i == axis ? d.padded_dims[i] != d.dims[i] : d.dims[i] != 1 && blocking.strides[i] > blocking.strides[axis]) {
      return false;
    }
  }
  // Dense: the elements fill the bytes.
  memory::dim elements = 1;
  for (int i = 0; i < d.ndims; ++i) elements *= d.padded_dims[i];
  return desc.get_size() == static_cast<size_t>(elements) * memory::data_type_size(desc.data_type());
}

bool IsPadded(const memory::desc& desc) {
  return !std::equal(desc.data.dims, desc.data.dims + desc.data.ndims, desc.data.padded_dims);
}

Shape DimsOf(const memory::desc& desc) { return Shape(desc.data.dims, desc.data.dims + desc.data.ndims); }

}  // namespace infenclave::engine
