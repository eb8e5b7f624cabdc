#include "bundle/bundle.h"

#include <gtest/gtest.h>
#include <onnx/onnx_pb.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <set>

#include "attestation/policy.h"
#include "base/file.h"
#include "engine/compiled_network.h"
#include "graph/cuts.h"
#include "graph/serialize.h"
#include "import/model.h"
#include "tests/import/onnx_builder.h"

namespace infenclave {
namespace {

namespace fs = std::filesystem;

// A network with names and labels that are easy to find again: conv, relu, conv, pool, dense, softmax.
ImportedModel Tiny() {
  OnnxBuilder b;
  b.graph().set_name("secret-graph-name");
  b.graph().set_doc_string("secret-doc");
  b.model().set_producer_name("secret-producer");
  auto* metadata = b.model().add_metadata_props();
  metadata->set_key("secret-key");
  metadata->set_value("secret-value");
  auto ramp = [](size_t n, float step) {
    std::vector<float> out(n);
    for (size_t i = 0; i < n; ++i) out[i] = step * static_cast<float>((i * 7) % 13) - 0.2f;
    return out;
  };
  b.Input("secret-input", {-1, 3, 8, 8}).Output("secret-output");
  b.Floats("secret-w1", {4, 3, 3, 3}, ramp(108, 0.05f));
  b.Floats("secret-w2", {6, 4, 1, 1}, ramp(24, 0.07f));
  b.Floats("secret-w3", {5, 6}, ramp(30, 0.09f));
  b.Floats("secret-b3", {5}, ramp(5, 0.3f));
  b.Node("Conv", {"secret-input", "secret-w1"}, {"secret-conv1"});
  b.Node("Relu", {"secret-conv1"}, {"secret-relu1"});
  b.Node("Conv", {"secret-relu1", "secret-w2"}, {"secret-conv2"});
  b.Node("LeakyRelu", {"secret-conv2"}, {"secret-relu2"}).set_doc_string("secret-node-doc");
  b.Node("GlobalAveragePool", {"secret-relu2"}, {"secret-pool"});
  b.Node("Flatten", {"secret-pool"}, {"secret-flat"});
  OnnxBuilder::Set(b.Node("Gemm", {"secret-flat", "secret-w3", "secret-b3"}, {"secret-scores"}), "transB", int64_t{1});
  b.Node("Softmax", {"secret-scores"}, {"secret-output"});
  StatusOr<ImportedModel> model = ImportOnnx(b.Encode(), "");
  EXPECT_TRUE(model.ok()) << model.status();
  return std::move(*model);
}

PartitionOptions TinyOptions() {
  PartitionOptions options;
  options.cut = "secret-relu1";
  options.labels = {"secret-ant", "secret-bee", "secret-cat", "secret-dog", "secret-elk"};
  options.model_name = "tiny";
  options.model_version = 3;
  options.preprocessing.width = options.preprocessing.height = 8;
  options.tee_class = TeeClass::kSimulated;
  return options;
}

const Ed25519PrivateKey& Owner() {
  static const Ed25519PrivateKey* key = new Ed25519PrivateKey(Ed25519PrivateKey::Generate());
  return *key;
}

PartitionResult Make(const Graph& model, const PartitionOptions& options) {
  StatusOr<PartitionResult> result = MakeBundle(model, Owner(), options);
  EXPECT_TRUE(result.ok()) << result.status();
  if (!result.ok()) std::abort();
  return std::move(*result);
}

Tensor RunNetwork(const Graph& graph, const Tensor& input) {
  StatusOr<CompiledNetwork> network = CompiledNetwork::Compile(graph, {});
  EXPECT_TRUE(network.ok()) << network.status();
  if (!network.ok()) std::abort();
  Tensor output(DType::kF32, network->output_shapes()[0]);
  const TensorView inputs[] = {input.view()};
  const MutableTensorView outputs[] = {output.mutable_view()};
  EXPECT_TRUE(network->Run(inputs, outputs).ok());
  return output;
}

Tensor Picture(const Shape& shape) {
  Tensor out(DType::kF32, shape);
  uint32_t state = 1;
  for (float& v : out.as<float>()) {
    state = state * 1664525 + 1013904223;
    v = static_cast<float>(state >> 8) / (1 << 24) - 0.5f;
  }
  return out;
}

// What an enclave opens with the keys.
struct Opened {
  Graph front;
  ClassMapping mapping;
};
Opened OpenWith(const Bundle& bundle, const BundleKeys& keys) {
  StatusOr<SecretBytes> front = OpenPart(keys.frontnet_key.span(), keys.bundle_id, "frontnet", bundle.frontnet_sealed);
  StatusOr<SecretBytes> mapping = OpenPart(keys.mapping_key.span(), keys.bundle_id, "mapping", bundle.mapping_sealed);
  EXPECT_TRUE(front.ok() && mapping.ok()) << front.status() << mapping.status();
  StatusOr<Graph> graph = DecodeGraph(front->span());
  StatusOr<ClassMapping> classes = DecodeClassMapping(mapping->span());
  EXPECT_TRUE(graph.ok() && classes.ok()) << graph.status() << classes.status();
  return {std::move(*graph), std::move(*classes)};
}

Graph OpenGraph(const PartitionResult& result, std::string_view part, ByteSpan sealed) {
  StatusOr<SecretBytes> bytes = OpenPart(result.keys.frontnet_key.span(), result.keys.bundle_id, part, sealed);
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  StatusOr<Graph> graph = DecodeGraph(bytes->span());
  EXPECT_TRUE(graph.ok()) << graph.status();
  return std::move(*graph);
}

bool Contains(ByteSpan haystack, std::string_view needle) {
  return AsText(haystack).find(needle) != std::string_view::npos;
}

// FrontNet, BackNet and mapping together give the whole network's scores before its Softmax.
void ExpectTheWhole(const Graph& model, const Graph& whole_without_softmax, const PartitionOptions& options) {
  PartitionResult result = Make(model, options);
  Opened opened = OpenWith(result.bundle, result.keys);
  StatusOr<ImportedModel> back = ImportOnnx(result.bundle.backnet_onnx, "");
  ASSERT_TRUE(back.ok()) << back.status();
  Tensor input = Picture(model.value(model.inputs[0]).shape);
  Tensor whole = RunNetwork(whole_without_softmax, input);
  Tensor secret = RunNetwork(back->graph, RunNetwork(opened.front, input));
  ASSERT_EQ(secret.shape(), (Shape{1, static_cast<int64_t>(options.labels.size())}));
  auto [low, high] = std::minmax_element(whole.as<float>().begin(), whole.as<float>().end());
  const float range = *high - *low;
  ASSERT_GT(range, 0);
  size_t moved = 0;
  for (size_t i = 0; i < opened.mapping.order.size(); ++i) {
    EXPECT_NEAR(secret.as<float>()[i], whole.as<float>()[opened.mapping.order[i]], 1e-5f * range) << i;
    moved += opened.mapping.order[i] != i ? 1 : 0;
  }
  std::vector<std::string> padded = options.labels;
  for (std::string& label : padded) label.resize(result.bundle.manifest.label_bytes);
  EXPECT_EQ(opened.mapping.labels, padded);
  if (options.labels.size() > 100) {
    EXPECT_GT(moved, options.labels.size() / 2);
  }
}

// The network up to the tensor, which is the input of its Softmax.
Graph UpTo(const Graph& model, const std::string& name) {
  Graph graph = model.Clone();
  graph.outputs = {graph.Find(name)};
  return graph;
}

TEST(MakeBundle, PartsTogetherAreTheWholeAtEveryCut) {
  ImportedModel model = Tiny();
  StatusOr<std::vector<ValueId>> cuts = CutPoints(model.graph);
  ASSERT_TRUE(cuts.ok());
  size_t partitioned = 0;
  for (ValueId cut : *cuts) {
    PartitionOptions options = TinyOptions();
    options.cut = model.graph.value(cut).name;
    if (options.cut == "secret-scores") {  // only the Softmax lies behind it
      StatusOr<PartitionResult> result = MakeBundle(model.graph, Owner(), options);
      EXPECT_NE(MessageOf(result.status()).find("no linear layer"), std::string::npos) << result.status();
      EXPECT_NE(MessageOf(result.status()).find("--tail"), std::string::npos) << result.status();
      continue;
    }
    SCOPED_TRACE(options.cut);
    ExpectTheWhole(model.graph, UpTo(model.graph, "secret-scores"), options);
    ++partitioned;
  }
  EXPECT_GE(partitioned, 4u);
}

TEST(MakeBundle, ATailLeavesTheBackNetWithoutClassesAndTogetherTheyAreTheWhole) {
  ImportedModel model = Tiny();
  PartitionOptions options = TinyOptions();
  options.tail_layers = 1;
  options.audit_per_million = 1000;
  PartitionResult result = Make(model.graph, options);
  Opened opened = OpenWith(result.bundle, result.keys);
  StatusOr<ImportedModel> back = ImportOnnx(result.bundle.backnet_onnx, "");
  ASSERT_TRUE(back.ok()) << back.status();
  Shape interface = back->graph.value(back->graph.outputs[0]).shape;
  interface.erase(interface.begin());
  EXPECT_EQ(interface, result.bundle.manifest.backnet_output_shape);
  EXPECT_FALSE(Contains(result.bundle.backnet_onnx, "secret"));
  const Graph tail = OpenGraph(result, "tail", result.bundle.tail_sealed);
  const Graph audit = OpenGraph(result, "audit", result.bundle.audit_sealed);
  EXPECT_TRUE(std::any_of(tail.nodes.begin(), tail.nodes.end(), [](const Node& n) { return n.op == "Gemm"; }));

  const Tensor input = Picture({1, 3, 8, 8});
  const Tensor ir = RunNetwork(opened.front, input);
  const Tensor crossing = RunNetwork(back->graph, ir), own = RunNetwork(audit, ir);
  const Tensor scores = RunNetwork(tail, crossing), whole = RunNetwork(UpTo(model.graph, "secret-scores"), input);
  for (size_t i = 0; i < options.labels.size(); ++i) {
    EXPECT_NEAR(scores.as<float>()[i], whole.as<float>()[opened.mapping.order[i]], 1e-5) << i;
  }
  for (size_t i = 0; i < own.as<float>().size(); ++i) {
    EXPECT_NEAR(own.as<float>()[i], crossing.as<float>()[i], 1e-5) << i;
  }

  options.tail_layers = 2;  // nothing but these lies behind the cut
  EXPECT_NE(MessageOf(MakeBundle(model.graph, Owner(), options).status()).find("--tail 2 leaves nothing"),
            std::string::npos);
}

TEST(MakeBundle, BackNetHoldsNoNameNoLabelNoMetadata) {
  PartitionResult result = Make(Tiny().graph, TinyOptions());
  EXPECT_FALSE(Contains(result.bundle.backnet_onnx, "secret"));
  EXPECT_FALSE(Contains(result.bundle.manifest_bytes, "secret"));
  EXPECT_FALSE(Contains(result.bundle.frontnet_sealed, "secret"));
  EXPECT_FALSE(Contains(result.bundle.mapping_sealed, "secret"));
  EXPECT_FALSE(ManifestToJson(result.bundle.manifest).find("secret") != std::string::npos);
  onnx::ModelProto back;
  ASSERT_TRUE(
      back.ParseFromArray(result.bundle.backnet_onnx.data(), static_cast<int>(result.bundle.backnet_onnx.size())));
  EXPECT_EQ(back.metadata_props_size(), 0);
  EXPECT_EQ(back.producer_name(), "infenclave");
  EXPECT_EQ(back.doc_string() + back.domain() + back.producer_version() + back.graph().doc_string(), "");
  for (const auto& node : back.graph().node()) {
    EXPECT_EQ(node.name() + node.doc_string(), "");
    EXPECT_NE(node.op_type(), "Softmax");
  }
  EXPECT_EQ(back.graph().input(0).type().tensor_type().shape().dim(0).dim_param(), "N");
}

TEST(MakeBundle, EveryBundleHasAnOrderAndKeysOfItsOwn) {
  ImportedModel model = Tiny();
  std::set<std::vector<uint32_t>> orders;
  std::set<std::string> keys;
  for (int i = 0; i < 20; ++i) {
    PartitionResult result = Make(model.graph, TinyOptions());
    orders.insert(OpenWith(result.bundle, result.keys).mapping.order);
    keys.insert(HexEncode(result.keys.frontnet_key.span()));
    keys.insert(HexEncode(result.keys.mapping_key.span()));
    keys.insert(HexEncode(result.keys.release_seed.span()));
  }
  EXPECT_GT(orders.size(), 10u);  // of 120
  EXPECT_EQ(keys.size(), 60u);
}

// The two real networks: SqueezeNet's classes come from a convolution before Relu and pooling, then Softmax.
TEST(MakeBundle, RealNetworks) {
  struct Real {
    const char *file, *cut, *scores;
    uint32_t classes;
  };
  for (const Real& real :
       {Real{"squeezenet1.1-fp16.onnx", "pool3_1", "pool10_1", 1000}, Real{"mobilenet_v2.onnx", "", "logits", 1001}}) {
    std::string path = std::string(INFENCLAVE_SHARED_DIR) + "/models/" + real.file;
    if (!fs::exists(path)) GTEST_SKIP() << "SKIPPED: " << path << " is not there";
    StatusOr<ImportedModel> model = ImportModel(path);
    ASSERT_TRUE(model.ok()) << model.status();
    StatusOr<std::vector<ValueId>> cuts = CutPoints(model->graph);
    ASSERT_TRUE(cuts.ok());
    PartitionOptions options;
    options.cut = *real.cut != 0 ? real.cut : model->graph.value((*cuts)[cuts->size() / 2]).name;
    for (uint32_t i = 0; i < real.classes; ++i) options.labels.push_back(Concat("class number ", i));
    options.model_name = "real";
    SCOPED_TRACE(real.file);
    ExpectTheWhole(model->graph, UpTo(model->graph, real.scores), options);
  }
}

TEST(MakeBundle, RefusalsSayWhatIsWrong) {
  ImportedModel model = Tiny();
  auto refusal = [&](const std::function<void(PartitionOptions&)>& change) {
    PartitionOptions options = TinyOptions();
    change(options);
    StatusOr<PartitionResult> result = MakeBundle(model.graph, Owner(), options);
    return result.ok() ? "" : MessageOf(result.status());
  };
  auto expect = [&](const std::string& wanted, const std::function<void(PartitionOptions&)>& change) {
    std::string message = refusal(change);
    EXPECT_NE(message.find(wanted), std::string::npos) << "got: " << message << "\nwant: " << wanted;
  };
  expect("secret-relu1", [](PartitionOptions& o) { o.cut = "secret-rleu1"; });
  expect("4 labels for a model of 5 classes", [](PartitionOptions& o) { o.labels.pop_back(); });
  expect("label 2 has 0 bytes", [](PartitionOptions& o) { o.labels[1] = ""; });
  expect("is [1,3,8,8], the preprocessing makes [1,3,8,9]", [](PartitionOptions& o) { o.preprocessing.width = 9; });
  expect("model name", [](PartitionOptions& o) { o.model_name = "no spaces"; });
}

TEST(MakeBundle, UnknownOperatorsMayOnlyLieBehindTheCut) {
  OnnxBuilder b;
  b.Input("x", {1, 3, 4, 4}).Output("y");
  b.Node("Relu", {"x"}, {"early"});
  b.Node("GlobalLpPool", {"early"}, {"pooled"});
  b.Floats("shape-hint", {1}, {0});
  auto* info = b.graph().add_value_info();
  info->CopyFrom(b.graph().input(0));
  info->set_name("pooled");
  info->mutable_type()->mutable_tensor_type()->mutable_shape()->mutable_dim(2)->set_dim_value(1);
  info->mutable_type()->mutable_tensor_type()->mutable_shape()->mutable_dim(3)->set_dim_value(1);
  b.Floats("w", {5, 3, 1, 1}, std::vector<float>(15, 0.5f));
  b.Node("Tanh", {"pooled"}, {"late"});
  b.Node("Conv", {"late", "w"}, {"scores"});
  b.Node("Flatten", {"scores"}, {"y"});
  StatusOr<ImportedModel> model = ImportOnnx(b.Encode(), "");
  ASSERT_TRUE(model.ok()) << model.status();
  PartitionOptions options = TinyOptions();
  options.preprocessing.width = options.preprocessing.height = 4;
  options.cut = "early";
  StatusOr<PartitionResult> result = MakeBundle(model->graph, Owner(), options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(Contains(result->bundle.backnet_onnx, "GlobalLpPool"));
  options.cut = "late";
  result = MakeBundle(model->graph, Owner(), options);
  EXPECT_EQ(MessageOf(result.status()),
            "GlobalLpPool 'node_pooled' lies before the cut and is an operator that the enclave does not know; choose "
            "an earlier cut");
}

TEST(BundleKeys, RoundTripAndEveryTruncation) {
  PartitionResult result = Make(Tiny().graph, TinyOptions());
  SecretBytes encoded = EncodeBundleKeys(result.keys);
  StatusOr<BundleKeys> decoded = DecodeBundleKeys(encoded.span());
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->bundle_id, result.keys.bundle_id);
  EXPECT_EQ(decoded->model_version, 3u);
  EXPECT_EQ(ToBytes(decoded->frontnet_key.span()), ToBytes(result.keys.frontnet_key.span()));
  EXPECT_EQ(ToBytes(decoded->mapping_key.span()), ToBytes(result.keys.mapping_key.span()));
  EXPECT_EQ(ToBytes(decoded->release_seed.span()), ToBytes(result.keys.release_seed.span()));
  for (size_t n = 0; n < encoded.size(); ++n) EXPECT_FALSE(DecodeBundleKeys(encoded.span().first(n)).ok()) << n;
}

TEST(StarterPolicy, NamesOwnerVersionAndMeasurementAndSaysWhatSimulatedIsWorth) {
  Manifest manifest = Make(Tiny().graph, TinyOptions()).bundle.manifest;
  std::string policy = StarterPolicy(manifest, std::string(64, 'a'));
  EXPECT_NE(policy.find("accept = [\"simulated\"]"), std::string::npos);
  EXPECT_NE(policy.find("The simulated TEE proves nothing"), std::string::npos);
  EXPECT_NE(policy.find("owner = \"ed25519:" + HexEncode(Owner().public_key()) + "\""), std::string::npos);
  EXPECT_NE(policy.find("min_bundle_version = 3"), std::string::npos);
  EXPECT_NE(policy.find("measurements = [\"" + std::string(64, 'a') + "\"]"), std::string::npos);
  StatusOr<Policy> parsed = ParsePolicy(policy, "tiny.policy.toml");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->accept, std::vector<TeeKind>{TeeKind::kSimulated});
  EXPECT_EQ(parsed->owner, Owner().public_key());
  EXPECT_EQ(parsed->min_bundle_version, 3u);
  ASSERT_EQ(parsed->simulated.measurements.size(), 1u);
  EXPECT_EQ(HexEncode(parsed->simulated.measurements[0]), std::string(64, 'a'));
  EXPECT_TRUE(ParsePolicy(StarterPolicy(manifest, ""), "").ok());
  manifest.tee_class = TeeClass::kHardware;
  EXPECT_TRUE(ParsePolicy(StarterPolicy(manifest, ""), "").ok());
  EXPECT_EQ(StarterPolicy(manifest, "").find("simulated"), std::string::npos);
}

// ---- the directory -------------------------------------------------------------------------------------------------

class BundleFiles : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/bundle_files_" + std::to_string(getpid());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string Write(const std::string& name, uint64_t version = 3, uint32_t tail_layers = 1) {
    PartitionOptions options = TinyOptions();
    options.model_version = version;
    options.tail_layers = tail_layers;
    options.audit_per_million = 1000;
    std::string path = folder_ + "/" + name;
    Status status = WriteBundle(Make(Tiny().graph, options).bundle, path);
    EXPECT_TRUE(status.ok()) << status;
    return path;
  }
  static Bytes Read(const std::string& path) { return *ReadFile(path, 1 << 30); }
  static void Overwrite(const std::string& path, const Bytes& bytes) { ASSERT_TRUE(WriteFileAtomic(path, bytes).ok()); }
  static std::string Refusal(const std::string& path, const OpenOptions& options = {}) {
    StatusOr<Bundle> bundle = OpenBundle(path, options);
    if (bundle.ok()) return "";
    EXPECT_EQ(bundle.status().code(), StatusCode::kPermissionDenied) << bundle.status();
    return MessageOf(bundle.status());
  }

  std::string folder_;
};

