// `infenclave run`: the whole network, or up to a tensor, in the clear.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/file.h"
#include "bundle/class_order.h"
#include "cli/command.h"
#include "cli/cores.h"
#include "cli/model_files.h"
#include "engine/compiled_network.h"
#include "graph/passes.h"
#include "image/image.h"
#include "import/model.h"
#include "import/npy.h"

namespace infenclave {
namespace {

using Json = nlohmann::ordered_json;

struct RunFlags {
  std::string model, input, tensor, out, labels, preprocessing, precision = "f32";
  std::vector<std::string> images;
  int64_t top = 5, threads = 0;
  bool json = false;
};

EngineOptions OptionsOf(const RunFlags& flags, Precision precision) {
  return {.precision = precision,
          .batch = 1,
          .threads = flags.threads > 0 ? static_cast<int>(flags.threads) : AvailableCores()};
}

// The network up to the tensor of that name.
StatusOr<Graph> UpTo(Graph graph, const std::string& name) {
  ValueId id = graph.Find(name);
  if (id == kNoValue || graph.IsConstant(id)) {
    return NotFound("the simplified network has no tensor '", name, "'; `infenclave inspect` lists its cut points");
  }
  graph.outputs = {id};
  return RemoveDead(std::move(graph));
}

StatusOr<Tensor> RunOnce(CompiledNetwork& network, const Tensor& input) {
  Tensor output(DType::kF32, network.output_shapes()[0]);
  const TensorView inputs[] = {input.view()};
  const MutableTensorView outputs[] = {output.mutable_view()};
  INFENCLAVE_RETURN_IF_ERROR(network.Run(inputs, outputs));
  return output;
}

Status RunTensor(const RunFlags& flags, Precision precision, ImportedModel model) {
  INFENCLAVE_ASSIGN_OR_RETURN(Tensor input, ReadNpy(flags.input));
  Graph graph = std::move(model.graph);
  if (!flags.tensor.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(graph, UpTo(std::move(graph), flags.tensor));
  }
  if (graph.inputs.size() != 1 || graph.outputs.size() != 1) {
    return InvalidArgument(flags.model, ": one input and one output are needed; choose one with --output");
  }
  INFENCLAVE_ASSIGN_OR_RETURN(CompiledNetwork network, CompiledNetwork::Compile(graph, OptionsOf(flags, precision)));
  INFENCLAVE_ASSIGN_OR_RETURN(Tensor output, RunOnce(network, ToF32(input.view())));
  INFENCLAVE_RETURN_IF_ERROR(WriteFileAtomic(flags.out, EncodeNpy(output.view())));
  if (flags.json) {
    std::cout << Json({{"file", flags.out}, {"shape", output.shape()}}).dump() << "\n";
  } else {
    std::cout << graph.value(graph.outputs[0]).name << " " << ToString(output.shape()) << " in " << flags.out << "\n";
  }
  return OkStatus();
}

void Softmax(std::span<float> scores) {
  float largest = *std::max_element(scores.begin(), scores.end());
  float sum = 0;
  for (float& v : scores) sum += v = std::exp(v - largest);
  for (float& v : scores) v /= sum;
}

struct Ranked {
  size_t index;
  float probability;
};

std::vector<Ranked> MostProbable(std::span<float> scores, size_t top) {
  Softmax(scores);
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  top = std::min(top, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(top), order.end(),
                    [&](size_t a, size_t b) { return scores[a] != scores[b] ? scores[a] > scores[b] : a < b; });
  std::vector<Ranked> out;
  for (size_t i = 0; i < top; ++i) out.push_back({order[i], scores[order[i]]});
  return out;
}

std::string LabelOf(const std::vector<std::string>& labels, size_t index) {
  return labels.empty() ? Concat("class ", index) : labels[index];
}

void PrintImage(const std::string& file, const std::vector<Ranked>& ranked, const std::vector<std::string>& labels) {
  std::cout << file << "\n";
  for (const Ranked& r : ranked) {
    char probability[16];
    std::snprintf(probability, sizeof(probability), "%6.2f %%", 100.0 * static_cast<double>(r.probability));
    std::cout << "  " << probability << "  " << LabelOf(labels, r.index) << " (" << r.index << ")\n";
  }
}

Status RunImages(const RunFlags& flags, Precision precision, ImportedModel model) {
  INFENCLAVE_ASSIGN_OR_RETURN(Preprocessing preprocessing, ChoosePreprocessing(flags.preprocessing, model));
  StatusOr<uint32_t> classes = CountClasses(model.graph);
  if (!classes.ok()) return Annotate(classes.status(), flags.model);
  std::vector<std::string> labels;
  if (!flags.labels.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(labels, LoadLabels(flags.labels));
    if (labels.size() != *classes) {
      return InvalidArgument(flags.labels, ": ", labels.size(), " labels for a model of ", *classes, " classes");
    }
  }
  // As the enclave does: probabilities are the softmax of what comes before a final Softmax.
  INFENCLAVE_ASSIGN_OR_RETURN(Graph graph, StripFinalSoftmax(std::move(model.graph)));
  INFENCLAVE_ASSIGN_OR_RETURN(CompiledNetwork network, CompiledNetwork::Compile(graph, OptionsOf(flags, precision)));
  Tensor input(DType::kF32, {1, 3, preprocessing.height, preprocessing.width});
  Json json = Json::array();
  for (const std::string& file : flags.images) {
    INFENCLAVE_ASSIGN_OR_RETURN(Image image, LoadImage(file));
    Normalize(preprocessing, Prepare(image, preprocessing).rgb, input.as<float>());
    INFENCLAVE_ASSIGN_OR_RETURN(Tensor scores, RunOnce(network, input));
    std::vector<Ranked> ranked = MostProbable(scores.as<float>(), static_cast<size_t>(flags.top));
    if (!flags.json) {
      PrintImage(file, ranked, labels);
      continue;
    }
    Json list = Json::array();
    for (const Ranked& r : ranked) {
      list.push_back({{"label", LabelOf(labels, r.index)}, {"probability", r.probability}, {"index", r.index}});
    }
    json.push_back({{"file", file}, {"classes", list}});
  }
  if (flags.json) std::cout << json.dump(2, ' ', false, Json::error_handler_t::replace) << "\n";
  return OkStatus();
}

Status Run(const RunFlags& flags) {
  if (flags.images.empty() == flags.input.empty()) {
    return UsageError("give either images or --input FILE.npy");
  }
  if (!flags.input.empty() && flags.out.empty()) return UsageError("--input needs -o FILE.npy for the result");
  if (flags.input.empty() && (!flags.tensor.empty() || !flags.out.empty())) {
    return UsageError("--output and -o go with --input FILE.npy");
  }
  INFENCLAVE_ASSIGN_OR_RETURN(Precision precision, ParsePrecision(flags.precision));
  INFENCLAVE_ASSIGN_OR_RETURN(ImportedModel model, ImportModel(flags.model));
  return flags.input.empty() ? RunImages(flags, precision, std::move(model))
                             : RunTensor(flags, precision, std::move(model));
}

}  // namespace

Command RunCommand() {
  auto flags = std::make_shared<RunFlags>();
  return {.name = "run",
          .summary = "Run a whole network in the clear, to check an import",
          .example = "infenclave run efficientnet-lite0.onnx --labels imagenet.txt dog.jpg",
          .declare =
              [flags](Flags& f) {
                f.Text("MODEL", &flags->model, "ONNX file, or a Darknet .cfg beside its .weights", /*required=*/true);
                f.Texts("IMAGE", &flags->images, "photographs to classify (JPEG, PNG, WebP)");
                f.Text("--input", &flags->input, "an input tensor (.npy) instead of photographs");
                f.Text("--output", &flags->tensor, "with --input: compute this tensor rather than the scores");
                f.Text("-o", &flags->out, "with --input: file for the result (.npy)");
                f.Text("--labels", &flags->labels, "class names, one a line");
                f.Text("--preprocessing", &flags->preprocessing,
                       "how images are prepared: a preset or a JSON file (default: what the model says)");
                f.OneOf("--precision", &flags->precision, {"f32", "bf16", "int8"}, "what the engine computes in");
                f.Int("--top", &flags->top, "classes to show per photograph", 1, 1000);
                f.Int("--threads", &flags->threads, "engine threads (0: one a core)", 0, 256);
                f.Switch("--json", &flags->json, "print JSON");
              },
          .run = [flags] { return Run(*flags); }};
}

}  // namespace infenclave
