// The whole way of a request through the enclave, of real networks: pixels, class order and labels are marked undefined
// where they come out of their seals, and Valgrind's memcheck reports whatever branch or address depends on them, in
// oneDNN's generated code, too. What leaves in the clear (the IR) is marked defined again.
//
// Valgrind shows the engine a processor without AVX-512, so that this is about its AVX2 kernels. Runs under Valgrind
// only (see CMakeLists.txt).
#include <gtest/gtest.h>
#include <valgrind/memcheck.h>

#include <cstdlib>
#include <filesystem>

#include "bundle/bundle.h"
#include "enclave/enclave_core.h"
#include "engine/compiled_network.h"
#include "graph/cuts.h"
#include "import/model.h"
#include "protocol/calls.h"
#include "protocol/sealed.h"

namespace infenclave {

// Put in the place of the product's own by the linker (--wrap), which they call.
StatusOr<OpenedRequest> RealOpenRequest(const KeyConfig& config, const X25519KeyPair& key,
                                        ByteSpan sealed) asm(INFENCLAVE_REAL_OPEN_REQUEST);
StatusOr<OpenedRequest> MarkedOpenRequest(const KeyConfig& config, const X25519KeyPair& key,
                                          ByteSpan sealed) asm(INFENCLAVE_WRAP_OPEN_REQUEST);
StatusOr<ClassMapping> RealDecodeClassMapping(ByteSpan bytes) asm(INFENCLAVE_REAL_DECODE_CLASS_MAPPING);
StatusOr<ClassMapping> MarkedDecodeClassMapping(ByteSpan bytes) asm(INFENCLAVE_WRAP_DECODE_CLASS_MAPPING);

StatusOr<OpenedRequest> MarkedOpenRequest(const KeyConfig& config, const X25519KeyPair& key, ByteSpan sealed) {
  StatusOr<OpenedRequest> opened = RealOpenRequest(config, key, sealed);
  if (opened.ok()) VALGRIND_MAKE_MEM_UNDEFINED(opened->plaintext.rgb.data(), opened->plaintext.rgb.size());
  return opened;
}

// Behind the two lengths that it begins with.
StatusOr<ClassMapping> MarkedDecodeClassMapping(ByteSpan bytes) {
  VALGRIND_MAKE_MEM_UNDEFINED(bytes.data() + 8, bytes.size() - 8);
  return RealDecodeClassMapping(bytes);
}

namespace {

struct Network {
  const char* name;

