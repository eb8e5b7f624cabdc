"""Files for Debian's `darknet`: .weights drawn at random to fit a .cfg (the trained ones are in no registry), pictures.

The draws are scaled so that signals keep their size through the network and the last layer tells classes apart.
"""

import struct
import zlib

import numpy as np

CFG = "/usr/share/darknet/cfg"


def sections(path):
    out = []
    with open(path, encoding="ascii") as cfg:
        lines = cfg.readlines()
    for line in lines:
        line = line.split("#")[0].replace(" ", "").strip()
        if line.startswith("["):
            out.append((line.strip("[]"), {}))
        elif "=" in line and out:
            key, value = line.split("=", 1)
            out[-1][1].setdefault(key, value)
    return out


def make_weights(path, cfg, rng):
    """Follows the shapes through the cfg, as Darknet's parser does, and draws each layer's parameters."""
    net = cfg[0][1]
    c, h, w = int(net["channels"]), int(net["height"]), int(net["width"])
    shapes = []
    weighted = [i for i, (kind, _) in enumerate(cfg) if kind in ("convolutional", "connected")]
    with open(path, "wb") as out:
        out.write(struct.pack("<iiiQ", 0, 2, 0, 0))

        def normals(n, deviation):
            out.write((rng.standard_normal(n) * deviation).astype("<f4").tobytes())

        def normalisation(n, last):
            gain = 3.0 if last else 0.7 if any(kind == "shortcut" for kind, _ in cfg) else 1.0
            out.write((gain * rng.uniform(0.8, 1.2, n)).astype("<f4").tobytes())
            normals(n, 0.1)
            out.write(rng.uniform(0.5, 1.5, n).astype("<f4").tobytes())

        for i, (kind, o) in enumerate(cfg[1:], 1):
            last = i == weighted[-1]
            gain = 4.0 if last and "batch_normalize" not in o else 1.4
            if kind == "convolutional":
                n, k, stride, groups = (int(o.get(key, 1)) for key in ("filters", "size", "stride", "groups"))
                pad = k // 2 if int(o.get("pad", 0)) else int(o.get("padding", 0))
                normals(n, 0.1)
                if int(o.get("batch_normalize", 0)):
                    normalisation(n, last)
                fan_in = c // groups * k * k
                normals(n * fan_in, gain / np.sqrt(fan_in))
                c, h, w = n, (h + 2 * pad - k) // stride + 1, (w + 2 * pad - k) // stride + 1
            elif kind == "connected":
                n, fan_in = int(o["output"]), c * h * w
                normals(n, 0.1)
                normals(n * fan_in, gain / np.sqrt(fan_in))
                c, h, w = n, 1, 1
            elif kind == "maxpool":
                stride = int(o.get("stride", 1))
                k = int(o.get("size", stride))
                pad = int(o.get("padding", k - 1))
                h, w = (h + pad - k) // stride + 1, (w + pad - k) // stride + 1
            elif kind == "avgpool":
                h = w = 1
            elif kind == "crop":
                h, w = int(o["crop_height"]), int(o["crop_width"])
            elif kind == "route":
                picked = [int(v) for v in o["layers"].split(",")]
                picked = [shapes[v if v >= 0 else len(shapes) + v] for v in picked]
                c, h, w = sum(s[0] for s in picked), picked[0][1], picked[0][2]
            shapes.append((c, h, w))
    return c * h * w


def write_png(path, rgb):
    h, w, _ = rgb.shape
    rows = b"".join(b"\0" + rgb[y].tobytes() for y in range(h))

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    with open(path, "wb") as out:
        out.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0)))
        out.write(chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def smooth_noise(rng, h, w):
    coarse = rng.uniform(0, 255, (h // 16 + 1, w // 16 + 1, 3))
    rgb = np.repeat(np.repeat(coarse, 16, 0), 16, 1)[:h, :w] + rng.uniform(-20, 20, (h, w, 3))
    return rgb.clip(0, 255).astype(np.uint8)
