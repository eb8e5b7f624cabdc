// Operators of older opsets in the newest form, the one that graph/operators.h knows.
#ifndef INFENCLAVE_IMPORT_ONNX_UPGRADE_H_
#define INFENCLAVE_IMPORT_ONNX_UPGRADE_H_

#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "graph/graph.h"

namespace infenclave {

inline constexpr int64_t kOldestOpset = 7, kNewestOpset = 21;

// Names of a graph's values, the model's own and those made here.
class ValueNames {
 public:
  void Reserve(std::string_view name) { used_.emplace(name); }
  // "of/what", with a number behind it if the model has that name itself.
  std::string Fresh(std::string_view of, std::string_view what);

 private:
  std::unordered_set<std::string> used_;
};

// One node of an ONNX model of `opset`, as it stands there, becomes one or more nodes in the newest form. New constants
// and values go into `graph`, whose values already hold the shapes of the node's inputs.
StatusOr<std::vector<Node>> UpgradeNode(Node node, int64_t opset, Graph& graph, ValueNames& names);

// Whether ONNX gave the operator another form or meaning between opset 7 and 13, so that a node that is carried through
// untouched may not move from one to the other. Operators that the table and this file know are on the safe side.
bool ChangedByOpset13(std::string_view op);

}  // namespace infenclave

#endif  // INFENCLAVE_IMPORT_ONNX_UPGRADE_H_
