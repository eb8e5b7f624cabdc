// The text of a Darknet `.cfg`: sections of key=value lines. Comments start with '#' or ';'.
#ifndef INFENCLAVE_IMPORT_DARKNET_CFG_H_
#define INFENCLAVE_IMPORT_DARKNET_CFG_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace infenclave {

struct DarknetSection {
  std::string kind;  // "convolutional", without the brackets
  int line = 0;      // in the file, from 1
  std::map<std::string, std::string, std::less<>> options;

  // "line 12 [convolutional]", for messages.
  std::string Where() const;
  // The option as a number in [low, high]; `otherwise` where it is absent.
  StatusOr<int64_t> Int(std::string_view key, int64_t otherwise, int64_t low, int64_t high) const;
  StatusOr<float> Float(std::string_view key, float otherwise) const;
  std::string Text(std::string_view key, std::string_view otherwise) const;
  // A comma-separated list of whole numbers, at most `limit` of them.
  StatusOr<std::vector<int64_t>> Ints(std::string_view key, size_t limit) const;
};

// At most `max_sections` sections, the first of which must be [net] or [network].
StatusOr<std::vector<DarknetSection>> ParseDarknetCfg(std::string_view cfg, size_t max_sections);

}  // namespace infenclave

#endif  // INFENCLAVE_IMPORT_DARKNET_CFG_H_
