// Everything that crosses the host, recorded and searched for what the host must not learn: the bytes of every TCP
// connection, of the calls to the enclave and of the memory shared with it, the BackNet's input and output, and the
// bundle's files. Built twice: with sealing, where nothing may be found, and with sealing that seals nothing
// (unsealed_aead.cc, in this program and in its enclave), where the same search must find every secret.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <list>
#include <map>
#include <mutex>
#include <sstream>
#include <thread>
#include <unordered_map>

#include "base/file.h"
#include "client/client.h"
#include "client/provision.h"
#include "host/confidential_server.h"
#include "import/model.h"
#include "tests/enclave/harness.h"

namespace infenclave {
namespace {

// What was seen, by where. Thread-safe.
class Recording {
 public:
  void Add(const std::string& where, ByteSpan bytes) {
    const std::lock_guard lock(mutex_);
    Bytes& seen = seen_[where];
    seen.insert(seen.end(), bytes.begin(), bytes.end());
  }
  size_t SizeOf(const std::string& where) {
    const std::lock_guard lock(mutex_);
    return seen_[where].size();
  }
  // The first place that holds any of the needles (of 8 bytes or more), "" if none does.
  std::string Find(const std::vector<Bytes>& needles) {
    std::unordered_map<uint64_t, std::vector<const Bytes*>> by_start;
    for (const Bytes& needle : needles) by_start[Start(needle.data())].push_back(&needle);
    const std::lock_guard lock(mutex_);
    for (const auto& [where, bytes] : seen_) {
      for (size_t i = 0; i + sizeof(uint64_t) <= bytes.size(); ++i) {
        const auto found = by_start.find(Start(&bytes[i]));
        if (found == by_start.end()) continue;
        for (const Bytes* needle : found->second) {
          if (std::ranges::equal(*needle,
                                 ByteSpan(bytes).subspan(i).first(std::min(needle->size(), bytes.size() - i)))) {
            return where;
          }
        }
      }
    }
    return "";
  }

 private:
  static uint64_t Start(const uint8_t* bytes) {
    uint64_t start;
    std::memcpy(&start, bytes, sizeof(start));
    return start;
  }

  std::mutex mutex_;
  std::map<std::string, Bytes> seen_;
};

// Stands between client and server and records both directions of every connection.
class RecordingProxy {
 public:
  RecordingProxy(const std::string& server, Recording* recording) : recording_(recording) {
    server_.sin_family = AF_INET;
    server_.sin_port = htons(static_cast<uint16_t>(std::stoi(server.substr(server.rfind(':') + 1))));
    server_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener_.Reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in any = server_;
    any.sin_port = 0;
    socklen_t size = sizeof(any);
    INFENCLAVE_CHECK(bind(listener_.get(), reinterpret_cast<sockaddr*>(&any), size) == 0);
    INFENCLAVE_CHECK(listen(listener_.get(), 8) == 0);
    INFENCLAVE_CHECK(getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&any), &size) == 0);
    address_ = Concat("127.0.0.1:", ntohs(any.sin_port));
    acceptor_ = std::thread([this] { Accept(); });
  }
  ~RecordingProxy() {
    shutdown(listener_.get(), SHUT_RDWR);
    acceptor_.join();
    for (UniqueFd& socket : sockets_) shutdown(socket.get(), SHUT_RDWR);
    for (std::thread& pump : pumps_) pump.join();
  }
  const std::string& address() const { return address_; }

 private:
  void Accept() {
    while (true) {
      const int client = accept(listener_.get(), nullptr, nullptr);
      if (client < 0) return;
      const int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      INFENCLAVE_CHECK(connect(server, reinterpret_cast<sockaddr*>(&server_), sizeof(server_)) == 0);
      sockets_.emplace_back(client);
      sockets_.emplace_back(server);
      pumps_.emplace_back([=, this] { Pump(client, server, "network, to the server"); });
      pumps_.emplace_back([=, this] { Pump(server, client, "network, from the server"); });
    }
  }
  void Pump(int from, int to, const std::string& where) {
    Bytes buffer(64 << 10);
    for (ssize_t n; (n = read(from, buffer.data(), buffer.size())) > 0;) {
      recording_->Add(where, ByteSpan(buffer).first(static_cast<size_t>(n)));
      for (ssize_t sent = 0; sent < n;) {
        const ssize_t m = send(to, buffer.data() + sent, static_cast<size_t>(n - sent), MSG_NOSIGNAL);
        if (m <= 0) return;
        sent += m;
      }
    }
    shutdown(to, SHUT_WR);
  }

  Recording* const recording_;
  sockaddr_in server_{};
  UniqueFd listener_;
  std::string address_;
  std::list<UniqueFd> sockets_;
  std::list<std::thread> pumps_;
  std::thread acceptor_;
};

