#include "oip/rest_json.h"

#include <absl/strings/escaping.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "oip/infer.h"

namespace infenclave {
namespace {

// Numbers are floats: they are read and written as the tensors hold them, in the fewest digits that give them back.
using Json = nlohmann::basic_json<nlohmann::ordered_map, std::vector, std::string, bool, int64_t, uint64_t, float>;

constexpr size_t kMaxTensors = 16, kMaxParameters = 64;
constexpr char kBinarySize[] = "binary_data_size", kContentType[] = "content_type";

absl::string_view ToAbsl(std::string_view text) { return {text.data(), text.size()}; }
std::string Base64(std::string_view bytes) { return absl::Base64Escape(ToAbsl(bytes)); }

StatusOr<Json> ParseBounded(std::string_view text) {
  bool too_deep = false;
  const auto bound = [&](int depth, Json::parse_event_t, Json&) { return !(too_deep |= depth > kMaxRestDepth); };
  Json json = Json::parse(text.begin(), text.end(), bound, /*allow_exceptions=*/false);
  if (too_deep) return InvalidArgument("the body is JSON of more than ", kMaxRestDepth, " levels");
  if (json.is_discarded() || !json.is_object()) return InvalidArgument("the body is not a JSON object");
  return json;
}

// Members of an object by name; nullptr where there is none.
const Json* Find(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found == json.end() ? nullptr : &*found;
}

StatusOr<std::string> Text(const Json& json, const char* key, std::string_view what) {
  const Json* value = Find(json, key);
  if (value == nullptr) return InvalidArgument(what, ": no '", key, "'");
  if (!value->is_string()) return InvalidArgument(what, ": '", key, "' is not a string");
  return value->get<std::string>();
}

template <typename Parameters>
Status ReadParameters(const Json& owner, std::string_view what, Parameters& out) {
  const Json* parameters = Find(owner, "parameters");
  if (parameters == nullptr) return OkStatus();
  if (!parameters->is_object() || parameters->size() > kMaxParameters) {
    return InvalidArgument(what, ": 'parameters' is not an object of at most ", kMaxParameters, " members");
  }
  for (const auto& [key, value] : parameters->items()) {
    inference::InferParameter& parameter = out[key];
    if (value.is_boolean()) {
      parameter.set_bool_param(value.template get<bool>());
    } else if (value.is_string()) {
      parameter.set_string_param(value.template get<std::string>());
    } else if (value.is_number_integer()) {
      parameter.set_int64_param(value.template get<int64_t>());
    } else if (value.is_number()) {
      parameter.set_double_param(static_cast<double>(value.template get<float>()));
    } else {
      return InvalidArgument(what, ": parameter '", key, "' is neither text, number nor truth value");
    }
  }
  return OkStatus();
}

template <typename Parameters>
bool IsTrue(const Parameters& parameters, const char* key) {
  const auto found = parameters.find(key);
  return found != parameters.end() && found->second.bool_param();
}

Status ReadShape(const Json& json, std::string_view what, inference::ModelInferRequest::InferInputTensor& out) {
  const Json* shape = Find(json, "shape");
  if (shape == nullptr || !shape->is_array() || shape->size() > kMaxTensors) {
    return InvalidArgument(what, ": 'shape' is not a list of at most ", kMaxTensors, " numbers");
  }
  for (const Json& dimension : *shape) {
    if (!dimension.is_number_integer()) return InvalidArgument(what, ": 'shape' is not a list of whole numbers");
    out.add_shape(dimension.get<int64_t>());
  }
  return OkStatus();
}

bool IsByte(const Json& value) { return value.is_number_unsigned() && value.get<uint64_t>() <= 255; }

// Bounded by the depth that the body may have.
template <typename T>
Status AppendNumbers(const Json& data, std::string_view what, google::protobuf::RepeatedField<T>& out) {
  for (const Json& value : data) {
    if (value.is_array()) {
      INFENCLAVE_RETURN_IF_ERROR(AppendNumbers(value, what, out));
    } else if (std::is_floating_point_v<T> ? value.is_number() : IsByte(value)) {
      out.Add(value.get<T>());
    } else {
      return InvalidArgument(what, ": 'data' holds something that is no number",
                             std::is_floating_point_v<T> ? "" : " from 0 to 255");
    }
  }
  return OkStatus();
}

Status AppendBytes(const Json& data, std::string_view what, inference::InferTensorContents& out) {
  for (const Json& value : data) {
    if (!value.is_string() ||
        !absl::Base64Unescape(ToAbsl(value.get_ref<const std::string&>()), out.add_bytes_contents())) {
      return InvalidArgument(what, ": 'data' holds something that is no base64 text");
    }
  }
  return OkStatus();
}

Status ReadData(const Json& json, std::string_view what, inference::ModelInferRequest::InferInputTensor& out) {
  const Json* data = Find(json, "data");
  if (data == nullptr || !data->is_array()) {
    return InvalidArgument(what, ": no list 'data', and no parameter '", kBinarySize, "'");
  }
  if (out.datatype() == "FP32") return AppendNumbers(*data, what, *out.mutable_contents()->mutable_fp32_contents());
  if (out.datatype() == "UINT8") return AppendNumbers(*data, what, *out.mutable_contents()->mutable_uint_contents());
  if (out.datatype() != "BYTES") {
    return InvalidArgument(what, " is ", out.datatype(), ": this server's tensors are BYTES, FP32 and UINT8");
  }
  const auto type = out.parameters().find(kContentType);
  if (type != out.parameters().end() && type->second.string_param() != "base64") {
    return InvalidArgument(what, ": '", kContentType, "' is not base64, and the elements of BYTES must be");
  }
  return AppendBytes(*data, what, *out.mutable_contents());
}

// `binary` is what is left of the bytes behind the JSON.
Status ReadInput(const Json& json, std::string_view& binary, inference::ModelInferRequest& request) {
  if (!json.is_object()) return InvalidArgument("an input is not an object");
  inference::ModelInferRequest::InferInputTensor& input = *request.add_inputs();
  INFENCLAVE_ASSIGN_OR_RETURN(*input.mutable_name(), Text(json, "name", "an input"));
  const std::string what = Concat("input '", input.name().substr(0, 64), "'");
  INFENCLAVE_ASSIGN_OR_RETURN(*input.mutable_datatype(), Text(json, "datatype", what));
  INFENCLAVE_RETURN_IF_ERROR(ReadShape(json, what, input));
  INFENCLAVE_RETURN_IF_ERROR(ReadParameters(json, what, *input.mutable_parameters()));
  const auto size = input.parameters().find(kBinarySize);
  if (size == input.parameters().end()) return ReadData(json, what, input);
  const int64_t bytes = size->second.int64_param();
  if (bytes < 0 || static_cast<uint64_t>(bytes) > binary.size()) {
    return InvalidArgument(what, ": ", kBinarySize, " is ", bytes, ", and ", binary.size(), " bytes are there");
  }
  request.add_raw_input_contents(binary.data(), static_cast<size_t>(bytes));
  binary.remove_prefix(static_cast<size_t>(bytes));
  return OkStatus();
}

StatusOr<const Json*> List(const Json& json, const char* key, bool required) {
  static const Json kNone = Json::array();
  const Json* list = Find(json, key);
  if (list == nullptr && !required) return &kNone;
  if (list == nullptr || !list->is_array() || list->size() > kMaxTensors) {
    return InvalidArgument("'", key, "' is not a list of at most ", kMaxTensors);
  }
  return list;
}

Status ReadOutputs(const Json& json, RestInferRequest& out) {
  INFENCLAVE_ASSIGN_OR_RETURN(const Json* outputs, List(json, "outputs", false));
  for (const Json& output : *outputs) {
    if (!output.is_object()) return InvalidArgument("an output is not an object");
    auto& asked = *out.request.add_outputs();
    INFENCLAVE_ASSIGN_OR_RETURN(*asked.mutable_name(), Text(output, "name", "an output"));
    INFENCLAVE_RETURN_IF_ERROR(ReadParameters(output, "an output", *asked.mutable_parameters()));
    out.binary_answer |= IsTrue(asked.parameters(), "binary_data");
  }
  return OkStatus();
}

// ---- answers ------------------------------------------------------------------------------------------------------
// The bytes of one output, in the protocol's raw form.
StatusOr<std::string> RawOutput(const inference::ModelInferResponse& response, int i) {
  if (!response.raw_output_contents().empty()) {
    if (i >= response.raw_output_contents_size()) return Internal("the answer lacks a tensor's bytes");
    return response.raw_output_contents(i);
  }
  const inference::InferTensorContents& contents = response.outputs(i).contents();
  if (response.outputs(i).datatype() == "FP32") {
    return std::string(reinterpret_cast<const char*>(contents.fp32_contents().data()),
                       static_cast<size_t>(contents.fp32_contents_size()) * sizeof(float));
  }
  std::string raw;
  for (const std::string& element : contents.bytes_contents()) {
    const auto length = static_cast<uint32_t>(element.size());
    raw.append(reinterpret_cast<const char*>(&length), sizeof(length)).append(element);
  }
  return raw;
}

StatusOr<Json> DataOf(const std::string& datatype, std::string_view raw) {
  Json data = Json::array();
  if (datatype == "FP32") {
    for (size_t i = 0; i + sizeof(float) <= raw.size(); i += sizeof(float)) {
      float value;
      std::memcpy(&value, raw.data() + i, sizeof(value));
      data.push_back(value);
    }
    return data;
  }
  while (!raw.empty()) {
    uint32_t length = 0;
    if (raw.size() >= sizeof(length)) std::memcpy(&length, raw.data(), sizeof(length));
    if (raw.size() < sizeof(length) || raw.size() - sizeof(length) < length) return Internal("a cut off BYTES tensor");
    data.push_back(Base64(raw.substr(sizeof(length), length)));
    raw.remove_prefix(sizeof(length) + length);
  }
  return data;
}

// ---- messages -----------------------------------------------------------------------------------------------------
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

Json ObjectOf(const Message& message);

// Element `i` of a repeated field, or the value of another (i = -1). Only the types that our messages have.
Json ValueOf(const Message& message, const FieldDescriptor* field, int i) {
  const auto& r = *message.GetReflection();
  const bool many = i >= 0;
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return many ? r.GetRepeatedInt32(message, field, i) : r.GetInt32(message, field);
    case FieldDescriptor::CPPTYPE_INT64:
      return many ? r.GetRepeatedInt64(message, field, i) : r.GetInt64(message, field);
    case FieldDescriptor::CPPTYPE_UINT64:
      return many ? r.GetRepeatedUInt64(message, field, i) : r.GetUInt64(message, field);
    case FieldDescriptor::CPPTYPE_BOOL:
      return many ? r.GetRepeatedBool(message, field, i) : r.GetBool(message, field);
    case FieldDescriptor::CPPTYPE_ENUM:
      return many ? r.GetRepeatedEnum(message, field, i)->name() : r.GetEnum(message, field)->name();
    case FieldDescriptor::CPPTYPE_STRING: {
      std::string value = many ? r.GetRepeatedString(message, field, i) : r.GetString(message, field);
      return field->type() == FieldDescriptor::TYPE_BYTES ? Base64(value) : value;
    }
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return ObjectOf(many ? r.GetRepeatedMessage(message, field, i) : r.GetMessage(message, field));
    default:
      return nullptr;
  }
}

Json ObjectOf(const Message& message) {
  Json object = Json::object();
  const auto& reflection = *message.GetReflection();
  for (int f = 0; f < message.GetDescriptor()->field_count(); ++f) {
    const FieldDescriptor* field = message.GetDescriptor()->field(f);
    if (!field->is_repeated()) {
      if (field->has_presence() && !reflection.HasField(message, field)) continue;
      object[field->name()] = ValueOf(message, field, -1);
      continue;
    }
    Json& values = object[field->name()] = field->is_map() ? Json::object() : Json::array();
    for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
      Json value = ValueOf(message, field, i);
      if (field->is_map()) {
        values[value["key"].get<std::string>()] = value["value"];
      } else {
        values.push_back(std::move(value));
      }
    }
  }
  return object;
}

