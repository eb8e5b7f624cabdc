// Collateral from services, which a local server plays with the hardware-made vectors of INFENCLAVE_SHARED_DIR,
// honestly and not.
#include "attestation/collateral/collateral_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "attestation/claims.h"
#include "base/file.h"

namespace infenclave {
namespace {

using testing::HasSubstr;

const std::string kVectors = INFENCLAVE_SHARED_DIR "/vectors/attestation/";
constexpr int64_t kDay = 86400;

Bytes Read(const std::string& file) { return *ReadFile(kVectors + file, 1 << 20); }

std::string PercentEncode(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (std::isalnum(static_cast<unsigned char>(c))) {
      out += c;
    } else {
      out += Concat("%", HexEncode(AsBytes({&c, 1})));
    }
  }
  return out;
}

class Services : public testing::Test {
 protected:
  void SetUp() override {
    if (!ReadFile(kVectors + "index.json", 1 << 20).ok()) {
      GTEST_SKIP() << "SKIPPED: no " << kVectors << ": no collateral was fetched";
    }
    std::string pattern = testing::TempDir() + "/collateral-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    cache_ = pattern;
    quote_ = Read("tdx-v4-a.quote.bin");
    text_ = *ParseIntelCollateral(AsText(Read("tdx-v4-a.collateral.json")));
    at_ = *ParseTime("2025-07-04T10:24:15Z");
    Route();
    Start();
  }
  void TearDown() override {
    Stop();
    if (!cache_.empty()) std::filesystem::remove_all(cache_);
  }
  void Route() {
    server_ = std::make_unique<httplib::Server>();
    // As Intel's service: what is signed in its own bytes, issuer chains percent-encoded in headers.
    server_->Get("/tdx/certification/v4/tcb", [this](const httplib::Request& q, httplib::Response& r) {
      ++asked_;
      if (q.get_param_value("fmspc") != "b0c06f000000") return void(r.status = 404);
      r.set_header("TCB-Info-Issuer-Chain", PercentEncode(text_.tcb_info_issuer_chain));
      r.set_content(Concat("{\"tcbInfo\":", text_.tcb_info, ",\"signature\":\"", text_.tcb_info_signature, "\"}"),
                    "application/json");
    });
    server_->Get("/tdx/certification/v4/qe/identity", [this](const httplib::Request&, httplib::Response& r) {
      ++asked_;
      r.set_header("SGX-Enclave-Identity-Issuer-Chain", PercentEncode(text_.qe_identity_issuer_chain));
      r.set_content(
          Concat("{\"enclaveIdentity\":", text_.qe_identity, ",\"signature\":\"", text_.qe_identity_signature, "\"}"),
          "application/json");
    });
    server_->Get("/sgx/certification/v4/pckcrl", [this](const httplib::Request& q, httplib::Response& r) {
      ++asked_;
      if (q.get_param_value("ca") != "platform") return void(r.status = 404);
      r.set_header("SGX-PCK-CRL-Issuer-Chain", PercentEncode(text_.pck_crl_issuer_chain));
      const Bytes der = *HexDecode(text_.pck_crl);
      r.set_content(std::string(AsText(der)), "application/pkix-crl");
    });
    server_->Get("/sgx/certification/v4/rootcacrl", [this](const httplib::Request&, httplib::Response& r) {
      ++asked_;
      r.set_content(text_.root_ca_crl, "text/plain");  // hexadecimal, as a PCCS answers
    });
    server_->Get(R"(/vcek/v1/.*)", [this](const httplib::Request& q, httplib::Response& r) {
      ++asked_;
      last_ = q.target;
      if (!q.path.starts_with("/vcek/v1/Milan/")) return void(r.status = 404);
      r.set_content(std::string(AsText(Read("snp-vcek-milan.vek.der"))), "application/octet-stream");
    });
    server_->Get("/endless", [](const httplib::Request&, httplib::Response& r) {
      r.set_chunked_content_provider("text/plain", [](size_t, httplib::DataSink& sink) {
        const std::string block(1 << 16, 'x');
        return sink.write(block.data(), block.size());
      });
    });
    server_->Get("/slow", [](const httplib::Request&, httplib::Response& r) {
      std::this_thread::sleep_for(std::chrono::milliseconds(400));
      r.set_content("late", "text/plain");
    });
    server_->Get("/chunks", [](const httplib::Request&, httplib::Response& r) {
      r.set_chunked_content_provider("text/plain", [n = 0](size_t, httplib::DataSink& sink) mutable {
        if (n++ < 3)
          sink.write("abc", 3);
        else
          sink.done();
        return true;
      });
    });
  }
  void Start() {
    if (port_ == 0) {
      port_ = server_->bind_to_any_port("127.0.0.1");
    } else {
      ASSERT_TRUE(server_->bind_to_port("127.0.0.1", port_));
    }
    thread_ = std::thread([this] { server_->listen_after_bind(); });
    while (!server_->is_running()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  void Stop() {
    if (server_ != nullptr) server_->stop();
    if (thread_.joinable()) thread_.join();
  }
  std::string Url(const std::string& path = "") const { return Concat("http://127.0.0.1:", port_, path); }
  CollateralSource Source() const { return CollateralSource({.where = Url("/"), .cache = cache_}); }
  std::string TdxStatus(CollateralSource& source, int64_t at) {
    const auto collateral = source.For(TeeKind::kTdx, quote_, at);
    if (!collateral.ok()) return MessageOf(collateral.status());
    const auto claims = VerifyEvidence(TeeKind::kTdx, quote_, *collateral, at);
    return claims.ok() ? claims->tcb_status : MessageOf(claims.status());
  }

  std::string cache_, last_;
  Bytes quote_;
  IntelCollateralText text_;
  int64_t at_ = 0;
  std::unique_ptr<httplib::Server> server_;
  std::thread thread_;
  int port_ = 0;
  std::atomic<int> asked_ = 0;
};

TEST_F(Services, IntelsAreAskedOnceADayAndMayBeDownInBetween) {
  CollateralSource source = Source();
  EXPECT_EQ(TdxStatus(source, at_), "UpToDate");
  EXPECT_EQ(asked_, 4);
  EXPECT_EQ(TdxStatus(source, at_ + kDay - 1), "UpToDate");
  CollateralSource another = Source();  // another process, say
  EXPECT_EQ(TdxStatus(another, at_ + kDay - 1), "UpToDate");
  EXPECT_EQ(asked_, 4) << "kept on disk";
  EXPECT_EQ(TdxStatus(source, at_ + kDay), "UpToDate");
  EXPECT_EQ(asked_, 8) << "asked again, two weeks before it expires";
  Stop();
  EXPECT_EQ(TdxStatus(source, at_ + 5 * kDay), "UpToDate") << "the service is down, and what is kept is valid";
  const int64_t late = *ParseTime("2025-07-20T00:00:00Z");
  EXPECT_THAT(TdxStatus(source, late), HasSubstr("collateral: " + Url("/tdx/certification/v4/tcb?fmspc=b0c06f000000")));
  CollateralSource other({.where = Url(), .cache = cache_ + "/elsewhere"});
  EXPECT_EQ(other.For(TeeKind::kTdx, quote_, at_).status().code(), StatusCode::kUnavailable);
  Route();
  Start();
  EXPECT_EQ(TdxStatus(other, at_), "UpToDate");
}

TEST_F(Services, WhatCannotBeKeptIsAskedForAgain) {
  std::ofstream(cache_ + "/file") << "where the folder should be";
  CollateralSource source({.where = Url("/"), .cache = cache_ + "/file"});
  EXPECT_EQ(TdxStatus(source, at_), "UpToDate");
  EXPECT_EQ(TdxStatus(source, at_), "UpToDate");
  EXPECT_EQ(asked_, 8);
}

TEST_F(Services, ADownServiceIsLeftAloneForAWhile) {
  CollateralSource source = Source();
  EXPECT_EQ(TdxStatus(source, at_), "UpToDate");
  const std::string honest = text_.tcb_info_signature;
  text_.tcb_info_signature = "00";
  EXPECT_EQ(TdxStatus(source, at_ + kDay), "UpToDate");
  const int asked = asked_;
  EXPECT_EQ(TdxStatus(source, at_ + kDay + 30), "UpToDate");
  EXPECT_EQ(asked_, asked);
  text_.tcb_info_signature = honest;
  EXPECT_EQ(TdxStatus(source, at_ + kDay + 61), "UpToDate");
  EXPECT_EQ(asked_, asked + 4);
}

TEST_F(Services, WhatIsNotIntelsIsNeitherUsedNorKept) {
  const IntelCollateralText honest = text_;
  const IntelCollateralText sgx = *ParseIntelCollateral(AsText(Read("sgx-v3.collateral.json")));
  struct Bad {
    std::function<void()> change;
    std::string message;
  };
  const Bad bad[] = {
      {[&] { text_.tcb_info[20] ^= 1; }, "TCB info: its signature is not that of 'Intel SGX TCB Signing'"},
      {[&] { text_.tcb_info = sgx.tcb_info, text_.tcb_info_signature = sgx.tcb_info_signature; },
       "TCB info: for SGX on FMSPC 00a067110000, asked for TDX on b0c06f000000"},
      {[&] { text_.qe_identity_issuer_chain = ""; }, "QE identity: certificate chain: no PEM certificate in it"},
      {[&] { text_.pck_crl = sgx.pck_crl; }, "PCK CRL: issued by 'Intel SGX PCK Processor CA'"},
      {[&] { text_.root_ca_crl = "<html>"; }, "root CRL: revocation list: not one"},
      {[&] { text_.tcb_info_signature = "\"}{"; }, "TCB info: its signature"},
  };
  for (const Bad& b : bad) {
    text_ = honest;
    b.change();
    CollateralSource source = Source();
    EXPECT_THAT(TdxStatus(source, at_), HasSubstr(b.message));
    EXPECT_TRUE(std::filesystem::is_empty(cache_));
  }
  text_ = honest;
  CollateralSource source = Source();
  EXPECT_THAT(TdxStatus(source, at_ + 300 * kDay), HasSubstr("expired")) << "an old answer";
  EXPECT_THAT(TdxStatus(source, at_ - 300 * kDay), HasSubstr("and it is 2024"));
  EXPECT_EQ(TdxStatus(source, at_), "UpToDate");
  // A kept file that somebody altered is asked for again.
  for (const auto& file : std::filesystem::directory_iterator(cache_)) {
    Bytes bytes = *ReadFile(file.path().string(), 1 << 20);
    bytes[bytes.size() / 2] ^= 1;
    ASSERT_TRUE(WriteFileAtomic(file.path().string(), bytes).ok());
  }
  const int asked = asked_;
  EXPECT_EQ(TdxStatus(source, at_), "UpToDate");
  EXPECT_EQ(asked_, asked + 4);
}

TEST_F(Services, AmdsGiveACertificateOnce) {
  const Bytes report = Read("snp-vcek-milan.report.bin");
  const int64_t at = *ParseTime("2025-02-19T00:00:00Z");
  CollateralSource source = Source();
  for (int64_t now : {at, at + 100 * kDay}) {
    const auto vek = source.For(TeeKind::kSevSnp, report, now);
    ASSERT_TRUE(vek.ok()) << vek.status();
    EXPECT_TRUE(VerifyEvidence(TeeKind::kSevSnp, report, *vek, now).ok());
  }
  EXPECT_EQ(asked_, 1);
  const SnpReport decoded = *DecodeSnpReport(report);
  const SnpTcb tcb = DecodeTcb(decoded.reported_tcb, false);
  auto two = [](int n) { return Concat(n < 10 ? "0" : "", n); };
  EXPECT_EQ(last_, Concat("/vcek/v1/Milan/", HexEncode(decoded.chip_id), "?blSPL=", two(tcb.boot_loader),
                          "&teeSPL=", two(tcb.tee), "&snpSPL=", two(tcb.snp), "&ucodeSPL=", two(tcb.microcode)));
  Bytes hidden = report;
  std::fill_n(hidden.begin() + 0x1a0, 64, 0);
  EXPECT_THAT(MessageOf(source.For(TeeKind::kSevSnp, hidden, at).status()), HasSubstr("hides the chip's id"));
  EXPECT_THAT(MessageOf(source.For(TeeKind::kSevSnp, Read("snp-vlek.report.bin"), at).status()),
              HasSubstr("a VLEK's certificate comes from the cloud provider alone"));
  // Another chip's certificate is no answer.
  Bytes other = report;
  other[0x1a0] ^= 1;
  EXPECT_EQ(source.For(TeeKind::kSevSnp, other, at).status().code(), StatusCode::kPermissionDenied);
}

TEST_F(Services, AFileIsTakenAsItIs) {
  CollateralSource source({.where = kVectors + "tdx-v4-a.collateral.json", .cache = cache_});
  EXPECT_EQ(TdxStatus(source, at_), "UpToDate");
  EXPECT_EQ(asked_, 0);
  CollateralSource missing({.where = "/nonexistent", .cache = cache_});
  EXPECT_EQ(missing.For(TeeKind::kTdx, quote_, at_).status().code(), StatusCode::kNotFound);
  EXPECT_TRUE(missing.For(TeeKind::kSimulated, {}, at_)->empty());
}

TEST_F(Services, AnswersAreBounded) {
  using std::chrono::milliseconds;
  EXPECT_EQ(HttpGet(Url("/chunks"), milliseconds(5000))->body, "abcabcabc");
  EXPECT_EQ(HttpGet(Url("/nothing"), milliseconds(5000))->status, 404);
  EXPECT_EQ(HttpGet(Url("/endless"), milliseconds(20000)).status().code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(HttpGet(Url("/slow"), milliseconds(100)).status().code(), StatusCode::kDeadlineExceeded);
  Stop();
  EXPECT_EQ(HttpGet(Url("/chunks"), milliseconds(2000)).status().code(), StatusCode::kUnavailable);
}

TEST(Http, Urls) {
  const auto url = ParseUrl("https://api.example:8443/a/b?c=d");
  ASSERT_TRUE(url.ok()) << url.status();
  EXPECT_TRUE(url->tls);
  EXPECT_EQ(Concat(url->host, "|", url->port, "|", url->path), "api.example|8443|/a/b?c=d");
  EXPECT_EQ(ParseUrl("http://h")->path, "/");
  EXPECT_EQ(ParseUrl("http://h")->port, "80");
  EXPECT_EQ(ParseUrl("https://h/")->port, "443");
  EXPECT_EQ(Concat(ParseUrl("http://[::1]:80/x")->host, " ", ParseUrl("http://[::1]/x")->port), "::1 80");
  for (const char* bad : {"", "h", "ftp://h", "http://", "http://:80", "http://h:0", "http://h:x", "http://h:70000",
                          "http://h/a b", "http://h/\r\nHost: x", "http://u@h", "file:///etc/passwd"}) {
    EXPECT_FALSE(ParseUrl(bad).ok()) << bad;
  }
}

TEST(Http, Replies) {
  const auto reply = ParseHttpReply("HTTP/1.1 200 OK\r\nX-Name:  value \r\ncontent-length: 3\r\n\r\nabcd");
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->status, 200);
  EXPECT_EQ(reply->headers.at("x-name"), "value");
  EXPECT_EQ(reply->body, "abc");
  EXPECT_EQ(ParseHttpReply("HTTP/1.0 404 \r\n\r\nrest")->body, "rest");
  EXPECT_EQ(ParseHttpReply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n0\r\n\r\n")->body,
            "ab");
  for (const char* bad :
       {"", "HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabc", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nab\r\n0\r\n"}) {
    EXPECT_EQ(ParseHttpReply(bad).status().code(), StatusCode::kInvalidArgument) << bad;
  }
}

}  // namespace
}  // namespace infenclave
