"""Darknet's networks give what Debian's `darknet` program gives from the same .cfg and .weights.

The weights are made for the test (darknet_files.py). `darknet classifier predict` prints its probabilities to 1e-4, which
is what is compared, class by class.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import zlib

import numpy as np

from darknet_files import CFG, make_weights, sections, smooth_noise, write_png

NETWORKS = ["darknet", "extraction", "densenet201", "resnet50", "darknet53", "vgg-16", "alexnet", "resnext50", "tiny"]
INFENCLAVE = os.path.join(os.environ["INFENCLAVE_BINARY_DIR"], "infenclave")


def darknet_probabilities(folder, cfg, weights, picture, classes):
    names = os.path.join(folder, "names")
    with open(names, "w", encoding="ascii") as out:
        out.write("".join(f"c{i}\n" for i in range(classes)))
    data = os.path.join(folder, "data")
    with open(data, "w", encoding="ascii") as out:
        out.write(f"classes={classes}\nnames={names}\ntop={classes}\n")
    run = subprocess.run(["darknet", "classifier", "predict", data, cfg, weights, picture], check=True,
                         capture_output=True, text=True)
    found = np.full(classes, np.nan)
    for percent, index in re.findall(r"^\s*([0-9.]+)%: c(\d+)$", run.stdout, re.M):
        found[int(index)] = float(percent) / 100
    return found


class Darknet(unittest.TestCase):
    pass


def add_case(network):
    def test(self):
        rng = np.random.default_rng(zlib.crc32(network.encode()))
        with tempfile.TemporaryDirectory() as folder:
            source = os.path.join(CFG, network + ".cfg")
            cfg = os.path.join(folder, network + ".cfg")
            os.symlink(source, cfg)
            weights = os.path.join(folder, network + ".weights")
            parsed = sections(source)
            classes = make_weights(weights, parsed, rng)
            net = parsed[0][1]
            rgb = smooth_noise(rng, int(net["height"]), int(net["width"]))
            picture = os.path.join(folder, "picture.png")
            write_png(picture, rgb)
            want = darknet_probabilities(folder, cfg, weights, picture, classes)

            x = os.path.join(folder, "x.npy")
            y = os.path.join(folder, "y.npy")
            np.save(x, (rgb.astype(np.float32) / 255).transpose(2, 0, 1)[None])
            subprocess.run([INFENCLAVE, "run", cfg, "--input", x, "-o", y], check=True)
            got = np.load(y).reshape(-1)

            self.assertEqual(got.size, classes)
            self.assertFalse(np.isnan(want).any(), "darknet did not print every class")
            # Otherwise nearly everything would agree.
            self.assertGreater(want.max(), 0.05, "the made weights tell no classes apart")
            worst = np.abs(got - want).max()
            print(f"{network}: largest difference {worst:.2e}, top probability {want.max():.3f}")
            self.assertLessEqual(worst, 1e-4)
            self.assertEqual(int(got.argmax()), int(want.argmax()))

    setattr(Darknet, "test_" + network.replace("-", "_"), test)


for name in NETWORKS:
    add_case(name)

if __name__ == "__main__":
    if not shutil.which("darknet"):
        print("SKIPPED: Debian's darknet is not installed")
        sys.exit(0)
    unittest.main()
