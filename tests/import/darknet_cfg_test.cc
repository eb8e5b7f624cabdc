#include "import/darknet_cfg.h"

#include <gtest/gtest.h>

#include <cstring>

#include "import/darknet.h"

namespace infenclave {
namespace {

// A header of version 0.2, then that many floats of 0.5.
Bytes Weights(size_t floats) {
  Bytes out(20 + floats * sizeof(float), 0);
  const int32_t minor = 2;
  std::memcpy(out.data() + 4, &minor, sizeof(minor));
  for (size_t i = 0; i < floats; ++i) {
    const float v = 0.5f;
    std::memcpy(out.data() + 20 + i * sizeof(v), &v, sizeof(v));
  }
  return out;
}

constexpr std::string_view kNet = "[net]\nheight=4\nwidth=4\nchannels=1\n";
constexpr std::string_view kConv = "[convolutional]\nfilters=2\nsize=3\npad=1\nactivation=leaky\n";  // 2 + 18 floats

TEST(DarknetCfg, BlanksAndCommentsDoNotCountAndTheFirstOfTwoOptionsHolds) {
  auto sections = ParseDarknetCfg("# a comment\n[net]\n width = 4 \nwidth=8\n\n; another\n[maxpool]\nsize=2", 10);
  ASSERT_TRUE(sections.ok()) << sections.status();
  ASSERT_EQ(sections->size(), 2u);
  EXPECT_EQ(*(*sections)[0].Int("width", 0, 1, 100), 4);
  EXPECT_EQ((*sections)[1].Where(), "line 7 [maxpool]");
}

TEST(Darknet, AConvolutionWithLeakyActivation) {
  StatusOr<Graph> graph = ImportDarknet(std::string(kNet) + std::string(kConv), Weights(20));
  ASSERT_TRUE(graph.ok()) << graph.status();
  ASSERT_EQ(graph->nodes.size(), 1u);
  EXPECT_EQ(graph->nodes[0].activation.kind, FusedActivation::Kind::kLeakyRelu);
  EXPECT_EQ(graph->value(graph->outputs[0]).name, "layer000");
  EXPECT_EQ(graph->value(graph->outputs[0]).shape, (Shape{1, 2, 4, 4}));
}

TEST(Darknet, WhatIsWrongIsSaidWithItsLine) {
  const struct {
    std::string cfg;
    size_t floats;
    std::string_view message;
  } cases[] = {
      {"[convolutional]\n", 0, "the first section must be [net]"},
      {std::string(kNet), 0, "the cfg has no layer"},
      {std::string(kNet) + "[region]\n", 0, "line 5 [region]: layer kind not known"},
      {std::string(kNet) + "[convolutional]\nactivation=stair\n", 2, "activation stair is not supported"},
      {std::string(kNet) + "[convolutional]\nfilters=two\n", 0, "filters=two is not a whole number"},
      {std::string(kNet) + "[convolutional]\nfilters=999999999\n", 0, "filters=999999999 is outside 1 to 65536"},
      {std::string(kNet) + "[convolutional]\nsize=9\n", 0, "size 9 exceeds the input [1,1,4,4]"},
      {std::string(kNet) + std::string(kConv), 19, "weights end early: needs 72 bytes, 68 are left"},
      {std::string(kNet) + std::string(kConv), 21, "4 bytes are left over"},
      {std::string(kNet) + "[route]\nlayers=-1\n", 0, "layer -1 is not before this one"},
      {std::string(kNet) + std::string(kConv) + "[shortcut]\nfrom=7\n", 20, "layer 7 is not before this one"},
      {std::string(kNet) + "[connected]\noutput=1048576\n", 0, "weights end early"},
      {"[net]\nheight=99999\nwidth=4\nchannels=1\n[avgpool]\n", 0, "height=99999 is outside"},
      {"[net\n", 0, "line 1: '[' without ']'"},
      {"width=4\n", 0, "line 1: an option before the first section"},
  };
  for (const auto& c : cases) {
    Status status = ImportDarknet(c.cfg, Weights(c.floats)).status();
    EXPECT_NE(MessageOf(status).find(c.message), std::string::npos) << c.cfg << ": " << status;
  }
}

TEST(Darknet, EveryTruncationOfTheWeightsIsRefused) {
  const std::string cfg = std::string(kNet) + std::string(kConv);
  const Bytes weights = Weights(20);
  for (size_t n = 0; n < weights.size(); ++n) EXPECT_FALSE(ImportDarknet(cfg, ByteSpan(weights).first(n)).ok()) << n;
}

}  // namespace
}  // namespace infenclave
