#include "host/http_server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/file.h"

namespace infenclave {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

// Sends bytes as they are and gives all that comes back until the server closes the connection.
std::string Exchange(const std::string& address, const std::string& bytes) {
  const UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
  EXPECT_EQ(send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  std::string answer;
  char buffer[4096];
  for (ssize_t n; (n = recv(fd.get(), buffer, sizeof(buffer), 0)) > 0;) answer.append(buffer, static_cast<size_t>(n));
  return answer;
}

class HttpServerTest : public testing::Test {
 protected:
  void SetUp() override {
    auto server = HttpServer::Start("127.0.0.1:0", 1000, 4, [this](const HttpRequest& request) {
      ++calls_;
      return HttpAnswer{.status = 201,
                        .body = request.method + " " + request.path + " " + request.body,
                        .headers = {{"X-Seen", request.headers.count("x-asked") ? request.headers.at("x-asked") : ""}}};
    });
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  std::string Ask(const std::string& bytes) { return Exchange(server_->address(), bytes); }

  std::atomic<int> calls_ = 0;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, AnswersGetAndPost) {
  const std::string got = Ask("GET /a/b HTTP/1.1\r\nX-Asked: yes\r\n\r\n");
  EXPECT_THAT(got, StartsWith("HTTP/1.1 201 "));
  EXPECT_THAT(got, HasSubstr("GET /a/b "));
  EXPECT_THAT(got, HasSubstr("X-Seen: yes"));
  EXPECT_THAT(Ask("POST /c HTTP/1.1\r\nContent-Length: 3\r\n\r\nxyz"), HasSubstr("POST /c xyz"));
}

TEST_F(HttpServerTest, HostileRequestsNeverReachTheHandler) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"POST / HTTP/1.1\r\nContent-Length: 1001\r\n\r\n", "at most 1000"},
      {"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", "no number"},
      {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "neither chunked"},
      {"POST / HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", "nor compressed"},
      {"GET /" + std::string(600, 'a') + " HTTP/1.1\r\n\r\n", "512 bytes"},
      {"DELETE / HTTP/1.1\r\n\r\n", "only GET and POST"},
  };
  for (const auto& [bytes, reason] : cases) EXPECT_THAT(Ask(bytes), HasSubstr(reason)) << bytes.substr(0, 80);
  EXPECT_EQ(calls_, 0);
}

// What is left of a refused body is not the next caller's request.
TEST_F(HttpServerTest, OneRequestPerConnection) {
  const std::string two = Ask("POST /1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nGET /2 HTTP/1.1\r\n\r\n");
  EXPECT_THAT(two, StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(two, HasSubstr("Connection: close"));
  EXPECT_EQ(calls_, 0);
  EXPECT_THAT(Ask("GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n"), Not(HasSubstr("/2")));
}

TEST_F(HttpServerTest, APortInUseIsAnErrorThatSaysSo) {
  const auto second = HttpServer::Start(server_->address(), 1000, 1, [](const HttpRequest&) { return HttpAnswer{}; });
  EXPECT_EQ(second.status().code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(MessageOf(second.status()), HasSubstr("--http"));
}

}  // namespace
}  // namespace infenclave
