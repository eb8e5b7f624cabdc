#include "import/darknet_cfg.h"

#include <charconv>
#include <cmath>

namespace infenclave {
namespace {

// Darknet drops every blank and tab of a line, inside it too.
std::string WithoutBlanks(std::string_view line) {
  std::string out;
  for (char c : line) {
    if (c != ' ' && c != '\t' && c != '\r') out.push_back(c);
  }
  return out;
}

template <typename T>
bool ParseWhole(std::string_view text, T* out) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

std::string DarknetSection::Where() const { return Concat("line ", line, " [", kind, "]"); }

StatusOr<int64_t> DarknetSection::Int(std::string_view key, int64_t otherwise, int64_t low, int64_t high) const {
  auto it = options.find(key);
  int64_t v = otherwise;
  if (it != options.end() && !ParseWhole(it->second, &v)) {
    return InvalidArgument(Where(), ": ", key, "=", it->second, " is not a whole number");
  }
  if (v < low || v > high) {
    return InvalidArgument(Where(), ": ", key, "=", v, " is outside ", low, " to ", high);
  }
  return v;
}

StatusOr<float> DarknetSection::Float(std::string_view key, float otherwise) const {
  auto it = options.find(key);
  if (it == options.end()) return otherwise;
  float v = 0;
  if (!ParseWhole(it->second, &v) || !std::isfinite(v)) {
    return InvalidArgument(Where(), ": ", key, "=", it->second, " is not a finite number");
  }
  return v;
}

std::string DarknetSection::Text(std::string_view key, std::string_view otherwise) const {
  auto it = options.find(key);
  return it == options.end() ? std::string(otherwise) : it->second;
}

StatusOr<std::vector<int64_t>> DarknetSection::Ints(std::string_view key, size_t limit) const {
  std::vector<int64_t> out;
  std::string list = Text(key, "");
  std::string_view rest = list;
  while (!rest.empty()) {
    std::string_view item = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), item.size() + 1));
    int64_t v = 0;
    if (!ParseWhole(item, &v)) return InvalidArgument(Where(), ": ", key, "=", list, " is not a list of whole numbers");
    out.push_back(v);
    if (out.size() > limit) return InvalidArgument(Where(), ": ", key, " lists more than ", limit, " numbers");
  }
  if (out.empty()) return InvalidArgument(Where(), ": ", key, " is missing");
  return out;
}

StatusOr<std::vector<DarknetSection>> ParseDarknetCfg(std::string_view cfg, size_t max_sections) {
  std::vector<DarknetSection> sections;
  int number = 0;
  while (!cfg.empty()) {
    std::string_view raw = cfg.substr(0, cfg.find('\n'));
    cfg.remove_prefix(std::min(cfg.size(), raw.size() + 1));
    ++number;
    std::string line = WithoutBlanks(raw);
    if (line.empty() || line[0] == '#' || line[0] == ';') continue;
    if (line[0] == '[') {
      size_t close = line.find(']');
      if (close == std::string::npos) return InvalidArgument("line ", number, ": '[' without ']'");
      if (sections.size() == max_sections) return InvalidArgument("more than ", max_sections, " sections");
      sections.push_back({.kind = line.substr(1, close - 1), .line = number, .options = {}});
      continue;
    }
    size_t equals = line.find('=');
    if (equals == std::string::npos || equals == 0) return InvalidArgument("line ", number, ": expected key=value");
    if (sections.empty()) return InvalidArgument("line ", number, ": an option before the first section");
    sections.back().options.emplace(line.substr(0, equals), line.substr(equals + 1));
  }
  if (sections.empty() || (sections[0].kind != "net" && sections[0].kind != "network")) {
    return InvalidArgument("not a Darknet cfg: the first section must be [net]");
  }
  return sections;
}

}  // namespace infenclave
