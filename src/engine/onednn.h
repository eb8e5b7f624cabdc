// What the engine's files share of oneDNN: one CPU engine, plain layouts, and the border at which exceptions end.
#ifndef INFENCLAVE_ENGINE_ONEDNN_H_
#define INFENCLAVE_ENGINE_ONEDNN_H_

#include <exception>
#include <new>
#include <oneapi/dnnl/dnnl.hpp>
#include <string_view>

#include "base/status.h"
#include "tensor/tensor.h"

namespace infenclave::engine {

using dnnl::memory;

const dnnl::engine& CpuEngine();
bool HasAvx512();

// Row-major; a scalar becomes [1].
memory::desc PlainDesc(const Shape& shape, memory::data_type type);
// NHWC and its likes of other ranks.
memory::desc ChannelsLastDesc(const Shape& shape, memory::data_type type);
// Whether the bytes are those of the row-major tensor (e.g. [1,1280,1,1] in blocks of 16 channels).
bool IsPlain(const memory::desc& desc);
// Whether dimension `axis` varies slowest: a run of whole indices of it is one run of bytes. False where it is padded.
bool IsOutermost(const memory::desc& desc, int axis);
// Whether blocks reach beyond the last index, e.g. 24 channels in blocks of 16.
bool IsPadded(const memory::desc& desc);
Shape DimsOf(const memory::desc& desc);

// What oneDNN and the standard library throw becomes a status here and goes no further.
template <typename F>
Status CatchOneDnn(std::string_view where, F&& body) {
  try {
    return body();
  } catch (const dnnl::error& e) {
    if (e.status == dnnl_out_of_memory) return ResourceExhausted(where, ": out of memory");
    if (e.status == dnnl_unimplemented) return Unimplemented(where, ": oneDNN has no implementation: ", e.what());
    return Internal(where, ": oneDNN: ", e.what());
  } catch (const std::bad_alloc&) {
    return ResourceExhausted(where, ": out of memory");
  } catch (const std::exception& e) {
    return Internal(where, ": ", e.what());
  }
}

}  // namespace infenclave::engine

#endif  // INFENCLAVE_ENGINE_ONEDNN_H_
