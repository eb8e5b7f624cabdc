#include "tests/enclave/harness.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <numeric>
#include <random>

#include "base/file.h"
#include "graph/passes.h"
#include "graph/serialize.h"

namespace infenclave {
namespace {

std::vector<float> RandomFloats(std::mt19937& random, size_t n, float scale) {
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> out(n);
  for (float& v : out) v = normal(random);
  return out;
}

Tensor TensorOf(Shape shape, const std::vector<float>& values) { return Tensor::FromF32(std::move(shape), values); }

Graph Finished(Graph graph) {
  StatusOr<Graph> out = InferShapes(std::move(graph));
  INFENCLAVE_CHECK(out.ok());
  return *std::move(out);
}

template <typename T>
T Must(StatusOr<T> value) {
  if (!value.ok()) std::fprintf(stderr, "harness: %s\n", MessageOf(value.status()).c_str());
  INFENCLAVE_CHECK(value.ok());
  return *std::move(value);
}

}  // namespace

// ---- the network --------------------------------------------------------------------------------------------------
TinyModel::TinyModel(uint32_t seed) {
  std::mt19937 random(seed);
  preprocessing.width = preprocessing.height = kSide;
  preprocessing.mean = {127, 120, 110};
  preprocessing.scale = {1 / 128.f, 1 / 120.f, 1 / 110.f};
  conv_weights = RandomFloats(random, kChannels * 27, 0.3f);
  conv_bias = RandomFloats(random, kChannels, 0.1f);
  gemm_weights = RandomFloats(random, kClasses * kIrElements, 0.1f);
  gemm_bias = RandomFloats(random, kClasses, 0.1f);
}

Graph TinyModel::FrontNet() const {
  Graph g;
  g.name = "front";
  const ValueId in = g.AddValue("picture", DType::kF32, {1, 3, kSide, kSide});
  const ValueId w = g.AddConstant("conv.weight", TensorOf({kChannels, 3, 3, 3}, conv_weights));
  const ValueId b = g.AddConstant("conv.bias", TensorOf({kChannels}, conv_bias));
  const ValueId sum = g.AddValue("conv", DType::kF32, {1, kChannels, kSide, kSide});
  const ValueId out = g.AddValue("cut", DType::kF32, {1, kChannels, kSide, kSide});
  g.nodes.push_back({.op = "Conv",
                     .name = "conv",
                     .inputs = {in, w, b},
                     .outputs = {sum},
                     .attributes = {{"kernel_shape", std::vector<int64_t>{3, 3}},
                                    {"pads", std::vector<int64_t>{1, 1, 1, 1}},
                                    {"strides", std::vector<int64_t>{1, 1}}}});
  g.nodes.push_back({.op = "Relu", .name = "relu", .inputs = {sum}, .outputs = {out}});
  g.inputs = {in};
  g.outputs = {out};
  return Finished(std::move(g));
}

Graph TinyModel::BackNet(const std::vector<uint32_t>& order) const {
  std::vector<float> weights, bias;
  for (uint32_t c : order) {
    weights.insert(weights.end(), gemm_weights.begin() + c * kIrElements, gemm_weights.begin() + (c + 1) * kIrElements);
    bias.push_back(gemm_bias[c]);
  }
  Graph g;
  g.name = "back";
  const ValueId in = g.AddValue("cut", DType::kF32, {1, kChannels, kSide, kSide});
  const ValueId flat = g.AddValue("flat", DType::kF32, {1, kIrElements});
  const ValueId w = g.AddConstant("gemm.weight", TensorOf({kClasses, kIrElements}, weights));
  const ValueId b = g.AddConstant("gemm.bias", TensorOf({kClasses}, bias));
  const ValueId out = g.AddValue("scores", DType::kF32, {1, kClasses});
  g.nodes.push_back({.op = "Flatten", .name = "flatten", .inputs = {in}, .outputs = {flat}});
  g.nodes.push_back(
      {.op = "Gemm", .name = "gemm", .inputs = {flat, w, b}, .outputs = {out}, .attributes = {{"transB", int64_t{1}}}});
  g.inputs = {in};
  g.outputs = {out};
  return Finished(std::move(g));
}

Graph TinyModel::BackNetBeforeTail() const {
  Graph g;
  g.name = "back";
  const ValueId in = g.AddValue("cut", DType::kF32, {1, kChannels, kSide, kSide});
  const ValueId out = g.AddValue("tail", DType::kF32, {1, kChannels, kSide, kSide});
  g.nodes.push_back({.op = "Relu", .name = "relu", .inputs = {in}, .outputs = {out}});
  g.inputs = {in};
  g.outputs = {out};
  return Finished(std::move(g));
}

std::vector<double> TinyModel::Ir(ByteSpan rgb) const {
  auto pixel = [&](int64_t c, int64_t y, int64_t x) -> double {
    if (y < 0 || x < 0 || y >= kSide || x >= kSide) return 0;
    const auto i = static_cast<size_t>(c);
    return (rgb[static_cast<size_t>((y * kSide + x) * 3 + c)] - preprocessing.mean[i]) * preprocessing.scale[i];
  };
  std::vector<double> out;
  for (int64_t k = 0; k < kChannels; ++k) {
    for (int64_t y = 0; y < kSide; ++y) {
      for (int64_t x = 0; x < kSide; ++x) {
        double sum = conv_bias[static_cast<size_t>(k)];
        for (int64_t t = 0; t < 27; ++t) {
          sum += conv_weights[static_cast<size_t>(k * 27 + t)] * pixel(t / 9, y + t / 3 % 3 - 1, x + t % 3 - 1);
        }
        out.push_back(std::max(sum, 0.0));
      }
    }
  }
  return out;
}

std::vector<double> TinyModel::Scores(std::span<const double> ir) const {
  std::vector<double> out(gemm_bias.begin(), gemm_bias.end());
  for (size_t c = 0; c < out.size(); ++c) {
    for (size_t i = 0; i < ir.size(); ++i) out[c] += gemm_weights[c * ir.size() + i] * ir[i];
  }
  return out;
}

Bytes RandomPicture(uint32_t seed) {
  std::mt19937 random(seed);
  Bytes out(TinyModel::kPictureBytes);
  for (uint8_t& v : out) v = static_cast<uint8_t>(random());
  return out;
}

// ---- the bundle ---------------------------------------------------------------------------------------------------
TestBundle::TestBundle(const std::function<void(Manifest&)>& adjust) {
  manifest.bundle_id = RandomArray<std::tuple_size_v<BundleId>>();
  manifest.model_name = "tiny";
  manifest.model_version = 7;
  manifest.ir_shape = {TinyModel::kChannels, TinyModel::kSide, TinyModel::kSide};
  manifest.classes = TinyModel::kClasses;
  manifest.backnet_output_shape = {TinyModel::kClasses};
  manifest.answer_classes = 3;
  manifest.label_bytes = 24;
  manifest.preprocessing = model.preprocessing;
  manifest.tee_class = TeeClass::kSimulated;
  manifest.release_keys = {{release.public_key(), 100}};
  manifest.owner = owner.public_key();
  mapping.order.resize(TinyModel::kClasses);
  std::iota(mapping.order.begin(), mapping.order.end(), 0);
  std::shuffle(mapping.order.begin(), mapping.order.end(), std::mt19937(5));
  for (int64_t c = 0; c < TinyModel::kClasses; ++c) mapping.labels.push_back(Concat("label of class ", c));
  if (adjust) adjust(manifest);
  Sign();
}

void TestBundle::Sign() {
  auto seal = [&](std::string_view part, const Graph& graph) {
    return SealPart(frontnet_key.span(), manifest.bundle_id, part, Must(EncodeGraph(graph)));
  };
  parts.frontnet_sealed = seal("frontnet", model.FrontNet());
  parts.mapping_sealed =
      SealPart(mapping_key.span(), manifest.bundle_id, "mapping", EncodeClassMapping(mapping).span());
  const bool tail = manifest.tail_layers > 0;
  if (tail) parts.tail_sealed = seal("tail", model.BackNet(mapping.order));
  if (manifest.audit_per_million > 0) {
    parts.audit_sealed = seal("audit", tail ? model.BackNetBeforeTail() : model.BackNet(mapping.order));
  }
  manifest.tail_digest = Sha256(parts.tail_sealed);
  manifest.audit_digest = Sha256(parts.audit_sealed);
  manifest.frontnet_digest = Sha256(parts.frontnet_sealed);
  manifest.mapping_digest = Sha256(parts.mapping_sealed);
  parts.manifest = EncodeManifest(manifest);
  parts.manifest_signature = EncodeManifestSignature(*SignManifest(owner, parts.manifest));
}

std::string TestBundle::Write() const {
  std::string folder = (std::filesystem::temp_directory_path() / "infenclave-bundle-XXXXXX").string();
  INFENCLAVE_CHECK(::mkdtemp(folder.data()) != nullptr);
  auto write = [&](std::string_view name, ByteSpan bytes) {
    INFENCLAVE_CHECK(WriteFileAtomic(Concat(folder, "/", name), bytes).ok());
  };
  write("manifest", parts.manifest);
  write("manifest.sig", parts.manifest_signature);
  write("frontnet.sealed", parts.frontnet_sealed);
  write("mapping.sealed", parts.mapping_sealed);
  if (!parts.tail_sealed.empty()) write("tail.sealed", parts.tail_sealed);
  if (!parts.audit_sealed.empty()) write("audit.sealed", parts.audit_sealed);
  return folder;
}

Grant TestBundle::MakeGrant(uint64_t lease) const { return {frontnet_key.Clone(), mapping_key.Clone(), lease}; }

Bytes TestBundle::ProvisionCallFor(const KeyConfig& config, uint64_t lease) const {
  return EncodeCall(ProvisionCall{config.key_id, Must(SealGrant(config, release, MakeGrant(lease)))});
}

Credential TestBundle::MakeCredentialFor(std::string_view user) const {
  return *MakeCredential(owner, user, 1, manifest.model_version);
}

std::vector<float> TestBundle::BackNetScores(ByteSpan ir) const {
  std::vector<double> values;
  const int largest = LargestCode(manifest.ir_precision);
  const size_t width = SizeOf(IrWireOf(manifest).dtype);
  for (size_t i = 0; largest == 0 && i < ir.size(); i += width) {
    uint32_t bits = 0;  // a bf16 is the upper half of an f32
    std::memcpy(reinterpret_cast<uint8_t*>(&bits) + 4 - width, ir.data() + i, width);
    values.push_back(std::bit_cast<float>(bits));
  }
  for (size_t i = 0; largest > 0 && i < ir.size(); ++i) values.push_back(manifest.ir_step * (ir[i] % (largest + 1)));
  for (size_t i = 0; largest == 15 && i < ir.size(); ++i) values.push_back(manifest.ir_step * (ir[i] / 16));
  if (manifest.tail_layers > 0) return {values.begin(), values.end()};
  const std::vector<double> scores = model.Scores(values);
  std::vector<float> out;
  for (uint32_t c : mapping.order) out.push_back(static_cast<float>(scores[c]));
  return out;
}

std::vector<AnswerClass> TestBundle::Expected(ByteSpan rgb) const {
  const std::vector<double> scores = model.Scores(model.Ir(rgb));
  double sum = 0;
  for (double s : scores) sum += std::exp(s);
  std::vector<AnswerClass> out;
  for (size_t c = 0; c < scores.size(); ++c) {
    out.push_back({mapping.labels[c], static_cast<float>(std::exp(scores[c]) / sum)});
  }
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.probability > b.probability; });
  out.resize(manifest.answer_classes);
  return out;
}

