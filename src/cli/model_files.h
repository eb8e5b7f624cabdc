// What the commands read beside a model: the owner's key, labels, how images are prepared.
#ifndef INFENCLAVE_CLI_MODEL_FILES_H_
#define INFENCLAVE_CLI_MODEL_FILES_H_

#include <memory>
#include <string>
#include <vector>

#include "crypto/primitives.h"
#include "import/model.h"
#include "protocol/preprocessing.h"

namespace infenclave {

// An owner's or a release key: a PEM file, or a key in a token by its PKCS#11 URI.
StatusOr<std::unique_ptr<Ed25519Signer>> LoadSigner(const std::string& path_or_uri);

// One label a line, in the model's order; a line may end in CR.
StatusOr<std::vector<std::string>> LoadLabels(const std::string& path);

// `flag` (a preset, a file, JSON) where given, else what the model's own metadata say.
StatusOr<Preprocessing> ChoosePreprocessing(const std::string& flag, const ImportedModel& model);

}  // namespace infenclave

#endif  // INFENCLAVE_CLI_MODEL_FILES_H_