constexpr const char* kFiles[] = {"manifest",     "manifest.sig", "frontnet.sealed", "mapping.sealed",
                                  "backnet.onnx", "tail.sealed",  "audit.sealed"};

TEST_F(BundleFiles, RoundTrip) {
  std::string path = Write("a");
  StatusOr<Bundle> bundle = OpenBundle(path, Owner().public_key());
  ASSERT_TRUE(bundle.ok()) << bundle.status();
  EXPECT_EQ(bundle->manifest.model_version, 3u);
  EXPECT_EQ(bundle->manifest.ir_shape, (Shape{4, 6, 6}));
  EXPECT_EQ(bundle->manifest.owner, Owner().public_key());
  std::set<std::string> files;
  for (const auto& entry : fs::directory_iterator(path)) files.insert(entry.path().filename());
  EXPECT_EQ(files, (std::set<std::string>{"manifest", "manifest.json", "manifest.sig", "frontnet.sealed",
                                          "mapping.sealed", "backnet.onnx", "tail.sealed", "audit.sealed"}));
}

TEST_F(BundleFiles, OneFlippedByteInAnyFileIsFoundAndTheFileNamed) {
  std::string path = Write("a");
  for (const char* file : kFiles) {
    const Bytes good = Read(path + "/" + file);
    for (size_t at : {size_t{0}, good.size() / 2, good.size() - 1}) {
      Bytes bad = good;
      bad[at] ^= 0x20;
      Overwrite(path + "/" + file, bad);
      std::string message = Refusal(path, {.owner = Owner().public_key()});
      EXPECT_NE(message.find(std::string(file).substr(0, 8)), std::string::npos)
          << file << " " << at << ": " << message;
    }
    Overwrite(path + "/" + file, good);
  }
  EXPECT_TRUE(OpenBundle(path).ok());
  // Nothing trusts the readable copy.
  Overwrite(path + "/manifest.json", {'x'});
  EXPECT_TRUE(OpenBundle(path).ok());
}

