"""BackNets of other make, each from its package with ONNX Runtime behind it: the answers are the built-in worker's."""

import json
import sys
import unittest

from deployment import PHOTOGRAPHS, DeployedTest, Server, error_line, run
from peer_servers import PeerServer, interpreter


class PeerBackNets(DeployedTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.some = PHOTOGRAPHS[:40]
        with cls.deployment.serve() as server:
            cls.expected = json.loads(cls.deployment.classify(server, *cls.some).stdout)

    def start(self, peer):
        python = interpreter(peer)
        if isinstance(python, str):
            self.skipTest(python)
        server = PeerServer(peer, python, self.deployment.bundle / "backnet.onnx")
        self.addCleanup(server.stop)
        return server

    def expect_the_same_answers(self, server):
        answers = json.loads(self.deployment.classify(server, *self.some).stdout)
        self.assertEqual(len(answers), len(self.expected))
        for one, other in zip(answers, self.expected):
            self.assertEqual(one["file"], other["file"])
            for a, b in zip(one["classes"], other["classes"]):
                self.assertAlmostEqual(a["probability"], b["probability"], delta=1e-4, msg=one["file"])
            self.assertEqual(one["classes"][0]["label"], other["classes"][0]["label"], one["file"])

    def check(self, peer):
        backnet = self.start(peer)
        try:
            self.check_with(backnet)
        except AssertionError:
            if not backnet.has_failed():
                raise
            # Triton's Python backend gives itself up on a machine that is too busy. That is not what is tested.
            print(f"{peer} has failed by itself, and is started again", file=sys.stderr)
            self.check_with(self.start(peer))

    def check_with(self, backnet):
        endpoint = f"grpc://{backnet.address}/backnet"
        with self.deployment.serve("--backnet", endpoint) as server:
            self.expect_the_same_answers(server)
        # More than MLServer's 4 MiB a message and than the batch of 4 that this Triton was told to take.
        with self.deployment.serve("--backnet", endpoint, "--max-batch", "64", "--batch-delay-us", "300000", "--workers",
                                   "1") as server:
            self.expect_the_same_answers(server)
        with self.deployment.serve("--backnet", f"{endpoint}/1") as server:
            self.expect_the_same_answers(server)
        done = run("serve", self.deployment.bundle, "--listen", "127.0.0.1:0", "--backnet",
                   f"grpc://{backnet.address}/other", expect=1)
        self.assertIn(f"BackNet grpc://{backnet.address}/other", error_line(done))
        # One that dies is passed over.
        model = self.deployment.model_name()
        with Server("backnet", self.deployment.bundle) as ours, self.deployment.serve(
                "--backnet", f"{endpoint},grpc://{ours.address}/{model}") as server:
            self.expect_the_same_answers(server)
            backnet.stop()
            self.expect_the_same_answers(server)

    def test_mlserver(self):
        self.check("mlserver")

    def test_kserve(self):
        self.check("kserve")

    def test_triton(self):
        self.check("triton")


if __name__ == "__main__":
    unittest.main()
