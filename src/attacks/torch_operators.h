// The operators of graph/operators.h in libtorch.
#ifndef INFENCLAVE_ATTACKS_TORCH_OPERATORS_H_
#define INFENCLAVE_ATTACKS_TORCH_OPERATORS_H_

#include "attacks/torch_network.h"
#include "graph/operators.h"

namespace infenclave {

// UNIMPLEMENTED for an operator, or a use of one, that is not mapped. The node's fused activation is not part of it.
StatusOr<TorchNetwork::Function> TorchOperator(const NodeView& view);
at::Tensor Activate(const FusedActivation& activation, const at::Tensor& x);

}  // namespace infenclave

#endif  // INFENCLAVE_ATTACKS_TORCH_OPERATORS_H_
