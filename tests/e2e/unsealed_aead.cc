// Sealing that seals nothing, for capture_test's other half: what the search for secrets must find when it is off.
// Linked in with --wrap, so that no line of the product knows of it and no product binary can have it.
#include <algorithm>

#include "crypto/primitives.h"

namespace infenclave {

StatusOr<Bytes> UnsealedSeal(ByteSpan key, ByteSpan nonce, ByteSpan aad, ByteSpan plaintext) asm(INFENCLAVE_WRAP_SEAL);
Status UnsealedSealInto(ByteSpan key, ByteSpan nonce, ByteSpan aad, std::initializer_list<ByteSpan> plaintext,
                        MutableByteSpan out) asm(INFENCLAVE_WRAP_SEAL_INTO);
StatusOr<SecretBytes> UnsealedOpen(ByteSpan key, ByteSpan nonce, ByteSpan aad,
                                   ByteSpan ciphertext) asm(INFENCLAVE_WRAP_OPEN);

StatusOr<Bytes> UnsealedSeal(ByteSpan, ByteSpan, ByteSpan, ByteSpan plaintext) {
  Bytes out = ToBytes(plaintext);
  out.resize(out.size() + kAeadTagBytes);
  return out;
}

Status UnsealedSealInto(ByteSpan, ByteSpan, ByteSpan, std::initializer_list<ByteSpan> plaintext, MutableByteSpan out) {
  auto at = out.begin();
  for (ByteSpan part : plaintext) at = std::copy(part.begin(), part.end(), at);
  std::fill(at, out.end(), uint8_t{0});
  return OkStatus();
}

StatusOr<SecretBytes> UnsealedOpen(ByteSpan, ByteSpan, ByteSpan, ByteSpan ciphertext) {
  if (ciphertext.size() < kAeadTagBytes) return PermissionDenied("too short");
  return SecretBytes::CopyOf(ciphertext.first(ciphertext.size() - kAeadTagBytes));
}

}  // namespace infenclave
