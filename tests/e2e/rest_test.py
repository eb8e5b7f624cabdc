"""The REST half: a client without gRPC can do everything. Our own client proves it through a bridge that turns its gRPC
calls into REST ones; Triton's HTTP client sees a BackNet like any other; and /metrics counts without telling."""

import base64
import concurrent.futures
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import unittest

import grpc
from tritonclient.grpc import service_pb2

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import peers  # noqa: E402
from deployment import PHOTOGRAPHS, DeployedTest, Server, run  # noqa: E402


def call(address, method, path, body=None, headers=None):
    """(status, body) of one HTTP request."""
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        connection.request(method, path, body if body is None or isinstance(body, bytes) else json.dumps(body),
                           headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def b64(data):
    return base64.b64encode(data).decode()


CODES = {code.name: code for code in grpc.StatusCode}


class Bridge(grpc.GenericRpcHandler):
    """gRPC in, REST out. The enclave's messages are taken apart by their field numbers."""

    def __init__(self, http_address):
        self.http = http_address
        self.paths = []

    def post(self, context, path, body):
        self.paths.append(path)
        status, answer = call(self.http, "POST", path, body)
        answer = json.loads(answer)
        if status != 200:
            details = {key: base64.b64decode(value) for key, value in answer.get("details", {}).items()}
            context.set_trailing_metadata(tuple(details.items()))
            context.abort(CODES[answer["code"]], answer["error"])
        return answer

    @staticmethod
    def fields(message):
        found, at = {}, 0
        while at < len(message):
            tag, at, length, shift = message[at] >> 3, at + 1, 0, 0
            while True:
                byte, at = message[at], at + 1
                length |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    break
            found[tag], at = message[at:at + length], at + length
        return found

    @staticmethod
    def block(tag, data):
        length, out = len(data), bytes([tag << 3 | 2])
        while length >= 0x80:
            out, length = out + bytes([length & 0x7F | 0x80]), length >> 7
        return out + bytes([length]) + data

    def evidence(self, message, context):
        answer = self.post(context, "/infenclave/v1/evidence", {"nonce": b64(self.fields(message).get(1, b""))})
        names = ("evidence", "key_config", "manifest", "manifest_signature")
        return b"".join(self.block(i + 1, base64.b64decode(answer[name])) for i, name in enumerate(names)) + (
            b"\x28\x01" if answer["provisioned"] else b"")

    def provision(self, message, context):
        fields = self.fields(message)
        self.post(context, "/infenclave/v1/provision", {"key_id": b64(fields[1]), "sealed_grant": b64(fields[2])})
        return b""

    def infer(self, message, context):
        request = service_pb2.ModelInferRequest.FromString(message)
        body = {"parameters": {name: value.string_param for name, value in request.parameters.items()},
                "inputs": [{"name": request.inputs[0].name, "datatype": "BYTES", "shape": [1],
                            "data": [b64(request.raw_input_contents[0][4:])]}]}
        answer = self.post(context, f"/v2/models/{request.model_name}/infer", body)
        response = service_pb2.ModelInferResponse(model_name=request.model_name)
        output = response.outputs.add(name="sealed_answer", datatype="BYTES", shape=[1])
        output.contents.bytes_contents.append(base64.b64decode(answer["outputs"][0]["data"][0]))
        return response.SerializeToString()

    def service(self, details):
        method = {"/infenclave.v1.Enclave/GetEvidence": self.evidence, "/infenclave.v1.Enclave/Provision": self.provision,
                  "/inference.GRPCInferenceService/ModelInfer": self.infer}.get(details.method)
        return grpc.unary_unary_rpc_method_handler(method) if method else None


class Rest(DeployedTest):
    OPEN_TO_ALL = False

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.model = cls.deployment.model_name()
        cls.server = cls.enterClassContext(cls.deployment.serve("--http", "127.0.0.1:0", provision=False))
        cls.backnet = cls.enterClassContext(Server("backnet", cls.deployment.bundle, "--http", "127.0.0.1:0"))

    def get(self, path, server=None, expect=200):
        status, body = call((server or self.server).http, "GET", path)
        self.assertEqual(status, expect, body)
        return json.loads(body)

    def test_1_everything_over_rest(self):
        self.assertEqual(self.get("/v2/health/live"), {"live": True})
        self.assertEqual(self.get("/v2/health/ready", expect=503), {"ready": False})
        bridge = Bridge(self.server.http)
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
        server.add_generic_rpc_handlers((bridge,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        address = f"127.0.0.1:{port}"
        try:
            run("provision", self.deployment.keys, "--policy", self.deployment.policy, "--server", address)
            self.get("/v2/health/ready")
            self.get(f"/v2/models/{self.model}/ready")
            credential = self.folder / "alice"
            run("invite", "--owner-key", self.deployment.owner, "--name", "alice", "-o", credential)
            ask = ["--policy", self.deployment.policy, "--credential", credential, "--json"]
            through = run("classify", *PHOTOGRAPHS[:4], "--server", address, *ask)
            direct = run("classify", *PHOTOGRAPHS[:4], "--server", self.server.address, *ask)
            self.assertEqual(json.loads(through.stdout), json.loads(direct.stdout))
        finally:
            server.stop(0)
        self.assertEqual({path for path in bridge.paths}, {
            "/infenclave/v1/evidence", "/infenclave/v1/provision", f"/v2/models/{self.model}/infer"})

    def test_2_errors(self):
        status, body = call(self.server.http, "POST", "/infenclave/v1/provision", {"key_id": b64(b"x")})
        self.assertEqual(status, 400)
        status, body = call(self.server.http, "POST", "/infenclave/v1/evidence", {"nonce": b64(b"short")})
        self.assertEqual((status, json.loads(body)["code"]), (400, "INVALID_ARGUMENT"))
        sealed = {"name": "sealed_request", "datatype": "BYTES", "shape": [1], "data": [b64(b"\0\1" + bytes(200))]}
        status, body = call(self.server.http, "POST", f"/v2/models/{self.model}/infer", {"inputs": [sealed]})
        refusal = json.loads(body)
        self.assertEqual((status, refusal["code"]), (400, "FAILED_PRECONDITION"))
        self.assertIn("infenclave-evidence-bin", refusal["details"])  # to attest and seal again without another call

    def test_3_tritons_http_client(self):
        script = """
import sys, numpy as np, tritonclient.http as triton
address, model = sys.argv[1:]
client = triton.InferenceServerClient(address)
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(model)
assert client.get_model_repository_index()[0]["state"] == "READY"
config = client.get_model_config(model)
data = np.ones([2, *config["input"][0]["dims"]], dtype=np.float32)
answers = []
for binary_in in (True, False):
    for binary_out in (True, False):
        tensor = triton.InferInput("ir", list(data.shape), "FP32")
        tensor.set_data_from_numpy(data, binary_data=binary_in)
        out = triton.InferRequestedOutput("scores", binary_data=binary_out)
        answers.append(client.infer(model, [tensor], outputs=[out]).as_numpy("scores"))
assert all(np.array_equal(answers[0], other) for other in answers) and answers[0].shape[0] == 2
assert client.get_inference_statistics(model)["model_stats"][0]["inference_stats"]["success"]["count"] == 4
print("four times the same")
"""
        python = peers.python("tritonclient[http]==2.73.0")
        done = subprocess.run([python, "-c", script, self.backnet.http, self.model], capture_output=True, text=True)
        self.assertIn("four times the same", done.stdout, done.stderr)

    def metrics(self, server):
        status, text = call(server.http, "GET", "/metrics")
        self.assertEqual(status, 200)
        return text.decode()

    def value(self, name, server=None, **labels):
        """The sum of the samples of that name that have these labels."""
        total = 0
        for line in self.metrics(server or self.server).splitlines():
            sample = re.fullmatch(r"(\w+)\{(.*)\} (\S+)", line)
            if sample and sample[1] == name and all(f'{key}="{value}"' in sample[2] for key, value in labels.items()):
                total += float(sample[3])
        return total

    def test_4_metrics_count(self):
        credential = self.folder / "bob"
        run("invite", "--owner-key", self.deployment.owner, "--name", "bob", "-o", credential)
        before = self.value("infenclave_requests_total", code="OK")
        stages = self.value("infenclave_stage_seconds_count", stage="queue")
        run("classify", *PHOTOGRAPHS[:10], "--policy", self.deployment.policy, "--server", self.server.address,
            "--credential", credential)
        self.assertEqual(self.value("infenclave_requests_total", code="OK") - before, 10)
        deadline = time.monotonic() + 5
        while self.value("infenclave_stage_seconds_count", stage="queue") - stages < 10:
            self.assertLess(time.monotonic(), deadline)
        self.assertGreater(self.value("infenclave_request_seconds_sum"), 0)
        # Without a credential: refused, sealed.
        run("classify", PHOTOGRAPHS[0], "--policy", self.deployment.policy, "--server", self.server.address, expect=3)
        self.assertEqual(self.value("infenclave_sealed_refusals_total"), 1)
        self.assertEqual(self.value("infenclave_enclave_alive"), 1)
        self.assertEqual(self.value("infenclave_enclave_provisioned"), 1)
        self.assertGreaterEqual(self.value("infenclave_requests_total", code="FAILED_PRECONDITION"), 1)

    def test_5_metrics_and_log_tell_nothing(self):
        """No label of the network, no file name, no caller's name, no answer's class in what the outside sees."""
        labels = [line.strip() for line in self.deployment.labels.read_text().splitlines() if len(line.strip()) > 6]
        seen = self.metrics(self.server) + self.metrics(self.backnet) + "".join(self.server.errors)
        for secret in [*labels, *(path.stem for path in PHOTOGRAPHS), "alice", "bob"]:
            self.assertNotIn(secret, seen)
        # Labels of metrics have few values, all known before any picture came.
        known = {"model", "version", "code", "stage", "le", "backnet", "result"}
        self.assertLessEqual(set(re.findall(r'[{,](\w+)="', seen)), known)

    def test_6_logs_and_traces_pass_through(self):
        """As JSON, one object a line; a request's trace goes on to the BackNet, and into both logs."""
        trace = "0af7651916cd43dd8448eb211c80319c"
        header = f"00-{trace}-b7ad6b7169203331-01"
        with Server("backnet", self.deployment.bundle, "--log", "json") as backnet:
            with self.deployment.serve("--backnet", f"grpc://{backnet.address}/{self.model}", "--log", "json", "--http",
                                       "127.0.0.1:0") as server:
                credential = self.folder / "carol"
                run("invite", "--owner-key", self.deployment.owner, "--name", "carol", "-o", credential)
                # Our client knows no traces; a proxy that adds the header does what a service mesh's does.
                proxy = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
                proxy.add_generic_rpc_handlers((Tracing(server.address, header),))
                port = proxy.add_insecure_port("127.0.0.1:0")
                proxy.start()
                run("classify", PHOTOGRAPHS[0], "--policy", self.deployment.policy, "--credential", credential,
                    "--server", f"127.0.0.1:{port}")
                proxy.stop(0)
                sealed = {"name": "sealed_request", "datatype": "BYTES", "shape": [1], "data": [b64(b"label: tench")]}
                for header in (f"00-{'ab' * 16}-b7ad6b7169203331-01", "not a trace, but the label tench"):
                    call(server.http, "POST", f"/v2/models/{self.model}/infer", {"inputs": [sealed]},
                         {"traceparent": header})
                self.assertEqual(self.value("infenclave_backnet_up", server, backnet=f"grpc://{backnet.address}/{self.model}"), 1)
                self.assertEqual(self.value("infenclave_backnet_batches_total", server, result="answered"), 1)
                dashboard = (pathlib.Path(os.environ["INFENCLAVE_SOURCE_DIR"]) / "deploy/grafana/infenclave.json").read_text()
                asked = set(re.findall(r"infenclave_[a-z_]+", dashboard))
                self.assertLessEqual(asked, set(re.findall(r"infenclave_[a-z_]+", self.metrics(server))))
                self.assertGreaterEqual(len(asked), 9)
                server.stop(signal.SIGTERM)
            backnet.stop(signal.SIGTERM)
        lines = [json.loads(line) for line in server.errors]
        self.assertLessEqual({"enclave", "simulated", "no_keys", "request", "stopping"}, {line["event"] for line in lines})
        for line in lines:
            self.assertRegex(line["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        requests = [line for line in lines if line["event"] == "request"]
        self.assertEqual([line["code"] for line in requests], ["OK", "INVALID_ARGUMENT", "INVALID_ARGUMENT"])
        self.assertEqual([line.get("trace_id") for line in requests], [trace, "ab" * 16, None])
        self.assertGreater(requests[0]["ms"], 0)
        self.assertEqual([json.loads(line).get("trace_id") for line in backnet.errors], [trace])
        text = "".join(server.errors + backnet.errors)
        labels = [line.strip() for line in self.deployment.labels.read_text().splitlines() if len(line.strip()) > 4]
        for secret in ["tench", "carol", PHOTOGRAPHS[0].stem, *(label for label in labels if len(label) > 6)]:
            self.assertNotIn(secret, text)


class Tracing(grpc.GenericRpcHandler):
    """Passes unary calls on as they are, with a trace."""

    def __init__(self, server, traceparent):
        self.channel, self.traceparent = grpc.insecure_channel(server), traceparent

    def service(self, details):
        call_on = self.channel.unary_unary(details.method)
        return grpc.unary_unary_rpc_method_handler(
            lambda message, context: call_on(message, metadata=(("traceparent", self.traceparent),)))


if __name__ == "__main__":
    unittest.main()
