#include "bundle/bundle.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "bundle/class_order.h"
#include "bundle/ir_codes.h"
#include "graph/cuts.h"
#include "graph/operators.h"
#include "graph/passes.h"
#include "graph/serialize.h"
#include "import/model.h"

namespace infenclave {
namespace {

constexpr std::string_view kKeysMagic = "infenclave bundle keys v1\n";
constexpr size_t kPartKeyBytes = 32;

Status CheckInput(const Graph& model, const Preprocessing& preprocessing) {
  if (model.inputs.size() != 1) {
    return InvalidArgument("the model has ", model.inputs.size(), " inputs, an image classifier has one");
  }
  const Value& input = model.value(model.inputs[0]);
  Shape wanted = {1, 3, preprocessing.height, preprocessing.width};
  if (input.shape == wanted) return OkStatus();
  return InvalidArgument("the model's input '", input.name, "' is ", ToString(input.shape),
                         ", the preprocessing makes ", ToString(wanted));
}

Status CheckLabels(const std::vector<std::string>& labels, uint32_t classes) {
  if (labels.size() != classes) {
    return InvalidArgument(labels.size(), " labels for a model of ", classes, " classes; one label a line is expected");
  }
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i].empty() || labels[i].size() > kMaxLabelBytes) {
      return InvalidArgument("label ", i + 1, " has ", labels[i].size(), " bytes, expected 1 to ", kMaxLabelBytes);
    }
  }
  return OkStatus();
}

// What an answer pads every label to: so coarse that it tells little of the longest one.
uint32_t LabelBytes(const std::vector<std::string>& labels) {
  size_t longest = 0;
  for (const std::string& label : labels) longest = std::max(longest, label.size());
  return static_cast<uint32_t>((std::max<size_t>(longest, 1) + 63) / 64 * 64);
}

// So that the mapping's size tells as little.
std::vector<std::string> Padded(std::vector<std::string> labels) {
  const uint32_t length = LabelBytes(labels);
  for (std::string& label : labels) label.resize(length);
  return labels;
}

// The enclave has to know every operator of what it runs.
Status CheckKnown(const Graph& graph, std::string_view where, std::string_view advice) {
  for (const Node& node : graph.nodes) {
    if (IsOpaque(node)) {
      return Unimplemented(node.op, " '", node.name, "' lies ", where,
                           " and is an operator that the enclave does not know; ", advice);
    }
  }
  return OkStatus();
}

Status CheckFrontNet(const Graph& front) {
  INFENCLAVE_RETURN_IF_ERROR(CheckKnown(front, "before the cut", "choose an earlier cut"));
  const Value& ir = front.value(front.outputs[0]);
  StatusOr<int64_t> elements = NumElements(ir.shape);
  if (!elements.ok() || *elements == 0 || ir.shape.empty() || ir.shape[0] != 1) {
    return InvalidArgument("cut '", ir.name, "' has the shape ", ToString(ir.shape), ", expected a batch of one");
  }
  if (ir.dtype != DType::kF32) return InvalidArgument("cut '", ir.name, "' is ", NameOf(ir.dtype), ", expected f32");
  return OkStatus();
}

// Scores as [batch,classes], whatever dimensions of 1 the network leaves behind them.
Status FlattenScores(Graph& graph) {
  ValueId scores = graph.outputs[0];
  Shape shape = graph.value(scores).shape;
  if (shape.size() == 2) return OkStatus();
  INFENCLAVE_ASSIGN_OR_RETURN(int64_t elements, NumElements(shape));
  Node node;
  node.op = "Flatten";
  node.name = "scores";
  node.attributes["axis"] = int64_t{1};
  node.inputs = {scores};
  node.outputs = {graph.AddValue(graph.value(scores).name + "/flat", DType::kF32, {1, elements})};
  graph.outputs[0] = node.outputs[0];
  graph.nodes.push_back(std::move(node));
  return OkStatus();
}

// What lies after the cut: the BackNet, whose scores come in the order of `order`, or a BackNet and a tail.
struct Rest {
  Graph back;
  std::optional<Graph> tail;
  std::vector<uint32_t> order;
};

bool IsLinear(const Node& node) { return node.op == "Conv" || node.op == "Gemm" || node.op == "MatMul"; }

