#include <png.h>

#include <csetjmp>
#include <cstdio>
#include <memory>
#include <vector>

#include "image/formats.h"

namespace infenclave {
namespace {

constexpr png_alloc_size_t kMaxChunkBytes = 64u << 20;  // text, profiles and EXIF; not the pixels
constexpr int kMaxChunks = 1000;

struct Decoder {
  ByteSpan rest;
  char message[160] = "";
  Status status;
  DecodedImage out;
  std::vector<png_bytep> rows;
};

[[noreturn]] void OnError(png_structp png, png_const_charp message) {
  auto* decoder = static_cast<Decoder*>(png_get_error_ptr(png));
  std::snprintf(decoder->message, sizeof(decoder->message), "%s", message);
  png_longjmp(png, 1);
}

void OnWarning(png_structp, png_const_charp) {}

void OnRead(png_structp png, png_bytep to, size_t size) {
  auto* decoder = static_cast<Decoder*>(png_get_io_ptr(png));
  if (decoder->rest.size() < size) png_error(png, "the file is truncated");
  std::copy_n(decoder->rest.begin(), size, to);
  decoder->rest = decoder->rest.subspan(size);
}

// Whatever the file's colours, 8-bit RGB; no gamma is applied, as no network was trained with any.
void AskForRgb(png_structp png) {
  png_set_palette_to_rgb(png);
  png_set_expand_gray_1_2_4_to_8(png);
  png_set_strip_16(png);
  png_set_strip_alpha(png);
  png_set_gray_to_rgb(png);
}

// Everything that libpng may leave by longjmp; it holds nothing that has a destructor.
bool DecodeInto(Decoder* decoder, png_structp png, png_infop info, uint64_t max_pixels) {
  if (setjmp(png_jmpbuf(png)) != 0) return false;  // NOLINT(cert-err52-cpp): libpng knows no other way out
  png_set_user_limits(png, 1 << 20, 1 << 20);
  png_set_chunk_malloc_max(png, kMaxChunkBytes);
  png_set_chunk_cache_max(png, kMaxChunks);
  png_set_read_fn(png, decoder, OnRead);
  png_read_info(png, info);
  Image& image = decoder->out.image;
  decoder->status = AllocateImage(png_get_image_width(png, info), png_get_image_height(png, info), max_pixels, &image);
  if (!decoder->status.ok()) return true;
  AskForRgb(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  if (png_get_rowbytes(png, info) != size_t{image.width} * 3) png_error(png, "an unknown pixel format");
  decoder->rows.resize(image.height);
  for (uint32_t y = 0; y < image.height; ++y) decoder->rows[y] = &image.rgb[size_t{y} * image.width * 3];
  png_read_image(png, decoder->rows.data());
  png_read_end(png, info);
  png_bytep exif = nullptr;
  png_uint_32 size = 0;
  if (png_get_eXIf_1(png, info, &size, &exif) != 0) decoder->out.orientation = ExifOrientation({exif, size});
  return true;
}

}  // namespace

StatusOr<DecodedImage> DecodePng(ByteSpan file, uint64_t max_pixels) {
  Decoder decoder;
  decoder.rest = file;
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &decoder, OnError, OnWarning);
  if (png == nullptr) return ResourceExhausted("PNG: out of memory");
  png_infop info = png_create_info_struct(png);
  bool done = info != nullptr && DecodeInto(&decoder, png, info, max_pixels);
  png_destroy_read_struct(&png, &info, nullptr);
  if (!done) return InvalidArgument("PNG: ", decoder.message);
  if (!decoder.status.ok()) return decoder.status;
  return std::move(decoder.out);
}

}  // namespace infenclave
