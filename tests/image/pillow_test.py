"""Pixels are equal to Pillow's, with which the networks' accuracy was measured: decoding, resampling, preprocessing."""

import json
import os
import pathlib
import random
import struct
import subprocess
import tempfile
import unittest
import zlib

from PIL import Image, ImageOps

TOOL = pathlib.Path(os.environ["INFENCLAVE_BINARY_DIR"]) / "image_tool"
SHARED = pathlib.Path(os.environ["INFENCLAVE_SHARED"])
FILTERS = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}


def run(*arguments):
    out = subprocess.run([TOOL, *map(str, arguments)], check=True, capture_output=True).stdout
    header, _, pixels = out.partition(b"\n")
    return tuple(map(int, header.split())), pixels


def crop_square(image, size, padding):
    side = int(size / (size + padding) * min(image.size))
    left, top = (image.width - side + 1) // 2, (image.height - side + 1) // 2
    return image.crop((left, top, left + side, top + side)).resize((size, size), Image.BICUBIC)


def short_side(image, short, size):
    """torchvision's Resize(short) and CenterCrop(size)."""
    width, height = image.size
    if width <= height:
        width, height = short, int(short * height / width)
    else:
        width, height = int(short * width / height), short
    image = image.resize((width, height), Image.BICUBIC)
    left, top = int(round((width - size) / 2.0)), int(round((height - size) / 2.0))
    return image.crop((left, top, left + size, top + size))


def interlaced_png(image):
    """Adam7 by hand, for Pillow reads it and does not write it."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b""
    for x0, y0, dx, dy in [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]:
        for y in range(y0, image.height, dy):
            pixels = b"".join(bytes(image.getpixel((x, y))) for x in range(x0, image.width, dx))
            rows += b"\0" + pixels if pixels else b""
    header = struct.pack(">IIBBBBB", image.width, image.height, 8, 2, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class Pillow(unittest.TestCase):
    def setUp(self):
        self.random = random.Random(1)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def noise(self, width, height, mode="RGB"):
        channels = len(Image.new(mode, (1, 1)).tobytes())
        return Image.frombytes(mode, (width, height), self.random.randbytes(width * height * channels))

    def expect(self, image, *arguments):
        size, pixels = run(*arguments)
        self.assertEqual(size, image.size, arguments)
        self.assertTrue(pixels == image.tobytes(), f"{arguments}: pixels differ")

    def test_resize(self):
        for trial in range(60):
            image = self.noise(self.random.randint(1, 300), self.random.randint(1, 300))
            path = self.folder / "in.png"
            image.save(path)
            for name, resample in FILTERS.items():
                size = self.random.randint(1, 400), self.random.randint(1, 400)
                self.expect(image.resize(size, resample), "resize", path, *size, name)

    def test_preprocessing(self):
        for trial in range(20):
            image = self.noise(self.random.randint(1, 700), self.random.randint(1, 700))
            path = self.folder / "in.png"
            image.save(path)
            if min(image.size) > 1:
                self.expect(crop_square(image, 224, 32), "prepare", path, "efficientnet-lite0")
                self.expect(crop_square(image, 260, 32), "prepare", path, "efficientnet-lite2")
            self.expect(short_side(image, 256, 224), "prepare", path, "mobilenet-v2")
            self.expect(image.resize((224, 224), Image.BICUBIC), "prepare", path, "squeezenet1.1")

    def test_decode_formats_and_modes(self):
        cases = [("RGB", "png", {}), ("L", "png", {}), ("LA", "png", {}), ("RGBA", "png", {}), ("P", "png", {}),
                 ("RGB", "jpg", {"quality": 90}), ("RGB", "jpg", {"quality": 40, "progressive": True}),
                 ("RGB", "jpg", {"quality": 75, "subsampling": 0}), ("L", "jpg", {}), ("CMYK", "jpg", {"quality": 95}),
                 ("RGB", "webp", {"lossless": True}), ("RGB", "webp", {"quality": 70})]
        for mode, extension, options in cases:
            with self.subTest(mode=mode, extension=extension, options=options):
                path = self.folder / f"in.{extension}"
                image = self.noise(61, 47, mode) if mode != "P" else self.noise(61, 47).quantize(200)
                image.save(path, **options)
                self.expect(Image.open(path).convert("RGB"), "decode", path)

    def test_interlaced_png(self):
        path = self.folder / "in.png"
        for size in [(1, 1), (3, 2), (5, 9), (19, 13)]:
            path.write_bytes(interlaced_png(self.noise(*size)))
            self.expect(Image.open(path).convert("RGB"), "decode", path)

    def test_sixteen_bits_keep_the_high_byte(self):
        path = self.folder / "in.png"
        Image.frombytes("I;16", (3, 2), bytes.fromhex("01000a00ff00001000fff0ff")).save(path)
        size, pixels = run("decode", path)
        self.assertEqual((size, pixels[::3].hex()), ((3, 2), "00000010ffff"))

    def test_exif_orientation(self):
        for extension in ("jpg", "png", "webp"):
            for orientation in range(1, 9):
                exif = Image.Exif()
                exif[0x0112] = orientation
                path = self.folder / f"in.{extension}"
                self.noise(33, 20).save(path, exif=exif, **({"lossless": True} if extension == "webp" else {}))
                self.expect(ImageOps.exif_transpose(Image.open(path)), "decode", path)

    @unittest.skipUnless((SHARED / "imagenet-samples").is_dir(), f"SKIPPED: no photographs in {SHARED}")
    def test_photographs(self):
        for path in sorted((SHARED / "imagenet-samples").glob("*.jpg")):
            photograph = Image.open(path).convert("RGB")
            self.expect(photograph, "decode", path)
            self.expect(crop_square(photograph, 224, 32), "prepare", path, "efficientnet-lite0")


if __name__ == "__main__":
    unittest.main(verbosity=2)
