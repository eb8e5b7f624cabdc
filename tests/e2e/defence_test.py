"""A bundle whose IR is narrowed, noisy and bf16: served like any other, answers like the network, repeats itself."""
import json
import tempfile
import unittest

import deployment


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
        clear = json.loads(deployment.run("run", made.model, *made.model_arguments, "--labels", made.labels,
                                          *photographs, "--json").stdout)
        top = lambda answers: [answer["classes"][0]["label"] for answer in answers]
        same = sum(a == b for a, b in zip(top(first), top(clear)))
        self.assertGreaterEqual(same, len(photographs) - 3)
        self.assertNotEqual(first[0]["classes"][0]["probability"], clear[0]["classes"][0]["probability"])


if __name__ == "__main__":
    unittest.main()
