// A Graph computed by libtorch, so that a gradient leads back to its input: the FrontNet under the white-box attack,
// and the network whose features count in the decoder's loss.
#ifndef INFENCLAVE_ATTACKS_TORCH_NETWORK_H_
#define INFENCLAVE_ATTACKS_TORCH_NETWORK_H_

#include <functional>
#include <span>
#include <vector>

#include "attacks/torch.h"
#include "graph/graph.h"

namespace infenclave {

class TorchNetwork {
 public:
  // One f32 input and one output. UNIMPLEMENTED with the name of the first operator, or use of one, that is not mapped:
  // everything that convolutional classifiers are made of is.
  static StatusOr<TorchNetwork> Create(const Graph& graph);

  const Shape& input_shape() const { return input_shape_; }
  const Shape& output_shape() const { return output_shape_; }
  // Of the graph's shape, batch included.
  at::Tensor Forward(const at::Tensor& input) const;

  // Inputs of the node, undefined where they are absent or no f32.
  using Function = std::function<std::vector<at::Tensor>(std::span<const at::Tensor>)>;

 private:
  struct Step {
    std::vector<ValueId> inputs, outputs;
    Function compute;
    std::vector<ValueId> last_read;  // values that no later step needs
  };

  Shape input_shape_, output_shape_;
  ValueId input_ = kNoValue, output_ = kNoValue;
  std::vector<at::Tensor> constants_;  // by value
  std::vector<Step> steps_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_ATTACKS_TORCH_NETWORK_H_
