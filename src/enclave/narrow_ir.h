// What crosses the cut in fewer bits than the f32 that the FrontNet computes (protocol/manifest.h, IrPrecision).
//
// Data-oblivious: no branch and no address depends on the values.
#ifndef INFENCLAVE_ENCLAVE_NARROW_IR_H_
#define INFENCLAVE_ENCLAVE_NARROW_IR_H_

#include <span>
#include <vector>

#include "protocol/manifest.h"

namespace infenclave {

// `out` has IrWireOf(manifest).bytes(). Rounds to nearest, ties to even; a code beyond the largest is the largest, one
// below 0 and that of a NaN is 0.
void NarrowIr(const Manifest& manifest, std::span<const float> in, MutableByteSpan out);
// The IR as the BackNet sees it.
std::vector<float> WidenIr(const Manifest& manifest, ByteSpan ir);

}  // namespace infenclave

#endif  // INFENCLAVE_ENCLAVE_NARROW_IR_H_
