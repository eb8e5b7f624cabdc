#include "graph/cuts.h"

#include <algorithm>
#include <numeric>

#include "graph/memory_plan.h"
#include "graph/operators.h"
#include "graph/passes.h"

namespace infenclave {
namespace {

constexpr size_t kSuggestions = 3;

// Which values lie on some path from the input to the output.
std::vector<bool> OnSomePath(const Graph& graph) {
  std::vector<bool> reached(graph.values.size()), needed(graph.values.size());
  auto any = [](const std::vector<ValueId>& ids, const std::vector<bool>& set) {
    return std::any_of(ids.begin(), ids.end(), [&](ValueId id) { return id >= 0 && set[static_cast<size_t>(id)]; });
  };
  auto add = [](const std::vector<ValueId>& ids, std::vector<bool>& set) {
    for (ValueId id : ids) {
      if (id >= 0) set[static_cast<size_t>(id)] = true;
    }
  };
  add(graph.inputs, reached);
  for (const Node& node : graph.nodes) {
    if (any(node.inputs, reached)) add(node.outputs, reached);
  }
  add(graph.outputs, needed);
  for (auto node = graph.nodes.rbegin(); node != graph.nodes.rend(); ++node) {
    if (any(node->outputs, needed)) add(node->inputs, needed);
  }
  for (size_t i = 0; i < reached.size(); ++i) reached[i] = reached[i] && needed[i];
  return reached;
}

bool IsQuantize(const Node& node) { return node.op == "QuantizeLinear" && !IsOpaque(node); }
bool IsDequantize(const Node& node) { return node.op == "DequantizeLinear" && !IsOpaque(node); }

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      size_t substituted = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j - 1] + 1, row[j] + 1, substituted});
    }
  }
  return row[b.size()];
}

std::string Quoted(const Graph& graph, const std::vector<ValueId>& ids) {
  std::string out;
  for (ValueId id : ids) out += Concat(out.empty() ? "'" : ", '", graph.value(id).name, "'");
  return out;
}

std::vector<ValueId> MostAlike(const Graph& graph, std::vector<ValueId> cuts, std::string_view name) {
  std::vector<std::pair<size_t, size_t>> ranked;
  for (size_t i = 0; i < cuts.size(); ++i) ranked.emplace_back(EditDistance(graph.value(cuts[i]).name, name), i);
  std::sort(ranked.begin(), ranked.end());
  std::vector<ValueId> out;
  for (size_t i = 0; i < std::min(kSuggestions, ranked.size()); ++i) out.push_back(cuts[ranked[i].second]);
  return out;
}

// It holds integers, or what was made of them.
bool IsQuantized(const Graph& graph, ValueId id) {
  const int producer = Producers(graph)[static_cast<size_t>(id)];
  return graph.value(id).dtype != DType::kF32 ||
         (producer >= 0 && IsDequantize(graph.nodes[static_cast<size_t>(producer)]));
}

// The cut points just before and behind a tensor, in the order of the nodes.
std::vector<ValueId> Neighbours(const Graph& graph, const std::vector<ValueId>& cuts, ValueId tensor) {
  std::vector<int> producers = Producers(graph);
  auto place = [&](ValueId id) { return producers[static_cast<size_t>(id)]; };
  auto after = std::find_if(cuts.begin(), cuts.end(), [&](ValueId cut) { return place(cut) > place(tensor); });
  std::vector<ValueId> out;
  if (after != cuts.begin()) out.push_back(*(after - 1));
  if (after != cuts.end()) out.push_back(*after);
  return out;
}

