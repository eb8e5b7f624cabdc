#include "import/npy.h"

#include <gtest/gtest.h>

namespace infenclave {
namespace {

// Written by numpy 2: numpy.save(f, numpy.array([[1, 2.5, -3]], '<f4')).
Bytes ByNumpy() {
  std::string file("\x93NUMPY\x01\x00v\x00", 10);
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }";
  header.append(0x76 - header.size() - 1, ' ');
  file += header + "\n";
  file.append("\x00\x00\x80\x3f\x00\x00\x20\x40\x00\x00\x40\xc0", 12);
  return Bytes(file.begin(), file.end());
}

TEST(Npy, ReadsWhatNumpyWrites) {
  StatusOr<Tensor> tensor = DecodeNpy(ByNumpy());
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_EQ(tensor->shape(), (Shape{1, 3}));
  EXPECT_EQ(tensor->dtype(), DType::kF32);
  EXPECT_FLOAT_EQ(tensor->as<float>()[1], 2.5f);
  EXPECT_FLOAT_EQ(tensor->as<float>()[2], -3.0f);
}

TEST(Npy, RoundTrip) {
  for (const Shape& shape : {Shape{}, Shape{3}, Shape{1, 3}, Shape{1, 3, 2, 2}}) {
    Tensor in(DType::kF32, shape);
    for (size_t i = 0; i < in.as<float>().size(); ++i) in.as<float>()[i] = static_cast<float>(i) - 0.5f;
    Bytes file = EncodeNpy(in.view());
    EXPECT_EQ((file.size() - in.bytes()) % 64, 0u);
    StatusOr<Tensor> out = DecodeNpy(file);
    ASSERT_TRUE(out.ok()) << out.status();
    EXPECT_EQ(out->shape(), shape);
    EXPECT_EQ(ToBytes(out->raw()), ToBytes(in.raw()));
  }
}

TEST(Npy, Bf16IsKeptAsItsBits) {
  Tensor in(DType::kBf16, {2});
  in.as<uint16_t>()[0] = F32ToBf16(1.5f);
  in.as<uint16_t>()[1] = F32ToBf16(-2);
  const Bytes file = EncodeNpy(in.view());
  EXPECT_NE(AsText(file).find("'descr': '<u2'"), std::string_view::npos);
  const StatusOr<Tensor> out = DecodeNpy(file);
  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_EQ(out->dtype(), DType::kBf16);
  EXPECT_EQ(ToBytes(out->raw()), ToBytes(in.raw()));
}

TEST(Npy, RefusesEveryTruncation) {
  Bytes file = ByNumpy();
  for (size_t n = 0; n < file.size(); ++n) EXPECT_FALSE(DecodeNpy(ByteSpan(file).first(n)).ok()) << n;
}

TEST(Npy, SaysWhatIsWrong) {
  auto with_header = [](const std::string& header) {
    std::string file("\x93NUMPY\x01\x00", 8);
    file += static_cast<char>(header.size() + 1);
    file += '\0';
    file += header + "\n";
    return Bytes(file.begin(), file.end());
  };
  const std::pair<std::string, std::string> cases[] = {
      {"{'descr': '>f4', 'fortran_order': False, 'shape': (), }", "element type '>f4'"},
      {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (), }", "structured arrays"},
      {"{'descr': '<f4', 'fortran_order': True, 'shape': (), }", "Fortran order"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", "not one that numpy writes"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", "more than 2^40"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1048576,), }",
       "needs 4194304 bytes of data, the file has 0"},
      {"{'descr': '<f4', }", "not one that numpy writes"},
      {"__import__('os')", "not one that numpy writes"},
  };
  for (const auto& [header, message] : cases) {
    StatusOr<Tensor> tensor = DecodeNpy(with_header(header));
    ASSERT_FALSE(tensor.ok()) << header;
    EXPECT_NE(MessageOf(tensor.status()).find(message), std::string::npos) << tensor.status();
  }
}

}  // namespace
}  // namespace infenclave
