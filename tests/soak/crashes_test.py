"""Everything may be killed at any time: enclave, host, BackNet, provisioner and client. This script plays the supervisor
(systemd, Kubernetes), which starts again whatever ended, on the same addresses; `provision --watch` gives each new enclave
its keys. Whatever a client asks meanwhile must end: with the right answer, or with one line that says why not. Afterwards
the service must answer again, and no enclave may outlive its host.

INFENCLAVE_CRASHES=N kills N times (20 without) and prints what came of it; INFENCLAVE_CRASHES_STATE=FILE adds that to what
earlier runs with the same file came to, so that a long run can be taken up again.
"""

import collections
import json
import os
import pathlib
import random
import resource
import signal
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

ROUNDS = int(os.environ.get("INFENCLAVE_CRASHES", "20"))
STATE = os.environ.get("INFENCLAVE_CRASHES_STATE")
VICTIMS = ("enclave", "host", "backnet", "provisioner", "client")
PICTURES, TIMES = 20, 20  # so many pictures, each asked so many times while something is killed


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


class Crashes(unittest.TestCase):
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

    def crash(self, victim, dice):
        """One kill; what came of it, to be added up."""
        host = self.supervisor.running["host"]
        enclaves = children(host.pid)
        self.assertEqual(len(enclaves), 1)
        asked = self.supervisor.ask(TIMES)
        if dice.random() < 0.5:
            time.sleep(dice.uniform(0, 0.3))  # while it connects, mostly
        else:
            asked.wait_for(dice.randrange(1, PICTURES * TIMES))
        pid = {"enclave": enclaves[0], "client": asked.process.pid}.get(victim) or self.supervisor.running[victim].pid
        os.kill(pid, signal.SIGKILL)
        counts = collections.Counter({f"killed {victim}": 1})
        if victim == "client":  # which may have been done
            self.assertIn(asked.end()[0], (-signal.SIGKILL, 0))
        else:
            counts["answered"], counts["failed"] = self.answers(asked, PICTURES * TIMES)
            counts["broken off"] = 0 < counts["answered"] < PICTURES * TIMES
        if victim in ("enclave", "host"):
            deadline = time.monotonic() + 60
            while pathlib.Path(f"/proc/{enclaves[0]}/exe").exists():
                self.assertLess(time.monotonic(), deadline, "the enclave outlived its host")
                time.sleep(0.05)
        return counts

    def test_1_killed_at_any_time_it_comes_back(self):
        sums = collections.Counter()
        if STATE and pathlib.Path(STATE).exists():
            sums.update(json.loads(pathlib.Path(STATE).read_text()))
        self.recover()
        for _ in range(ROUNDS):
            done = sums["kills"]
            victim, dice = VICTIMS[done % len(VICTIMS)], random.Random(done)
            with self.subTest(round=done, victim=victim):
                given = self.supervisor.keys_given()
                sums += self.crash(victim, dice)
                seconds = self.recover()
                given = self.supervisor.keys_given() - given
                if victim in ("enclave", "host"):
                    self.assertGreaterEqual(given, 1, "a new enclave answers without new keys")
                sums.update({"kills": 1, "keys given": given, "seconds to recover": seconds})
                sums["longest"] = max(sums["longest"], seconds)
            self.assertEqual(sums["kills"], done + 1, "this round failed; see above")
            if STATE:
                pathlib.Path(STATE).write_text(json.dumps(sums))
        print(self.summary(sums))

    @staticmethod
    def summary(sums):
        each = ", ".join(f"{victim} {sums[f'killed {victim}']}" for victim in VICTIMS)
        return (f"\n{sums['kills']} kills ({each}): of {sums['answered'] + sums['failed']} pictures asked meanwhile "
                f"{sums['answered']} were answered rightly and {sums['failed']} failed with a line that says so, "
                f"{sums['broken off']} times in the middle of a folder; keys given {sums['keys given']} times by "
                f"provision --watch; back after {sums['seconds to recover'] / sums['kills']:.1f} s on average and "
                f"{sums['longest']:.1f} s at most")

    def test_2_a_flood_of_connections_finds_descriptors(self):
        """With the 64 that it is started with, 200 connections would leave gRPC without, and it would close its port."""
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        for process in self.supervisor.running.values():
            process.kill()
            process.wait()
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, before[1]))
        try:
            self.supervisor.mend()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        self.recover()
        host = self.supervisor.running["host"].pid
        name, port = self.supervisor.address.split(":")
        idle = [socket.create_connection((name, int(port)), timeout=10) for _ in range(200)]
        try:
            self.assertEqual(self.answers(self.supervisor.ask(), PICTURES), (PICTURES, 0))
        finally:
            for connection in idle:
                connection.close()
        self.assertEqual(self.supervisor.running["host"].pid, host)


if __name__ == "__main__":
    unittest.main()
