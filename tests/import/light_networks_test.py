"""The real graphs that come with the ONNX package 1.18 (their weights are constants), exported in two parts: ONNX Runtime
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
FOLDER = pathlib.Path(os.environ.get("INFENCLAVE_ONNX_LIGHT",
                                     pathlib.Path(onnx.__file__).parent / "backend/test/data/light"))

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
        sample = {cuts[0], cuts[len(cuts) // 2], cuts[-1]}
        for cut in cuts if os.environ.get("INFENCLAVE_EVERY_CUT") else sample:
            run(BINARIES / "export_parts", path, cut, folder / "front.onnx", folder / "back.onnx")
            onnx.checker.check_model(str(folder / "back.onnx"), full_check=True)
            self.agree(reference(folder / "back.onnx", reference(folder / "front.onnx", picture)), want, cut)

    def test_networks(self):
        paths = sorted(FOLDER.glob("*.onnx"))
        if not paths:
            self.skipTest(f"SKIPPED: there are no networks in {FOLDER}")
        for path in paths:
            with self.subTest(path.stem), tempfile.TemporaryDirectory() as folder:
                self.check(path, pathlib.Path(folder))


if __name__ == "__main__":
    unittest.main()