TEST_F(BundleFiles, EveryTruncatedOrMissingFileIsFound) {
  std::string path = Write("a");
  for (const char* file : kFiles) {
    const Bytes good = Read(path + "/" + file);
    for (size_t left : {good.size() - 1, good.size() / 2, size_t{0}}) {
      Overwrite(path + "/" + file, Bytes(good.begin(), good.begin() + static_cast<ptrdiff_t>(left)));
      EXPECT_NE(Refusal(path).find(std::string(file).substr(0, 8)), std::string::npos) << file << " " << left;
    }
    fs::remove(path + "/" + file);
    StatusOr<Bundle> bundle = OpenBundle(path);
    EXPECT_EQ(bundle.status().code(), StatusCode::kNotFound);
    EXPECT_EQ(MessageOf(bundle.status()), "bundle " + path + ": " + file + " is missing");
    Overwrite(path + "/" + file, good);
  }
  EXPECT_TRUE(OpenBundle(path).ok());
  EXPECT_EQ(OpenBundle(path + "/nothing").status().code(), StatusCode::kNotFound);
}

TEST_F(BundleFiles, PartsOfAnotherBundleAreFound) {
  std::string a = Write("a"), b = Write("b"), c = Write("c", 3, 0);
  for (const char* file : kFiles) {
    // With a tail no class order is in the BackNet, so that it is the same in both.
    if (file == std::string("backnet.onnx")) b = c;
    const Bytes own = Read(a + "/" + file);
    Overwrite(a + "/" + file, Read(b + "/" + file));
    std::string message = Refusal(a);
    EXPECT_NE(message.find(std::string(file).substr(0, 8)), std::string::npos) << file << ": " << message;
    Overwrite(a + "/" + file, own);
    if (b == c) b = folder_ + "/b";
  }
  EXPECT_TRUE(OpenBundle(a).ok());
}

