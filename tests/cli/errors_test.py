"""What can be wrong with what a user hands to the real programs, each told in one clear line, with the documented status.

Serving's own errors are in tests/e2e, those of the owner's commands in tests/bundle.
"""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import onnx
from onnx import TensorProto, helper

INFENCLAVE = pathlib.Path(os.environ["INFENCLAVE_BINARY_DIR"]) / "infenclave"
MODELS = os.environ.get("INFENCLAVE_MODELS")


def infenclave(*arguments):
    return subprocess.run([INFENCLAVE, *map(str, arguments)], capture_output=True, text=True, timeout=300)


@unittest.skipUnless(MODELS, "SKIPPED: INFENCLAVE_MODELS names no folder of converted networks")
class Errors(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = pathlib.Path(MODELS) / "efficientnet-lite0.onnx"
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = pathlib.Path(temporary.name)
        cls.bundle = cls.folder / "bundle"
        owner = cls.folder / "owner.pem"
        for arguments in [("keygen", "-o", owner),
                          ("partition", cls.model, "--labels", cls.model.with_suffix(".labels.txt"), "--owner-key", owner,
                           "--cut", "block11/add", "--tee", "simulated", "-o", cls.bundle)]:
            result = infenclave(*arguments)
            assert result.returncode == 0, result.stderr

    def expect_error(self, result, status, pattern):
        command = result.args[1]
        lines = [l for l in result.stderr.splitlines() if l.startswith("infenclave")]
        self.assertEqual(len(lines), 1, result.stderr)
        self.assertTrue(lines[0].startswith(f"infenclave {command}: "), result.stderr)
        self.assertRegex(lines[0], pattern)
        self.assertEqual(result.returncode, status, result.stderr)
        self.assertEqual(result.stdout, "")

    def test_an_operator_that_is_not_known(self):
        graph = helper.make_graph(
            [helper.make_node("Wizardry", ["x"], ["spell"], name="spell"),
             helper.make_node("GlobalAveragePool", ["spell"], ["pool"]), helper.make_node("Flatten", ["pool"], ["y"])], "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 224, 224])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
            value_info=[helper.make_tensor_value_info("spell", TensorProto.FLOAT, [1, 3, 224, 224])])
        path = self.folder / "odd.onnx"
        onnx.save(helper.make_model(graph, ir_version=7, opset_imports=[helper.make_opsetid("", 13)]), path)
        self.expect_error(infenclave("bench", path), 1, "Wizardry")

    def test_a_bundle_that_was_touched(self):
        for part in ("manifest", "manifest.sig", "frontnet.sealed", "mapping.sealed", "backnet.onnx"):
            with self.subTest(part):
                copy = self.folder / "touched"
                shutil.copytree(self.bundle, copy)
                data = bytearray((copy / part).read_bytes())
                data[len(data) // 2] ^= 1
                (copy / part).write_bytes(data)
                self.expect_error(infenclave("serve", copy, "--listen", "127.0.0.1:0"), 3, part.split(".")[0])
                shutil.rmtree(copy)

    def test_a_policy_that_is_malformed(self):
        policy = self.folder / "typo.toml"
        policy.write_text('ownr = "x"\n' + (self.folder / "bundle.policy.toml").read_text())
        self.expect_error(infenclave("attest", "--server", "127.0.0.1:1", "--policy", policy), 1, "typo.toml.*ownr")


if __name__ == "__main__":
    unittest.main(verbosity=2)