  std::string path;
};

void PrintTo(const Network& network, std::ostream* out) { *out << network.path; }

std::vector<Network> Networks() {
  const std::string shared = std::string(INFENCLAVE_SHARED_DIR) + "/models/";
  const char* converted = std::getenv("INFENCLAVE_MODELS");
  return {{"SqueezeNet", shared + "squeezenet1.1-fp16.onnx"},
          {"MobileNetV2", shared + "mobilenet_v2.onnx"},
          {"EfficientNetLite0", converted == nullptr ? "" : std::string(converted) + "/efficientnet-lite0.onnx"}};
}

class ObliviousPath : public testing::TestWithParam<Network> {
 protected:
  void SetUp() override {
    if (!RUNNING_ON_VALGRIND) GTEST_SKIP() << "NOT UNDER VALGRIND: not tested";
    if (!std::filesystem::exists(GetParam().path)) GTEST_SKIP() << "NO " << GetParam().path << ": not tested";
  }
};

// The first cut point that at least `share` of the work lies before.
std::string CutAt(const Graph& graph, double share) {
  const auto points = CutPoints(graph);
  const int64_t whole = CostOf(graph)->flops;
  for (const ValueId point : *points) {
    const Partition parts = *SplitAt(graph, point);
    if (static_cast<double>(CostOf(parts.front)->flops) >= share * static_cast<double>(whole)) {
      return graph.value(point).name;
    }
  }
  return graph.value(points->back()).name;
}

TEST_P(ObliviousPath, NoBranchAndNoAddressDependsOnPixelsClassOrderOrLabels) {
  StatusOr<ImportedModel> model = ImportModel(GetParam().path);
  ASSERT_TRUE(model.ok()) << model.status();
  PartitionOptions options;
  options.cut = CutAt(model->graph, 0.5);
  options.model_name = "oblivious";
  options.tee_class = TeeClass::kSimulated;
  options.open = true;
  options.preprocessing.width = options.preprocessing.height =
      static_cast<uint32_t>(model->graph.value(model->graph.inputs[0]).shape[2]);
  const Shape& output = model->graph.value(model->graph.outputs[0]).shape;
  for (int64_t c = 0; c < *NumElements(output); ++c) options.labels.push_back(Concat("label ", c));
  StatusOr<PartitionResult> made = MakeBundle(model->graph, Ed25519PrivateKey::Generate(), options);
  ASSERT_TRUE(made.ok()) << made.status();
  const Bundle& bundle = made->bundle;
  auto core =
      EnclaveCore::Create({bundle.manifest_bytes, EncodeManifestSignature(bundle.signature), bundle.frontnet_sealed,
                           bundle.mapping_sealed, bundle.tail_sealed, bundle.audit_sealed},
                          MakeSimulatedEvidenceMaker({}), {});
  ASSERT_TRUE(core.ok()) << core.status();
  const Bytes evidence = (*core)->Handle(EncodeCall(GetEvidenceCall{}), 0);
  const KeyConfig config = *DecodeKeyConfig(DecodeGetEvidenceReply(evidence)->key_config);

  const unsigned before = VALGRIND_COUNT_ERRORS;
  const BundleKeys& keys = made->keys;
  StatusOr<SealedGrant> grant = SealGrant(config, *Ed25519PrivateKey::FromSeed(keys.release_seed.span()),
                                          {keys.frontnet_key.Clone(), keys.mapping_key.Clone(), 10});
  ASSERT_TRUE(grant.ok()) << grant.status();
  ASSERT_EQ(DecodeProvisionReply((*core)->Handle(EncodeCall(ProvisionCall{config.key_id, *grant}), 0)), OkStatus());
  // The one branch is on whether the class order, as a whole, is a permutation: yes, for whatever the owner sealed.
  EXPECT_EQ(VALGRIND_COUNT_ERRORS - before, 1u) << "in Provision";
  const unsigned provisioned = VALGRIND_COUNT_ERRORS;

  Bytes picture(size_t{3} * options.preprocessing.width * options.preprocessing.height);
  for (size_t i = 0; i < picture.size(); ++i) picture[i] = static_cast<uint8_t>(i * i >> 7);
  StatusOr<SealedRequest> request = SealRequest(
      config, {.height = options.preprocessing.height, .width = options.preprocessing.width, .rgb = picture});
  ASSERT_TRUE(request.ok()) << request.status();
  const Bytes begun = (*core)->Handle(EncodeCall(BeginCall{{request->sealed}}), 0);
  EXPECT_EQ(VALGRIND_COUNT_ERRORS - provisioned, 0u) << "in Begin";
  StatusOr<BeginReply> reply = DecodeBeginReply(begun);
  ASSERT_TRUE(reply.ok() && reply->items[0].accepted()) << reply.status();
  // The test must have marked the pixels: what comes out of them is as undefined as they are.
  EXPECT_NE(VALGRIND_CHECK_MEM_IS_DEFINED(reply->ir.data(), reply->ir.size()), 0u);
  VALGRIND_MAKE_MEM_DEFINED(reply->ir.data(), reply->ir.size());

  std::vector<float> scores(options.labels.size());
  for (size_t i = 0; i < scores.size(); ++i) scores[i] = static_cast<float>(i * 37 % 101) / 10;
  const unsigned now = VALGRIND_COUNT_ERRORS;
  const ByteSpan raw(reinterpret_cast<const uint8_t*>(scores.data()), scores.size() * sizeof(float));
  const Bytes finished = (*core)->Handle(EncodeCall(FinishCall{{reply->items[0].id}, raw}), 0);
  EXPECT_EQ(VALGRIND_COUNT_ERRORS - now, 0u) << "in Finish";
  StatusOr<FinishReply> answered = DecodeFinishReply(finished);
  ASSERT_TRUE(answered.ok()) << answered.status();
  Bytes& sealed = answered->items[0].answer;
  EXPECT_NE(VALGRIND_CHECK_MEM_IS_DEFINED(sealed.data(), sealed.size()), 0u);
  VALGRIND_MAKE_MEM_DEFINED(sealed.data(), sealed.size());
  StatusOr<Answer> answer = OpenAnswer(request->context, sealed);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->classes.size(), 5u);
}

INSTANTIATE_TEST_SUITE_P(RealNetworks, ObliviousPath, testing::ValuesIn(Networks()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace infenclave
