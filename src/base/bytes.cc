#include "base/bytes.h"

#include <bit>

namespace infenclave {

std::string HexEncode(ByteSpan bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (uint8_t b : bytes) {
    out.push_back(kDigits[b >> 4]);
    out.push_back(kDigits[b & 15]);
  }
  return out;
}

StatusOr<Bytes> HexDecode(std::string_view hex) {
  if (hex.size() % 2 != 0) return InvalidArgument("hex text has an odd length of ", hex.size());
  auto digit = [](char c) -> int {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  };
  Bytes out(hex.size() / 2);
  for (size_t i = 0; i < out.size(); ++i) {
    int hi = digit(hex[2 * i]), lo = digit(hex[2 * i + 1]);
    if (hi < 0 || lo < 0) return InvalidArgument("not a hexadecimal digit at position ", hi < 0 ? 2 * i : 2 * i + 1);
    out[i] = static_cast<uint8_t>(hi << 4 | lo);
  }
  return out;
}

void ByteWriter::BigEndian(uint64_t v, int width) {
  for (int shift = 8 * (width - 1); shift >= 0; shift -= 8) out_.push_back(static_cast<uint8_t>(v >> shift));
}

void ByteWriter::Raw(ByteSpan bytes) { out_.insert(out_.end(), bytes.begin(), bytes.end()); }

void ByteWriter::F32(float v) { U32(std::bit_cast<uint32_t>(v)); }

void ByteWriter::Count(size_t n) {
  INFENCLAVE_CHECK(n <= UINT32_MAX);
  U32(static_cast<uint32_t>(n));
}

void ByteWriter::Block(ByteSpan bytes) {
  Count(bytes.size());
  Raw(bytes);
}

uint64_t ByteReader::BigEndian(int width) {
  uint64_t v = 0;
  for (uint8_t b : Raw(static_cast<size_t>(width))) v = v << 8 | b;
  return v;
}

float ByteReader::F32() { return std::bit_cast<float>(U32()); }

bool ByteReader::Bool() {
  uint8_t v = U8();
  if (v > 1) Fail(Concat("boolean is ", int{v}, ", expected 0 or 1"));
  return v == 1 && ok();
}

ByteSpan ByteReader::Raw(size_t n) {
  if (!ok()) return {};
  if (n > remaining()) {
    Fail(Concat("needs ", n, " bytes, has ", remaining()));
    return {};
  }
  ByteSpan out = in_.subspan(pos_, n);
  pos_ += n;
  return out;
}

ByteSpan ByteReader::Block(size_t limit) {
  size_t n = U32();
  if (ok() && n > limit) Fail(Concat("length ", n, " exceeds the limit of ", limit));
  return Raw(n);
}

size_t ByteReader::Count(size_t limit) {
  size_t n = U32();
  if (ok() && n > limit) Fail(Concat("count ", n, " exceeds the limit of ", limit));
  return ok() ? n : 0;
}

void ByteReader::Fail(std::string_view why) {
  if (ok()) status_ = InvalidArgument(what_, ": ", why, " at byte ", pos_);
}

Status ByteReader::Finish() {
  if (ok() && remaining() != 0) Fail(Concat(remaining(), " bytes left over"));
  return status_;
}

}  // namespace infenclave