// ---- the host -----------------------------------------------------------------------------------------------------
StatusOr<GetEvidenceReply> TestHost::GetEvidence(const std::optional<Nonce>& nonce) const {
  return DecodeGetEvidenceReply(caller_(EncodeCall(GetEvidenceCall{nonce})));
}

KeyConfig TestHost::Config() const { return Must(DecodeKeyConfig(Must(GetEvidence()).key_config)); }

Status TestHost::Provision(uint64_t lease) const { return Send(bundle_.ProvisionCallFor(Config(), lease)); }

SealedRequest TestHost::Seal(ByteSpan rgb) const {
  return Seal(Config(), {.credential = EncodeCredential(bundle_.MakeCredentialFor("alice")),
                         .height = TinyModel::kSide,
                         .width = TinyModel::kSide,
                         .rgb = rgb});
}

SealedRequest TestHost::Seal(const KeyConfig& config, const RequestPlaintext& request) const {
  return Must(SealRequest(config, request));
}

StatusOr<BeginResult> TestHost::Begin(const std::vector<ByteSpan>& requests) const {
  BeginResult out;
  out.bytes = caller_(EncodeCall(BeginCall{requests}));
  INFENCLAVE_ASSIGN_OR_RETURN(out.reply, DecodeBeginReply(out.bytes));
  return out;
}

