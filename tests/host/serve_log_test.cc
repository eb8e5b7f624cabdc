#include "host/serve_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/host/fake_call.h"

namespace infenclave {
namespace {

using Json = nlohmann::json;

TEST(ServeLog, TextIsForPeopleAndHasNoRequests) {
  std::ostringstream out;
  ServeLog log(false, &out);
  log.Say("ready", "ready on here", {{"address", "here"}});
  EXPECT_EQ(out.str(), "ready on here\n");
  EXPECT_FALSE(log.RequestObserver());
}

TEST(ServeLog, JsonIsOneObjectALine) {
  std::ostringstream out;
  ServeLog log(true, &out);
  log.Say("ready", "two\nlines and \"quotes\" and \xff", {{"address", "here"}});
  EXPECT_EQ(out.str().find('\n'), out.str().size() - 1);
  const Json json = Json::parse(out.str());
  EXPECT_EQ(json["event"], "ready");
  EXPECT_EQ(json["address"], "here");
  EXPECT_THAT(json["message"].get<std::string>(), testing::HasSubstr("\"quotes\""));
}

TEST(ServeLog, OfARequestTheCodeAndNothingThatACallerChose) {
  std::ostringstream out;
  ServeLog log(true, &out);
  FakeCall call;
  call.request_.set_model_name("a name");
  log.RequestObserver()(call, InvalidArgument("no input 'tench'"), std::chrono::microseconds(1234));
  const Json json = Json::parse(out.str());
  EXPECT_EQ(json["code"], "INVALID_ARGUMENT");
  EXPECT_EQ(json["ms"], 1.234);
  EXPECT_EQ(json.size(), 4u) << json;  // time, event, code, ms
}

TEST(Traceparent, OnlyTheW3CForm) {
  EXPECT_TRUE(IsTraceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
  for (const char* bad : {"", "00", "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                          "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
                          "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
                          "00-0af7651916cd43dd8448eb211c80319\n-b7ad6b7169203331-01"}) {
    EXPECT_FALSE(IsTraceparent(bad)) << bad;
  }
}

}  // namespace
}  // namespace infenclave