// The last cut point that has `layers` linear layers behind it.
StatusOr<Partition> SplitTail(const Graph& graph, uint32_t layers) {
  INFENCLAVE_ASSIGN_OR_RETURN(const std::vector<ValueId> points, CutPoints(graph));
  for (auto point = points.rbegin(); point != points.rend(); ++point) {
    INFENCLAVE_ASSIGN_OR_RETURN(Partition parts, SplitAt(graph, *point));
    if (std::count_if(parts.back.nodes.begin(), parts.back.nodes.end(), IsLinear) < static_cast<int64_t>(layers)) {
      continue;
    }
    const Value& cut = parts.front.value(parts.front.outputs[0]);
    if (cut.shape.empty() || cut.shape[0] != 1 || cut.dtype != DType::kF32) continue;
    if (parts.front.nodes.empty()) break;
    INFENCLAVE_RETURN_IF_ERROR(CheckKnown(parts.back, "in the tail", "keep fewer layers with --tail"));
    return parts;
  }
  return InvalidArgument("--tail ", layers,
                         " leaves nothing for the BackNet: fewer linear layers lie after the cut, or ",
                         "none of its tensors can be cut there");
}

StatusOr<Rest> MakeRest(Graph back, uint32_t classes, uint32_t tail_layers) {
  Rest out;
  INFENCLAVE_ASSIGN_OR_RETURN(Graph graph, StripFinalSoftmax(std::move(back)));
  if (tail_layers > 0) {
    out.order.resize(classes);
    std::iota(out.order.begin(), out.order.end(), 0);
    INFENCLAVE_RETURN_IF_ERROR(FlattenScores(graph));
    INFENCLAVE_ASSIGN_OR_RETURN(Partition parts, SplitTail(graph, tail_layers));
    out.back = std::move(parts.front);
    out.tail = std::move(parts.back);
    return out;
  }
  out.order = DrawClassOrder(classes);
  StatusOr<Graph> permuted = PermuteClasses(std::move(graph), out.order);
  if (!permuted.ok()) {
    return InvalidArgument("the class order cannot be hidden: ", MessageOf(permuted.status()),
                           "; cut earlier, or keep the last layers in the enclave with --tail");
  }
  out.back = *std::move(permuted);
  INFENCLAVE_RETURN_IF_ERROR(FlattenScores(out.back));
  return out;
}

StatusOr<Bytes> SealGraph(const Graph& graph, const BundleKeys& keys, std::string_view part) {
  INFENCLAVE_ASSIGN_OR_RETURN(Bytes encoded, EncodeGraph(graph));
  Bytes sealed = SealPart(keys.frontnet_key.span(), keys.bundle_id, part, encoded);
  Wipe(encoded);
  return sealed;
}

SecretBytes RandomSecret(size_t size) {
  SecretBytes out(size);
  RandomBytes(out.mutable_span());
  return out;
}

Manifest DescribeBundle(const PartitionOptions& options, const BundleKeys& keys, uint32_t classes) {
  Manifest manifest;
  manifest.bundle_id = keys.bundle_id;
  manifest.model_name = options.model_name;
  manifest.model_version = options.model_version;
  manifest.ir_precision = options.ir_precision;
  manifest.ir_step = options.ir_step;
  manifest.ir_noise = options.ir_noise;
  manifest.classes = classes;
  manifest.tail_layers = options.tail_layers;
  manifest.audit_per_million = options.audit_per_million;
  manifest.audit_tolerance = options.audit_tolerance;
  manifest.answer_classes = std::min<uint32_t>(manifest.answer_classes, classes);
  manifest.label_bytes = LabelBytes(options.labels);
  manifest.preprocessing = options.preprocessing;
  manifest.open = options.open;
  manifest.tee_class = options.tee_class;
  manifest.verdict = options.verdict;
  return manifest;
}

}  // namespace

