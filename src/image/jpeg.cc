#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <memory>

// clang-format off: jpeglib.h needs <cstdio> before it, jerror.h needs jpeglib.h.
#include <jerror.h>
#include <jpeglib.h>
// clang-format on

#include "image/formats.h"

namespace infenclave {
namespace {

// A progressive file may repeat its scans without end, each over the whole picture.
constexpr int kMaxScans = 200;

struct Decoder {
  jpeg_error_mgr errors;  // first, so that libjpeg's pointer to it is a pointer to this
  jpeg_progress_mgr progress;
  jpeg_decompress_struct jpeg;
  std::jmp_buf failed;
  char message[JMSG_LENGTH_MAX];
  Status status;
  DecodedImage out;
  Bytes row;
};

Decoder* DecoderOf(j_common_ptr common) { return reinterpret_cast<Decoder*>(common->err); }

[[noreturn]] void OnError(j_common_ptr common) {
  Decoder* decoder = DecoderOf(common);
  common->err->format_message(common, decoder->message);
  std::longjmp(decoder->failed, 1);
}

void OnMessage(j_common_ptr common, int level) {
  // libjpeg would go on with grey where the file ends early; other warnings are of files that everyone opens.
  if (level < 0 && common->err->msg_code == JWRN_JPEG_EOF) OnError(common);
}

void OnProgress(j_common_ptr common) {
  if (reinterpret_cast<j_decompress_ptr>(common)->input_scan_number > kMaxScans) {
    Decoder* decoder = DecoderOf(common);
    std::snprintf(decoder->message, sizeof(decoder->message), "more than %d scans", kMaxScans);
    std::longjmp(decoder->failed, 1);
  }
}

uint8_t Times255(unsigned a, unsigned b) {  // a * b / 255, rounded
  unsigned product = a * b + 128;
  return static_cast<uint8_t>((product + (product >> 8)) >> 8);
}

// Four-colour files hold inverted ink, as Adobe writes them.
void CmykToRgb(const uint8_t* cmyk, size_t pixels, uint8_t* rgb) {
  for (size_t i = 0; i < pixels; ++i, cmyk += 4) {
    for (int c = 0; c < 3; ++c) {
      *rgb++ = static_cast<uint8_t>(cmyk[3] - Times255(255u - cmyk[c], cmyk[3]));
    }
  }
}

bool IsCmyk(const jpeg_decompress_struct& jpeg) {
  return jpeg.jpeg_color_space == JCS_CMYK || jpeg.jpeg_color_space == JCS_YCCK;
}

// Everything that libjpeg may leave by longjmp; it holds nothing that has a destructor.
bool DecodeInto(Decoder* decoder, ByteSpan file, uint64_t max_pixels) {
  jpeg_decompress_struct* jpeg = &decoder->jpeg;
  if (setjmp(decoder->failed) != 0) return false;
  jpeg_create_decompress(jpeg);
  jpeg->progress = &decoder->progress;
  jpeg_mem_src(jpeg, file.data(), file.size());
  jpeg_save_markers(jpeg, JPEG_APP0 + 1, 0xFFFF);
  jpeg_read_header(jpeg, TRUE);
  decoder->status = AllocateImage(jpeg->image_width, jpeg->image_height, max_pixels, &decoder->out.image);
  if (!decoder->status.ok()) return true;
  for (jpeg_saved_marker_ptr marker = jpeg->marker_list; marker != nullptr; marker = marker->next) {
    ByteSpan block(marker->data, marker->data_length);
    if (block.size() > 6 && AsText(block.first(4)) == "Exif") {
      decoder->out.orientation = ExifOrientation(block);
      break;
    }
  }
  jpeg->out_color_space = IsCmyk(*jpeg) ? JCS_CMYK : JCS_RGB;
  jpeg_start_decompress(jpeg);
  const size_t width = jpeg->output_width;
  if (IsCmyk(*jpeg)) decoder->row.resize(width * 4);
  while (jpeg->output_scanline < jpeg->output_height) {
    uint8_t* to = &decoder->out.image.rgb[width * 3 * jpeg->output_scanline];
    JSAMPROW row = IsCmyk(*jpeg) ? decoder->row.data() : to;
    jpeg_read_scanlines(jpeg, &row, 1);
    if (IsCmyk(*jpeg)) CmykToRgb(row, width, to);
  }
  return true;
}

struct Encoder {
  jpeg_error_mgr errors;
  jpeg_compress_struct jpeg;
  std::jmp_buf failed;
  char message[JMSG_LENGTH_MAX];
  unsigned char* data = nullptr;
  unsigned long size = 0;  // NOLINT(google-runtime-int): libjpeg's type
};

[[noreturn]] void OnEncodeError(j_common_ptr common) {
  Encoder* encoder = reinterpret_cast<Encoder*>(common->err);
  common->err->format_message(common, encoder->message);
  std::longjmp(encoder->failed, 1);
}

bool EncodeInto(Encoder* encoder, const Image& image, int quality) {
  jpeg_compress_struct* jpeg = &encoder->jpeg;
  if (setjmp(encoder->failed) != 0) return false;
  jpeg_create_compress(jpeg);
  jpeg_mem_dest(jpeg, &encoder->data, &encoder->size);
  jpeg->image_width = image.width;
  jpeg->image_height = image.height;
  jpeg->input_components = 3;
  jpeg->in_color_space = JCS_RGB;
  jpeg_set_defaults(jpeg);
  jpeg_set_quality(jpeg, quality, TRUE);
  jpeg_start_compress(jpeg, TRUE);
  while (jpeg->next_scanline < jpeg->image_height) {
    JSAMPROW row = const_cast<uint8_t*>(&image.rgb[size_t{jpeg->next_scanline} * image.width * 3]);
    jpeg_write_scanlines(jpeg, &row, 1);
  }
  jpeg_finish_compress(jpeg);
  return true;
}

}  // namespace

StatusOr<DecodedImage> DecodeJpeg(ByteSpan file, uint64_t max_pixels) {
  auto decoder = std::make_unique<Decoder>();
  decoder->jpeg.err = jpeg_std_error(&decoder->errors);
  decoder->errors.error_exit = OnError;
  decoder->errors.emit_message = OnMessage;
  decoder->progress.progress_monitor = OnProgress;
  bool done = DecodeInto(decoder.get(), file, max_pixels);
  jpeg_destroy_decompress(&decoder->jpeg);
  if (!done) return InvalidArgument("JPEG: ", decoder->message);
  if (!decoder->status.ok()) return decoder->status;
  return std::move(decoder->out);
}

StatusOr<Bytes> EncodeJpeg(const Image& image, int quality) {
  auto encoder = std::make_unique<Encoder>();
  encoder->jpeg.err = jpeg_std_error(&encoder->errors);
  encoder->errors.error_exit = OnEncodeError;
  bool done = EncodeInto(encoder.get(), image, quality);
  jpeg_destroy_compress(&encoder->jpeg);
  std::unique_ptr<unsigned char, decltype(&std::free)> data(encoder->data, &std::free);
  if (!done) return Internal("JPEG: ", encoder->message);
  return Bytes(data.get(), data.get() + encoder->size);
}

}  // namespace infenclave