std::string Dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace

StatusOr<RestInferRequest> ParseRestInfer(std::string_view body, std::optional<uint64_t> json_bytes) {
  if (json_bytes.value_or(0) > body.size()) {
    return InvalidArgument("Inference-Header-Content-Length is ", *json_bytes, ", and the body has ", body.size(),
                           " bytes");
  }
  std::string_view binary = json_bytes.has_value() ? body.substr(*json_bytes) : std::string_view();
  INFENCLAVE_ASSIGN_OR_RETURN(const Json json, ParseBounded(body.substr(0, body.size() - binary.size())));
  RestInferRequest out;
  if (Find(json, "id") != nullptr) {
    INFENCLAVE_ASSIGN_OR_RETURN(*out.request.mutable_id(), Text(json, "id", "the request"));
  }
  INFENCLAVE_RETURN_IF_ERROR(ReadParameters(json, "the request", *out.request.mutable_parameters()));
  out.binary_answer = IsTrue(out.request.parameters(), "binary_data_output");
  INFENCLAVE_ASSIGN_OR_RETURN(const Json* inputs, List(json, "inputs", true));
  for (const Json& input : *inputs) INFENCLAVE_RETURN_IF_ERROR(ReadInput(input, binary, out.request));
  if (!binary.empty()) return InvalidArgument(binary.size(), " bytes behind the JSON belong to no input");
  INFENCLAVE_RETURN_IF_ERROR(ReadOutputs(json, out));
  return out;
}

