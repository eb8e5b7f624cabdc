// The rules that rows of the operator table share: shapes (infer), FLOPs per output element, constant evaluation.
// Only the table and the rules themselves need this header.
#ifndef INFENCLAVE_GRAPH_RULES_H_
#define INFENCLAVE_GRAPH_RULES_H_

#include <vector>

#include "graph/operators.h"

namespace infenclave::rules {

using Types = StatusOr<std::vector<TensorType>>;

// operator_table.cc: sorted by name
std::vector<Operator> MakeTable();

// window.cc
Types InferConv(const NodeView& v);
Types InferPool(const NodeView& v);
Types InferGlobalPool(const NodeView& v);
double ConvFlops(const NodeView& v);
double PoolFlops(const NodeView& v);
double GlobalPoolFlops(const NodeView& v);

// shape_rules.cc
Types InferSame(const NodeView& v);         // one f32 output like input 0
Types InferSameAnyType(const NodeView& v);  // likewise, any dtype
Types InferDropout(const NodeView& v);
Types InferBroadcast(const NodeView& v);   // all inputs of one dtype, broadcast together
Types InferComparison(const NodeView& v);  // likewise, to bool
Types InferWhere(const NodeView& v);
Types InferPRelu(const NodeView& v);
Types InferNormalization(const NodeView& v);  // per-channel parameters [C] in inputs 1..
Types InferLayerNormalization(const NodeView& v);
Types InferGroupNormalization(const NodeView& v);
Types InferLrn(const NodeView& v);
Types InferSoftmax(const NodeView& v);
Types InferPow(const NodeView& v);  // the exponent may be of another type
double LrnFlops(const NodeView& v);
Types InferGemm(const NodeView& v);
Types InferMatMul(const NodeView& v);
Types InferReduce(const NodeView& v);
double GemmFlops(const NodeView& v);
double MatMulFlops(const NodeView& v);
double ReduceFlops(const NodeView& v);

// layout_rules.cc
Types InferConcat(const NodeView& v);
Types InferSplit(const NodeView& v);
Types InferReshape(const NodeView& v);
Types InferFlatten(const NodeView& v);
Types InferSqueeze(const NodeView& v);
Types InferUnsqueeze(const NodeView& v);
Types InferTranspose(const NodeView& v);
Types InferPad(const NodeView& v);
Types InferSlice(const NodeView& v);
Types InferGather(const NodeView& v);
Types InferExpand(const NodeView& v);
Types InferTile(const NodeView& v);
Types InferBlocks(const NodeView& v);
Types InferRange(const NodeView& v);
Types InferShape(const NodeView& v);
Types InferCast(const NodeView& v);
Types InferConstant(const NodeView& v);
Types InferConstantOfShape(const NodeView& v);
double NoFlops(const NodeView& v);

// quantize_rules.cc
Types InferQuantize(const NodeView& v);
Types InferDequantize(const NodeView& v);
StatusOr<Tensor> EvaluateQuantize(const NodeView& v);

// resize.cc
Types InferResize(const NodeView& v);
double ResizeFlops(const NodeView& v);

// evaluate.cc
StatusOr<Tensor> EvaluateScalar(const NodeView& v);  // the row's scalar function, f32
StatusOr<Tensor> EvaluateSigned(const NodeView& v);  // Neg and Abs, integers too
StatusOr<Tensor> EvaluateNot(const NodeView& v);
StatusOr<Tensor> EvaluateRange(const NodeView& v);
StatusOr<Tensor> EvaluateBinary(const NodeView& v);  // Add, Sub, Mul, Div, Pow, Min, Max, Mod by name
StatusOr<Tensor> EvaluateComparison(const NodeView& v);
StatusOr<Tensor> EvaluateWhere(const NodeView& v);
StatusOr<Tensor> EvaluateReduce(const NodeView& v);
StatusOr<Tensor> EvaluateCopy(const NodeView& v);  // input 0's elements in the output's shape
StatusOr<Tensor> EvaluateConcat(const NodeView& v);
StatusOr<Tensor> EvaluateTranspose(const NodeView& v);
StatusOr<Tensor> EvaluateSlice(const NodeView& v);
StatusOr<Tensor> EvaluateGather(const NodeView& v);
StatusOr<Tensor> EvaluateExpand(const NodeView& v);
StatusOr<Tensor> EvaluateShape(const NodeView& v);
StatusOr<Tensor> EvaluateCast(const NodeView& v);
StatusOr<Tensor> EvaluateConstant(const NodeView& v);
StatusOr<Tensor> EvaluateConstantOfShape(const NodeView& v);

}  // namespace infenclave::rules

#endif  // INFENCLAVE_GRAPH_RULES_H_