BeginReply::Item TestHost::BeginOne(ByteSpan request) const { return Must(Begin({request})).reply.items.at(0); }

StatusOr<FinishReply> TestHost::Finish(const std::vector<RequestId>& ids, std::span<const float> scores) const {
  return DecodeFinishReply(
      caller_(EncodeCall(FinishCall{ids, {reinterpret_cast<const uint8_t*>(scores.data()), scores.size_bytes()}})));
}

StatusOr<Answer> TestHost::Classify(ByteSpan rgb) const {
  const SealedRequest request = Seal(rgb);
  INFENCLAVE_ASSIGN_OR_RETURN(BeginResult begun, Begin({request.sealed}));
  const BeginReply::Item& item = begun.reply.items.at(0);
  INFENCLAVE_RETURN_IF_ERROR(item.status);
  if (!item.sealed_refusal.empty()) return OpenAnswer(request.context, item.sealed_refusal);
  INFENCLAVE_ASSIGN_OR_RETURN(FinishReply finished, Finish({item.id}, bundle_.BackNetScores(begun.reply.ir)));
  INFENCLAVE_RETURN_IF_ERROR(finished.items.at(0).status);
  return OpenAnswer(request.context, finished.items[0].answer);
}

LocalEnclave::LocalEnclave(const TestBundle& bundle, const EnclaveOptions& options)
    : core(Must(EnclaveCore::Create(bundle.Parts(), MakeSimulatedEvidenceMaker(Sha256(AsBytes("test"))), options))),
      host(bundle, [this](ByteSpan call) { return core->Handle(call, 0); }) {}

}  // namespace infenclave
