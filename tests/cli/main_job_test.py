"""The whole path with the real programs: partition, serve, provision, classify; and what goes wrong on it.

An error is one clear line that names its command, exits as documented, and leaves nothing half-written behind.
"""

import csv
import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

import onnx
from onnx import TensorProto, helper

INFENCLAVE = pathlib.Path(os.environ["INFENCLAVE_BINARY_DIR"]) / "infenclave"
SHARED = pathlib.Path(os.environ["INFENCLAVE_SHARED"])
MODELS = os.environ.get("INFENCLAVE_MODELS")
# ./dev test unpacks Debian's darknet, for the class names; its photographs serve where ../shared is absent.
DARKNET = pathlib.Path(os.environ["INFENCLAVE_SOURCE_DIR"]) / "build/debian/darknet/usr/share/darknet/data"
CUT = "block11/add"


def infenclave(*arguments, **options):
    return subprocess.run([INFENCLAVE, *map(str, arguments)], capture_output=True, text=True, timeout=300, **options)


def photographs():
    if (SHARED / "imagenet-samples").is_dir():
        with open(SHARED / "imagenet-samples" / "labels.tsv") as table:
            return [SHARED / "imagenet-samples" / row["file"] for row in csv.DictReader(table, delimiter="\t")]
    return [DARKNET / f"{name}.jpg" for name in ("dog", "eagle", "giraffe", "horses", "kite", "person")]


