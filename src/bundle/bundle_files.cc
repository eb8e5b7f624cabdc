#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "base/file.h"
#include "bundle/bundle.h"

namespace infenclave {
namespace {

// Larger than any part that graph's format or ONNX allow.
constexpr size_t kMaxPartBytes = (size_t{2} << 30) + 4096;

std::string JoinPath(const std::string& folder, const char* file) { return folder + "/" + file; }

Status SyncFolder(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || ::fsync(fd.get()) != 0) return ErrnoStatus(path);
  return OkStatus();
}

Status WriteParts(const Bundle& bundle, const std::string& folder) {
  std::string json = ManifestToJson(bundle.manifest);
  Bytes signature = EncodeManifestSignature(bundle.signature);
  std::vector<std::pair<const char*, ByteSpan>> files = {
      {"manifest", bundle.manifest_bytes},
      {"manifest.json", AsBytes(json)},
      {"manifest.sig", signature},
      {"frontnet.sealed", bundle.frontnet_sealed},
      {"mapping.sealed", bundle.mapping_sealed},
      {"backnet.onnx", bundle.backnet_onnx},
  };
  if (bundle.manifest.tail_layers > 0) files.emplace_back("tail.sealed", bundle.tail_sealed);
  if (bundle.manifest.audit_per_million > 0) files.emplace_back("audit.sealed", bundle.audit_sealed);
  for (const auto& [name, bytes] : files) INFENCLAVE_RETURN_IF_ERROR(WriteFileAtomic(JoinPath(folder, name), bytes));
  if (::chmod(folder.c_str(), 0755) != 0) return ErrnoStatus(folder);
  return SyncFolder(folder);
}

StatusOr<Bytes> ReadPart(const std::string& bundle, const char* file, size_t limit) {
  StatusOr<Bytes> bytes = ReadFile(JoinPath(bundle, file), limit);
  if (bytes.ok()) return bytes;
  if (bytes.status().code() == StatusCode::kNotFound) {
    return NotFound("bundle ", bundle, ": ", file, " is missing");
  }
  return Annotate(bytes.status(), Concat("bundle ", bundle));
}

Status CheckDigest(const std::string& bundle, const char* file, ByteSpan bytes, const Sha256Digest& signed_digest) {
  Sha256Digest found = Sha256(bytes);
  if (found == signed_digest) return OkStatus();
  return PermissionDenied("bundle ", bundle, ": ", file, " is not the part that the owner signed (SHA-256 ",
                          HexEncode(found).substr(0, 16), "…, the manifest says ",
                          HexEncode(signed_digest).substr(0, 16),
                          "…): it was altered or cut short, or belongs to another bundle");
}

Status CheckSignature(const std::string& path, const Bundle& bundle, const OpenOptions& options) {
  Status status = options.owner ? VerifyManifest(bundle.manifest_bytes, bundle.signature, *options.owner)
                                : VerifyManifest(bundle.manifest_bytes, bundle.signature);
  return Annotate(status, Concat("bundle ", path, ": manifest"));
}

Status CheckManifest(const std::string& path, const Bundle& bundle, const OpenOptions& options) {
  const Manifest& manifest = bundle.manifest;
  if (manifest.owner != bundle.signature.owner) {
    return PermissionDenied("bundle ", path, ": manifest names the owner ", HexEncode(manifest.owner),
                            " and is signed by ", HexEncode(bundle.signature.owner));
  }
  if (manifest.model_version < options.min_version) {
    return PermissionDenied("bundle ", path, ": manifest is of model version ", manifest.model_version, ", at least ",
                            options.min_version, " is required: it was rolled back");
  }
  return OkStatus();
}

}  // namespace

