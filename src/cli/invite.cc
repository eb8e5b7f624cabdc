// `infenclave invite`: a credential with which a user may ask.
#include <iostream>
#include <limits>
#include <memory>

#include "base/file.h"
#include "cli/command.h"
#include "cli/model_files.h"
#include "protocol/sealed.h"

namespace infenclave {
namespace {

struct InviteFlags {
  std::string owner_key, name, out;
  int64_t first_version = 1, last_version = std::numeric_limits<int64_t>::max();
};

constexpr size_t kMaxUserBytes = 128;

Status Invite(const InviteFlags& flags) {
  if (flags.name.empty() || flags.name.size() > kMaxUserBytes) {
    return UsageError(Concat("--name has ", flags.name.size(), " bytes, expected 1 to ", kMaxUserBytes));
  }
  if (flags.first_version > flags.last_version) return UsageError("--first-version is larger than --last-version");
  INFENCLAVE_ASSIGN_OR_RETURN(const std::unique_ptr<Ed25519Signer> owner, LoadSigner(flags.owner_key));
  uint64_t last = flags.last_version == std::numeric_limits<int64_t>::max() ? UINT64_MAX
                                                                            : static_cast<uint64_t>(flags.last_version);
  INFENCLAVE_ASSIGN_OR_RETURN(const Credential credential,
                              MakeCredential(*owner, flags.name, static_cast<uint64_t>(flags.first_version), last));
  INFENCLAVE_RETURN_IF_ERROR(WriteFileAtomic(flags.out, EncodeCredential(credential), 0600));
  std::cout << "credential for " << flags.name << " in " << flags.out
            << " (whoever holds it can ask; give it to that user alone)\n";
  return OkStatus();
}

}  // namespace

Command InviteCommand() {
  auto flags = std::make_shared<InviteFlags>();
  return {.name = "invite",
          .summary = "Make a credential with which a user may ask",
          .example = "infenclave invite --owner-key owner.pem --name alice -o alice.credential",
          .declare =
              [flags](Flags& f) {
                f.Text("--owner-key", &flags->owner_key, "the key that signed the bundle: a PEM file, or a PKCS#11 URI",
                       /*required=*/true);
                f.Text("--name", &flags->name, "the user's name", /*required=*/true);
                f.Text("-o", &flags->out, "file to write", /*required=*/true);
                f.Int("--first-version", &flags->first_version, "lowest model version it is good for", 1,
                      std::numeric_limits<int64_t>::max());
                f.Int("--last-version", &flags->last_version, "highest model version it is good for", 1,
                      std::numeric_limits<int64_t>::max());
              },
          .run = [flags] { return Invite(*flags); }};
}

}  // namespace infenclave
