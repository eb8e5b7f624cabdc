#include "cli/layer_choices.h"

#include <cstdlib>
#include <filesystem>

#include "base/file.h"
#include "engine/compiled_network.h"

namespace infenclave {
namespace {

constexpr size_t kMostBytes = size_t{16} << 20;

std::string Path() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && *cache == '/') return std::string(cache) + "/infenclave/layers";
  const char* home = std::getenv("HOME");
  return home != nullptr && *home == '/' ? std::string(home) + "/.cache/infenclave/layers" : "";
}

}  // namespace

RememberedLayerChoices::RememberedLayerChoices() : path_(Path()) {
  if (path_.empty()) return;
  const StatusOr<Bytes> bytes = ReadFile(path_, kMostBytes);
  if (bytes.ok()) AddLayerChoices({reinterpret_cast<const char*>(bytes->data()), bytes->size()});
  known_ = LayerChoices();
}

RememberedLayerChoices::~RememberedLayerChoices() {
  const std::string now = LayerChoices();
  if (path_.empty() || now == known_) return;
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(path_).parent_path(), ignored);
  // Without it the next run measures again.
  WriteFileAtomic(path_, {reinterpret_cast<const uint8_t*>(now.data()), now.size()}).IgnoreError();
}

}  // namespace infenclave
