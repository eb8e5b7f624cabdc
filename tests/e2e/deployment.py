"""A served bundle for tests: makes keys and a bundle with the command line, starts the server, stops it again."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import threading
import unittest

SHARED = pathlib.Path(os.environ["INFENCLAVE_SHARED"])
BINARY = pathlib.Path(os.environ["INFENCLAVE_BINARY_DIR"]) / "infenclave"
MODELS = os.environ.get("INFENCLAVE_MODELS")
PHOTOGRAPHS = sorted((SHARED / "imagenet-samples").glob("*.jpg"))


def run(*arguments, expect=0, cwd=None, text_in=None):
    """Runs `infenclave` and gives its output; `expect` is the exit status that it must have."""
    done = subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=300, cwd=cwd,
                          input=text_in)
    if done.returncode != expect:
        raise AssertionError(f"infenclave {arguments[0]}: exit {done.returncode}, expected {expect}\n{done.stderr}")
    return done


def error_line(done):
    """The one line that a failed command says; others are warnings and what serve says of itself."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("infenclave ")]
    if len(lines) != 1:
        raise AssertionError(f"expected one error line, got:\n{done.stderr}")
    return lines[0]


def network():
    """The network to serve: (file, labels, more arguments). Lite0 where it was converted, else MobileNetV2."""
    if MODELS and (pathlib.Path(MODELS) / "efficientnet-lite0.onnx").exists():
        folder = pathlib.Path(MODELS)
        return folder / "efficientnet-lite0.onnx", folder / "efficientnet-lite0.labels.txt", []
    model = SHARED / "models" / "mobilenet_v2.onnx"
    return (model, None, ["--preprocessing", "mobilenet-v2"]) if model.exists() else (None, None, None)


READY = network()[0] is not None and len(PHOTOGRAPHS) > 0
WHERE_READY = unittest.skipUnless(
    READY, "SKIPPED: needs a network (INFENCLAVE_MODELS or the shared one) and the shared photographs")


class Deployment:
    """A bundle in a folder, and how to serve it."""

    def __init__(self, folder, *partition_arguments, open_to_all=True, model=None, labels=None, cut=None):
        self.folder = pathlib.Path(folder)
        self.model, self.labels, self.model_arguments = network()
        if labels is not None:  # another network altogether, whose preprocessing is among the arguments
            self.labels, self.model_arguments = labels, []
        self.model = model or self.model
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.labels is None:  # MobileNetV2's classes, numbered
            self.labels = self.folder / "labels.txt"
            self.labels.write_text("".join(f"class {i}\n" for i in range(1001)))
        self.owner = self.folder / "owner.pem"
        self.bundle = self.folder / "test.bundle"
        self.keys = self.folder / "test.bundle.keys"
        self.policy = self.folder / "test.bundle.policy.toml"
        run("keygen", "-o", self.owner)
        run("partition", self.model, *self.model_arguments, "--labels", self.labels, "--owner-key", self.owner, "-o",
            self.bundle, "--cut", cut or self.middle_cut(), "--tee", "simulated", *(["--open"] if open_to_all else []),
            *partition_arguments)

    def middle_cut(self):
        """The last of the smallest cuts whose map still has 28 pixels a side: about a third of the work is inside."""
        cuts = json.loads(run("inspect", self.model, "--json").stdout)["cuts"]
        maps = [cut for cut in cuts if len(cut["shape"]) == 4 and cut["shape"][-1] >= 28]
        smallest = min(cut["ir_bytes"] for cut in maps)
        return [cut["name"] for cut in maps if cut["ir_bytes"] == smallest][-1]

    def model_name(self):
        """The name that the bundle is served under."""
        return json.loads((self.bundle / "manifest.json").read_text())["model_name"]

    @contextlib.contextmanager
    def serve(self, *arguments, provision=True):
        with Server("serve", self.bundle, *arguments) as server:
            if provision:
                self.provision(server)
            yield server

    def provision(self, server, **kwargs):
        return run("provision", self.keys, "--policy", self.policy, "--server", server.address, **kwargs)

    def classify(self, server, *images, **kwargs):
        return run("classify", *images, "--policy", self.policy, "--server", server.address, "--json", **kwargs)


class Server:
    """`infenclave serve` or `backnet`, ready. Leaving the block stops it by SIGTERM, which must end it with status 0."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen([BINARY, *map(str, arguments), "--listen", "127.0.0.1:0", "--json"],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.errors = []
        self.reader = threading.Thread(target=lambda: self.errors.extend(self.process.stderr))
        self.reader.start()
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.reader.join()
            raise AssertionError("not ready: " + "".join(self.errors))
        ready = json.loads(line)
        if ready.pop("ready", None) is not True or set(ready) - {"http"} != {"address"}:
            raise AssertionError(f"not a ready line: {line}")
        self.address = ready["address"]
        self.http = ready.get("http")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.stop(signal.SIGTERM)

    def stop(self, how):
        self.process.send_signal(how)
        status = self.process.wait(timeout=60)
        self.reader.join()
        self.process.stdout.close()
        self.process.stderr.close()
        if status != 0:
            raise AssertionError(f"stopped with status {status}: {''.join(self.errors)}")

    def children(self):
        listed = pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(pid) for file in listed for pid in file.read_text().split()]


@WHERE_READY
class DeployedTest(unittest.TestCase):
    """Tests that share one bundle, `deployment`, in a folder of their own, `folder`, where the versions they saw are kept."""
    OPEN_TO_ALL = True

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        os.environ["XDG_STATE_HOME"] = str(cls.folder)
        cls.deployment = Deployment(cls.folder, open_to_all=cls.OPEN_TO_ALL)
