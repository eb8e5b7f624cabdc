"""A service of processes that may end at any time (host with its enclave, BackNet, provisioner), a supervisor that starts
them again, and clients whose every answer is counted."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import numpy
from PIL import Image

sys.path[:0] = [str(pathlib.Path(__file__).parents[1] / folder) for folder in ("bundle", "e2e")]
from commands_test import LABELS, make_model  # noqa: E402
from deployment import BINARY, run  # noqa: E402

PICTURES, TIMES = 20, 20  # so many pictures, each asked so many times while something happens


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def children(pid):
    listed = pathlib.Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in listed for child in file.read_text().split()]


class Supervisor:
    """BackNet, host and provisioner, each started again by `mend` if it has ended."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        model, labels, owner = self.folder / "model.onnx", self.folder / "labels.txt", self.folder / "owner.pem"
        make_model(model)
        labels.write_text("".join(f"{label}\n" for label in LABELS))
        self.pictures = self.folder / "pictures"
        self.pictures.mkdir()
        dice = numpy.random.default_rng(1)
        for i in range(PICTURES):
            pixels = dice.integers(0, 256, 3) + dice.integers(-40, 41, (8, 8, 3))
            Image.fromarray(pixels.clip(0, 255).astype(numpy.uint8)).save(self.pictures / f"{i}.png")
        bundle = self.folder / "bundle"
        self.policy = self.folder / "bundle.policy.toml"
        run("keygen", "-o", owner)
        run("partition", model, "--labels", labels, "--owner-key", owner, "--cut", "conv1", "--tee", "simulated", "--open",
            "--name", "net", "-o", bundle)
        whole = run("run", model, *self.pictures.iterdir(), "--labels", labels, "--json")
        self.expected = {entry["file"]: entry["classes"][0]["label"] for entry in json.loads(whole.stdout)}

        self.address, backnet = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        self.commands = {
            "backnet": ["backnet", bundle, "--listen", backnet, "--json"],
            "host": ["serve", bundle, "--listen", self.address, "--json", "--backnet", f"grpc://{backnet}/net"],
            "provisioner": ["provision", self.folder / "bundle.keys", "--policy", self.policy, "--server", self.address,
                            "--watch"],
        }
        self.running = {}

    def mend(self):
        for name, command in self.commands.items():
            process = self.running.get(name)
            if name == "host" and process and process.poll() is None and not children(process.pid):
                process.kill()  # it lives on without its enclave, and says so
                process.wait()
            if not process or process.poll() is not None:
                with open(self.folder / f"{name}.out", "a") as out:
                    self.running[name] = subprocess.Popen([BINARY, *map(str, command)], stdout=out,
                                                          stderr=subprocess.DEVNULL)

    def stop(self):
        for process in self.running.values():
            process.kill()
            process.wait()

    def keys_given(self):
        return (self.folder / "provisioner.out").read_text().count("provisioned ")

    def ask(self, times=1):
        return Asked([BINARY, "classify", *[str(self.pictures)] * times, "--policy", str(self.policy), "--server",
                      self.address, "--json"])


class Asked:
    """A client at work, whose answers can be counted as they come."""

    def __init__(self, command):
        self.out, self.errors = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(command, stdout=self.out, stderr=self.errors)

    def wait_for(self, answers):
        """Until it has as many, or has ended."""
        while self.process.poll() is None and self.read(self.out).count('"file"') < answers:
            time.sleep(0.005)

    def end(self):
        """Exit status, standard output and standard error."""
        with self.out, self.errors:
            return self.process.wait(timeout=300), self.read(self.out), self.read(self.errors)

    @staticmethod
    def read(file):
        return os.pread(file.fileno(), 1 << 24, 0).decode()


class SupervisedTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = cls.enterClassContext(tempfile.TemporaryDirectory())
        os.environ["XDG_STATE_HOME"] = folder
        cls.supervisor = Supervisor(folder)
        cls.addClassCleanup(cls.supervisor.stop)

    def answers(self, asked, pictures):
        """How many were answered, each rightly, and how many were not, each told; it must end."""
        status, out, errors = asked.end()
        if not out:  # not even connected
            self.assertEqual(status, 1, errors)
            self.assertRegex(errors, r"(?m)^infenclave classify: ")
            return 0, pictures
        found = json.loads(out)
        for entry in found:
            self.assertEqual(entry["classes"][0]["label"], self.supervisor.expected[entry["file"]])
        told = sum(line.startswith("infenclave classify: ") for line in errors.splitlines())
        if status == 0:
            self.assertEqual((len(found), told), (pictures, 0), errors)
        else:
            self.assertEqual(status, 1, errors)
            self.assertEqual((len(found) + told - 1), pictures, errors)  # the last line has the sum
        return len(found), pictures - len(found)

    def recover(self):
        """The seconds until it answers again."""
        begin = time.monotonic()
        while True:
            self.supervisor.mend()
            if self.answers(self.supervisor.ask(), PICTURES)[0] == PICTURES:
                return time.monotonic() - begin
            self.assertLess(time.monotonic(), begin + 300, "the service did not come back")
            time.sleep(0.2)
