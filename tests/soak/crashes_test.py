"""Everything may be killed at any time: enclave, host, BackNet, provisioner and client. This script plays the supervisor
(systemd, Kubernetes), which starts again whatever ended, on the same addresses; `provision --watch` gives each new enclave
its keys. What a client asks meanwhile must end: with the right answer, or with one line that says why not. Afterwards
the service must answer again, and no enclave may outlive its host.

INFENCLAVE_CRASHES=N kills N times (10 without); INFENCLAVE_CRASHES_DONE=FILE remembers how many are done, so that a long
run can be taken up again.
"""

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

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/e2e")
from deployment import BINARY, PHOTOGRAPHS, Deployment, network, run  # noqa: E402

ROUNDS = int(os.environ.get("INFENCLAVE_CRASHES", "10"))
DONE = os.environ.get("INFENCLAVE_CRASHES_DONE")
VICTIMS = ("enclave", "host", "backnet", "provisioner", "client")
READY = PHOTOGRAPHS and network()[0]


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
        self.deployment = Deployment(folder)
        self.address, backnet = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        model = json.loads((self.deployment.bundle / "manifest.json").read_text())["model_name"]
        self.commands = {
            "backnet": ["backnet", self.deployment.bundle, "--listen", backnet, "--json"],
            "host": ["serve", self.deployment.bundle, "--listen", self.address, "--json", "--backnet",
                     f"grpc://{backnet}/{model}"],
            "provisioner": ["provision", self.deployment.keys, "--policy", self.deployment.policy, "--server",
                            self.address, "--watch"],
        }
        self.running = {}

    def mend(self):
        for name, command in self.commands.items():
            process = self.running.get(name)
            if name == "host" and process and process.poll() is None and not children(process.pid):
                process.kill()  # it lives on without its enclave, and says so
                process.wait()
            if not process or process.poll() is not None:
                self.running[name] = subprocess.Popen([BINARY, *map(str, command)], stdout=subprocess.DEVNULL,
                                                      stderr=subprocess.DEVNULL)

    def stop(self):
        for process in self.running.values():
            process.kill()
            process.wait()

    def ask(self):
        return subprocess.Popen([BINARY, "classify", str(PHOTOGRAPHS[0]), "--policy", str(self.deployment.policy),
                                 "--server", self.address, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True)


@unittest.skipUnless(READY, "SKIPPED: needs a network and photographs in ../shared")
class Crashes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.supervisor = Supervisor(folder.name)
        cls.addClassCleanup(cls.supervisor.stop)
        whole = run("run", cls.supervisor.deployment.model, PHOTOGRAPHS[0], *cls.supervisor.deployment.model_arguments,
                    "--labels", cls.supervisor.deployment.labels, "--json")
        cls.label = json.loads(whole.stdout)[0]["classes"][0]["label"]

    def answer(self, asked, killed=False):
        """Whether it was answered; it must end, and an answer must be right."""
        out, errors = asked.communicate(timeout=120)
        if killed and asked.returncode == -signal.SIGKILL:
            return False
        if asked.returncode == 0:
            self.assertEqual(json.loads(out)[0]["classes"][0]["label"], self.label)
            return True
        self.assertEqual(asked.returncode, 1, errors)
        self.assertRegex(errors, r"(?m)^infenclave classify: ")
        return False

    def recover(self):
        deadline = time.monotonic() + 300
        while True:
            self.supervisor.mend()
            if self.answer(self.supervisor.ask()):
                return
            self.assertLess(time.monotonic(), deadline, "the service did not come back")
            time.sleep(0.2)

    def test_1_killed_at_any_time_it_comes_back(self):
        self.recover()
        begin = int(pathlib.Path(DONE).read_text()) if DONE and pathlib.Path(DONE).exists() else 0
        for done in range(begin, begin + ROUNDS):
            dice = random.Random(done)
            victim = VICTIMS[done % len(VICTIMS)]
            host = self.supervisor.running["host"]
            enclaves = children(host.pid)
            self.assertEqual(len(enclaves), 1)
            asked = self.supervisor.ask()
            time.sleep(dice.uniform(0, 0.3))
            pid = {"enclave": enclaves[0], "client": asked.pid}.get(victim) or self.supervisor.running[victim].pid
            with self.subTest(round=done, victim=victim):
                os.kill(pid, signal.SIGKILL)
                self.answer(asked, killed=victim == "client")
                if victim in ("enclave", "host"):
                    deadline = time.monotonic() + 30
                    while pathlib.Path(f"/proc/{enclaves[0]}/exe").exists():
                        self.assertLess(time.monotonic(), deadline, "the enclave outlived its host")
                        time.sleep(0.05)
                self.recover()
            if DONE:
                pathlib.Path(DONE).write_text(str(done + 1))

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
            self.assertTrue(self.answer(self.supervisor.ask()))
        finally:
            for connection in idle:
                connection.close()
        self.assertEqual(self.supervisor.running["host"].pid, host)


if __name__ == "__main__":
    unittest.main()
