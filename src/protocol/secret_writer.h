// The canonical encoding (base/bytes.h) of something secret, into secret memory whose size is known beforehand, so that
// no copy is left in a buffer that grew. For this module's own use.
#ifndef INFENCLAVE_PROTOCOL_SECRET_WRITER_H_
#define INFENCLAVE_PROTOCOL_SECRET_WRITER_H_

#include <algorithm>
#include <bit>

#include "crypto/secret.h"

namespace infenclave::internal {

class SecretWriter {
 public:
  explicit SecretWriter(size_t size) : out_(size) {}
  void U8(uint8_t v) { BigEndian(v, 1); }
  void U32(uint32_t v) { BigEndian(v, 4); }
  void U64(uint64_t v) { BigEndian(v, 8); }
  void F32(float v) { U32(std::bit_cast<uint32_t>(v)); }
  void Raw(ByteSpan bytes) {
    INFENCLAVE_CHECK(bytes.size() <= out_.size() - at_);
    std::copy(bytes.begin(), bytes.end(), out_.data() + at_);
    at_ += bytes.size();
  }
  void Skip(size_t n) {  // leaves zeros
    INFENCLAVE_CHECK(n <= out_.size() - at_);
    at_ += n;
  }
  void Block(ByteSpan bytes) {
    INFENCLAVE_CHECK(bytes.size() <= UINT32_MAX);
    U32(static_cast<uint32_t>(bytes.size()));
    Raw(bytes);
  }
  size_t written() const { return at_; }
  // What was not written is zero.
  SecretBytes Take() { return std::move(out_); }

 private:
  void BigEndian(uint64_t v, int width) {
    uint8_t bytes[8];
    for (int i = 0; i < width; ++i) bytes[i] = static_cast<uint8_t>(v >> (8 * (width - 1 - i)));
    Raw({bytes, static_cast<size_t>(width)});
  }
  SecretBytes out_;
  size_t at_ = 0;
};

}  // namespace infenclave::internal

#endif  // INFENCLAVE_PROTOCOL_SECRET_WRITER_H_
