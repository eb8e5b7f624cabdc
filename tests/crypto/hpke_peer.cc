// Our HPKE for a peer of another make: commands by line on standard input, hexadecimal, answers on standard output.
//   keygen                                  -> private public
//   seal PUBLIC INFO AAD PLAINTEXT EXPCTX   -> enc ciphertext exported
//   open PRIVATE ENC INFO AAD CIPHERTEXT EXPCTX -> plaintext exported, or "refused"
// An empty value is "-".
#include <algorithm>
#include <iostream>
#include <sstream>

#include "crypto/hpke.h"

namespace infenclave {
namespace {

Bytes ReadHex(std::istream& in) {
  std::string word;
  in >> word;
  return word == "-" ? Bytes{} : *HexDecode(word);
}

std::string Hex(ByteSpan bytes) { return bytes.empty() ? "-" : HexEncode(bytes); }

std::string Run(std::istream& in) {
  std::string command;
  in >> command;
  if (command == "keygen") {
    const X25519KeyPair key = X25519KeyPair::Generate();
    return Hex(key.private_key.span()) + " " + Hex(key.public_key);
  }
  if (command == "seal") {
    const Bytes key = ReadHex(in), info = ReadHex(in), aad = ReadHex(in), plaintext = ReadHex(in), label = ReadHex(in);
    X25519PublicKey recipient{};
    std::copy(key.begin(), key.end(), recipient.begin());
    HpkeContext context = *HpkeContext::Encapsulate(recipient, info);
    const Bytes sealed = *context.Seal(aad, plaintext);
    return Hex(context.enc()) + " " + Hex(sealed) + " " + Hex(context.Export(label, 32).span());
  }
  const Bytes key = ReadHex(in), enc = ReadHex(in), info = ReadHex(in), aad = ReadHex(in), ciphertext = ReadHex(in),
              label = ReadHex(in);
  auto context = HpkeContext::Decapsulate(*X25519KeyPair::FromPrivate(key), enc, info);
  if (!context.ok()) return "refused";
  auto opened = context->Open(aad, ciphertext);
  if (!opened.ok()) return "refused";
  return Hex(opened->span()) + " " + Hex(context->Export(label, 32).span());
}

}  // namespace
}  // namespace infenclave

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream in(line);
    std::cout << infenclave::Run(in) << std::endl;
  }
}
