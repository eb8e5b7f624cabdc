#include "oip/client.h"

#include <gtest/gtest.h>

namespace infenclave {
namespace {

TEST(ParseEndpoints, TakesALoneModel) {
  const auto endpoints = ParseEndpoints("grpc://10.0.0.1:8001/lite0");
  ASSERT_TRUE(endpoints.ok()) << endpoints.status();
  ASSERT_EQ(endpoints->size(), 1u);
  EXPECT_EQ(endpoints->at(0).target, "10.0.0.1:8001");
  EXPECT_EQ(endpoints->at(0).model, "lite0");
  EXPECT_EQ(endpoints->at(0).version, "");
}

TEST(ParseEndpoints, TakesAListWithVersions) {
  const auto endpoints = ParseEndpoints("grpc://a:1/m/3,grpc://[::1]:2/n");
  ASSERT_TRUE(endpoints.ok()) << endpoints.status();
  ASSERT_EQ(endpoints->size(), 2u);
  EXPECT_EQ(endpoints->at(0).version, "3");
  EXPECT_EQ(endpoints->at(1).target, "[::1]:2");
  EXPECT_EQ(endpoints->at(1).model, "n");
}

TEST(ParseEndpoints, NamesTheEntryThatIsNone) {
  for (const char* bad : {"", "builtin", "http://a:1/m", "grpc://a/m", "grpc://:1/m", "grpc://a:1", "grpc://a:1/",
                          "grpc://a:1/m/", "grpc://a:1/m/1/2", "grpc://a:1/m,", "grpc://a:1/m,,grpc://b:1/m"}) {
    const auto endpoints = ParseEndpoints(bad);
    ASSERT_FALSE(endpoints.ok()) << bad;
    EXPECT_EQ(endpoints.status().code(), StatusCode::kInvalidArgument);
    EXPECT_NE(MessageOf(endpoints.status()).find("is not grpc://HOST:PORT/MODEL[/VERSION]"), std::string::npos) << bad;
  }
}

}  // namespace
}  // namespace infenclave
