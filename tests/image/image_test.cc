// Decoding, resizing and cropping. Pixel values come from Pillow 11 (also byte for byte over many pictures in
// pillow_test.py); the small files were written by it.
#include "image/image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "image/formats.h"

namespace infenclave {
namespace {

using ::testing::HasSubstr;

Bytes Hex(std::string_view hex) { return *HexDecode(hex); }

// Red, green / blue, white.
constexpr char kPng[] =
    "89504e470d0a1a0a0000000d4948445200000002000000020802000000fdd49a730000001649444154789c63f8cfc0c0f09f819181e1ffffff"
    "0c001ef604fd09ed343e0000000049454e44ae426082";
constexpr char kPalettePng[] =
    "89504e470d0a1a0a0000000d49484452000000020000000202030000000fd8e5b70000000c504c5445ffffff00ff00ff00000000ff170140ea"
    "0000000c49444154789c6398c064000001e800c3e81577750000000049454e44ae426082";
constexpr char kWebp[] =
    "524946462c000000574542505650384c1f0000002f014000001f201048de1f3a8df9171014fc1fddfc47640fe0060c11fd0f0100";
constexpr char kFourPixels[] = "ff000000ff000000ffffffff";

Image Pattern(uint32_t width, uint32_t height) {
  Image image{width, height, {}};
  for (uint32_t y = 0; y < height; ++y) {
    for (uint32_t x = 0; x < width; ++x) {
      for (uint32_t c = 0; c < 3; ++c)
        image.rgb.push_back(static_cast<uint8_t>(x * x * 7 + y * 31 + c * 85 + x * y * c * 3));
    }
  }
  return image;
}

// A JPEG with the EXIF block (TIFF, either byte order) of one orientation entry after its SOI.
Bytes WithOrientation(const Bytes& jpeg, int orientation, bool little) {
  std::string tiff = little ? std::string("II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0", 18)
                            : std::string("MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01", 18);
  const char value = static_cast<char>(orientation);
  tiff += little ? std::string{value, 0, 0, 0} : std::string{0, value, 0, 0};
  tiff += std::string(4, '\0');
  std::string segment = std::string("Exif\0\0", 6) + tiff;
  const size_t length = segment.size() + 2;
  segment = std::string{'\xff', '\xe1', static_cast<char>(length >> 8), static_cast<char>(length)} + segment;
  Bytes out(jpeg.begin(), jpeg.begin() + 2);
  out.insert(out.end(), segment.begin(), segment.end());
  out.insert(out.end(), jpeg.begin() + 2, jpeg.end());
  return out;
}

TEST(DecodeImage, ReadsEachFormatAsRgb) {
  for (const char* file : {kPng, kPalettePng, kWebp}) {
    auto image = DecodeImage(Hex(file));
    ASSERT_TRUE(image.ok()) << image.status();
    EXPECT_EQ(image->width, 2u);
    EXPECT_EQ(image->height, 2u);
    EXPECT_EQ(HexEncode(image->rgb), kFourPixels);
  }
}

TEST(DecodeImage, GreyBecomesRgbAndAlphaIsDropped) {
  auto bits =
      DecodeImage(Hex("89504e470d0a1a0a0000000d49484452000000020000000101000000"
                      "00dc5942270000000a49444154789c636800000082008177cd72b60000000049454e44ae426082"));
  ASSERT_TRUE(bits.ok()) << bits.status();
  EXPECT_EQ(HexEncode(bits->rgb), "ffffff000000");
  auto alpha =
      DecodeImage(Hex("89504e470d0a1a0a0000000d4948445200000002000000010804000000"
                      "5e2bb7010000000d49444154789c63e06238f11f0002bc01d236befe490000000049454e44ae426082"));
  ASSERT_TRUE(alpha.ok()) << alpha.status();
  EXPECT_EQ(HexEncode(alpha->rgb), "0a0a0ac8c8c8");
}

TEST(DecodeImage, JpegRoundTripStaysClose) {
  Image image{16, 8, Bytes(16 * 8 * 3, 90)};
  auto jpeg = EncodeJpeg(image, 95);
  ASSERT_TRUE(jpeg.ok()) << jpeg.status();
  auto back = DecodeImage(*jpeg);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->width, 16u);
  EXPECT_EQ(back->height, 8u);
  for (uint8_t v : back->rgb) EXPECT_NEAR(v, 90, 2);
}

TEST(DecodeImage, PngRoundTripIsExact) {
  Image image = Pattern(13, 7);
  auto png = EncodePng(image);
  ASSERT_TRUE(png.ok()) << png.status();
  auto back = DecodeImage(*png);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->rgb, image.rgb);
}

TEST(DecodeImage, EveryTruncationIsAnError) {
  Bytes jpeg = *EncodeJpeg(Pattern(24, 16), 90);
  for (const Bytes& whole : {Hex(kPng), Hex(kWebp), jpeg}) {
    // The last two bytes of a JPEG only say that it ends.
    size_t needed = whole == jpeg ? whole.size() - 2 : whole.size();
    for (size_t size = 0; size < needed; ++size) {
      auto image = DecodeImage(ByteSpan(whole).first(size));
      EXPECT_EQ(image.status().code(), StatusCode::kInvalidArgument) << size << " of " << whole.size();
    }
  }
}

