#include "bundle/bundle.h"

#include <algorithm>
#include <utility>

#include "bundle/class_order.h"
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

Status CheckFrontNet(const Graph& front) {
  for (const Node& node : front.nodes) {
    if (IsOpaque(node)) {
      return Unimplemented(node.op, " '", node.name,
                           "' lies before the cut and is an operator that the enclave does "
                           "not know; choose an earlier cut");
    }
  }
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

struct BackNet {
  Bytes onnx;
  std::vector<uint32_t> order;
};

StatusOr<BackNet> MakeBackNet(Graph back, uint32_t classes) {
  BackNet out;
  out.order = DrawClassOrder(classes);
  INFENCLAVE_ASSIGN_OR_RETURN(Graph graph, StripFinalSoftmax(std::move(back)));
  StatusOr<Graph> permuted = PermuteClasses(std::move(graph), out.order);
  if (!permuted.ok()) {
    return InvalidArgument("the class order cannot be hidden: ", MessageOf(permuted.status()),
                           "; cut earlier, or keep the last layers in the enclave with --tail");
  }
  INFENCLAVE_RETURN_IF_ERROR(FlattenScores(*permuted));
  INFENCLAVE_ASSIGN_OR_RETURN(out.onnx, ExportOnnx(*permuted, {.anonymous = true, .symbolic_batch = true}));
  return out;
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
  manifest.ir_dtype = options.ir_dtype;
  manifest.classes = classes;
  manifest.backnet_output_shape = {static_cast<int64_t>(classes)};
  manifest.answer_classes = std::min<uint32_t>(manifest.answer_classes, classes);
  manifest.label_bytes = LabelBytes(options.labels);
  manifest.preprocessing = options.preprocessing;
  manifest.open = options.open;
  manifest.tee_class = options.tee_class;
  manifest.verdict = options.verdict;
  return manifest;
}

}  // namespace

StatusOr<PartitionResult> MakeBundle(const Graph& model, const Ed25519PrivateKey& owner,
                                     const PartitionOptions& options) {
  INFENCLAVE_RETURN_IF_ERROR(CheckInput(model, options.preprocessing));
  INFENCLAVE_ASSIGN_OR_RETURN(uint32_t classes, CountClasses(model));
  INFENCLAVE_RETURN_IF_ERROR(CheckLabels(options.labels, classes));
  INFENCLAVE_ASSIGN_OR_RETURN(ValueId cut, FindCut(model, options.cut));
  INFENCLAVE_ASSIGN_OR_RETURN(Partition parts, SplitAt(model, cut));
  INFENCLAVE_RETURN_IF_ERROR(CheckFrontNet(parts.front));
  Shape ir_shape = parts.front.value(parts.front.outputs[0]).shape;
  INFENCLAVE_ASSIGN_OR_RETURN(BackNet back, MakeBackNet(std::move(parts.back), classes));

  PartitionResult out;
  out.keys.bundle_id = RandomArray<16>();
  out.keys.frontnet_key = RandomSecret(kPartKeyBytes);
  out.keys.mapping_key = RandomSecret(kPartKeyBytes);
  out.keys.model_version = options.model_version;
  Ed25519PrivateKey release = Ed25519PrivateKey::Generate();
  out.keys.release_seed = release.seed().Clone();

  INFENCLAVE_ASSIGN_OR_RETURN(Bytes frontnet, EncodeGraph(parts.front));
  out.bundle.frontnet_sealed = SealPart(out.keys.frontnet_key.span(), out.keys.bundle_id, "frontnet", frontnet);
  Wipe(frontnet);
  SecretBytes mapping = EncodeClassMapping({std::move(back.order), options.labels});
  out.bundle.mapping_sealed = SealPart(out.keys.mapping_key.span(), out.keys.bundle_id, "mapping", mapping.span());
  out.bundle.backnet_onnx = std::move(back.onnx);

  Manifest& manifest = out.bundle.manifest;
  manifest = DescribeBundle(options, out.keys, classes);
  manifest.ir_shape.assign(ir_shape.begin() + 1, ir_shape.end());
  manifest.frontnet_digest = Sha256(out.bundle.frontnet_sealed);
  manifest.mapping_digest = Sha256(out.bundle.mapping_sealed);
  manifest.backnet_digest = Sha256(out.bundle.backnet_onnx);
  manifest.release_keys = {{release.public_key(), options.model_version}};
  manifest.owner = owner.public_key();
  out.bundle.manifest_bytes = EncodeManifest(manifest);
  // Whoever opens the bundle holds its limits; better to say now which one is exceeded.
  INFENCLAVE_RETURN_IF_ERROR(DecodeManifest(out.bundle.manifest_bytes).status());
  out.bundle.signature = SignManifest(owner, out.bundle.manifest_bytes);
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