StatusOr<RestInferAnswer> WriteRestInfer(const inference::ModelInferResponse& response, bool binary) {
  Json json = {{"model_name", response.model_name()}, {"model_version", response.model_version()}};
  if (!response.id().empty()) json["id"] = response.id();
  Json& outputs = json["outputs"] = Json::array();
  std::string behind;
  for (int i = 0; i < response.outputs_size(); ++i) {
    const auto& output = response.outputs(i);
    INFENCLAVE_ASSIGN_OR_RETURN(const std::string raw, RawOutput(response, i));
    Json described = {{"name", output.name()}, {"datatype", output.datatype()}, {"shape", Json::array()}};
    for (int64_t dimension : output.shape()) described["shape"].push_back(dimension);
    if (binary) {
      described["parameters"] = {{kBinarySize, raw.size()}};
      behind += raw;
    } else {
      if (output.datatype() == "BYTES") described["parameters"] = {{kContentType, "base64"}};
      INFENCLAVE_ASSIGN_OR_RETURN(described["data"], DataOf(output.datatype(), raw));
    }
    outputs.push_back(std::move(described));
  }
  RestInferAnswer answer{Dump(json), std::nullopt};
  if (binary) {
    answer.json_bytes = answer.body.size();
    answer.body += behind;
  }
  return answer;
}

