#include "oip/grpc_server.h"

#include <gtest/gtest.h>

#include "oip/open_inference.grpc.pb.h"

namespace infenclave {
namespace {

TEST(GrpcServer, PicksAPortAndSaysWhich) {
  inference::GRPCInferenceService::CallbackService service;
  const auto server = GrpcServer::Start("127.0.0.1:0", {&service}, 1 << 20);
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_TRUE((*server)->address().starts_with("127.0.0.1:"));
  EXPECT_NE((*server)->address(), "127.0.0.1:0");
}

TEST(GrpcServer, SaysThatAPortIsInUse) {
  inference::GRPCInferenceService::CallbackService service;
  const auto first = GrpcServer::Start("127.0.0.1:0", {&service}, 1 << 20);
  ASSERT_TRUE(first.ok()) << first.status();
  inference::GRPCInferenceService::CallbackService other;
  const auto second = GrpcServer::Start((*first)->address(), {&other}, 1 << 20);
  ASSERT_FALSE(second.ok());
  EXPECT_NE(MessageOf(second.status()).find("is in use"), std::string::npos) << second.status();
  EXPECT_EQ(MessageOf(second.status()).find('\n'), std::string::npos);
}

TEST(GrpcServer, RefusesWhatIsNoAddress) {
  for (const char* bad : {"", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "256.0.0.1:0", "203.0.113.1:0"}) {
    inference::GRPCInferenceService::CallbackService service;
    const auto server = GrpcServer::Start(bad, {&service}, 1 << 20);
    ASSERT_FALSE(server.ok()) << bad;
    EXPECT_NE(MessageOf(server.status()).find("listen"), std::string::npos) << server.status();
  }
}

}  // namespace
}  // namespace infenclave
