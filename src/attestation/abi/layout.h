// Little-endian binary layouts, described once and used both ways.
//
// A format is a function template `Visit(Struct&, Archive&)` that hands each field, in order, to the archive:
// LayoutReader fills the fields from bytes, LayoutWriter appends them. Hardware formats are fixed in size, so nothing
// is allocated.
#ifndef INFENCLAVE_ATTESTATION_ABI_LAYOUT_H_
#define INFENCLAVE_ATTESTATION_ABI_LAYOUT_H_

#include <algorithm>
#include <concepts>

#include "base/bytes.h"

namespace infenclave {

// Keeps the first error and then leaves the fields as they are.
class LayoutReader {
 public:
  LayoutReader(ByteSpan in, std::string_view what) : in_(in), what_(what) {}

  template <std::unsigned_integral T>
  void operator()(T& v) {
    const ByteSpan raw = Take(sizeof(T));
    uint64_t value = 0;
    for (size_t i = raw.size(); i-- > 0;) value = value << 8 | raw[i];
    v = static_cast<T>(value);
  }
  template <size_t N>
  void operator()(std::array<uint8_t, N>& v) {
    const ByteSpan raw = Take(N);
    std::copy(raw.begin(), raw.end(), v.begin());
  }
  void Zeros(std::string_view name, size_t n) {
    const ByteSpan raw = Take(n);
    if (std::any_of(raw.begin(), raw.end(), [](uint8_t b) { return b != 0; })) {
      Fail(Concat("reserved bytes ", name, " are not zero"));
    }
  }
  ByteSpan Take(size_t n) {
    if (ok() && n > in_.size() - pos_) Fail(Concat("needs ", n, " bytes, has ", in_.size() - pos_));
    if (!ok()) return {};
    pos_ += n;
    return in_.subspan(pos_ - n, n);
  }
  void Fail(std::string_view why) {
    if (ok()) status_ = InvalidArgument(what_, ": ", why, " at byte ", pos_);
  }
  bool ok() const { return status_.ok(); }
  const Status& status() const { return status_; }
  size_t position() const { return pos_; }
  size_t remaining() const { return in_.size() - pos_; }

 private:
  ByteSpan in_;
  std::string_view what_;
  size_t pos_ = 0;
  Status status_;
};

class LayoutWriter {
 public:
  template <std::unsigned_integral T>
  void operator()(const T& v) {
    for (size_t i = 0; i < sizeof(T); ++i) out_.U8(static_cast<uint8_t>(uint64_t{v} >> (8 * i)));
  }
  template <size_t N>
  void operator()(const std::array<uint8_t, N>& v) {
    out_.Raw(v);
  }
  void Zeros(std::string_view, size_t n) { out_.Raw(Bytes(n)); }
  void Put(ByteSpan bytes) { out_.Raw(bytes); }
  Bytes Take() { return out_.Take(); }

 private:
  ByteWriter out_;
};

}  // namespace infenclave

#endif  // INFENCLAVE_ATTESTATION_ABI_LAYOUT_H_
