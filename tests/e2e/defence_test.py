"""Bundles whose IR is narrowed, noisy, bf16 or integers: served like any other, they answer like the network."""
import json
import math
import tempfile
import unittest

import deployment
from onnx_runtime_server import OnnxRuntimeServer


@unittest.skipUnless(deployment.PHOTOGRAPHS and deployment.network()[0], "SKIPPED: no photographs or no network")
class DefenceTest(unittest.TestCase):
    def test_answers_like_the_network_and_the_same_each_time(self):
        photographs = deployment.PHOTOGRAPHS[::14]
        with tempfile.TemporaryDirectory() as folder:
            made = deployment.Deployment(folder, "--ir-rank", "32", "--ir-noise", "0.1", "--ir-precision", "bf16",
                                         "--images", deployment.PHOTOGRAPHS[0].parent)
            manifest = json.loads((made.bundle / "manifest.json").read_text())
            self.assertEqual(manifest["ir"]["shape"][0], 32)
            self.assertEqual(manifest["ir"]["dtype"], "bf16")
            self.assertAlmostEqual(manifest["ir"]["noise"], 0.1, places=6)
            with made.serve() as server:
                first = json.loads(made.classify(server, *photographs).stdout)
                again = json.loads(made.classify(server, *photographs).stdout)
        self.assertEqual(first, again)
        clear = self.in_the_clear(made, photographs)
        self.assertGreaterEqual(self.same(first, clear), len(photographs) - 3)
        self.assertNotEqual(first[0]["classes"][0]["probability"], clear[0]["classes"][0]["probability"])

    def test_integers_are_served_by_every_kind_of_backnet_in_fewer_bytes(self):
        photographs = deployment.PHOTOGRAPHS[::14]
        for precision, per_byte, may_differ in ("int8", 1, 1), ("int4", 2, 4):
            with self.subTest(precision), tempfile.TemporaryDirectory() as folder:
                made = deployment.Deployment(folder, "--ir-precision", precision, "--images",
                                             deployment.PHOTOGRAPHS[0].parent)
                ir = json.loads((made.bundle / "manifest.json").read_text())["ir"]
                self.assertEqual(ir["dtype"], precision)
                self.assertEqual(ir["shape"][0] % per_byte, 0)
                with made.serve() as server:
                    builtin = json.loads(made.classify(server, *photographs).stdout)
                with (deployment.Server("backnet", made.bundle) as backnet,
                      made.serve("--backnet", f"grpc://{backnet.address}/{made.model_name()}") as server):
                    worker = json.loads(made.classify(server, *photographs).stdout)
                with (OnnxRuntimeServer(made.bundle / "backnet.onnx", "backnet") as runtime,
                      made.serve("--backnet", f"grpc://{runtime.address}/backnet") as server):
                    foreign = json.loads(made.classify(server, *photographs).stdout)
                    self.assertEqual(runtime.asked, len(photographs))
                    self.assertEqual(runtime.received, len(photographs) * math.prod(ir["shape"]) // per_byte)
                clear = self.in_the_clear(made, photographs)
                self.assertGreaterEqual(self.same(builtin, clear), len(photographs) - may_differ)
                for other in worker, foreign:
                    for a, b in zip(builtin, other, strict=True):
                        self.assertEqual(a["classes"][0]["label"], b["classes"][0]["label"])
                        self.assertAlmostEqual(a["classes"][0]["probability"], b["classes"][0]["probability"], delta=1e-3)

    @staticmethod
    def in_the_clear(made, photographs):
        return json.loads(deployment.run("run", made.model, *made.model_arguments, "--labels", made.labels, *photographs,
                                         "--json").stdout)

    @staticmethod
    def same(answers, clear):
        top = lambda answers: [answer["classes"][0]["label"] for answer in answers]
        return sum(a == b for a, b in zip(top(answers), top(clear), strict=True))


if __name__ == "__main__":
    unittest.main()