// The nodes and constants between two sets of values.
StatusOr<Graph> Between(const Graph& graph, const std::vector<ValueId>& inputs, const std::vector<ValueId>& outputs) {
  std::vector<bool> needed(graph.values.size()), given(graph.values.size());
  for (ValueId id : inputs) given[static_cast<size_t>(id)] = true;
  for (ValueId id : outputs) needed[static_cast<size_t>(id)] = true;
  auto computed = [&](ValueId id) {
    return id != kNoValue && needed[static_cast<size_t>(id)] && !given[static_cast<size_t>(id)];
  };
  Graph part;
  part.name = graph.name;
  part.values = graph.values;
  for (auto node = graph.nodes.rbegin(); node != graph.nodes.rend(); ++node) {
    if (std::none_of(node->outputs.begin(), node->outputs.end(), computed)) continue;
    for (ValueId id : node->inputs) {
      if (id != kNoValue) needed[static_cast<size_t>(id)] = true;
    }
    part.nodes.push_back(*node);
  }
  std::reverse(part.nodes.begin(), part.nodes.end());
  for (const auto& [id, tensor] : graph.constants) {
    if (computed(id)) part.constants.emplace(id, tensor);
  }
  part.inputs = inputs;
  part.outputs = outputs;
  return RemoveDead(std::move(part));
}

// One buffer per storage; a view's is that of what it views. Quantising is the last thing that happens to a result that
// nothing else reads, and integers are read as they are.
class ActivationBuffers {
 public:
  explicit ActivationBuffers(const Graph& graph)
      : graph_(graph), consumers_(Consumers(graph)), storage_(graph.values.size()), buffers_(graph.values.size()) {
    std::iota(storage_.begin(), storage_.end(), size_t{0});
  }

  std::vector<PlannedBuffer> Run() {
    int step = 0;
    for (ValueId id : graph_.inputs) Produce(id, step);
    for (const Node& node : graph_.nodes) {
      ++step;
      const bool constant = IsDequantize(node) && graph_.IsConstant(node.inputs[0]);  // weights
      for (ValueId id : node.inputs) Use(id, step);
      for (size_t i = 0; i < node.outputs.size() && !constant; ++i) {
        if (node.outputs[i] == kNoValue) continue;
        if (i == 0 && !graph_.IsConstant(node.inputs[0]) && SharesStorage(node)) {
          storage_[static_cast<size_t>(node.outputs[0])] = storage_[static_cast<size_t>(node.inputs[0])];
        } else {
          Produce(node.outputs[i], step);
        }
      }
    }
    for (ValueId id : graph_.outputs) Use(id, step);
    return std::move(buffers_);
  }

 private:
  bool OnlyQuantized(ValueId id) const {
    const std::vector<int>& readers = consumers_[static_cast<size_t>(id)];
    return readers.size() == 1 && IsQuantize(graph_.nodes[static_cast<size_t>(readers[0])]);
  }

  bool SharesStorage(const Node& node) const {
    const Operator* op = OperatorOf(node);
    return (op != nullptr && op->view) || IsDequantize(node) || (IsQuantize(node) && OnlyQuantized(node.inputs[0]));
  }

  void Produce(ValueId id, int step) {
    const DType dtype = graph_.value(id).dtype;
    const bool integers = dtype == DType::kU8 || dtype == DType::kI8 || OnlyQuantized(id);
    const size_t elements = static_cast<size_t>(*NumElements(graph_.value(id).shape));
    buffers_[static_cast<size_t>(id)] = {elements * SizeOf(integers ? DType::kU8 : DType::kF32), step, step};
  }

  void Use(ValueId id, int step) {
    if (id != kNoValue && !graph_.IsConstant(id)) buffers_[storage_[static_cast<size_t>(id)]].last = step;
  }

  const Graph& graph_;
  std::vector<std::vector<int>> consumers_;
  std::vector<size_t> storage_;
  std::vector<PlannedBuffer> buffers_;
};

}  // namespace