StatusOr<PartitionResult> MakeBundle(const Graph& model, const Ed25519Signer& owner, const PartitionOptions& options) {
  INFENCLAVE_RETURN_IF_ERROR(CheckInput(model, options.preprocessing));
  INFENCLAVE_ASSIGN_OR_RETURN(uint32_t classes, CountClasses(model));
  INFENCLAVE_RETURN_IF_ERROR(CheckLabels(options.labels, classes));
  INFENCLAVE_ASSIGN_OR_RETURN(ValueId cut, FindCut(model, options.cut));
  INFENCLAVE_ASSIGN_OR_RETURN(Partition parts, SplitAt(model, cut));
  INFENCLAVE_RETURN_IF_ERROR(CheckFrontNet(parts.front));
  Shape ir_shape = parts.front.value(parts.front.outputs[0]).shape;
  INFENCLAVE_ASSIGN_OR_RETURN(Rest rest, MakeRest(std::move(parts.back), classes, options.tail_layers));
  if (options.audit_per_million > 0) {
    INFENCLAVE_RETURN_IF_ERROR(CheckKnown(rest.back, "in the BackNet", "such a BackNet cannot be audited"));
  }

  PartitionResult out;
  out.keys.bundle_id = RandomArray<16>();
  out.keys.frontnet_key = RandomSecret(kPartKeyBytes);
  out.keys.mapping_key = RandomSecret(kPartKeyBytes);
  out.keys.model_version = options.model_version;
  Ed25519PrivateKey release = Ed25519PrivateKey::Generate();
  out.keys.release_seed = release.seed().Clone();

  INFENCLAVE_ASSIGN_OR_RETURN(out.bundle.frontnet_sealed, SealGraph(parts.front, out.keys, "frontnet"));
  if (rest.tail) {
    INFENCLAVE_ASSIGN_OR_RETURN(out.bundle.tail_sealed, SealGraph(*rest.tail, out.keys, "tail"));
  }
  if (options.audit_per_million > 0) {
    INFENCLAVE_ASSIGN_OR_RETURN(out.bundle.audit_sealed, SealGraph(rest.back, out.keys, "audit"));
  }
  SecretBytes mapping = EncodeClassMapping({std::move(rest.order), Padded(options.labels)});
  out.bundle.mapping_sealed = SealPart(out.keys.mapping_key.span(), out.keys.bundle_id, "mapping", mapping.span());
  if (LargestCode(options.ir_precision) > 0) {
    INFENCLAVE_ASSIGN_OR_RETURN(rest.back, ReadCodes(std::move(rest.back), options.ir_precision, options.ir_step));
  }
  INFENCLAVE_ASSIGN_OR_RETURN(out.bundle.backnet_onnx,
                              ExportOnnx(rest.back, {.anonymous = true, .symbolic_batch = true}));

  Manifest& manifest = out.bundle.manifest;
  manifest = DescribeBundle(options, out.keys, classes);
  manifest.ir_shape.assign(ir_shape.begin() + 1, ir_shape.end());
  const Shape& output = rest.back.value(rest.back.outputs[0]).shape;
  manifest.backnet_output_shape.assign(output.begin() + 1, output.end());
  manifest.tail_digest = Sha256(out.bundle.tail_sealed);
  manifest.audit_digest = Sha256(out.bundle.audit_sealed);
  manifest.frontnet_digest = Sha256(out.bundle.frontnet_sealed);
  manifest.mapping_digest = Sha256(out.bundle.mapping_sealed);
  manifest.backnet_digest = Sha256(out.bundle.backnet_onnx);
  manifest.release_keys = {{options.release_key.value_or(release.public_key()), options.model_version}};
  manifest.owner = owner.public_key();
  out.bundle.manifest_bytes = EncodeManifest(manifest);
  // Whoever opens the bundle holds its limits; better to say now which one is exceeded.
  INFENCLAVE_RETURN_IF_ERROR(DecodeManifest(out.bundle.manifest_bytes).status());
  INFENCLAVE_ASSIGN_OR_RETURN(out.bundle.signature, SignManifest(owner, out.bundle.manifest_bytes));
  return out;
}

SecretBytes EncodeBundleKeys(const BundleKeys& keys) {
  ByteWriter header;  // nothing secret goes through it
  header.Raw(AsBytes(kKeysMagic));
  header.Raw(keys.bundle_id);
  header.U64(keys.model_version);
  SecretBytes out(header.bytes().size() + 3 * kPartKeyBytes);
  auto at = out.mutable_span().begin();
  auto append = [&](ByteSpan bytes) { at = std::copy(bytes.begin(), bytes.end(), at); };
  append(header.bytes());
  for (const SecretBytes* key : {&keys.frontnet_key, &keys.mapping_key, &keys.release_seed}) {
    INFENCLAVE_CHECK(key->size() == kPartKeyBytes);
    append(key->span());
  }
  return out;
}

StatusOr<BundleKeys> DecodeBundleKeys(ByteSpan bytes) {
  ByteReader in(bytes, "bundle keys");
  if (AsText(in.Raw(kKeysMagic.size())) != kKeysMagic) return InvalidArgument("not a file of bundle keys");
  BundleKeys keys;
  keys.bundle_id = in.Array<16>();
  keys.model_version = in.U64();
  ByteSpan secrets[3];
  for (ByteSpan& secret : secrets) secret = in.Raw(kPartKeyBytes);
  INFENCLAVE_RETURN_IF_ERROR(in.Finish());
  keys.frontnet_key = SecretBytes::CopyOf(secrets[0]);
  keys.mapping_key = SecretBytes::CopyOf(secrets[1]);
  keys.release_seed = SecretBytes::CopyOf(secrets[2]);
  return keys;
}

}  // namespace infenclave
