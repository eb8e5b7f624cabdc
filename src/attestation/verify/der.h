// The little of DER that certificate extensions need: definite lengths, one byte of tag.
#ifndef INFENCLAVE_ATTESTATION_VERIFY_DER_H_
#define INFENCLAVE_ATTESTATION_VERIFY_DER_H_

#include <optional>

#include "base/bytes.h"

namespace infenclave {

inline constexpr uint8_t kDerInteger = 0x02, kDerOctetString = 0x04, kDerOid = 0x06, kDerUtf8String = 0x0c,
                         kDerIa5String = 0x16, kDerSequence = 0x30;

struct DerElement {
  uint8_t tag = 0;
  ByteSpan content;
};

// Takes the next element off `in`; nullopt if there is none that is well formed.
inline std::optional<DerElement> NextDer(ByteSpan& in) {
  if (in.size() < 2) return std::nullopt;
  const uint8_t tag = in[0];
  size_t length = in[1], header = 2;
  if ((tag & 0x1f) == 0x1f) return std::nullopt;
  if (length >= 0x80) {
    const size_t width = length & 0x7f;
    if (width == 0 || width > 3 || in.size() < 2 + width) return std::nullopt;
    length = 0;
    for (size_t i = 0; i < width; ++i) length = length << 8 | in[2 + i];
    if (length < 0x80 || (width > 1 && in[2] == 0)) return std::nullopt;  // not the shortest form
    header += width;
  }
  if (length > in.size() - header) return std::nullopt;
  const DerElement out{tag, in.subspan(header, length)};
  in = in.subspan(header + length);
  return out;
}

// The only element of `in`, with this tag.
inline std::optional<ByteSpan> OnlyDer(ByteSpan in, uint8_t tag) {
  const auto element = NextDer(in);
  if (!element.has_value() || element->tag != tag || !in.empty()) return std::nullopt;
  return element->content;
}

// A whole number from 0 to 2^32-1.
inline std::optional<uint32_t> DerUnsigned(ByteSpan in) {
  const auto content = OnlyDer(in, kDerInteger);
  if (!content.has_value() || content->empty() || (content->front() & 0x80) != 0) return std::nullopt;
  if (content->size() > 1 && content->front() == 0 && ((*content)[1] & 0x80) == 0) return std::nullopt;
  if (content->size() > 5 || (content->size() == 5 && content->front() != 0)) return std::nullopt;
  uint64_t v = 0;
  for (uint8_t b : *content) v = v << 8 | b;
  return static_cast<uint32_t>(v);
}

}  // namespace infenclave

#endif  // INFENCLAVE_ATTESTATION_VERIFY_DER_H_
