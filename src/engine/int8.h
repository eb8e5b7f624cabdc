// Int8: operators between DequantizeLinear and QuantizeLinear compute on the integers.
//
// Integers lie in places with a scale (engine/program.h); DequantizeLinear only gives a place its scale, and whoever
// asks for the value with Compiler::In() gets f32. Each Try function compiles its node, and the QuantizeLinear that
// alone reads the result, if the operands are integers and oneDNN has a fast kernel; else it returns false and the node
// is computed in f32 like any other. Sums behind a convolution go into it, and then are not quantised in between.
#ifndef INFENCLAVE_ENGINE_INT8_H_
#define INFENCLAVE_ENGINE_INT8_H_

#include "engine/convolution.h"

namespace infenclave::engine {

StatusOr<bool> TryInt8Conv(Compiler& c, const Node& node, int index, const ConvShape& s);
StatusOr<bool> TryInt8Dense(Compiler& c, const Node& node);
StatusOr<bool> TryInt8Add(Compiler& c, const Node& node, int index);
// The mean over all spatial dimensions, in f32.
StatusOr<bool> TryInt8GlobalAverage(Compiler& c, const Node& node);
// Whether a pool with that result may stay in integers: it is quantised again with the same scale.
bool PoolsIntegers(Compiler& c, const Node& node);

}  // namespace infenclave::engine

#endif  // INFENCLAVE_ENGINE_INT8_H_
