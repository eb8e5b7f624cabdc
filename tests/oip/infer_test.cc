#include "oip/infer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

namespace infenclave {
namespace {

using inference::ModelInferRequest;

const std::vector<float> kValues = {1.5f, -2.0f, 3.25f, 0.0f, 7.0f, -0.5f};
ByteSpan ValueBytes() { return {reinterpret_cast<const uint8_t*>(kValues.data()), kValues.size() * sizeof(float)}; }

ModelInferRequest RawBytes() {
  ModelInferRequest request;
  AddBytesInput(request, "x", AsBytes("hello"));
  return request;
}
ModelInferRequest TypedBytes() {
  ModelInferRequest request = RawBytes();
  request.clear_raw_input_contents();
  request.mutable_inputs(0)->mutable_contents()->add_bytes_contents("hello");
  return request;
}
ModelInferRequest RawFloats() {
  ModelInferRequest request;
  AddInput(request, "x", DType::kF32, {2, 3}, ValueBytes());
  return request;
}
ModelInferRequest TypedFloats() {
  ModelInferRequest request = RawFloats();
  request.clear_raw_input_contents();
  request.mutable_inputs(0)->mutable_contents()->mutable_fp32_contents()->Assign(kValues.begin(), kValues.end());
  return request;
}

// The protocol's raw form of one BYTES element: a 4-byte little-endian length before it.
TEST(Infer, RawBytesCarryTheirLength) {
  EXPECT_EQ(RawBytes().raw_input_contents(0), std::string("\x05\0\0\0hello", 9));
}

TEST(Infer, ReadsBytesInBothForms) {
  for (const ModelInferRequest& request : {RawBytes(), TypedBytes()}) {
    const auto element = ReadBytesInput(request, "x");
    ASSERT_TRUE(element.ok()) << element.status();
    EXPECT_EQ(AsText(*element), "hello");
  }
  EXPECT_EQ(FormOf(RawBytes()), TensorForm::kRaw);
  EXPECT_EQ(FormOf(TypedBytes()), TensorForm::kTyped);
}

TEST(Infer, ReadsFloatsInBothForms) {
  for (const ModelInferRequest& request : {RawFloats(), TypedFloats()}) {
    const auto tensor = ReadInput(request, "x", DType::kF32);
    ASSERT_TRUE(tensor.ok()) << tensor.status();
    EXPECT_EQ(tensor->shape, (Shape{2, 3}));
    EXPECT_TRUE(std::ranges::equal(tensor->data, ValueBytes()));
  }
}

TEST(Infer, ReadsBytesOfNumbersInBothForms) {
  ModelInferRequest raw;
  AddInput(raw, "x", DType::kU8, {2, 2}, Bytes{0, 1, 128, 255});
  EXPECT_EQ(raw.inputs(0).datatype(), "UINT8");
  ModelInferRequest typed = raw;
  typed.clear_raw_input_contents();
  auto& numbers = *typed.mutable_inputs(0)->mutable_contents()->mutable_uint_contents();
  for (uint32_t number : {0, 1, 128, 255}) numbers.Add(number);
  for (const ModelInferRequest& request : {raw, typed}) {
    const auto tensor = ReadInput(request, "x", DType::kU8);
    ASSERT_TRUE(tensor.ok()) << tensor.status();
    EXPECT_EQ(tensor->shape, (Shape{2, 2}));
    EXPECT_EQ(ToBytes(tensor->data), (Bytes{0, 1, 128, 255}));
    EXPECT_EQ(MessageOf(ReadInput(request, "x", DType::kF32).status()), "input 'x' is UINT8, expected FP32");
  }
  numbers.Set(3, 256);
  EXPECT_EQ(MessageOf(ReadInput(typed, "x", DType::kU8).status()), "input 'x': holds 256, which is no UINT8");
  numbers.RemoveLast();
  EXPECT_NE(MessageOf(ReadInput(typed, "x", DType::kU8).status()).find("3 bytes, expected 4"), std::string::npos);
}

TEST(Infer, AnswersInTheFormAskedFor) {
  for (const TensorForm form : {TensorForm::kRaw, TensorForm::kTyped}) {
    inference::ModelInferResponse floats, bytes;
    AddF32Output(floats, "y", {6}, ValueBytes(), form);
    AddBytesOutput(bytes, "z", AsBytes("sealed"), form);
    EXPECT_EQ(floats.raw_output_contents_size(), form == TensorForm::kRaw ? 1 : 0);
    EXPECT_EQ(bytes.raw_output_contents_size(), form == TensorForm::kRaw ? 1 : 0);
    const auto y = ReadF32Output(floats, "y");
    ASSERT_TRUE(y.ok()) << y.status();
    EXPECT_TRUE(std::ranges::equal(y->data, ValueBytes()));
    const auto z = ReadBytesOutput(bytes, "");
    ASSERT_TRUE(z.ok()) << z.status();
    EXPECT_EQ(AsText(*z), "sealed");
  }
}

struct BadCase {
  const char* what;
  ModelInferRequest (*make)();
  std::function<void(ModelInferRequest&)> spoil;
  const char* message;
};

TEST(Infer, RefusesWhatDoesNotFitItsDescription) {
  const std::vector<BadCase> cases = {
      {"no input", RawBytes, [](auto& r) { r.clear_inputs(); }, "0 inputs"},
      {"two inputs", RawBytes, [](auto& r) { *r.add_inputs() = r.inputs(0); }, "2 inputs"},
      {"other name", RawBytes, [](auto& r) { r.mutable_inputs(0)->set_name("y"); }, "no input 'y'"},
      {"other type", RawBytes, [](auto& r) { r.mutable_inputs(0)->set_datatype("UINT8"); }, "is UINT8"},
      {"rank", RawBytes,
       [](auto& r) {
         for (int i = 0; i < 8; ++i) r.mutable_inputs(0)->add_shape(1);
       },
       "9 dimensions"},
      {"two elements", RawBytes, [](auto& r) { r.mutable_inputs(0)->set_shape(0, 2); }, "expected one element"},
      {"negative", RawBytes, [](auto& r) { r.mutable_inputs(0)->set_shape(0, -1); }, "-1"},
      {"two raws", RawBytes, [](auto& r) { *r.add_raw_input_contents() = std::string(9, char{0}); }, "2 raw tensors"},
      {"both forms", RawBytes, [](auto& r) { r.mutable_inputs(0)->mutable_contents()->add_bytes_contents("x"); },
       "both raw and typed"},
      {"short raw", RawBytes, [](auto& r) { r.mutable_raw_input_contents(0)->resize(3); }, "3 raw bytes"},
      {"long raw", RawBytes, [](auto& r) { r.mutable_raw_input_contents(0)->push_back('!'); }, "10 raw bytes"},
      {"typed none", TypedBytes, [](auto& r) { r.mutable_inputs(0)->clear_contents(); }, "0 elements"},
      {"short floats", RawFloats, [](auto& r) { r.mutable_raw_input_contents(0)->pop_back(); },
       "23 bytes, expected 24"},
      {"typed short", TypedFloats,
       [](auto& r) { r.mutable_inputs(0)->mutable_contents()->mutable_fp32_contents()->RemoveLast(); }, "20 bytes"},
      {"huge", RawFloats, [](auto& r) { r.mutable_inputs(0)->set_shape(0, int64_t{1} << 62); }, "input 'x'"},
  };
  for (const BadCase& bad : cases) {
    ModelInferRequest request = bad.make();
    bad.spoil(request);
    const bool bytes = bad.make == RawBytes || bad.make == TypedBytes;
    const Status status = bytes ? ReadBytesInput(request, "x").status() : ReadInput(request, "x", DType::kF32).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << bad.what;
    EXPECT_NE(MessageOf(status).find(bad.message), std::string::npos) << bad.what << ": " << status;
  }
}

}  // namespace
}  // namespace infenclave
