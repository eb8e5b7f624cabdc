// `infenclave keygen`: a model owner's key.
#include <filesystem>
#include <iostream>
#include <memory>

#include "base/file.h"
#include "cli/command.h"
#include "cli/pkcs11.h"
#include "crypto/primitives.h"

namespace infenclave {
namespace {

struct KeygenFlags {
  std::string out;
  bool force = false;
};

Status Keygen(const KeygenFlags& flags) {
  if (IsPkcs11Uri(flags.out)) {
    INFENCLAVE_ASSIGN_OR_RETURN(const std::unique_ptr<Ed25519Signer> made, MakePkcs11Key(flags.out));
    std::cout << "owner key made in the token, which keeps it\n"
              << "public key ed25519:" << HexEncode(made->public_key()) << "\n";
    return OkStatus();
  }
  std::error_code error;
  if (!flags.force &&
      std::filesystem::symlink_status(flags.out, error).type() != std::filesystem::file_type::not_found) {
    return AlreadyExists(flags.out, " exists already; bundles signed with that key need it. --force replaces it");
  }
  Ed25519PrivateKey key = Ed25519PrivateKey::Generate();
  SecretBytes pem = key.ToPem();
  INFENCLAVE_RETURN_IF_ERROR(WriteFileAtomic(flags.out, pem.span(), 0600));
  std::cout << "owner key in " << flags.out << " (keep it: it signs bundles and credentials)\n"
            << "public key ed25519:" << HexEncode(key.public_key()) << "\n";
  return OkStatus();
}

}  // namespace

Command KeygenCommand() {
  auto flags = std::make_shared<KeygenFlags>();
  return {.name = "keygen",
          .summary = "Make an owner key (Ed25519, PKCS#8)",
          .example = "infenclave keygen -o owner.pem",
          .declare =
              [flags](Flags& f) {
                f.Text("-o", &flags->out,
                       "file to write, readable by you alone; or the PKCS#11 URI of a token's new key",
                       /*required=*/true);
                f.Switch("--force", &flags->force, "replace the file if it exists");
              },
          .run = [flags] { return Keygen(*flags); }};
}

}  // namespace infenclave
