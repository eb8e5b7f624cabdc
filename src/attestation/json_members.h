// Hostile JSON: bounded in size and depth, read member by member. For this module's own use, in .cc files alone:
// nlohmann/json is heavy to compile.
#ifndef INFENCLAVE_ATTESTATION_JSON_MEMBERS_H_
#define INFENCLAVE_ATTESTATION_JSON_MEMBERS_H_

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/bytes.h"

namespace infenclave::internal {

inline StatusOr<nlohmann::json> ParseJsonObject(std::string_view text, size_t max_bytes, std::string_view what) {
  using nlohmann::json;
  constexpr int kMaxDepth = 8;
  if (text.size() > max_bytes) return InvalidArgument(what, ": ", text.size(), " bytes are too many");
  bool too_deep = false;
  auto limit = [&too_deep](int depth, json::parse_event_t, json&) { return !(too_deep |= depth > kMaxDepth); };
  json out = json::parse(text, limit, /*allow_exceptions=*/false);
  if (out.is_discarded() || too_deep || !out.is_object()) return InvalidArgument(what, ": not a JSON object");
  return out;
}

// Reads members of objects, keeps the first error, and then gives defaults.
class JsonMembers {
 public:
  using Json = nlohmann::json;
  explicit JsonMembers(std::string_view what) : what_(what) {}

  const Json& Get(const Json& object, const char* key) {
    static const Json kNull;
    const auto it = object.find(key);
    if (it != object.end()) return *it;
    Fail(key, "is missing");
    return kNull;
  }
  std::string Text(const Json& object, const char* key) {
    const Json& v = Get(object, key);
    if (v.is_string()) return v.get<std::string>();
    Fail(key, "is no text");
    return "";
  }
  std::vector<std::string> Texts(const Json& object, const char* key, size_t limit) {
    const Json& v = Get(object, key);
    if (!v.is_array() || v.size() > limit || !std::ranges::all_of(v, [](const Json& e) { return e.is_string(); })) {
      Fail(key, Concat("is no list of at most ", limit, " texts"));
      return {};
    }
    return v.get<std::vector<std::string>>();
  }
  uint64_t Unsigned(const Json& object, const char* key, uint64_t high) {
    const Json& v = Get(object, key);
    if (v.is_number_unsigned() && v.get<uint64_t>() <= high) return v.get<uint64_t>();
    Fail(key, "is no whole number in range");
    return 0;
  }
  template <size_t N>
  void Hex(const Json& object, const char* key, std::array<uint8_t, N>& out) {
    ReadHex(Text(object, key), key, out);
  }
  template <size_t N>
  std::vector<std::array<uint8_t, N>> HexList(const Json& object, const char* key, size_t limit) {
    std::vector<std::array<uint8_t, N>> out;
    for (const std::string& text : Texts(object, key, limit)) ReadHex(text, key, out.emplace_back());
    return out;
  }
  // An array of at most `limit` objects; an empty one, over which nothing iterates, if it is none.
  const Json& Objects(const Json& object, const char* key, size_t limit) {
    static const Json kNone = Json::array();
    const Json& v = Get(object, key);
    if (v.is_array() && v.size() <= limit && std::ranges::all_of(v, [](const Json& e) { return e.is_object(); })) {
      return v;
    }
    Fail(key, Concat("is no list of at most ", limit, " objects"));
    return kNone;
  }
  void Fail(std::string_view key, std::string_view why) {
    if (status_.ok()) status_ = InvalidArgument(what_, ": '", key, "' ", why);
  }
  const Status& status() const { return status_; }

 private:
  template <size_t N>
  void ReadHex(std::string_view text, const char* key, std::array<uint8_t, N>& out) {
    const auto bytes = HexDecode(text);
    if (bytes.ok() && bytes->size() == N) {
      std::copy(bytes->begin(), bytes->end(), out.begin());
    } else {
      Fail(key, Concat("is not ", 2 * N, " hexadecimal digits"));
    }
  }
  std::string_view what_;
  Status status_;
};

}  // namespace infenclave::internal

#endif  // INFENCLAVE_ATTESTATION_JSON_MEMBERS_H_