class Server:
    """`infenclave serve` in the background."""

    def __init__(self, bundle):
        self.process = subprocess.Popen([INFENCLAVE, "serve", bundle, "--listen", "127.0.0.1:0", "--json"],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        ready = self.process.stdout.readline()
        if not ready:
            raise AssertionError(f"serve: {self.process.communicate()[1]}")
        self.address = json.loads(ready)["address"]

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.communicate(timeout=60)


@unittest.skipUnless(MODELS, "SKIPPED: INFENCLAVE_MODELS names no folder of converted networks")
class MainJob(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = pathlib.Path(MODELS) / "efficientnet-lite0.onnx"
        cls.labels = cls.model.with_suffix(".labels.txt")
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = pathlib.Path(temporary.name)
        cls.owner, cls.bundle = cls.folder / "owner.pem", cls.folder / "bundle"
        cls.keys, cls.policy = cls.folder / "bundle.keys", cls.folder / "bundle.policy.toml"
        cls.credential = cls.folder / "alice.credential"
        os.environ["XDG_STATE_HOME"] = os.environ["HOME"] = temporary.name
        cls.must("keygen", "-o", cls.owner)
        cls.must(*cls.partition_into(cls.bundle))
        cls.must("invite", "--owner-key", cls.owner, "--name", "alice", "-o", cls.credential)
        cls.server = Server(cls.bundle)
        cls.addClassCleanup(cls.server.stop)
        cls.early = infenclave(*cls.classify_by(cls.server))
        cls.must("provision", cls.keys, "--policy", cls.policy, "--server", cls.server.address)

    @classmethod
    def must(cls, *arguments):
        result = infenclave(*arguments)
        assert result.returncode == 0, result.stderr
        return result

    @classmethod
    def partition_into(cls, bundle, cut=CUT):
        return ["partition", cls.model, "--labels", cls.labels, "--owner-key", cls.owner, "--cut", cut,
                "--tee", "simulated", "-o", bundle]

    @classmethod
    def classify_by(cls, server, images=None, policy=None):
        return ["classify", *(images or photographs()[:1]), "--policy", policy or cls.policy, "--server", server.address,
                "--credential", cls.credential, "--json"]

    def expect_error(self, result, status, pattern):
        command = result.args[1]
        lines = [l for l in result.stderr.splitlines() if l.startswith("infenclave")]
        self.assertEqual(len(lines), 1, result.stderr)
        self.assertTrue(lines[0].startswith(f"infenclave {command}: "), result.stderr)
        self.assertRegex(lines[0], pattern)
        self.assertEqual(result.returncode, status, result.stderr)
        self.assertEqual(result.stdout, "")

    def altered_policy(self, name, change):
        path = self.folder / name
        path.write_text(change(self.policy.read_text()))
        return path

    def test_classify_says_what_run_says(self):
        images = photographs()
        whole = json.loads(self.must("run", self.model, *images, "--labels", self.labels, "--json").stdout)
        served = json.loads(self.must(*self.classify_by(self.server, images)).stdout)
        self.assertEqual([p["file"] for p in served], [str(i) for i in images])
        for a, b in zip(whole, served):
            self.assertEqual(a["classes"][0]["label"], b["classes"][0]["label"], a["file"])
            self.assertAlmostEqual(a["classes"][0]["probability"], b["classes"][0]["probability"], delta=1e-3)

    def test_a_server_without_keys_says_who_must_act(self):
        self.expect_error(self.early, 1, "provision")

    def test_what_is_no_photograph(self):
        path = self.folder / "words.jpg"
        path.write_text("these are words")
        self.expect_error(infenclave(*self.classify_by(self.server, [path])), 1, "words.jpg: not a picture")
        self.expect_error(infenclave(*self.classify_by(self.server, [self.folder / "none.jpg"])), 1, "none.jpg: No such file")

    def test_a_cut_that_is_none(self):
        out = self.folder / "no-cut"
        self.expect_error(infenclave(*self.partition_into(out, "block11/adds")), 1, "block11/adds.*block11/add")
        self.assertEqual(list(self.folder.glob("no-cut*")), [])

    def test_an_operator_that_is_not_known(self):
        graph = helper.make_graph(
            [helper.make_node("Wizardry", ["x"], ["spell"], name="spell"),
             helper.make_node("GlobalAveragePool", ["spell"], ["pool"]), helper.make_node("Flatten", ["pool"], ["y"])], "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 224, 224])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
            value_info=[helper.make_tensor_value_info("spell", TensorProto.FLOAT, [1, 3, 224, 224])])
        path = self.folder / "odd.onnx"
        onnx.save(helper.make_model(graph, ir_version=7, opset_imports=[helper.make_opsetid("", 13)]), path)
        self.expect_error(infenclave("run", path, photographs()[0], "--preprocessing", "mobilenet-v2"), 1, "Wizardry")

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

    def test_policies_that_refuse(self):
        other = self.folder / "other.pem"
        if not other.exists():
            self.must("keygen", "-o", other)
        owner = next(l for l in self.policy.read_text().splitlines() if l.startswith("owner"))
        cases = {
            "owner.toml": lambda text: text.replace(owner, f'owner = "ed25519:{"ab" * 32}"'),
            "hardware.toml": lambda text: text.replace('["simulated"]', '["sgx", "tdx", "sev-snp"]').split("[simulated]")[0],
            "version.toml": lambda text: "\n".join(
                "min_bundle_version = 2" if l.startswith("min_bundle_version") else l for l in text.splitlines()),
        }
        for name, change in cases.items():
            with self.subTest(name):
                policy = self.altered_policy(name, change)
                self.expect_error(infenclave(*self.classify_by(self.server, policy=policy)), 3, ".")
                result = infenclave("provision", self.keys, "--policy", policy, "--server", self.server.address)
                self.expect_error(result, 3, ".")

    def test_a_policy_that_is_malformed(self):
        policy = self.altered_policy("typo.toml", lambda text: text + '\nownr = "x"\n')
        self.expect_error(infenclave(*self.classify_by(self.server, policy=policy)), 1, "typo.toml.*ownr")

    def test_who_was_not_invited(self):
        arguments = [a for a in self.classify_by(self.server) if a not in ("--credential", self.credential)]
        self.expect_error(infenclave(*arguments), 3, "credential")

    def test_a_port_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            self.expect_error(infenclave("serve", self.bundle, "--listen", f"127.0.0.1:{port}"), 1, f"{port}.*in use")

    def test_nobody_listens(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        result = infenclave("attest", "--server", f"127.0.0.1:{port}")
        self.expect_error(result, 1, f"127.0.0.1:{port}")

    def test_an_enclave_that_died(self):
        server = Server(self.bundle)
        self.addCleanup(server.stop)
        self.must("provision", self.keys, "--policy", self.policy, "--server", server.address)
        pid = server.process.pid
        children = [c for task in pathlib.Path(f"/proc/{pid}/task").iterdir() for c in (task / "children").read_text().split()]
        self.assertEqual(len(children), 1)
        os.kill(int(children[0]), signal.SIGKILL)
        time.sleep(0.5)
        self.expect_error(infenclave(*self.classify_by(server)), 1, "enclave")

    def test_a_full_disk_leaves_nothing_behind(self):
        limit = lambda: (signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
                         resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)))
        out = self.folder / "full"
        self.expect_error(infenclave(*self.partition_into(out), preexec_fn=limit), 1, "full")
        self.assertEqual(list(self.folder.glob("full*")), [])

    def test_nothing_is_overwritten(self):
        self.expect_error(infenclave(*self.partition_into(self.bundle)), 1, "exists")
        before = self.owner.read_bytes()
        self.expect_error(infenclave("keygen", "-o", self.owner), 1, "exists")
        self.assertEqual(self.owner.read_bytes(), before)

    def test_secrets_are_for_their_owner_alone(self):
        for path in (self.owner, self.keys):
            self.assertEqual(path.stat().st_mode & 0o777, 0o600, path)


if __name__ == "__main__":
    unittest.main(verbosity=2)