TEST(DecodeImage, RefusesWhatIsNoPicture) {
  EXPECT_THAT(MessageOf(DecodeImage({}).status()), HasSubstr("empty"));
  EXPECT_THAT(MessageOf(DecodeImage(AsBytes("GIF89a......")).status()), HasSubstr("JPEG, PNG, WebP"));
  EXPECT_THAT(MessageOf(DecodeImage(AsBytes("\xff\xd8\xff\xe0 no more")).status()), HasSubstr("JPEG: "));
}

TEST(DecodeImage, LimitsHoldBeforeDecoding) {
  Bytes png = Hex(kPng);
  png[16] = 0x7f;  // width 2^31-ish; libpng checks the header's CRC only later than its limits
  EXPECT_FALSE(DecodeImage(png).ok());
  for (const char* file : {kPng, kWebp}) {
    auto image = DecodeImage(Hex(file), /*max_pixels=*/3);
    EXPECT_THAT(MessageOf(image.status()), HasSubstr("a picture of 2x2 exceeds the limit of 3 pixels"));
  }
  EXPECT_THAT(MessageOf(DecodeImage(*EncodeJpeg(Pattern(24, 16), 90), 383).status()), HasSubstr("24x16 exceeds"));
  Image image;
  EXPECT_FALSE(AllocateImage(uint64_t{1} << 32, uint64_t{1} << 32, kMaxImagePixels, &image).ok());
  EXPECT_FALSE(AllocateImage(1, 70000, kMaxImagePixels, &image).ok());
  EXPECT_FALSE(AllocateImage(0, 1, kMaxImagePixels, &image).ok());
}

TEST(DecodeImage, OrientationIsApplied) {
  // Pixels a b c / d e f, and what each of the eight EXIF values shows (EXIF 2.32, tag 0x0112).
  const Image stored{3, 2, Hex("0a0a0a0b0b0b0c0c0c0d0d0d0e0e0e0f0f0f")};
  const struct {
    int orientation;
    uint32_t width;
    const char* pixels;
  } cases[] = {{1, 3, "abcdef"}, {2, 3, "cbafed"}, {3, 3, "fedcba"}, {4, 3, "defabc"}, {5, 2, "adbecf"},
               {6, 2, "daebfc"}, {7, 2, "fcebda"}, {8, 2, "cfbead"}, {0, 3, "abcdef"}, {9, 3, "abcdef"}};
  for (const auto& c : cases) {
    Image seen = ApplyOrientation(stored, c.orientation);
    EXPECT_EQ(seen.width, c.width) << c.orientation;
    std::string hex;
    for (char p : std::string(c.pixels)) hex += std::string("0") + p + "0" + p + "0" + p;
    EXPECT_EQ(HexEncode(seen.rgb), hex) << c.orientation;
  }
}

TEST(DecodeImage, OrientationComesFromTheFile) {
  Bytes jpeg = *EncodeJpeg(Pattern(24, 16), 90);
  for (bool little : {false, true}) {
    auto image = DecodeImage(WithOrientation(jpeg, 6, little));
    ASSERT_TRUE(image.ok()) << image.status();
    EXPECT_EQ(image->width, 16u);
    EXPECT_EQ(image->height, 24u);
  }
}

TEST(DecodeImage, MalformedExifIsIgnored) {
  for (std::string_view block :
       {std::string_view(""), std::string_view("Exif\0\0", 6), std::string_view("II*\0", 4),
        std::string_view("II*\0\xff\xff\xff\xff", 8), std::string_view("MM\0*\0\0\0\x08\xff\xff\x01\x12", 12)}) {
    EXPECT_EQ(ExifOrientation(AsBytes(block)), 1);
  }
}

TEST(LoadImage, ErrorsNameThePath) {
  std::string path = std::filesystem::path(::testing::TempDir()) / "no_image.jpg";
  std::ofstream(path) << "these are words";
  EXPECT_THAT(MessageOf(LoadImage(path).status()), HasSubstr("no_image.jpg: not a picture"));
  EXPECT_EQ(LoadImage(path + ".missing").status().code(), StatusCode::kNotFound);
}

