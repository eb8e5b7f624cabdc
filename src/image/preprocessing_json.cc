#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/file.h"
#include "image/image.h"

namespace infenclave {
namespace {

using Json = nlohmann::ordered_json;
using Resize = Preprocessing::Resize;
using Filter = Preprocessing::Filter;
using Channels = Preprocessing::Channels;

constexpr size_t kMaxJsonBytes = 64 << 10;
constexpr int kMaxJsonDepth = 4;
constexpr uint32_t kMaxSide = 4096;

const std::map<std::string, Resize> kResizes = {
    {"stretch", Resize::kStretch}, {"crop-square", Resize::kCropSquare}, {"short-side", Resize::kShortSide}};
const std::map<std::string, Filter> kFilters = {{"bilinear", Filter::kBilinear}, {"bicubic", Filter::kBicubic}};
const std::map<std::string, Channels> kChannels = {{"rgb", Channels::kRgb}, {"bgr", Channels::kBgr}};

Preprocessing EfficientNetLite(uint32_t side) {
  return {.width = side,
          .height = side,
          .resize = Resize::kCropSquare,
          .crop_padding = 32,
          .filter = Filter::kBicubic,
          .mean = {127, 127, 127},
          .scale = {1 / 128.f, 1 / 128.f, 1 / 128.f}};
}

const std::map<std::string, Preprocessing> kPresets = {
    {"efficientnet-lite0", EfficientNetLite(224)},
    {"efficientnet-lite1", EfficientNetLite(240)},
    {"efficientnet-lite2", EfficientNetLite(260)},
    {"mobilenet-v2",
     {.resize = Resize::kShortSide,
      .short_side = 256,
      .filter = Filter::kBicubic,
      .mean = {127.5f, 127.5f, 127.5f},
      .scale = {1 / 127.5f, 1 / 127.5f, 1 / 127.5f}}},
    {"squeezenet1.1",
     {.resize = Resize::kStretch,
      .filter = Filter::kBicubic,
      .channels = Channels::kBgr,
      .mean = {104, 117, 123},
      .scale = {1, 1, 1}}},
};

template <typename Map>
std::string KeysOf(const Map& map) {
  std::string keys;
  for (const auto& [key, value] : map) keys += (keys.empty() ? "" : ", ") + key;
  return keys;
}

template <typename T>
std::string NameIn(const std::map<std::string, T>& names, T value) {
  for (const auto& [name, known] : names) {
    if (known == value) return name;
  }
  return "";
}

// Takes the keys of one JSON object; the first thing that is wrong with it becomes the status.
class Fields {
 public:
  explicit Fields(const Json& json) : json_(json) {}

  uint32_t Integer(const std::string& key, uint32_t low, uint32_t high) {
    const Json* value = Take(key);
    if (value == nullptr) return low;
    if (value->is_number_unsigned() && value->get<uint64_t>() >= low && value->get<uint64_t>() <= high) {
      return value->get<uint32_t>();
    }
    Fail(Concat("\"", key, "\" must be a whole number from ", low, " to ", high));
    return low;
  }

  template <typename T>
  T OneOf(const std::string& key, const std::map<std::string, T>& names) {
    const Json* value = Take(key);
    if (value != nullptr && value->is_string()) {
      if (auto found = names.find(value->get<std::string>()); found != names.end()) return found->second;
    }
    Fail(Concat("\"", key, "\" must be one of ", KeysOf(names)));
    return T{};
  }

  std::array<float, 3> Three(const std::string& key) {
    const Json* value = Take(key);
    std::array<float, 3> out{};
    bool ok = value != nullptr && value->is_array() && value->size() == 3;
    for (size_t c = 0; ok && c < 3; ++c) {
      ok = (*value)[c].is_number() && std::isfinite(out[c] = (*value)[c].get<float>());
    }
    if (!ok) Fail(Concat("\"", key, "\" must be three numbers"));
    return out;
  }

