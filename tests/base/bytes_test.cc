#include "base/bytes.h"

#include <gtest/gtest.h>

namespace infenclave {
namespace {

TEST(Bytes, HexRoundTripsAndRefusesWhatIsNotHex) {
  Bytes bytes = {0x00, 0x7f, 0xff};
  EXPECT_EQ(HexEncode(bytes), "007fff");
  EXPECT_EQ(*HexDecode("007FfF"), bytes);
  EXPECT_FALSE(HexDecode("0").ok());
  EXPECT_FALSE(HexDecode("0g").ok());
}

TEST(ByteReader, ReadsWhatByteWriterWrote) {
  ByteWriter w;
  w.U8(1);
  w.U16(0x0203);
  w.U32(0x04050607);
  w.U64(0x08090a0b0c0d0e0f);
  w.F32(1.5f);
  w.Bool(true);
  w.Text("hello");
  EXPECT_EQ(HexEncode(ByteSpan(w.bytes()).first(7)), "01020304050607");
  ByteReader r(w.bytes(), "test");
  EXPECT_EQ(r.U8(), 1);
  EXPECT_EQ(r.U16(), 0x0203);
  EXPECT_EQ(r.U32(), 0x04050607u);
  EXPECT_EQ(r.U64(), 0x08090a0b0c0d0e0fu);
  EXPECT_EQ(r.F32(), 1.5f);
  EXPECT_TRUE(r.Bool());
  EXPECT_EQ(r.Text(5), "hello");
  EXPECT_TRUE(r.Finish().ok());
}

TEST(ByteReader, EveryTruncationFails) {
  ByteWriter w;
  w.U32(7);
  w.Text("abc");
  for (size_t n = 0; n < w.bytes().size(); ++n) {
    ByteReader r(ByteSpan(w.bytes()).first(n), "test");
    r.U32();
    r.Text(100);
    EXPECT_FALSE(r.Finish().ok()) << n;
  }
}

TEST(ByteReader, LeftoverLengthOverLimitAndOddBooleanFail) {
  Bytes leftover = {1, 2};
  ByteReader a(leftover, "a");
  a.U8();
  EXPECT_FALSE(a.Finish().ok());
  Bytes long_block = {0xff, 0xff, 0xff, 0xff};
  ByteReader b(long_block, "b");
  EXPECT_TRUE(b.Block(10).empty());
  EXPECT_EQ(MessageOf(b.status()), "b: length 4294967295 exceeds the limit of 10 at byte 4");
  Bytes two = {2};
  ByteReader c(two, "c");
  EXPECT_FALSE(c.Bool());
  EXPECT_FALSE(c.ok());
}

}  // namespace
}  // namespace infenclave