TEST_F(BundleFiles, AnotherOwnersBundleIsRefused) {
  std::string path = Write("a");
  std::string message = Refusal(path, {.owner = Ed25519PrivateKey::Generate().public_key()});
  EXPECT_NE(message.find(HexEncode(Owner().public_key())), std::string::npos) << message;
}

TEST_F(BundleFiles, AnOwnerThatTheManifestDoesNotNameIsRefused) {
  std::string path = Write("a");
  Bytes manifest = Read(path + "/manifest");
  ManifestSignature stolen = *SignManifest(Ed25519PrivateKey::Generate(), manifest);
  Overwrite(path + "/manifest.sig", EncodeManifestSignature(stolen));
  EXPECT_NE(Refusal(path).find("names the owner"), std::string::npos) << Refusal(path);
}

TEST_F(BundleFiles, AnOlderVersionThanTheMinimumIsRefused) {
  std::string path = Write("a", 3);
  EXPECT_TRUE(OpenBundle(path, OpenOptions{.min_version = 3}).ok());
  EXPECT_NE(Refusal(path, {.min_version = 4}).find("model version 3, at least 4 is required"), std::string::npos);
}

TEST_F(BundleFiles, NothingIsOverwritten) {
  std::string path = Write("a");
  const Bytes before = Read(path + "/manifest");
  Bundle bundle = Make(Tiny().graph, TinyOptions()).bundle;
  EXPECT_EQ(WriteBundle(bundle, path).code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(Read(path + "/manifest"), before);
  fs::create_directory(folder_ + "/empty");
  EXPECT_EQ(WriteBundle(bundle, folder_ + "/empty").code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(WriteBundle(bundle, folder_ + "/no/such/folder").code(), StatusCode::kNotFound);
}

// A file size limit stands for the full disk: writes fail half-way.
TEST_F(BundleFiles, NothingIsLeftBehindWhenWritingFails) {
  Bundle bundle = Make(Tiny().graph, TinyOptions()).bundle;
  rlimit old{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  rlimit small{700, old.rlim_max};
  auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  Status status = WriteBundle(bundle, folder_ + "/full");
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_FALSE(status.ok());
  EXPECT_TRUE(fs::is_empty(folder_)) << "something half-written was left behind";
}

}  // namespace
}  // namespace infenclave
