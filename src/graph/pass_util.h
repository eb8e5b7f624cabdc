// What the passes share.
#ifndef INFENCLAVE_GRAPH_PASS_UTIL_H_
#define INFENCLAVE_GRAPH_PASS_UTIL_H_

#include <string>
#include <unordered_set>
#include <vector>

#include "graph/operators.h"

namespace infenclave {

// Who makes and who reads each value, as it was when this was built.
struct Flow {
  explicit Flow(const Graph& graph)
      : producers(Producers(graph)), consumers(Consumers(graph)), is_output(graph.values.size()) {
    for (ValueId id : graph.outputs) is_output[static_cast<size_t>(id)] = true;
  }
  int producer(ValueId id) const { return producers[static_cast<size_t>(id)]; }
  const std::vector<int>& readers(ValueId id) const { return consumers[static_cast<size_t>(id)]; }
  // One node reads it and the graph does not return it.
  bool HasOneReader(ValueId id) const { return !is_output[static_cast<size_t>(id)] && readers(id).size() == 1; }

  std::vector<int> producers;
  std::vector<std::vector<int>> consumers;
  std::vector<bool> is_output;
};

// The node is that operator of the table (an opaque node may bear its name).
inline bool Is(const Node& node, std::string_view op) {
  const Operator* row = OperatorOf(node);
  return row != nullptr && row->name == op;
}

// Names for values that a pass adds.
class FreshNames {
 public:
  explicit FreshNames(const Graph& graph) {
    for (const Value& value : graph.values) taken_.insert(value.name);
  }
  std::string Make(const std::string& base) {
    std::string name = base;
    for (int i = 1; !taken_.insert(name).second; ++i) name = base + "." + std::to_string(i);
    return name;
  }

 private:
  std::unordered_set<std::string> taken_;
};

// Drops the nodes that are marked.
void EraseNodes(Graph& graph, const std::vector<bool>& erased);

// Sets the types of the node's outputs as the table infers them; an opaque node keeps its own. An output that the table
// does not support becomes absent where nothing reads it and is an error elsewhere.
Status InferOutputs(Graph& graph, size_t node, const Flow& flow);

}  // namespace infenclave

#endif  // INFENCLAVE_GRAPH_PASS_UTIL_H_
