// Byte strings, and the one canonical encoding of everything that is sealed, signed or sent to the enclave.
//
// The encoding is positional and big-endian: fixed-width integers, IEEE-754 floats as their bits, byte strings and text
// with a u32 length before them, lists with a u32 count before them. A value has exactly one encoding, and a reader
// that does not consume all its input has failed.
//
// ByteReader keeps the first error and then returns zeros and empty spans, so a decoder reads a whole struct and checks
// Finish() once. It never allocates on a length that the input does not hold.
#ifndef INFENCLAVE_BASE_BYTES_H_
#define INFENCLAVE_BASE_BYTES_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace infenclave {

using Bytes = std::vector<uint8_t>;
using ByteSpan = std::span<const uint8_t>;
using MutableByteSpan = std::span<uint8_t>;

inline ByteSpan AsBytes(std::string_view text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }
inline std::string_view AsText(ByteSpan bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
inline Bytes ToBytes(ByteSpan bytes) { return Bytes(bytes.begin(), bytes.end()); }

// Lower-case hexadecimal, and back (either case; an odd length or another character is an error).
std::string HexEncode(ByteSpan bytes);
StatusOr<Bytes> HexDecode(std::string_view hex);

class ByteWriter {
 public:
  void U8(uint8_t v) { out_.push_back(v); }
  void U16(uint16_t v) { BigEndian(v, 2); }
  void U32(uint32_t v) { BigEndian(v, 4); }
  void U64(uint64_t v) { BigEndian(v, 8); }
  void I64(int64_t v) { U64(static_cast<uint64_t>(v)); }
  void F32(float v);
  void Bool(bool v) { U8(v ? 1 : 0); }
  void Raw(ByteSpan bytes);
  // A u32 length, then the bytes. More than 2^32-1 bytes are a programming error.
  void Block(ByteSpan bytes);
  void Text(std::string_view text) { Block(AsBytes(text)); }
  void Count(size_t n);

  const Bytes& bytes() const { return out_; }
  Bytes Take() { return std::move(out_); }

 private:
  void BigEndian(uint64_t v, int width);
  Bytes out_;
};

class ByteReader {
 public:
  // `what` names the input in errors; it and `in` must outlive the reader.
  ByteReader(ByteSpan in, std::string_view what) : in_(in), what_(what) {}

  uint8_t U8() { return static_cast<uint8_t>(BigEndian(1)); }
  uint16_t U16() { return static_cast<uint16_t>(BigEndian(2)); }
  uint32_t U32() { return static_cast<uint32_t>(BigEndian(4)); }
  uint64_t U64() { return BigEndian(8); }
  int64_t I64() { return static_cast<int64_t>(U64()); }
  float F32();
  // Only 0 and 1 are booleans; anything else is an error.
  bool Bool();
  // Borrow from the input; empty after an error.
  ByteSpan Raw(size_t n);
  ByteSpan Block(size_t limit);
  std::string Text(size_t limit) { return std::string(AsText(Block(limit))); }
  template <size_t N>
  std::array<uint8_t, N> Array() {
    std::array<uint8_t, N> out{};
    if (ByteSpan raw = Raw(N); raw.size() == N) std::memcpy(out.data(), raw.data(), N);
    return out;
  }
  // A count of at most `limit`; 0 after an error, so that loops over it end.
  size_t Count(size_t limit);

  // Records the first error; later ones are ignored.
  void Fail(std::string_view why);
  bool ok() const { return status_.ok(); }
  const Status& status() const { return status_; }
  size_t remaining() const { return in_.size() - pos_; }
  size_t position() const { return pos_; }
  // OK if nothing failed and nothing is left over.
  Status Finish();

 private:
  uint64_t BigEndian(int width);
  ByteSpan in_;
  std::string_view what_;
  size_t pos_ = 0;
  Status status_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_BASE_BYTES_H_