TEST(Resize, EqualsPillow) {
  using Filter = Preprocessing::Filter;
  const struct {
    uint32_t from_width, from_height, width, height;
    Filter filter;
    const char* pixels;
  } cases[] = {
      {13, 7, 5, 4, Filter::kBilinear,
       "1e75c067977c976f7c8e6f7e837f8b4ea5938d856f7e7f7b9c646f7a737188984a9a60937980867c8187896f7eb8477c8f797b7a8291948"
       "f95"
       "838c6f"},
      {13, 7, 5, 4, Filter::kBicubic,
       "136ecd679e7b9d6b76906f80847f8c48ae919185697d7c7fa0636b73756c86a03c9d559d77878178818a876880c13d808e7b7a758594998"
       "d98"
       "838e6a"},
      {13, 7, 1, 1, Filter::kBilinear, "817c7f"},
      {13, 7, 1, 1, Filter::kBicubic, "827c7f"},
      {3, 2, 5, 4, Filter::kBilinear,
       "0055aa0358ad075cb11469be1c71c6085db20b60b50f65ba1c72c8247ad1176cc11a70c61e76cd2b83dc338de61f74c92278ce267ed6338"
       "ce6"
       "3b96f1"},
      {3, 2, 5, 4, Filter::kBicubic,
       "0051a60054a90459ae1267bb1b70c4065aaf085db30d63b91b71c7247bd1186dc21b70c52077ce2e87e03790ea2176cb2479cf2981d9379"
       "1ec"
       "409bf7"},
      {3, 2, 1, 3, Filter::kBilinear, "0b60b51b71c82a82da"},
      {3, 2, 1, 3, Filter::kBicubic, "095eb31b71c82c84dc"},
  };
  for (const auto& c : cases) {
    Image out = Resize(Pattern(c.from_width, c.from_height), c.width, c.height, c.filter);
    EXPECT_EQ(out.width, c.width);
    EXPECT_EQ(HexEncode(out.rgb), c.pixels) << c.width << "x" << c.height;
  }
}

TEST(Prepare, EveryPictureGetsTheNetworksSize) {
  Preprocessing p;
  p.width = 6, p.height = 6;
  for (auto resize :
       {Preprocessing::Resize::kStretch, Preprocessing::Resize::kCropSquare, Preprocessing::Resize::kShortSide}) {
    p.resize = resize;
    for (auto [width, height] : {std::pair{1u, 1u}, {1u, 60000u}, {60000u, 1u}, {6u, 6u}, {33u, 20u}}) {
      Image out = Prepare(Pattern(width, height), p);
      EXPECT_EQ(out.width, 6u);
      EXPECT_EQ(out.height, 6u);
      EXPECT_EQ(out.rgb.size(), 108u);
    }
  }
}

TEST(LoadPreprocessing, JsonAndBack) {
  for (const char* preset :
       {"efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2", "mobilenet-v2", "squeezenet1.1"}) {
    auto p = LoadPreprocessing(preset);
    ASSERT_TRUE(p.ok()) << p.status();
    auto back = LoadPreprocessing(PreprocessingToJson(*p));
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(*p, *back) << preset;
  }
}

TEST(LoadPreprocessing, ReadsAFile) {
  std::string path = std::filesystem::path(::testing::TempDir()) / "preprocessing.json";
  std::ofstream(path) << PreprocessingToJson(*LoadPreprocessing("mobilenet-v2"));
  auto p = LoadPreprocessing(path);
  ASSERT_TRUE(p.ok()) << p.status();
  EXPECT_EQ(p->short_side, 256u);
  EXPECT_THAT(MessageOf(LoadPreprocessing("mobilenet-v3").status()), HasSubstr("presets efficientnet-lite0"));
}

TEST(LoadPreprocessing, SaysWhatIsWrong) {
  const std::string good = PreprocessingToJson(*LoadPreprocessing("efficientnet-lite0"));
  auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return MessageOf(LoadPreprocessing(text.replace(at, from.size(), to)).status());
  };
  EXPECT_THAT(with("\"width\":224,", ""), HasSubstr("\"width\" is missing"));
  EXPECT_THAT(with("\"width\":224", "\"width\":0"), HasSubstr("\"width\" must be a whole number from 1 to 4096"));
  EXPECT_THAT(with("\"width\":224", "\"width\":1e3"), HasSubstr("\"width\" must be a whole number"));
  EXPECT_THAT(with("\"width\":224", "\"width\":223"), HasSubstr("width = height"));
  EXPECT_THAT(with("crop-square", "crop"), HasSubstr("\"resize\" must be one of crop-square, short-side, stretch"));
  EXPECT_THAT(with("bicubic", "lanczos"), HasSubstr("\"filter\" must be one of bicubic, bilinear"));
  EXPECT_THAT(with("rgb", "grey"), HasSubstr("\"channels\""));
  EXPECT_THAT(with("127.0,127.0", "127.0"), HasSubstr("\"mean\" must be three numbers"));
  EXPECT_THAT(with("127.0", "1e300"), HasSubstr("\"mean\" must be three numbers"));
  EXPECT_THAT(with("\"mean\"", "\"std\":1,\"mean\""), HasSubstr("\"std\" has no meaning here"));
  EXPECT_THAT(MessageOf(LoadPreprocessing("{").status()), HasSubstr("not a JSON object"));
  EXPECT_FALSE(LoadPreprocessing("{\"a\":" + std::string(30000, '[') + std::string(30000, ']') + "}").ok());
}

}  // namespace
}  // namespace infenclave
