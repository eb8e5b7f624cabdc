"""The real graphs that come with the ONNX package (their weights are constants), exported in two parts: ONNX Runtime
computes of them what it computes of the whole."""
import os
import pathlib
import subprocess
import tempfile
import unittest

import numpy
import onnx
import onnxruntime

BINARIES = pathlib.Path(os.environ["INFENCLAVE_BINARY_DIR"]).absolute()
FOLDER = pathlib.Path(onnx.__file__).parent / "backend/test/data/light"

# Operators that are not in the table: these networks can be cut before them.
UNKNOWN = {"light_bvlc_alexnet": ["LRN"], "light_inception_v1": ["LRN"], "light_zfnet512": ["LRN"]}


def reference(model, array):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: array})[0]


def run(*arguments):
    return subprocess.run(list(map(str, arguments)), check=True, capture_output=True, text=True).stdout


class LightNetworksTest(unittest.TestCase):
    def agree(self, got, want, what):
        self.assertEqual(got.shape, want.shape, what)
        # Constant weights give every class nearly the same score: the scale is the largest, not the range.
        self.assertLessEqual(numpy.abs(got - want).max(), 1e-4 * numpy.abs(want).max(), what)

    def check(self, path, folder):
        picture = numpy.random.default_rng(4).random((1, 3, 224, 224), numpy.float32)
        want = reference(path, picture)
        cuts = run(BINARIES / "export_parts", path).splitlines()
        for cut in {cuts[0], cuts[len(cuts) // 2], cuts[-1]}:
            run(BINARIES / "export_parts", path, cut, folder / "front.onnx", folder / "back.onnx")
            onnx.checker.check_model(str(folder / "back.onnx"), full_check=True)
            self.agree(reference(folder / "back.onnx", reference(folder / "front.onnx", picture)), want, cut)

    def test_networks(self):
        paths = sorted(FOLDER.glob("*.onnx"))
        if not paths:
            self.skipTest(f"SKIPPED: the onnx package has no {FOLDER}")
        for path in paths:
            with self.subTest(path.stem), tempfile.TemporaryDirectory() as folder:
                if path.stem in UNKNOWN:  # shapes behind an unknown operator are what the file declares
                    inferred = pathlib.Path(folder) / path.name
                    onnx.save(onnx.shape_inference.infer_shapes(onnx.load(path), data_prop=True), inferred)
                    path = inferred
                opaque = run(BINARIES / "infenclave", "inspect", path, "--json")
                for op in UNKNOWN.get(path.stem, []):
                    self.assertIn(f'"{op}"', opaque)
                self.check(path, pathlib.Path(folder))


if __name__ == "__main__":
    unittest.main()
