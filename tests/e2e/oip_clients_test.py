"""Other makers' clients against `serve` and `backnet`: Triton's and KServe's in Python, grpcurl and ghz by reflection,
perf_analyzer, and gRPC's health protocol."""

import base64
import json
import pathlib
import subprocess
import sys
import time
import unittest

import grpc
import numpy as np
import tritonclient.grpc as triton

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import peers  # noqa: E402
from deployment import PHOTOGRAPHS, DeployedTest, Server  # noqa: E402

SERVING, NOT_SERVING = 1, 2


def health(channel, service):
    """grpc.health.v1.Health/Check without generated code; the status, or the RPC's error."""
    name = service.encode()
    request = b"\x0a" + bytes([len(name)]) + name if name else b""
    try:
        return (channel.unary_unary("/grpc.health.v1.Health/Check")(request, timeout=10) + b"\0\0")[1]
    except grpc.RpcError as error:
        return error.code()


class OipClients(DeployedTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.model = cls.deployment.model_name()
        cls.server = cls.enterClassContext(cls.deployment.serve(provision=False))
        cls.backnet = cls.enterClassContext(Server("backnet", cls.deployment.bundle))

    def run_tool(self, *command, **kwargs):
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300, **kwargs)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def ir_shape(self):
        with triton.InferenceServerClient(self.backnet.address) as client:
            return [int(d) for d in client.get_model_config(self.model).config.input[0].dims]

    def test_1_health_follows_the_keys(self):
        with grpc.insecure_channel(self.server.address) as channel:
            for service in ("", "inference.GRPCInferenceService"):
                self.assertEqual(health(channel, service), NOT_SERVING)
            self.assertEqual(health(channel, "no.such.Service"), grpc.StatusCode.NOT_FOUND)
            # What a balancer does: it watches.
            watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=60)
            self.assertEqual((next(watch) + b"\0\0")[1], NOT_SERVING)
            self.deployment.provision(self.server)
            self.assertEqual((next(watch) + b"\0\0")[1], SERVING)
            watch.cancel()
            self.assertEqual(health(channel, "inference.GRPCInferenceService"), SERVING)
        with grpc.insecure_channel(self.backnet.address) as channel:
            self.assertEqual(health(channel, ""), SERVING)

    def test_2_statistics_count(self):
        with triton.InferenceServerClient(self.server.address) as client:
            def stats():
                return client.get_inference_statistics(self.model, as_json=True)["model_stats"][0]

            def success(of):
                return int(of["inference_stats"].get("success", {}).get("count", 0))

            before = stats()
            self.deployment.classify(self.server, *PHOTOGRAPHS[:12])
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline and int(stats().get("inference_count", 0)) < 12:
                time.sleep(0.02)  # a batch is counted just after its answers are out
            after = stats()
            self.assertEqual(success(after) - success(before), 12)
            self.assertEqual(int(after["inference_count"]) - int(before.get("inference_count", 0)), 12)
            for stage in ("queue", "compute_input", "compute_infer", "compute_output"):
                self.assertGreater(int(after["inference_stats"][stage]["ns"]), 0, stage)
            tensor = triton.InferInput("sealed_request", [1], "BYTES")
            tensor.set_data_from_numpy(np.array([b"in the clear"], dtype=object))
            with self.assertRaises(triton.InferenceServerException):
                client.infer(self.model, [tensor])
            self.assertEqual(int(stats()["inference_stats"]["fail"]["count"]), 1)
            self.assertEqual(client.get_model_repository_index(as_json=True)["models"][0]["state"], "READY")
            self.assertEqual(client.get_model_config(self.model).config.max_batch_size, 0)
            with self.assertRaisesRegex(triton.InferenceServerException, "UNIMPLEMENTED"):
                client.load_model(self.model)

    def test_3_kserves_client(self):
        script = """
import asyncio, sys, numpy as np
from kserve import InferInput, InferRequest, InferenceGRPCClient
address, model, *shape = sys.argv[1:]
async def main():
    client = InferenceGRPCClient(address)
    assert await client.is_server_live() and await client.is_server_ready() and await client.is_model_ready(model)
    data = np.ones([2, *map(int, shape)], dtype=np.float32)
    typed = InferInput("ir", list(data.shape), "FP32"); typed.set_data_from_numpy(data, binary_data=False)
    raw = InferInput("ir", list(data.shape), "FP32"); raw.set_data_from_numpy(data, binary_data=True)
    one, other = [(await client.infer(InferRequest(model, [tensor]))).outputs[0].as_numpy() for tensor in (typed, raw)]
    assert one.shape[0] == 2 and np.isfinite(one).all() and np.array_equal(one, other), (one, other)
    print("the same answers, raw and typed")
asyncio.run(main())
"""
        out = self.run_tool(peers.python("kserve==0.21.0"), "-c", script, self.backnet.address, self.model,
                            *self.ir_shape())
        self.assertIn("the same answers", out)

    def test_4_grpcurl_by_reflection(self):
        grpcurl = peers.go_tool("github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3")
        services = self.run_tool(grpcurl, "-plaintext", self.server.address, "list").split()
        for service in ("grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection",
                        "inference.GRPCInferenceService", "infenclave.v1.Enclave"):
            self.assertIn(service, services)
        out = self.run_tool(grpcurl, "-plaintext", "-d", json.dumps({"name": self.model}), self.server.address,
                            "inference.GRPCInferenceService/ModelMetadata")
        self.assertEqual(json.loads(out)["inputs"], [{"name": "sealed_request", "datatype": "BYTES", "shape": ["1"]}])
        out = self.run_tool(grpcurl, "-plaintext", self.server.address, "infenclave.v1.Enclave/GetEvidence")
        self.assertTrue(json.loads(out)["key_config"])

    def test_5_ghz(self):
        ghz = peers.go_tool("github.com/bojand/ghz/cmd/ghz@v0.120.0")
        shape = [1, *self.ir_shape()]
        raw = base64.b64encode(bytes(4 * int(np.prod(shape)))).decode()
        request = {"model_name": self.model, "inputs": [{"name": "ir", "datatype": "FP32", "shape": shape}],
                   "raw_input_contents": [raw]}
        file = self.folder / "ghz.json"
        file.write_text(json.dumps(request))
        out = self.run_tool(ghz, "--insecure", "--call", "inference.GRPCInferenceService/ModelInfer", "-D", file, "-n",
                            "20", "-c", "4", "-O", "json", self.backnet.address)
        self.assertEqual(json.loads(out)["statusCodeDistribution"], {"OK": 20})

    def test_6_perf_analyzer(self):
        command = [*peers.perf_analyzer(), "-m", self.model, "-u", self.backnet.address, "-i", "grpc",
                   "--measurement-mode", "count_windows", "--measurement-request-count", "20", "-s", "999",
                   "--max-trials", "3", "-b", "2", "--concurrency-range", "2", "-f",
                   self.folder / "perf.csv"]
        out = self.run_tool(*command)
        self.assertRegex(out, r"Throughput: [1-9]")
        csv = (self.folder / "perf.csv").read_text().splitlines()
        columns = dict(zip(csv[0].split(","), csv[1].split(",")))
        self.assertGreater(int(columns["Server Compute Infer"]), 0, columns)  # from ModelStatistics


if __name__ == "__main__":
    unittest.main()
