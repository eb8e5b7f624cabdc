// `infenclave quantize`: an int8 network by calibration on photographs, and what it loses on others.
#include "import/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "assessment/statistics.h"
#include "base/file.h"
#include "bundle/class_order.h"
#include "cli/command.h"
#include "cli/cores.h"
#include "cli/model_files.h"
#include "cli/photographs.h"
#include "cli/progress.h"
#include "engine/compiled_network.h"

namespace infenclave {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kNormalQuantile = 1.959964;  // of a two-sided 95 % interval

struct QuantizeFlags {
  std::string model, images, out, labels, preprocessing;
  int64_t threads = 0;
  bool json = false;
};

StatusOr<CompiledNetwork> CompileFor(const Graph& graph, const QuantizeFlags& flags) {
  const int threads = flags.threads > 0 ? static_cast<int>(flags.threads) : AvailableCores();
  return CompiledNetwork::Compile(graph, {.threads = threads});
}

std::vector<Tensor> NewOutputs(const CompiledNetwork& network) {
  std::vector<Tensor> out;
  for (const Shape& shape : network.output_shapes()) out.emplace_back(DType::kF32, shape);
  return out;
}

Status RunInto(CompiledNetwork& network, const TensorView& input, std::vector<Tensor>& outputs) {
  std::vector<MutableTensorView> views;
  for (Tensor& tensor : outputs) views.push_back(tensor.mutable_view());
  return network.Run({&input, 1}, views);
}

// What every value that Quantize asks for was seen to hold.
StatusOr<std::map<ValueId, Range>> Calibrate(const Graph& graph, const QuantizeFlags& flags, Photographer& photographer,
                                             const std::vector<std::string>& files) {
  INFENCLAVE_ASSIGN_OR_RETURN(std::vector<ValueId> values, QuantizedValues(graph));
  std::vector<RangeObserver> observers(values.size());
  Graph observed = graph.Clone();
  // The engine gives no input back.
  std::erase_if(values, [&](ValueId id) { return id == graph.inputs[0]; });
  RangeObserver image;
  observed.outputs = values;
  INFENCLAVE_ASSIGN_OR_RETURN(CompiledNetwork network, CompileFor(observed, flags));
  std::vector<Tensor> outputs = NewOutputs(network);
  ProgressLine progress;
  const int64_t total = static_cast<int64_t>(2 * files.size());
  int64_t done = 0;
  for (bool extremes : {true, false}) {
    auto observe = [&](RangeObserver& observer, std::span<const float> seen) {
      extremes ? observer.ObserveExtremes(seen) : observer.ObserveHistogram(seen);
    };
    for (const std::string& file : files) {
      INFENCLAVE_ASSIGN_OR_RETURN(TensorView input, photographer.Load(file));
      INFENCLAVE_RETURN_IF_ERROR(RunInto(network, input, outputs));
      observe(image, input.as<float>());
      for (size_t i = 0; i < outputs.size(); ++i) observe(observers[i], outputs[i].as<float>());
      progress.Update("calibrating", ++done, total);
    }
  }
  std::map<ValueId, Range> ranges = {{graph.inputs[0], image.Choose()}};
  for (size_t i = 0; i < values.size(); ++i) ranges[values[i]] = observers[i].Choose();
  return ranges;
}

int64_t TopClass(std::span<const float> scores) {
  return std::max_element(scores.begin(), scores.end()) - scores.begin();
}

// On the photographs that did not calibrate.
struct Comparison {
  int64_t tested = 0, same = 0;                                        // same: top-1 as before
  int64_t labelled = 0, right = 0, right_int8 = 0, lost = 0, won = 0;  // by the labels given
};

StatusOr<Comparison> Compare(const Graph& before, const Graph& after, const QuantizeFlags& flags,
                             Photographer& photographer, const std::vector<std::string>& files,
                             const std::map<std::string, int64_t>& truth) {
  INFENCLAVE_ASSIGN_OR_RETURN(CompiledNetwork f32, CompileFor(before, flags));
  INFENCLAVE_ASSIGN_OR_RETURN(CompiledNetwork int8, CompileFor(after, flags));
  std::vector<Tensor> want = NewOutputs(f32), got = NewOutputs(int8);
  Comparison out;
  ProgressLine progress;
  for (const std::string& file : files) {
    INFENCLAVE_ASSIGN_OR_RETURN(TensorView input, photographer.Load(file));
    INFENCLAVE_RETURN_IF_ERROR(RunInto(f32, input, want));
    INFENCLAVE_RETURN_IF_ERROR(RunInto(int8, input, got));
    const int64_t a = TopClass(want[0].as<float>()), b = TopClass(got[0].as<float>());
    out.same += a == b;
    progress.Update("testing", ++out.tested, static_cast<int64_t>(files.size()));
    auto label = truth.find(file);
    if (label == truth.end()) continue;
    const bool was = a == label->second, is = b == label->second;
    ++out.labelled;
    out.right += was;
    out.right_int8 += is;
    out.lost += was && !is;
    out.won += !was && is;
  }
  return out;
}

// The loss in accuracy, as a paired difference: Bonett and Price 2012, which adds one to each kind of change.
Estimate LossOf(const Comparison& c) {
  const double n = static_cast<double>(c.labelled) + 2;
  const double lost = (static_cast<double>(c.lost) + 1) / n, won = (static_cast<double>(c.won) + 1) / n;
  const double half = kNormalQuantile * std::sqrt((lost + won - (lost - won) * (lost - won)) / n);
  return {static_cast<double>(c.lost - c.won) / static_cast<double>(c.labelled), lost - won - half, lost - won + half};
}

Json ToJson(const Estimate& e) { return {{"value", e.value}, {"interval", {e.lower, e.upper}}}; }

void Report(const QuantizeFlags& flags, const Photographs& photographs, const Comparison& c, int64_t bytes_before,
            int64_t bytes_after) {
  const Estimate same = ShareOf(static_cast<double>(c.same), static_cast<double>(c.tested));
  const double labelled = static_cast<double>(std::max<int64_t>(c.labelled, 1));
  if (flags.json) {
    Json json = {{"file", flags.out},
                 {"weight_bytes", {{"f32", bytes_before}, {"int8", bytes_after}}},
                 {"calibrated_on", photographs.fitting.size()},
                 {"tested_on", c.tested},
                 {"top1_same", ToJson(same)}};
    if (c.labelled > 0) {
      json["top1"] = {{"f32", static_cast<double>(c.right) / labelled},
                      {"int8", static_cast<double>(c.right_int8) / labelled},
                      {"loss", ToJson(LossOf(c))}};
    }
    std::cout << json.dump() << "\n";
    return;
  }
  std::printf("%s: weights of %.1f MB instead of %.1f MB\n", flags.out.c_str(), static_cast<double>(bytes_after) / 1e6,
              static_cast<double>(bytes_before) / 1e6);
  std::printf("  calibrated on %zu photographs, tested on %lld others (95 %% intervals)\n", photographs.fitting.size(),
              static_cast<long long>(c.tested));
  std::printf("  top-1 as before: %.1f %% (%.1f to %.1f)\n", 100 * same.value, 100 * same.lower, 100 * same.upper);
  if (c.labelled == 0) return;
  const Estimate loss = LossOf(c);
  std::printf("  top-1 right: %.1f %% in f32, %.1f %% in int8; loss %.1f points (%.1f to %.1f)\n",
              100 * static_cast<double>(c.right) / labelled, 100 * static_cast<double>(c.right_int8) / labelled,
              100 * loss.value, 100 * loss.lower, 100 * loss.upper);
}

int64_t ConstantBytes(const Graph& graph) {
  int64_t bytes = 0;
  for (const auto& [id, tensor] : graph.constants) bytes += static_cast<int64_t>(tensor->bytes());
  return bytes;
}

Status RunQuantize(const QuantizeFlags& flags) {
  INFENCLAVE_ASSIGN_OR_RETURN(ImportedModel model, ImportModel(flags.model));
  INFENCLAVE_ASSIGN_OR_RETURN(Preprocessing preprocessing, ChoosePreprocessing(flags.preprocessing, model));
  StatusOr<uint32_t> classes = CountClasses(model.graph);
  if (!classes.ok()) return Annotate(classes.status(), flags.model);
  std::map<std::string, int64_t> truth;
  if (!flags.labels.empty()) {
    INFENCLAVE_ASSIGN_OR_RETURN(truth, LoadTruth(flags.labels, *classes));
  }
  INFENCLAVE_ASSIGN_OR_RETURN(const Photographs photographs, SplitPhotographs(flags.images));
  Photographer photographer(flags.images, preprocessing);
  INFENCLAVE_ASSIGN_OR_RETURN(const auto ranges, Calibrate(model.graph, flags, photographer, photographs.fitting));
  INFENCLAVE_ASSIGN_OR_RETURN(const Graph quantized, Quantize(model.graph.Clone(), ranges));
  INFENCLAVE_ASSIGN_OR_RETURN(const Comparison comparison,
                              Compare(model.graph, quantized, flags, photographer, photographs.test, truth));
  if (!flags.labels.empty() && comparison.labelled == 0) {
    return InvalidArgument(flags.labels, ": names none of the photographs in ", flags.images);
  }
  INFENCLAVE_ASSIGN_OR_RETURN(const Bytes bytes, ExportOnnx(quantized, {.metadata = model.metadata}));
  INFENCLAVE_RETURN_IF_ERROR(WriteFileAtomic(flags.out, bytes));
  Report(flags, photographs, comparison, ConstantBytes(model.graph), ConstantBytes(quantized));
  return OkStatus();
}

}  // namespace

Command QuantizeCommand() {
  auto flags = std::make_shared<QuantizeFlags>();
  return {.name = "quantize",
          .summary = "Make an int8 network by calibration on photographs, and measure what it loses",
          .example = "infenclave quantize efficientnet-lite0.onnx --images photographs/ -o lite0-int8.onnx",
          .declare =
              [flags](Flags& f) {
                f.Text("MODEL", &flags->model, "ONNX file, or a Darknet .cfg beside its .weights", /*required=*/true);
                f.Text("--images", &flags->images,
                       "folder of photographs like those to be classified: half calibrate, half test",
                       /*required=*/true);
                f.Text("-o", &flags->out, "the int8 network, an ONNX file", /*required=*/true);
                f.Text("--labels-tsv", &flags->labels, "the right classes, one 'file<TAB>class index' a line");
                f.Text("--preprocessing", &flags->preprocessing,
                       "how images are prepared: a preset or a JSON file (default: what the model says)");
                f.Int("--threads", &flags->threads, "engine threads (0: one a core)", 0, 256);
                f.Switch("--json", &flags->json, "print JSON");
              },
          .run = [flags] { return RunQuantize(*flags); }};
}

}  // namespace infenclave
