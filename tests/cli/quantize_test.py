"""`infenclave quantize` on a real network: the file is valid ONNX that ONNX Runtime runs with the same result, the loss is
told of photographs that did not calibrate, and the network is partitioned, served and answers like the whole.
"""
import json
import os
import pathlib
import sys
import tempfile
import unittest

import numpy
import onnx
import onnxruntime

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "e2e"))
from deployment import PHOTOGRAPHS, WHERE_READY, Deployment, error_line, network, run  # noqa: E402

# At most this share of the f32 FrontNet's bytes: a quarter, and 8 bytes a channel for the scales of its weights and of its
# bias. They weigh on depthwise layers, whose channels have 9 or 25 weights each: MobileNetV2's all have 9.
FRONTNET_SHARE = {"efficientnet-lite0": 0.28, "mobilenet_v2": 0.29}


@WHERE_READY
class QuantizeTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        os.environ["XDG_STATE_HOME"] = str(cls.folder)
        cls.images = cls.folder / "images"
        cls.images.mkdir()
        for photograph in PHOTOGRAPHS[::4]:
            (cls.images / photograph.name).symlink_to(photograph)
        cls.model, cls.labels, cls.arguments = network()
        # The classes are the original's own top-1, so that it is right everywhere.
        answers = json.loads(run("run", cls.model, *cls.images.iterdir(), *cls.arguments, "--json").stdout)
        cls.truth = cls.folder / "truth.tsv"
        cls.truth.write_text("file\tclass\n" + "".join(
            f"{pathlib.Path(a['file']).name}\t{a['classes'][0]['index']}\n" for a in answers))
        cls.int8 = cls.folder / "int8.onnx"
        cls.report = json.loads(run("quantize", cls.model, "--images", cls.images, "-o", cls.int8, "--labels-tsv",
                                    cls.truth, *cls.arguments, "--json").stdout)

    def test_report(self):
        report = self.report
        self.assertEqual((report["calibrated_on"], report["tested_on"]), (25, 25))
        self.assertLess(report["weight_bytes"]["int8"], 0.3 * report["weight_bytes"]["f32"])
        self.assertGreaterEqual(report["top1_same"]["value"], 0.9)
        low, high = report["top1_same"]["interval"]
        self.assertTrue(low < report["top1_same"]["value"] <= high)
        self.assertEqual(report["top1"]["f32"], 1)
        self.assertAlmostEqual(report["top1"]["int8"], report["top1_same"]["value"])
        self.assertAlmostEqual(report["top1"]["loss"]["value"], 1 - report["top1"]["int8"])

    def test_onnx_runtime_agrees(self):
        onnx.checker.check_model(str(self.int8), full_check=True)
        kept = {entry.key: entry.value for entry in onnx.load(self.int8).metadata_props}
        self.assertEqual(kept, {entry.key: entry.value for entry in onnx.load(self.model).metadata_props})
        rng = numpy.random.default_rng(4)
        coarse = rng.uniform(-1, 1, (1, 3, 28, 28)).astype(numpy.float32)
        x = numpy.repeat(numpy.repeat(coarse, 8, 2), 8, 3)
        numpy.save(self.folder / "x.npy", x)
        run("run", self.int8, "--input", self.folder / "x.npy", "-o", self.folder / "y.npy")
        got = numpy.load(self.folder / "y.npy").ravel()
        for level in (onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
                      onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL):
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = level
            options.log_severity_level = 3
            session = onnxruntime.InferenceSession(self.int8, options, providers=["CPUExecutionProvider"])
            want = session.run(None, {session.get_inputs()[0].name: x})[0].ravel()
            # Each rounding that falls to the other side moves all that follows a little.
            self.assertLessEqual(numpy.abs(got - want).max(), 0.05 * numpy.ptp(want))
            self.assertGreater(numpy.corrcoef(got, want)[0, 1], 0.995)

    def test_served_in_three_parts(self):
        cuts = json.loads(run("inspect", self.int8, "--json").stdout)["cuts"]
        late = [cut["name"] for cut in cuts if len(cut["shape"]) == 4 and cut["shape"][-1] > 1][-2]
        whole = Deployment(self.folder / "whole", cut=late)
        parts = Deployment(self.folder / "parts", model=self.int8, cut=late)
        sealed = [(d.bundle / "frontnet.sealed").stat().st_size for d in (parts, whole)]
        self.assertLess(sealed[0], FRONTNET_SHARE[self.model.stem] * sealed[1])
        with parts.serve() as server:
            served = json.loads(parts.classify(server, *PHOTOGRAPHS[:20]).stdout)
        alone = json.loads(run("run", self.int8, *PHOTOGRAPHS[:20], "--labels", parts.labels, *self.arguments,
                               "--json").stdout)
        # The class order moves no sum; the cut quantises what the whole would.
        for one, other in zip(served, alone, strict=True):
            self.assertEqual(one["classes"][0]["label"], other["classes"][0]["label"], one["file"])
            self.assertAlmostEqual(one["classes"][0]["probability"], other["classes"][0]["probability"], delta=0.03)

    def test_bench_says_that_it_ran_in_int8(self):
        path = json.loads(run("bench", self.int8, "--precision", "int8", "--json").stdout)["path"]
        self.assertIn("int8", path)
        self.assertIn("`infenclave quantize` makes one", error_line(run("bench", self.model, "--precision", "int8", expect=1)))

    def test_errors(self):
        few = self.folder / "few"
        few.mkdir()
        (few / "a.jpg").symlink_to(PHOTOGRAPHS[0])
        cases = [
            (["--images", few], "1 photographs, expected at least 4"),
            (["--images", self.folder / "none"], "--images names a folder of photographs"),
            (["--images", self.images, "--labels-tsv", self.int8], "expected 'file<TAB>class'"),
        ]
        for arguments, message in cases:
            done = run("quantize", self.model, *arguments, *self.arguments, "-o", self.folder / "no.onnx", expect=1)
            self.assertIn(message, error_line(done))
        done = run("quantize", self.int8, "--images", self.images, *self.arguments, "-o", self.folder / "no.onnx", expect=1)
        self.assertIn("the network is quantised already", error_line(done))
        self.assertFalse((self.folder / "no.onnx").exists())


if __name__ == "__main__":
    unittest.main()
