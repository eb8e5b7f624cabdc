// Ed25519 keys in PKCS#11 tokens (hardware security modules, smart cards, SoftHSM), named by URI (RFC 7512):
//   pkcs11:token=infenclave;object=owner?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/run/owner.pin
// Without module-path, the modules that the system has configured (p11-kit) are searched. The PIN is pin-value or the
// first line of pin-source.
#ifndef INFENCLAVE_CLI_PKCS11_H_
#define INFENCLAVE_CLI_PKCS11_H_

#include <memory>
#include <string>

#include "crypto/primitives.h"

namespace infenclave {

bool IsPkcs11Uri(std::string_view text);

// NOT_FOUND where no token, or no key in it, is the one named. Every signature is verified before it is given out.
StatusOr<std::unique_ptr<Ed25519Signer>> OpenPkcs11Key(const std::string& uri);
// Makes the key in the token, from which it can never be taken. ALREADY_EXISTS if there is one of that name.
StatusOr<std::unique_ptr<Ed25519Signer>> MakePkcs11Key(const std::string& uri);

}  // namespace infenclave

#endif  // INFENCLAVE_CLI_PKCS11_H_
