"""What `infenclave bench` says of a network: latency and throughput, and what a cold start costs."""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
from onnx_net import Net  # noqa: E402

INFENCLAVE = pathlib.Path(os.environ["INFENCLAVE_BINARY_DIR"]).absolute() / "infenclave"


def network(path):
    """Six dense convolutions of different shapes, each of which can be computed in several ways, and a large matrix."""
    n = Net(side=32, spread=0.05)
    x, channels = "x", 3
    for width in (32, 48, 64, 80, 96, 112):
        x = n("Relu", n.conv(x, channels, width, 3, pads=[1] * 4))
        channels = width
    x = n("Flatten", n("GlobalAveragePool", x))
    x = n("Relu", n("Gemm", x, n.weight(channels, 60_000), n.weight(60_000)))
    n.save(n("Gemm", x, n.weight(60_000, 10), n.weight(10)), path)


class Bench(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.model = cls.folder / "model.onnx"
        network(cls.model)

    def bench(self, *arguments, cache="cache"):
        """Its standard output, and the seconds it took."""
        begin = time.monotonic()
        done = subprocess.run([INFENCLAVE, "bench", self.model, *arguments], capture_output=True, text=True, check=True,
                              env={**os.environ, "XDG_CACHE_HOME": str(self.folder / cache)})
        return done.stdout, time.monotonic() - begin

    def test_a_cold_start_is_told_and_the_second_measures_no_layer(self):
        colds = []
        for _ in range(2):
            out, seconds = self.bench("--json")
            report = json.loads(out)
            cold = report["cold_ms"]
            self.assertEqual(list(cold), ["import", "compile", "first_run"])
            # It measures for two seconds, and what a start takes is apart from that.
            self.assertLess(sum(cold.values()), 1000 * (seconds - 2))
            self.assertGreater(cold["import"], 1)  # to read 29 MB
            self.assertGreater(cold["first_run"], 0.5 * report["ms"]["min"])
            self.assertLessEqual(report["ms"]["min"], report["ms"]["median"])
            self.assertLessEqual(report["ms"]["median"], report["ms"]["p95"])
            colds.append(cold)
        self.assertTrue((self.folder / "cache/infenclave/layers").exists())
        self.assertGreater(colds[0]["compile"], 1.5 * colds[1]["compile"])

    def test_people_are_told_the_same(self):
        out, _ = self.bench()
        self.assertRegex(out, r"batch 1, 1 thread\n")
        cold = re.search(r"cold start: (\d+) ms to read the model, (\d+) ms to compile it, ([0-9.]+) ms for the first run", out)
        self.assertIsNotNone(cold, out)
        self.assertGreater(int(cold[1]), 1)


if __name__ == "__main__":
    unittest.main()
