#include "cli/model_files.h"

#include <algorithm>

#include "base/file.h"
#include "cli/pkcs11.h"
#include "image/image.h"

namespace infenclave {
namespace {

constexpr size_t kMaxKeyBytes = 64 << 10, kMaxLabelsBytes = 64 << 20;

}  // namespace

StatusOr<std::unique_ptr<Ed25519Signer>> LoadSigner(const std::string& path) {
  if (IsPkcs11Uri(path)) return OpenPkcs11Key(path);
  INFENCLAVE_ASSIGN_OR_RETURN(Bytes pem, ReadFile(path, kMaxKeyBytes));
  StatusOr<Ed25519PrivateKey> key = Ed25519PrivateKey::FromPem(AsText(pem));
  Wipe(pem);
  if (!key.ok()) {
    return InvalidArgument(path, ": no signing key (", MessageOf(key.status()), "); `infenclave keygen` makes one");
  }
  return std::make_unique<Ed25519PrivateKey>(*std::move(key));
}

StatusOr<std::vector<std::string>> LoadLabels(const std::string& path) {
  INFENCLAVE_ASSIGN_OR_RETURN(Bytes file, ReadFile(path, kMaxLabelsBytes));
  std::vector<std::string> labels;
  std::string_view text = AsText(file);
  while (!text.empty()) {
    size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    labels.emplace_back(line);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return labels;
}

StatusOr<Preprocessing> ChoosePreprocessing(const std::string& flag, const ImportedModel& model) {
  if (!flag.empty()) return LoadPreprocessing(flag);
  auto it = model.metadata.find("infenclave.preprocessing");
  if (it == model.metadata.end()) {
    return InvalidArgument(
        "the model does not say how its images are prepared; give --preprocessing a preset "
        "(efficientnet-lite0, mobilenet-v2, …) or a JSON file");
  }
  // Only JSON: a hostile model must not name a file to read.
  size_t start = it->second.find_first_not_of(" \t\r\n");
  if (start == std::string::npos || it->second[start] != '{') {
    return InvalidArgument("the model's metadata 'infenclave.preprocessing' is no JSON object");
  }
  return LoadPreprocessing(it->second.substr(start));
}

}  // namespace infenclave
