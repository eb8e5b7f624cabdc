// Every decoder of the protocol: what it accepts has one encoding, and nothing near it is taken for something else.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>

#include "protocol/calls.h"
#include "tests/protocol/samples.h"

namespace infenclave {
namespace {

using testing::HasSubstr;

// Decodes and encodes again.
using Again = std::function<StatusOr<Bytes>(ByteSpan)>;

template <typename Decode, typename Encode>
Again Through(Decode decode, Encode encode) {
  return [=](ByteSpan in) -> StatusOr<Bytes> {
    auto value = decode(in);
    if (!value.ok()) return value.status();
    return encode(*value);
  };
}

// A reply that may also be an error reply, which has one encoding as well.
template <typename Decode, typename Encode>
Again ReplyThrough(Decode decode, Encode encode) {
  return [=](ByteSpan in) -> StatusOr<Bytes> {
    auto value = decode(in);
    if (value.ok()) return encode(*value);
    if (!in.empty() && in[0] != 0 && EncodeErrorReply(value.status()) == ToBytes(in)) return ToBytes(in);
    return value.status();
  };
}

struct Case {
  std::string name;
  Bytes sample;
  Again again;
  bool open_end = false;  // ends with borrowed bytes of any length
};

std::vector<Case> Cases() {
  static const Bytes request(70, 0x5a), ir(64, 0x11);
  GetEvidenceReply evidence{Bytes(100, 1), Bytes(88, 2), Bytes(300, 3), Bytes(96, 4), true};
  SealedGrant grant{Filled<32>(1), Bytes(88, 2), Filled<32>(3), Filled<64>(4)};
  BeginReply begin;
  begin.items.resize(3);
  begin.items[0].id = 77;
  begin.items[1].status = FailedPrecondition("sealed to another key");
  begin.items[2].sealed_refusal = Bytes(50, 9);
  begin.ir = ir;
  FinishReply finish;
  finish.items.resize(2);
  finish.items[0].answer = Bytes(120, 7);
  finish.items[1].status = NotFound("request 5 is not pending");
  auto encode = [](const auto& v) { return EncodeCall(v); };
  auto encode_reply = [](const auto& v) { return EncodeReply(v); };
  auto mapping = [](const ClassMapping& m) { return ToBytes(EncodeClassMapping(m).span()); };
  const ClassMapping classes{{2, 0, 1}, {"tench", "goldfinch", "hammerhead, hammerhead shark"}};
  Credential credential{"alice", 2, 40, Filled<64>(9)};
  Manifest manifest = SampleManifest();
  Manifest tail = manifest;
  tail.tail_layers = 2;
  tail.backnet_output_shape = {1280, 1, 1};
  KeyConfig key_config;
  key_config.key_id = Filled<8>(3);
  key_config.public_key = Filled<32>(4);
  return {
      {"manifest", EncodeManifest(manifest), Through(DecodeManifest, EncodeManifest)},
      {"manifest with a tail", EncodeManifest(tail), Through(DecodeManifest, EncodeManifest)},
      {"manifest signature", EncodeManifestSignature({Filled<32>(1), Filled<64>(2)}),
       Through(DecodeManifestSignature, EncodeManifestSignature)},
      {"class mapping", mapping(classes), Through(DecodeClassMapping, mapping)},
      {"key configuration", EncodeKeyConfig(key_config), Through(DecodeKeyConfig, EncodeKeyConfig)},
      {"evidence", EncodeEvidenceEnvelope({TeeKind::kTdx, Bytes(200, 1), Bytes(30, 2)}),
       Through(DecodeEvidenceEnvelope, EncodeEvidenceEnvelope)},
      {"credential", EncodeCredential(credential), Through(DecodeCredential, EncodeCredential)},
      {"grant", EncodeSealedGrant(grant), Through(DecodeSealedGrant, EncodeSealedGrant)},
      {"GetEvidence call", EncodeCall(GetEvidenceCall{Filled<32>(5)}), Through(DecodeGetEvidenceCall, encode)},
      {"GetEvidence call without nonce", EncodeCall(GetEvidenceCall{}), Through(DecodeGetEvidenceCall, encode)},
      {"GetEvidence reply", EncodeReply(evidence), ReplyThrough(DecodeGetEvidenceReply, encode_reply)},
      {"Provision call", EncodeCall(ProvisionCall{Filled<8>(1), grant}), Through(DecodeProvisionCall, encode)},
      {"Begin call", EncodeCall(BeginCall{{request, request}}), Through(DecodeBeginCall, encode)},
      {"Begin reply", EncodeReply(begin), ReplyThrough(DecodeBeginReply, encode_reply), true},
      {"Finish call", EncodeCall(FinishCall{{4, 5, 6}, ir}), Through(DecodeFinishCall, encode), true},
      {"Finish reply", EncodeReply(finish), ReplyThrough(DecodeFinishReply, encode_reply)},
      {"error reply", EncodeErrorReply(Unavailable("no keys yet")), ReplyThrough(DecodeFinishReply, encode_reply)},
  };
}

TEST(Codec, RoundTrips) {
  for (const Case& c : Cases()) {
    const auto again = c.again(c.sample);
    ASSERT_TRUE(again.ok()) << c.name << ": " << again.status();
    EXPECT_EQ(*again, c.sample) << c.name;
  }
}

TEST(Codec, EveryTruncationIsRefused) {
  for (const Case& c : Cases()) {
    for (size_t n = 0; n < c.sample.size(); ++n) {
      const auto again = c.again(ByteSpan(c.sample).first(n));
      if (c.open_end && again.ok()) {
        EXPECT_EQ(*again, ToBytes(ByteSpan(c.sample).first(n))) << c.name << " cut to " << n;
      } else {
        EXPECT_FALSE(again.ok()) << c.name << " cut to " << n;
      }
    }
  }
}

TEST(Codec, TrailingBytesAreRefused) {
  for (const Case& c : Cases()) {
    if (c.open_end) continue;
    Bytes longer = c.sample;
    longer.push_back(0);
    EXPECT_FALSE(c.again(longer).ok()) << c.name;
  }
}

// All 255 other values of every byte: refused, or something else with that encoding and no other.
TEST(Codec, EveryMutatedByteIsRefusedOrHasThatOneEncoding) {
  for (const Case& c : Cases()) {
    Bytes mutant = c.sample;
    size_t accepted = 0, refused = 0;
    for (size_t i = 0; i < mutant.size(); ++i) {
      for (int v = 1; v < 256; ++v) {
        mutant[i] = c.sample[i] ^ static_cast<uint8_t>(v);
        const auto again = c.again(mutant);
        if (again.ok()) {
          ASSERT_EQ(*again, mutant) << c.name << ", byte " << i;
        }
        ++(again.ok() ? accepted : refused);
      }
      mutant[i] = c.sample[i];
    }
    EXPECT_GT(accepted + refused, 0u);
    EXPECT_TRUE(refused > 0 || c.name == "manifest signature") << c.name;
  }
}

// ---- limits, each with its message ----------------------------------------------------------------------------------

struct Bad {
  std::string message;
  std::function<void(Manifest&)> change;
};

TEST(Manifest, SaysWhatCrossesTheCut) {
  struct Sent {
    IrPrecision precision;
    Shape ir;
    DType dtype;
    Shape shape;
    size_t bytes;
  } cases[] = {{IrPrecision::kF32, {24, 5, 5}, DType::kF32, {24, 5, 5}, 2400},
               {IrPrecision::kBf16, {24, 5, 5}, DType::kBf16, {24, 5, 5}, 1200},
               {IrPrecision::kInt8, {24, 5, 5}, DType::kU8, {24, 5, 5}, 600},
               {IrPrecision::kInt4, {24, 5, 5}, DType::kU8, {12, 5, 5}, 300},
               {IrPrecision::kInt4, {3, 5, 5}, DType::kU8, {2, 5, 5}, 50}};
  for (const Sent& c : cases) {
    SCOPED_TRACE(NameOf(c.precision));
    Manifest m = SampleManifest();
    m.ir_shape = c.ir;
    m.ir_precision = c.precision;
    m.ir_step = LargestCode(c.precision) > 0 ? 0.25f : 0;
    const StatusOr<Manifest> again = DecodeManifest(EncodeManifest(m));
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(again->ir_precision, c.precision);
    EXPECT_EQ(again->ir_step, m.ir_step);
    const IrWire wire = IrWireOf(*again);
    EXPECT_EQ(wire.dtype, c.dtype);
    EXPECT_EQ(wire.shape, c.shape);
    EXPECT_EQ(wire.bytes(), c.bytes);
    EXPECT_EQ(ParseIrPrecision(NameOf(c.precision)).value(), c.precision);
  }
  EXPECT_FALSE(ParseIrPrecision("int3").ok());
}

TEST(Manifest, EveryLimitIsSaid) {
  const Bad kBad[] = {
      {"format version 2 is not known here", [](Manifest& m) { m.format_version = 2; }},
      {"model name must be", [](Manifest& m) { m.model_name = ""; }},
      {"model name must be", [](Manifest& m) { m.model_name = "../etc"; }},
      {"model name must be", [](Manifest& m) { m.model_name = ".hidden"; }},
      {"model name must be", [](Manifest& m) { m.model_name = "two words"; }},
      {"exceeds the limit of 64", [](Manifest& m) { m.model_name = std::string(65, 'a'); }},
      {"IR shape [] is empty", [](Manifest& m) { m.ir_shape = {}; }},
      {"IR shape [24,0,56]",
       [](Manifest& m) {
         m.ir_shape = {24, 0, 56};
       }},
      {"IR shape [24,-1,56]",
       [](Manifest& m) {
         m.ir_shape = {24, -1, 56};
       }},
      {"over 64 MiB",
       [](Manifest& m) {
         m.ir_shape = {4096, 4097};
       }},
      {"over 64 MiB",
       [](Manifest& m) {
         m.ir_shape = {INT64_MAX, INT64_MAX};
       }},
      {"count 7 exceeds the limit of 6", [](Manifest& m) { m.ir_shape = Shape(7, 1); }},
      {"IR type is 2, expected f32, bf16, int8 or int4",
       [](Manifest& m) { m.ir_precision = static_cast<IrPrecision>(2); }},
      {"IR step is 0, expected", [](Manifest& m) { m.ir_precision = IrPrecision::kInt8; }},
      {"IR step is nan, expected", [](Manifest& m) { m.ir_precision = IrPrecision::kInt8, m.ir_step = NAN; }},
      {"IR shape [1000] has codes and is not that of maps",
       [](Manifest& m) { m.ir_precision = IrPrecision::kInt4, m.ir_step = 0.5f, m.ir_shape = {1000}; }},
      {"IR noise is -1", [](Manifest& m) { m.ir_noise = -1; }},
      {"IR noise is inf", [](Manifest& m) { m.ir_noise = INFINITY; }},
      {"IR noise is nan", [](Manifest& m) { m.ir_noise = NAN; }},
      {"number of tail layers", [](Manifest& m) { m.tail_layers = 1 << 20; }},
      {"number of classes is 0", [](Manifest& m) { m.classes = 0; }},
      {"is not that of 999 class scores", [](Manifest& m) { m.classes = 999; }},
      {"number of classes in an answer is 1001, expected 1 to 1000", [](Manifest& m) { m.answer_classes = 1001; }},
      {"number of classes in an answer is 3, expected 1 to 2",
       [](Manifest& m) { m.classes = 2, m.backnet_output_shape = {2}; }},
      {"padded length of labels is 1025", [](Manifest& m) { m.label_bytes = 1025; }},
      {"width is 0, expected 1 to 4096", [](Manifest& m) { m.preprocessing.width = 0; }},
      {"height is 4097", [](Manifest& m) { m.preprocessing.height = 4097; }},
      {"crop padding is 5000, expected 0", [](Manifest& m) { m.preprocessing.crop_padding = 5000; }},
      {"short side is 0", [](Manifest& m) { m.preprocessing.short_side = 0; }},
      {"resize mode is 3", [](Manifest& m) { m.preprocessing.resize = static_cast<Preprocessing::Resize>(3); }},
      {"resize filter is 2", [](Manifest& m) { m.preprocessing.filter = static_cast<Preprocessing::Filter>(2); }},
      {"channel order is 2", [](Manifest& m) { m.preprocessing.channels = static_cast<Preprocessing::Channels>(2); }},
      {"mean is not finite", [](Manifest& m) { m.preprocessing.mean[1] = NAN; }},
      {"scale is not finite", [](Manifest& m) { m.preprocessing.scale[2] = -INFINITY; }},
      {"TEE class is 3", [](Manifest& m) { m.tee_class = static_cast<TeeClass>(3); }},
      {"audit rate is 1000001", [](Manifest& m) { m.audit_per_million = 1000001; }},
      {"audit tolerance is -0", [](Manifest& m) { m.audit_tolerance = -0.0f; }},
      {"safe without an assessment", [](Manifest& m) { m.verdict.assessed = false, m.verdict.safe = true; }},
      {"exceeds the limit of 4096", [](Manifest& m) { m.verdict.summary = std::string(4097, 'x'); }},
      {"count 65 exceeds the limit of 64", [](Manifest& m) { m.release_keys.resize(65); }},
  };
  ASSERT_TRUE(DecodeManifest(EncodeManifest(SampleManifest())).ok());
  for (const Bad& bad : kBad) {
    Manifest m = SampleManifest();
    bad.change(m);
    const Status status = DecodeManifest(EncodeManifest(m)).status();
    EXPECT_THAT(MessageOf(status), HasSubstr(bad.message));
  }
  EXPECT_THAT(MessageOf(DecodeManifest(Bytes(kMaxManifestBytes + 1)).status()), HasSubstr("at most 65536"));
}

TEST(Manifest, TeeKindsByName) {
  for (TeeKind kind : {TeeKind::kSimulated, TeeKind::kSgx, TeeKind::kTdx, TeeKind::kSevSnp}) {
    EXPECT_EQ(*ParseTeeKind(NameOf(kind)), kind);
    EXPECT_EQ(ClassOf(kind) == TeeClass::kSimulated, NameOf(kind) == "simulated");
  }
  EXPECT_EQ(MessageOf(ParseTeeKind("SGX").status()), "'SGX' is no TEE; expected sgx, tdx, sev-snp or simulated");
}

TEST(ClassMapping, OnlyPermutations) {
  auto decode = [](const ClassMapping& m) { return DecodeClassMapping(EncodeClassMapping(m).span()).status(); };
  EXPECT_TRUE(decode({{1, 0}, {"a", ""}}).ok());
  EXPECT_THAT(MessageOf(decode({{0, 0}, {"a", "b"}})), HasSubstr("no permutation"));
  EXPECT_THAT(MessageOf(decode({{0, 2}, {"a", "b"}})), HasSubstr("no permutation"));
  EXPECT_THAT(MessageOf(decode({{0, UINT32_MAX}, {"a", "b"}})), HasSubstr("no permutation"));
  for (uint32_t seed = 0; seed < 100; ++seed) {
    ClassMapping mapping;
    for (uint32_t i = 0; i < 50; ++i) mapping.order.push_back(i);
    std::shuffle(mapping.order.begin(), mapping.order.end(), std::mt19937(seed));
    mapping.labels.resize(50);
    EXPECT_TRUE(decode(mapping).ok());
    // Two wrong ones whose sum is right.
    uint32_t &a = mapping.order[seed % 50], &b = mapping.order[(seed + 7) % 50];
    if (a + 1 == b) std::swap(a, b);  // else they would only change places
    ++a;
    --b;
    EXPECT_THAT(MessageOf(decode(mapping)), HasSubstr("no permutation"));
  }
  EXPECT_THAT(MessageOf(decode({{}, {}})), HasSubstr("no classes"));
  EXPECT_THAT(MessageOf(decode({{0}, {std::string(1025, 'x')}})), HasSubstr("length of labels is 1025"));
}

TEST(ClassMapping, LabelsArePaddedSoThatOnlyTheLongestShows) {
  const SecretBytes one = EncodeClassMapping({{1, 0}, {"a", "four"}}),
                    other = EncodeClassMapping({{1, 0}, {"abc", "four"}});
  EXPECT_EQ(one.size(), other.size());
  EXPECT_EQ(DecodeClassMapping(one.span())->labels, (std::vector<std::string>{std::string("a\0\0\0", 4), "four"}));
}

TEST(KeyConfig, OtherVersionsAndSuitesAreUnimplemented) {
  for (auto change : {+[](KeyConfig& c) { c.protocol_version = 2; }, +[](KeyConfig& c) { c.kem = 0x10; },
                      +[](KeyConfig& c) { c.kdf = 3; }, +[](KeyConfig& c) { c.aead = 1; }}) {
    KeyConfig config;
    change(config);
    EXPECT_EQ(DecodeKeyConfig(EncodeKeyConfig(config)).status().code(), StatusCode::kUnimplemented);
  }
}

TEST(ReportData, DependsOnEveryFieldAndTheNonce) {
  const KeyConfig config;
  std::vector<ReportData> all = {ReportDataFor(config, std::nullopt), ReportDataFor(config, Nonce{}),
                                 ReportDataFor(config, Filled<32>(1))};
  for (auto change : {+[](KeyConfig& c) { c.key_id[0] = 1; }, +[](KeyConfig& c) { c.public_key[31] = 1; },
                      +[](KeyConfig& c) { c.manifest_digest[5] = 1; }, +[](KeyConfig& c) { c.aead = 3; }}) {
    KeyConfig changed;
    change(changed);
    EXPECT_NE(DigestOf(changed), DigestOf(config));
    all.push_back(ReportDataFor(changed, std::nullopt));
  }
  std::sort(all.begin(), all.end());
  EXPECT_EQ(std::unique(all.begin(), all.end()), all.end());
}

// Computed with Python: hashlib.sha512(b"infenclave report data v1" + (92).to_bytes(4, "big") + config + b"\0"), where
// config is 0001 0020 0001 0002 and the three blocks of zeros, each with its length.
TEST(ReportData, IsWhatTheDesignSays) {
  KeyConfig config;
  EXPECT_EQ(HexEncode(EncodeKeyConfig(config)).substr(0, 16 + 8 + 16), "0001002000010002000000080000000000000000");
  EXPECT_EQ(EncodeKeyConfig(config).size(), 92u);
  EXPECT_EQ(HexEncode(ReportDataFor(config, std::nullopt)),
            "2b57e2616c692c74bcabf01062e0c2dce2d395e7cb99b17d9a21d60eff54bfca"
            "8da6b20189d94ba82851c3c750db24c24bba648fb78ccca7b4f9defdec86d947");
}

TEST(Calls, TypesAndErrors) {
  EXPECT_EQ(*PeekCallType(EncodeCall(GetEvidenceCall{})), CallType::kGetEvidence);
  EXPECT_EQ(*PeekCallType(EncodeCall(BeginCall{{Bytes(1)}})), CallType::kBegin);
  EXPECT_EQ(MessageOf(PeekCallType({}).status()), "empty call");
  EXPECT_EQ(MessageOf(PeekCallType(Bytes{5}).status()), "call type 5 is not known");
  EXPECT_EQ(DecodeProvisionReply(EncodeErrorReply(Unavailable("dead"))), Unavailable("dead"));
  EXPECT_TRUE(DecodeProvisionReply(EncodeProvisionReply()).ok());
  EXPECT_EQ(DecodeBeginCall(EncodeCall(GetEvidenceCall{})).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(DecodeBeginCall(EncodeCall(BeginCall{})).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(DecodeBeginCall(EncodeCall(BeginCall{std::vector<ByteSpan>(257)})).status().code(),
            StatusCode::kInvalidArgument);
  const Status longest = DecodeProvisionReply(EncodeErrorReply(Internal(std::string(5000, 'x'))));
  EXPECT_EQ(MessageOf(longest).size(), kMaxStatusMessageBytes);
}

// A reply that claims 256 items or gigabytes, and holds none, costs nothing.
TEST(Calls, CountsAndLengthsAreCheckedBeforeAllocation) {
  const std::string ok(10, '0'), up_to_ir(2 * kIrOffset - 10, '0');
  for (std::string_view items : {"000001ff", "000000010002ffffffff", "000000010000"}) {
    EXPECT_FALSE(DecodeBeginReply(*HexDecode(Concat(ok, up_to_ir, items))).ok());
    EXPECT_FALSE(DecodeFinishReply(*HexDecode(Concat(ok, items))).ok());
  }
  EXPECT_FALSE(DecodeBeginReply(*HexDecode(Concat(ok, "ffffffff", up_to_ir))).ok()) << "4 GiB of IR";
}

TEST(Calls, TheIrHasAFixedPlaceInAReply) {
  const Bytes ir(40, 0x11);
  Bytes reply = BeginReplyWithRoom(3 * ir.size());  // of three requests, of which one is accepted
  std::copy(ir.begin(), ir.end(), reply.begin() + kIrOffset);
  BeginReply begin{std::vector<BeginReply::Item>(1), ByteSpan(reply).subspan(kIrOffset, ir.size())};
  EXPECT_EQ(EncodeReply({begin.items, ir}), CompleteReply(reply, begin));
  reply = CompleteReply(std::move(reply), begin);
  EXPECT_EQ(DecodeBeginReply(reply)->ir.data(), reply.data() + kIrOffset);
  reply[kIrOffset - 1] = 1;
  EXPECT_EQ(MessageOf(DecodeBeginReply(reply).status()), "Begin reply: padding is not zero at byte 64");
}

TEST(Calls, APictureIsWrittenToWhereItGoes) {
  const Bytes picture(300, 7), other(5, 8);
  const BeginCall call{{picture, other}};
  Bytes out(BytesOf(call));
  EncodeCallInto(call, out);
  EXPECT_EQ(out, EncodeCall(call));
  EXPECT_EQ(DecodeBeginCall(out)->requests[1].size(), other.size());
}

}  // namespace
}  // namespace infenclave