Status WriteBundle(const Bundle& bundle, const std::string& path) {
  std::error_code error;
  if (std::filesystem::symlink_status(path, error).type() != std::filesystem::file_type::not_found) {
    return AlreadyExists(path, " exists already; choose another output or remove it");
  }
  std::string target = path;
  while (target.size() > 1 && target.back() == '/') target.pop_back();
  std::string temporary = target + ".XXXXXX";
  if (::mkdtemp(temporary.data()) == nullptr) return ErrnoStatus(path);
  Status status = WriteParts(bundle, temporary);
  if (status.ok() && ::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, target.c_str(), RENAME_NOREPLACE) != 0) {
    status = ErrnoStatus(path);
  }
  if (!status.ok()) {
    std::filesystem::remove_all(temporary, error);
    return status;
  }
  std::string parent = std::filesystem::path(target).parent_path().string();
  return SyncFolder(parent.empty() ? "." : parent);
}

StatusOr<Bundle> OpenBundle(const std::string& path, const OpenOptions& options) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) return NotFound("bundle ", path, ": no such folder");
  Bundle bundle;
  INFENCLAVE_ASSIGN_OR_RETURN(bundle.manifest_bytes, ReadPart(path, "manifest", kMaxManifestBytes));
  INFENCLAVE_ASSIGN_OR_RETURN(Bytes signature, ReadPart(path, "manifest.sig", 4096));
  StatusOr<ManifestSignature> decoded = DecodeManifestSignature(signature);
  if (!decoded.ok()) {
    return PermissionDenied("bundle ", path, ": manifest.sig is no signature (", MessageOf(decoded.status()), ")");
  }
  bundle.signature = *decoded;
  INFENCLAVE_RETURN_IF_ERROR(CheckSignature(path, bundle, options));
  StatusOr<Manifest> manifest = DecodeManifest(bundle.manifest_bytes);
  if (!manifest.ok()) return Annotate(manifest.status(), Concat("bundle ", path));
  bundle.manifest = *std::move(manifest);
  INFENCLAVE_RETURN_IF_ERROR(CheckManifest(path, bundle, options));

  INFENCLAVE_ASSIGN_OR_RETURN(bundle.frontnet_sealed, ReadPart(path, "frontnet.sealed", kMaxPartBytes));
  INFENCLAVE_ASSIGN_OR_RETURN(bundle.mapping_sealed, ReadPart(path, "mapping.sealed", kMaxPartBytes));
  INFENCLAVE_ASSIGN_OR_RETURN(bundle.backnet_onnx, ReadPart(path, "backnet.onnx", kMaxPartBytes));
  const Manifest& m = bundle.manifest;
  INFENCLAVE_RETURN_IF_ERROR(CheckDigest(path, "frontnet.sealed", bundle.frontnet_sealed, m.frontnet_digest));
  INFENCLAVE_RETURN_IF_ERROR(CheckDigest(path, "mapping.sealed", bundle.mapping_sealed, m.mapping_digest));
  INFENCLAVE_RETURN_IF_ERROR(CheckDigest(path, "backnet.onnx", bundle.backnet_onnx, m.backnet_digest));
  if (m.tail_layers > 0) {
    INFENCLAVE_ASSIGN_OR_RETURN(bundle.tail_sealed, ReadPart(path, "tail.sealed", kMaxPartBytes));
    INFENCLAVE_RETURN_IF_ERROR(CheckDigest(path, "tail.sealed", bundle.tail_sealed, m.tail_digest));
  }
  if (m.audit_per_million > 0) {
    INFENCLAVE_ASSIGN_OR_RETURN(bundle.audit_sealed, ReadPart(path, "audit.sealed", kMaxPartBytes));
    INFENCLAVE_RETURN_IF_ERROR(CheckDigest(path, "audit.sealed", bundle.audit_sealed, m.audit_digest));
  }
  return bundle;
}

StatusOr<Bundle> OpenBundle(const std::string& path, const std::optional<Ed25519PublicKey>& owner) {
  return OpenBundle(path, OpenOptions{.owner = owner});
}

}  // namespace infenclave
