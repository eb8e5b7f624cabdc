// A BackNet that reads codes (protocol/manifest.h, IrPrecision): bytes come in, are taken apart where each holds two,
// and multiplied by the step. It does so in operators that every ONNX runtime has.
#ifndef INFENCLAVE_BUNDLE_IR_CODES_H_
#define INFENCLAVE_BUNDLE_IR_CODES_H_

#include "graph/graph.h"
#include "protocol/manifest.h"

namespace infenclave {

// `back` reads maps, [1,C,H,W], in f32; what comes of it reads them in the IrWire of that precision, kInt8 or kInt4.
StatusOr<Graph> ReadCodes(Graph back, IrPrecision precision, float step);

}  // namespace infenclave

#endif  // INFENCLAVE_BUNDLE_IR_CODES_H_