std::string ToJson(const google::protobuf::Message& message) { return Dump(ObjectOf(message)); }

std::string ErrorJson(const Status& status, const std::vector<std::pair<std::string, std::string>>& details) {
  Json json = {{"error", MessageOf(status)}, {"code", absl::StatusCodeToString(status.code())}};
  for (const auto& [key, value] : details) json["details"][key] = Base64(value);
  return Dump(json);
}

Status ParseFields(std::string_view body, google::protobuf::Message& message) {
  using google::protobuf::FieldDescriptor;
  if (body.empty()) return OkStatus();
  INFENCLAVE_ASSIGN_OR_RETURN(const Json json, ParseBounded(body));
  for (const auto& [key, value] : json.items()) {
    const FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(key);
    if (field == nullptr) return InvalidArgument("'", key.substr(0, 64), "' has no meaning here");
    if (field->type() == FieldDescriptor::TYPE_BOOL) {
      if (!value.is_boolean()) return InvalidArgument("'", key, "' is neither true nor false");
      message.GetReflection()->SetBool(&message, field, value.template get<bool>());
    } else {
      INFENCLAVE_CHECK(field->type() == FieldDescriptor::TYPE_BYTES);
      std::string bytes;
      if (!value.is_string() || !absl::Base64Unescape(ToAbsl(value.template get_ref<const std::string&>()), &bytes)) {
        return InvalidArgument("'", key, "' is not base64 text");
      }
      message.GetReflection()->SetString(&message, field, std::move(bytes));
    }
  }
  return OkStatus();
}

}  // namespace infenclave