  void Fail(const std::string& why) {
    if (status_.ok()) status_ = InvalidArgument("preprocessing: ", why);
  }

  Status Finish() {
    for (const auto& [key, value] : json_.items()) {
      if (!taken_.contains(key)) Fail(Concat("\"", key, "\" has no meaning here"));
    }
    return status_;
  }

 private:
  const Json* Take(const std::string& key) {
    taken_.insert(key);
    auto found = json_.find(key);
    if (found == json_.end()) Fail(Concat("\"", key, "\" is missing"));
    return found == json_.end() ? nullptr : &*found;
  }

  const Json& json_;
  std::set<std::string> taken_;
  Status status_;
};

StatusOr<Json> ParseBounded(std::string_view text) {
  bool too_deep = false;
  auto bound = [&](int depth, Json::parse_event_t, Json&) { return !(too_deep |= depth > kMaxJsonDepth); };
  Json json = Json::parse(text, bound, /*allow_exceptions=*/false);
  if (too_deep || json.is_discarded() || !json.is_object()) {
    return InvalidArgument("preprocessing: not a JSON object", too_deep ? " of a plausible depth" : "");
  }
  return json;
}

StatusOr<Preprocessing> FromJson(std::string_view text) {
  if (text.size() > kMaxJsonBytes) return InvalidArgument("preprocessing: more than ", kMaxJsonBytes, " bytes of JSON");
  INFENCLAVE_ASSIGN_OR_RETURN(const Json json, ParseBounded(text));
  Fields fields(json);
  Preprocessing p;
  p.width = fields.Integer("width", 1, kMaxSide);
  p.height = fields.Integer("height", 1, kMaxSide);
  p.resize = fields.OneOf("resize", kResizes);
  if (p.resize == Resize::kCropSquare) p.crop_padding = fields.Integer("crop_padding", 0, kMaxSide);
  if (p.resize == Resize::kShortSide) p.short_side = fields.Integer("short_side", 1, kMaxSide);
  p.filter = fields.OneOf("filter", kFilters);
  p.channels = fields.OneOf("channels", kChannels);
  p.mean = fields.Three("mean");
  p.scale = fields.Three("scale");
  if (p.resize == Resize::kCropSquare && p.width != p.height) fields.Fail("a square crop needs width = height");
  if (p.resize == Resize::kShortSide && p.short_side < std::max(p.width, p.height)) {
    fields.Fail("\"short_side\" must not be smaller than width and height");
  }
  INFENCLAVE_RETURN_IF_ERROR(fields.Finish());
  return p;
}

}  // namespace

StatusOr<Preprocessing> LoadPreprocessing(const std::string& preset_or_path_or_json) {
  const std::string& source = preset_or_path_or_json;
  if (source.starts_with('{')) return FromJson(source);
  if (auto preset = kPresets.find(source); preset != kPresets.end()) return preset->second;
  StatusOr<Bytes> file = ReadFile(source, kMaxJsonBytes);
  if (absl::IsNotFound(file.status())) {
    return NotFound("preprocessing: '", source, "' is neither a file nor one of the presets ", KeysOf(kPresets));
  }
  if (!file.ok()) return file.status();
  StatusOr<Preprocessing> parsed = FromJson(AsText(*file));
  return parsed.ok() ? parsed : Annotate(parsed.status(), source);
}

std::string PreprocessingToJson(const Preprocessing& p) {
  Json json = {{"width", p.width}, {"height", p.height}, {"resize", NameIn(kResizes, p.resize)}};
  if (p.resize == Resize::kCropSquare) json["crop_padding"] = p.crop_padding;
  if (p.resize == Resize::kShortSide) json["short_side"] = p.short_side;
  json["filter"] = NameIn(kFilters, p.filter);
  json["channels"] = NameIn(kChannels, p.channels);
  json["mean"] = p.mean;
  json["scale"] = p.scale;
  return json.dump();
}

}  // namespace infenclave
