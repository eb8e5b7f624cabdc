// `infenclave inspect`: what a network is made of, and what each place to cut it would cost.
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "engine/compiled_network.h"
#include "graph/cuts.h"
#include "import/model.h"

namespace infenclave {
namespace {

using Json = nlohmann::ordered_json;

// Each cut's FrontNet is compiled for what it takes, so the work grows with the square of a network's depth.
// Classifiers stay far below these; a hostile model does not.
constexpr size_t kMaxCuts = 2048;
struct CompileBudget {
  size_t nodes = size_t{1} << 18;
  int64_t bytes = int64_t{32} << 30;  // of weights and activations
};

struct InspectFlags {
  std::string model;
  bool json = false;
};

struct Cut {
  std::string name;
  Shape shape;
  int64_t ir_bytes = 0;
  Cost front;
};

// What the engine really takes: weights as it packs them, and its arena with padding and scratch. Where it cannot
// compute the part, or has compiled enough, the plan of the graph stands.
Status TakeMemoryFromEngine(const Graph& front, CompileBudget& left, Cost& cost) {
  const int64_t bytes = cost.weight_bytes + cost.peak_bytes;
  if (cost.opaque || front.nodes.size() > left.nodes || bytes > left.bytes) return OkStatus();
  left.nodes -= front.nodes.size();
  left.bytes -= bytes;
  StatusOr<CompiledNetwork> network = CompiledNetwork::Compile(front, {});
  if (network.status().code() == StatusCode::kUnimplemented) return OkStatus();
  INFENCLAVE_RETURN_IF_ERROR(network.status());
  cost.weight_bytes = static_cast<int64_t>(network->weight_bytes());
  cost.peak_bytes = static_cast<int64_t>(network->arena_bytes());
  return OkStatus();
}

StatusOr<std::vector<Cut>> DescribeCuts(const Graph& graph) {
  INFENCLAVE_ASSIGN_OR_RETURN(std::vector<ValueId> points, CutPoints(graph));
  if (points.size() > kMaxCuts) {
    return InvalidArgument("the network has ", points.size(), " cut points, at most ", kMaxCuts, " are described");
  }
  std::vector<Cut> cuts;
  CompileBudget left;
  for (ValueId id : points) {
    const Value& value = graph.value(id);
    INFENCLAVE_ASSIGN_OR_RETURN(const Graph part, UpTo(graph, id));
    INFENCLAVE_ASSIGN_OR_RETURN(Cost front, CostOf(part));
    INFENCLAVE_RETURN_IF_ERROR(TakeMemoryFromEngine(part, left, front));
    INFENCLAVE_ASSIGN_OR_RETURN(int64_t elements, NumElements(value.shape));
    cuts.push_back({value.name, value.shape, elements * static_cast<int64_t>(SizeOf(value.dtype)), front});
  }
  return cuts;
}

// Behind an operator that is not known, a shape is what the file declares, if it does.
bool IsDeclared(const Shape& shape) { return shape != Shape{0}; }

Json ToJson(const std::string& path, const ImportedModel& model, const std::vector<Cut>& cuts) {
  Json inputs = Json::array(), list = Json::array();
  for (ValueId id : model.graph.inputs) {
    inputs.push_back({{"name", model.graph.value(id).name}, {"shape", model.graph.value(id).shape}});
  }
  for (const Cut& cut : cuts) {
    list.push_back({{"name", cut.name},
                    {"shape", IsDeclared(cut.shape) ? Json(cut.shape) : Json()},
                    {"ir_bytes", cut.ir_bytes},
                    {"frontnet",
                     {{"flops", cut.front.flops},
                      {"weight_bytes", cut.front.weight_bytes},
                      {"peak_bytes", cut.front.peak_bytes}}}});
  }
  return {{"model", path}, {"inputs", inputs}, {"opaque", model.opaque}, {"cuts", list}};
}

std::string Scaled(double value, const char* unit) {
  static constexpr const char* kPrefixes[] = {"", "k", "M", "G", "T"};
  int prefix = 0;
  for (; value >= 999.5 && prefix < 4; ++prefix) value /= 1000;
  char text[32];
  std::snprintf(text, sizeof(text), value < 9.995 && prefix > 0 ? "%.2f %s%s" : "%.0f %s%s", value, kPrefixes[prefix],
                unit);
  return text;
}

// One "3 Conv" per operator, most frequent first.
std::string CountOperators(const Graph& graph) {
  std::map<std::string, int> counts;
  for (const Node& node : graph.nodes) ++counts[node.op];
  std::vector<std::pair<std::string, int>> sorted(counts.begin(), counts.end());
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  std::string out;
  for (const auto& [op, count] : sorted) out += Concat(out.empty() ? "" : ", ", count, " ", op);
  return out;
}

void Print(const std::string& path, const ImportedModel& model, const std::vector<Cut>& cuts, std::ostream& out) {
  const Graph& graph = model.graph;
  out << path << "\n";
  for (ValueId id : graph.inputs) {
    out << "  input     " << graph.value(id).name << " " << ToString(graph.value(id).shape) << "\n";
  }
  for (ValueId id : graph.outputs) {
    out << "  output    " << graph.value(id).name << " " << ToString(graph.value(id).shape) << "\n";
  }
  out << "  operators " << CountOperators(graph) << "\n";
  if (!model.opaque.empty()) {
    out << "  not known ";
    for (const std::string& op : model.opaque) out << (op == model.opaque.front() ? "" : ", ") << op;
    out << "\n            (a cut before them can be served, with a BackNet server that knows them)\n";
  }
  if (cuts.empty()) {
    out << "\nNo tensor is passed by every path from input to output: this network cannot be cut.\n";
    return;
  }
  size_t width = 4;
  for (const Cut& cut : cuts) width = std::max(width, cut.name.size());
  width = std::min<size_t>(width, 60);
  auto row = [&](const std::string& name, const std::string& shape, const std::string& ir, const std::string& flops,
                 const std::string& weights, const std::string& peak) {
    char figures[256];
    std::snprintf(figures, sizeof(figures), "  %-18s %9s %12s %10s %10s\n", shape.c_str(), ir.c_str(), flops.c_str(),
                  weights.c_str(), peak.c_str());
    const bool wide = name.size() > width;  // then on a line of its own
    out << name << (wide ? "\n" : "") << std::string(wide ? width : width - name.size(), ' ') << figures;
  };
  out << "\nWhere it can be cut, and what the FrontNet up to there takes inside the enclave:\n";
  row("cut", "shape", "IR", "FLOPs", "weights", "peak");
  for (const Cut& cut : cuts) {
    row(cut.name, IsDeclared(cut.shape) ? ToString(cut.shape) : "not declared",
        IsDeclared(cut.shape) ? Scaled(static_cast<double>(cut.ir_bytes), "B") : "?",
        cut.front.opaque ? "not known" : Scaled(static_cast<double>(cut.front.flops), "FLOP"),
        Scaled(static_cast<double>(cut.front.weight_bytes), "B"),
        Scaled(static_cast<double>(cut.front.peak_bytes), "B"));
  }
}

Status Inspect(const InspectFlags& flags) {
  INFENCLAVE_ASSIGN_OR_RETURN(ImportedModel model, ImportModel(flags.model));
  StatusOr<std::vector<Cut>> cuts = DescribeCuts(model.graph);
  if (!cuts.ok()) return Annotate(cuts.status(), flags.model);
  if (flags.json) {
    std::cout << ToJson(flags.model, model, *cuts).dump(2, ' ', false, Json::error_handler_t::replace) << "\n";
  } else {
    Print(flags.model, model, *cuts, std::cout);
  }
  return OkStatus();
}

}  // namespace

Command InspectCommand() {
  auto flags = std::make_shared<InspectFlags>();
  return {.name = "inspect",
          .summary = "Show a network's operators, its cut points and what each costs",
          .example = "infenclave inspect efficientnet-lite0.onnx",
          .declare =
              [flags](Flags& f) {
                f.Text("MODEL", &flags->model, "ONNX file, or a Darknet .cfg beside its .weights", /*required=*/true);
                f.Switch("--json", &flags->json, "print JSON");
              },
          .run = [flags] { return Inspect(*flags); }};
}

}  // namespace infenclave