class RecordingLink final : public EnclaveLink {
 public:
  RecordingLink(std::unique_ptr<EnclaveLink> link, Recording* recording)
      : link_(std::move(link)), recording_(recording) {}
  StatusOr<ByteSpan> Call(ByteSpan call, int lane) override {
    recording_->Add("calls to the enclave", call);
    StatusOr<ByteSpan> reply = link_->Call(call, lane);
    if (reply.ok()) recording_->Add("replies of the enclave", *reply);
    RecordSharedMemory();
    return reply;
  }
  bool alive() const override { return link_->alive(); }
  const std::string& start_line() const override { return link_->start_line(); }
  int lanes() const override { return link_->lanes(); }
  uint64_t max_call_bytes() const override { return link_->max_call_bytes(); }

 private:
  // Whatever lies in the pages that host and enclave share, beyond the bytes that a call says are its own.
  void RecordSharedMemory() {
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
      if (line.find("rw-s") == std::string::npos || line.find("/memfd:") == std::string::npos) continue;
      if (line.find("secretmem") != std::string::npos) continue;  // this process's own secrets: the client's
      uintptr_t begin = 0, end = 0;
      char dash = 0;
      std::istringstream fields(line);
      fields >> std::hex >> begin >> dash >> end;
      for (; begin < end; begin += kPage) {
        const ByteSpan page(reinterpret_cast<const uint8_t*>(begin), kPage);
        if (std::ranges::any_of(page, [](uint8_t byte) { return byte != 0; })) recording_->Add("shared memory", page);
      }
    }
  }

  static constexpr size_t kPage = 4096;
  const std::unique_ptr<EnclaveLink> link_;
  Recording* const recording_;
};

class RecordingBackNet final : public BackNet {
 public:
  RecordingBackNet(std::unique_ptr<BackNet> backnet, Recording* recording)
      : backnet_(std::move(backnet)), recording_(recording) {}
  Started Start(const Batch& batch, Done done) override {
    recording_->Add("input of the BackNet", batch.ir);
    Started started = backnet_->Start(batch, std::move(done));
    EXPECT_TRUE(started.finished.has_value());
    recording_->Add("output of the BackNet",
                    {reinterpret_cast<const uint8_t*>(batch.output.data()), batch.output.size_bytes()});
    return started;
  }

 private:
  const std::unique_ptr<BackNet> backnet_;
  Recording* const recording_;
};

// ---- what to look for ---------------------------------------------------------------------------------------------
// Every run of `size` bytes at multiples of `step` in which few bytes repeat, so that no run is found by chance.
std::vector<Bytes> Runs(ByteSpan secret, size_t size, size_t step) {
  std::vector<Bytes> out;
  for (size_t i = 0; i + size <= secret.size(); i += step) {
    Bytes run = ToBytes(secret.subspan(i, size));
    Bytes sorted = run;
    std::ranges::sort(sorted);
    if (std::ranges::unique(sorted).begin() - sorted.begin() >= static_cast<ptrdiff_t>(size / 2)) out.push_back(run);
  }
  return out;
}

std::vector<Bytes> FloatRuns(std::span<const float> values) {
  std::vector<Bytes> out = Runs({reinterpret_cast<const uint8_t*>(values.data()), values.size_bytes()}, 12, 4);
  ByteWriter big_endian;
  for (float value : values) big_endian.F32(value);
  std::ranges::copy(Runs(big_endian.bytes(), 12, 4), std::back_inserter(out));
  return out;
}

std::map<std::string, std::vector<Bytes>> Secrets(const TestBundle& bundle, const std::vector<Bytes>& pictures) {
  std::map<std::string, std::vector<Bytes>> secrets;
  for (const Bytes& rgb : pictures) {
    std::ranges::copy(Runs(rgb, 12, 3), std::back_inserter(secrets["pixels"]));
    std::vector<float> normal(rgb.size());
    Normalize(bundle.model.preprocessing, rgb, normal);
    std::ranges::copy(FloatRuns(normal), std::back_inserter(secrets["normalised pixels"]));
  }
  for (const std::string& label : bundle.mapping.labels) secrets["labels"].push_back(ToBytes(AsBytes(label)));
  ByteWriter order;
  for (uint32_t c : bundle.mapping.order) order.U32(c);
  secrets["class order"] = {order.bytes()};
  secrets["FrontNet key"] = {ToBytes(bundle.frontnet_key.span())};
  secrets["mapping key"] = {ToBytes(bundle.mapping_key.span())};
  secrets["FrontNet weights"] = FloatRuns(bundle.model.conv_weights);
  secrets["credential"] = Runs(EncodeCredential(bundle.MakeCredentialFor("alice")), 24, 8);
  return secrets;
}

class CaptureTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = bundle_.Write();
    Policy policy;
    policy.accept = {TeeKind::kSimulated};
    policy.owner = bundle_.owner.public_key();
    policy.simulated.measurements = {Sha256(ReadFile(INFENCLAVE_ENCLAVE, size_t{1} << 30).value())};
    Serve();
    proxy_ = std::make_unique<RecordingProxy>(server_->address(), &recording_);
    const BundleKeys keys{bundle_.manifest.bundle_id, bundle_.frontnet_key.Clone(), bundle_.mapping_key.Clone(),
                          bundle_.release.seed().Clone(), bundle_.manifest.model_version};
    const auto provisioned =
        ProvisionEnclave(ServerConnection(proxy_->address()), keys, {.policy = policy, .lease = 1000});
    ASSERT_TRUE(provisioned.ok()) << provisioned.status();
    Ask(policy);
    for (const auto& file : std::filesystem::directory_iterator(folder_)) {
      recording_.Add("file " + file.path().filename().string(), ReadFile(file.path(), 1 << 24).value());
    }
  }
  void TearDown() override {
    server_.reset();
    proxy_.reset();
    std::filesystem::remove_all(folder_);
  }

  void Serve() {
    auto link = EnclaveLink::Spawn({.executable = INFENCLAVE_ENCLAVE, .bundle_path = folder_, .enclave = {}});
    ASSERT_TRUE(link.ok()) << link.status();
    const Manifest& manifest = bundle_.manifest;
    const Bytes onnx = ExportOnnx(bundle_.model.BackNet(bundle_.mapping.order), {.anonymous = true}).value();
    const BackNetFactory builtin = BuiltinBackNet(onnx, BackNetShapeOf(manifest)).value();
    auto server = ConfidentialServer::Start(std::make_unique<RecordingLink>(*std::move(link), &recording_),
                                            bundle_.parts.manifest,
                                            [=, this]() -> StatusOr<std::unique_ptr<BackNet>> {
                                              return std::make_unique<RecordingBackNet>(builtin().value(), &recording_);
                                            },
                                            {.listen = "127.0.0.1:0", .model = {}});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  void Ask(const Policy& policy) {
    Client::Options options{.server = proxy_->address(), .policy = policy};
    options.credential = EncodeCredential(bundle_.MakeCredentialFor("alice"));
    options.seen_versions = folder_ + "/../" + std::filesystem::path(folder_).filename().string() + ".versions";
    auto client = Client::Connect(options);
    ASSERT_TRUE(client.ok()) << client.status();
    for (uint32_t seed = 0; seed < 8; ++seed) {
      pictures_.push_back(RandomPicture(seed));
      const auto answer = (*client)->Classify({TinyModel::kSide, TinyModel::kSide, pictures_.back()});
      ASSERT_TRUE(answer.ok()) << answer.status();
      EXPECT_EQ(answer->classes[0].label, bundle_.Expected(pictures_.back())[0].label);
    }
    std::filesystem::remove(options.seen_versions);
    std::filesystem::remove(options.seen_versions + ".lock");
  }

  TestBundle bundle_;
  std::string folder_;
  Recording recording_;
  std::vector<Bytes> pictures_;
  std::unique_ptr<ConfidentialServer> server_;
  std::unique_ptr<RecordingProxy> proxy_;
};

TEST_F(CaptureTest, EverythingThatCrossesTheHostWasRecorded) {
  for (const char* where : {"network, to the server", "network, from the server", "calls to the enclave",
                            "replies of the enclave", "shared memory", "input of the BackNet", "output of the BackNet",
                            "file frontnet.sealed", "file mapping.sealed"}) {
    EXPECT_GT(recording_.SizeOf(where), 100u) << where;
  }
  // What the host is meant to see, so that the search is known to work on what was recorded.
  EXPECT_NE(recording_.Find({ToBytes(AsBytes("sealed_request"))}), "");
  EXPECT_EQ(recording_.Find({ToBytes(bundle_.manifest.frontnet_digest)}), "file manifest");
}

#ifdef INFENCLAVE_UNSEALED
TEST_F(CaptureTest, WithoutSealingTheSearchFindsEverySecret) {
  for (const auto& [what, needles] : Secrets(bundle_, pictures_)) {
    if (what == "normalised pixels") continue;  // they exist in the enclave alone
    EXPECT_NE(recording_.Find(needles), "") << what;
  }
}
#else
TEST_F(CaptureTest, ShowsNoSecret) {
  for (const auto& [what, needles] : Secrets(bundle_, pictures_)) {
    EXPECT_FALSE(needles.empty()) << what;
    EXPECT_EQ(recording_.Find(needles), "") << what;
  }
}
#endif

}  // namespace
}  // namespace infenclave