StatusOr<std::vector<ValueId>> CutPoints(const Graph& graph) {
  if (graph.inputs.size() != 1 || graph.outputs.size() != 1) {
    return InvalidArgument("cut points need one input and one output; the graph has ", graph.inputs.size(), " and ",
                           graph.outputs.size());
  }
  std::vector<bool> on_path = OnSomePath(graph);
  std::vector<std::vector<int>> consumers = Consumers(graph);
  // How many nodes on a path will still read each value. After a node, a value is a cut point if it alone is still to
  // be read: everything later then depends on the input through it. This holds in any topological order, because
  // whatever comes later than a cut point is computed from it.
  std::vector<int> unread(graph.values.size());
  auto leads_on = [&](const Node& node) {
    return std::any_of(node.outputs.begin(), node.outputs.end(),
                       [&](ValueId id) { return id != kNoValue && on_path[static_cast<size_t>(id)]; });
  };
  for (size_t i = 0; i < unread.size(); ++i) {
    for (int reader : consumers[i]) unread[i] += leads_on(graph.nodes[static_cast<size_t>(reader)]);
  }
  size_t live = 1;
  std::vector<ValueId> cuts;
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    if (!leads_on(node)) continue;
    ValueId made = kNoValue;
    for (ValueId id : node.outputs) {
      if (id == kNoValue || !on_path[static_cast<size_t>(id)]) continue;
      ++live;
      made = id;
    }
    std::vector<ValueId> reads = node.inputs;
    std::sort(reads.begin(), reads.end());
    reads.erase(std::unique(reads.begin(), reads.end()), reads.end());
    for (ValueId id : reads) {
      if (id != kNoValue && on_path[static_cast<size_t>(id)] && --unread[static_cast<size_t>(id)] == 0) --live;
    }
    // What is quantised is cut before it is: then the BackNet does it.
    if (live == 1 && made != graph.outputs[0] && graph.value(made).dtype == DType::kF32 && !IsDequantize(node)) {
      cuts.push_back(made);
    }
  }
  return cuts;
}

StatusOr<ValueId> FindCut(const Graph& graph, std::string_view name) {
  INFENCLAVE_ASSIGN_OR_RETURN(std::vector<ValueId> cuts, CutPoints(graph));
  ValueId tensor = graph.Find(name);
  if (std::find(cuts.begin(), cuts.end(), tensor) != cuts.end()) return tensor;
  if (cuts.empty()) return NotFound("'", name, "' is not a cut point, and the network has none");
  if (tensor == kNoValue || graph.IsConstant(tensor)) {
    return NotFound("no cut point is named '", name, "'; the nearest names are ",
                    Quoted(graph, MostAlike(graph, cuts, name)));
  }
  std::string_view why = tensor == graph.inputs[0]    ? "it is the input"
                         : tensor == graph.outputs[0] ? "it is the output"
                         : IsQuantized(graph, tensor) ? "it is cut before it is quantised"
                                                      : "a path from input to output goes around it";
  return NotFound("'", name, "' is not a cut point: ", why, "; the nearest cut points are ",
                  Quoted(graph, Neighbours(graph, cuts, tensor)));
}

StatusOr<Partition> SplitAt(const Graph& graph, ValueId cut) {
  INFENCLAVE_ASSIGN_OR_RETURN(std::vector<ValueId> cuts, CutPoints(graph));
  if (std::find(cuts.begin(), cuts.end(), cut) == cuts.end()) {
    return InvalidArgument("value ", cut, " is not a cut point");
  }
  Partition out;
  INFENCLAVE_ASSIGN_OR_RETURN(out.front, Between(graph, graph.inputs, {cut}));
  INFENCLAVE_ASSIGN_OR_RETURN(out.back, Between(graph, {cut}, graph.outputs));
  return out;
}

StatusOr<Graph> UpTo(const Graph& graph, ValueId tensor) {
  if (tensor < 0 || static_cast<size_t>(tensor) >= graph.values.size()) {
    return InvalidArgument("value ", tensor, " is unknown");
  }
  return Between(graph, graph.inputs, {tensor});
}

StatusOr<Cost> CostOf(const Graph& graph) {
  Cost cost;
  double flops = 0;
  for (const Node& node : graph.nodes) {
    cost.opaque |= IsOpaque(node);
    flops += FlopsOf({graph, node});
  }
  if (flops > 0x1p62) return InvalidArgument("the network takes ", flops, " FLOPs");
  cost.flops = static_cast<int64_t>(flops);
  for (const auto& [id, tensor] : graph.constants) {
    if (tensor->dtype() == DType::kF32 || tensor->dtype() == DType::kI8) {
      cost.weight_bytes += static_cast<int64_t>(tensor->bytes());
    }
  }
  cost.peak_bytes = static_cast<int64_t>(PlanMemory(ActivationBuffers(graph).Run()).arena_bytes);
  return cost;
}

}  // namespace infenclave
