#include "graph/serialize.h"

#include <gtest/gtest.h>

#include <random>

#include "graph/cuts.h"
#include "graph/passes.h"
#include "tests/graph/build_graph.h"
#include "tests/graph/reference.h"

namespace infenclave {
namespace {

using I = std::vector<int64_t>;

// Every kind of attribute, an absent input, an integer constant, and fused activations with and without parameters.
Graph Network() {
  GraphBuilder b;
  b.graph.name = "network";
  ValueId x = b.Input("x", {1, 2, 8, 8});
  ValueId a = b.Op("Conv", {x, b.Weights("w1", {4, 2, 3, 3}), b.Weights("b1", {4})}, "a",
                   {{"auto_pad", "SAME_UPPER"}, {"strides", I{2, 2}}, {"group", int64_t{1}}});
  a = b.Op("Clip", {a, b.Floats("zero", {}, {0}), b.Floats("six", {}, {6})}, "a6");
  ValueId s = b.Op("Conv", {a, b.Weights("w2", {4, 4, 1, 1})}, "s");
  a = b.Op("Mul", {s, b.Op("Sigmoid", {s}, "sigmoid")}, "swish");
  a = b.Op("Clip", {b.Op("MaxPool", {a}, "pool", {{"kernel_shape", I{2, 2}}}), kNoValue, b.Floats("two", {}, {2})},
           "c");
  a = b.Op("Reshape", {a, b.Ints("shape", {0, -1})}, "flat");
  ValueId y = b.Op("Gemm", {a, b.Weights("w3", {36, 3})}, "y", {{"alpha", 0.5f}});
  StatusOr<Graph> graph = Simplify(b.Build({y}));
  EXPECT_TRUE(graph.ok()) << graph.status();
  return *std::move(graph);
}

TEST(DecodeGraph, ReadsWhatEncodeGraphWroteAndEncodesItTheSame) {
  Graph graph = Network();
  StatusOr<Bytes> bytes = EncodeGraph(graph);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  StatusOr<Graph> decoded = DecodeGraph(*bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(*EncodeGraph(*decoded), *bytes);
  EXPECT_EQ(decoded->nodes[0].activation.kind, FusedActivation::Kind::kClip);
  EXPECT_EQ(decoded->nodes[0].activation.beta, 6.0f);
  EXPECT_EQ(decoded->nodes[1].activation.kind, FusedActivation::Kind::kSwish);
  ExpectSameFunction(graph, *decoded);
}

TEST(DecodeGraph, EveryTruncationFails) {
  Bytes bytes = *EncodeGraph(Network());
  for (size_t n = 0; n < bytes.size(); ++n) EXPECT_FALSE(DecodeGraph(ByteSpan(bytes).first(n)).ok()) << n;
  bytes.push_back(0);
  EXPECT_EQ(MessageOf(DecodeGraph(bytes).status()), Concat("graph: 1 bytes left over at byte ", bytes.size() - 1));
}

// Counts what is allocated, so that a length in the input cannot ask for more than the input holds.
class CountingMemory : public std::pmr::memory_resource {
 public:
  size_t total = 0;

 private:
  void* do_allocate(size_t bytes, size_t alignment) override {
    total += bytes;
    return std::pmr::new_delete_resource()->allocate(bytes, alignment);
  }
  void do_deallocate(void* p, size_t bytes, size_t alignment) override {
    std::pmr::new_delete_resource()->deallocate(p, bytes, alignment);
  }
  bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }
};

TEST(DecodeGraph, AWrongByteIsAnErrorOrAnotherValidGraphAndNeverMoreMemory) {
  const Bytes bytes = *EncodeGraph(Network());
  std::mt19937 random(7);
  size_t accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    Bytes mutant = bytes;
    for (int changes = 1 + round % 3; changes > 0; --changes) {
      mutant[random() % mutant.size()] = static_cast<uint8_t>(random() % 4 == 0 ? 0xff : random());
    }
    CountingMemory memory;
    StatusOr<Graph> graph = DecodeGraph(mutant, &memory);
    EXPECT_LE(memory.total, mutant.size());
    if (!graph.ok()) continue;
    ++accepted;
    EXPECT_TRUE(Validate(*graph).ok());
    EXPECT_EQ(*EncodeGraph(*graph), mutant);
    EXPECT_TRUE(CostOf(*graph).ok());
  }
  EXPECT_GT(accepted, 1000u);  // most bytes are weights, where any value is as good
}

TEST(DecodeGraph, DoesNotBelieveADeclaredShape) {
  Graph graph = Network();
  Bytes bytes = *EncodeGraph(graph);
  // The output's declaration: name, dtype, rank, [1,3].
  const Bytes declared = {0, 0, 0, 1, 'y', 1, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 3};
  auto at = std::search(bytes.begin(), bytes.end(), declared.begin(), declared.end());
  ASSERT_NE(at, bytes.end());
  at[22] = 4;
  EXPECT_EQ(MessageOf(DecodeGraph(bytes).status()), "Gemm 'y': 'y' is declared f32[1,4] but is f32[1,3]");
}

TEST(DecodeGraph, NamesAnotherFormat) {
  EXPECT_EQ(MessageOf(DecodeGraph(AsBytes("ONNX model of some kind")).status()), "graph: not a stored graph");
  Bytes bytes = *EncodeGraph(Network());
  bytes[17] = 9;
  EXPECT_EQ(MessageOf(DecodeGraph(bytes).status()), "graph: format version 9, expected 1");
}

TEST(DecodeGraph, MemoryThatRunsOutIsAnError) {
  StatusOr<Graph> graph = DecodeGraph(*EncodeGraph(Network()), std::pmr::null_memory_resource());
  EXPECT_EQ(graph.status().code(), StatusCode::kResourceExhausted);
}

TEST(EncodeGraph, RefusesWhatDecodeWouldNotRead) {
  struct Case {
    void (*damage)(Graph&);
    std::string message;
  } cases[] = {
      {[](Graph& g) { g.nodes[0].op = "Attention"; }, "Attention 'a': an operator that is not known cannot be stored"},
      {[](Graph& g) {
         g.value(g.outputs[0]).shape = {1, 4};
       },
       "Gemm 'y': 'y' is declared f32[1,4] but is f32[1,3]"},
      {[](Graph& g) { g.name.assign(513, 'x'); }, "graph: 513 bytes in its name, expected at most 512"},
      {[](Graph& g) { g.nodes[2].activation.kind = FusedActivation::Kind::kRelu; },
       "MaxPool 'pool': takes no activation"},
      {[](Graph& g) { g.nodes.pop_back(); }, "graph outputs: nothing produces 'y'"},
  };
  for (const Case& c : cases) {
    Graph graph = Network();
    c.damage(graph);
    EXPECT_EQ(MessageOf(EncodeGraph(graph).status()), c.message);
  }
}

}  // namespace
}  // namespace infenclave
