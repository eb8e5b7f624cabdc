"""A new bundle is taken into use, and a server stopped, under load: no request is dropped."""

import base64
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.request

from deployment import BINARY, PHOTOGRAPHS, DeployedTest, Server, run


def point(link, target):
    """As a deployment does it: the name changes over at once."""
    new = link.with_name(link.name + ".new")
    new.symlink_to(target)
    new.rename(link)


class Load(threading.Thread):
    """One `classify` after the other, with many requests in flight, until stopped."""

    def __init__(self, deployment, address):
        super().__init__()
        self.command = [BINARY, "classify", *PHOTOGRAPHS[:40], "--policy", deployment.policy, "--server", address, "--json"]
        self.stopping = threading.Event()
        self.outputs, self.failures = [], []

    def run(self):
        while not self.stopping.is_set():
            done = subprocess.run(self.command, capture_output=True, text=True)
            (self.outputs if done.returncode == 0 else self.failures).append(done.stdout if done.returncode == 0 else done.stderr)

    def stop(self):
        self.stopping.set()
        self.join()


class Reload(DeployedTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.second = cls.folder / "second.bundle"
        run("partition", cls.deployment.model, *cls.deployment.model_arguments, "--labels", cls.deployment.labels, "--owner-key",
            cls.deployment.owner, "-o", cls.second, "--cut", cls.deployment.middle_cut(), "--tee", "simulated", "--open",
            "--model-version", "2")
        cls.current = cls.folder / "current"
        cls.keys = cls.folder / "current.keys"

    def setUp(self):
        state = tempfile.TemporaryDirectory()  # versions that were seen
        self.addCleanup(state.cleanup)
        os.environ["XDG_STATE_HOME"] = state.name
        point(self.current, self.deployment.bundle)
        point(self.keys, self.deployment.keys)

    def version(self, server):
        return json.loads(run("attest", "--server", server.address, "--json").stdout)["version"]

    def await_line(self, server, text):
        deadline = time.monotonic() + 60
        while not any(text in line for line in server.errors):
            self.assertLess(time.monotonic(), deadline, f"no '{text}' in {server.errors}")
            time.sleep(0.05)

    def test_a_new_bundle_takes_over_without_a_request_lost(self):
        with Server("serve", self.current) as server:
            watcher = subprocess.Popen([BINARY, "provision", self.keys, "--policy", self.deployment.policy, "--server",
                                        server.address, "--watch"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                       text=True, env={**os.environ, "XDG_STATE_HOME": str(self.folder)})
            self.assertIn("version 1", watcher.stdout.readline())
            load = Load(self.deployment, server.address)
            load.start()
            try:
                enclaves = server.children()
                point(self.keys, str(self.second) + ".keys")
                point(self.current, self.second)
                server.process.send_signal(signal.SIGHUP)
                self.await_line(server, "in use once it has its keys")
                self.assertIn("version 2", watcher.stdout.readline())
                self.await_line(server, "version 2 is in use")
                time.sleep(1)
            finally:
                load.stop()
                watcher.send_signal(signal.SIGTERM)
                watcher.wait(timeout=30)
                watcher.stdout.close()
            self.assertEqual(load.failures, [])
            self.assertGreaterEqual(len(load.outputs), 2)
            self.assertEqual(len(set(load.outputs)), 1, "both bundles hold the same network")
            deadline = time.monotonic() + 20
            while any(pathlib.Path(f"/proc/{pid}").exists() for pid in enclaves):
                self.assertLess(time.monotonic(), deadline, "the old enclave is still there")
                time.sleep(0.05)

    def manifest(self, server, waiting):
        """That of the enclave in use, or of the one that waits for its keys, by REST."""
        request = urllib.request.Request(f"http://{server.http}/infenclave/v1/evidence", method="POST",
                                         data=json.dumps({"waiting": waiting}).encode())
        return base64.b64decode(json.load(urllib.request.urlopen(request))["manifest"])

    def test_until_the_new_bundle_has_keys_the_old_one_serves(self):
        with Server("serve", self.current, "--http", "127.0.0.1:0") as server:
            self.deployment.provision(server)
            self.assertEqual(self.manifest(server, waiting=True), self.manifest(server, waiting=False), "none waits")
            point(self.current, self.second)
            server.process.send_signal(signal.SIGHUP)
            self.await_line(server, "in use once it has its keys")
            self.assertEqual(self.manifest(server, waiting=True), (self.second / "manifest").read_bytes())
            self.assertEqual(self.manifest(server, waiting=False), (self.deployment.bundle / "manifest").read_bytes())
            self.deployment.classify(server, PHOTOGRAPHS[0])
            self.deployment.provision(server)  # the old one's lease can still be renewed
            self.assertFalse(any("is in use" in line for line in server.errors))
            run("provision", f"{self.second}.keys", "--policy", self.deployment.policy, "--server", server.address)
            self.await_line(server, "version 2 is in use")
            self.deployment.classify(server, PHOTOGRAPHS[0])

    def test_a_bundle_that_is_none_leaves_everything_as_it_was(self):
        with Server("serve", self.current) as server:
            self.deployment.provision(server)
            point(self.current, self.folder / "nowhere")
            server.process.send_signal(signal.SIGHUP)
            self.await_line(server, "not reloaded")
            self.deployment.classify(server, PHOTOGRAPHS[0])

    def test_sigterm_answers_what_is_in_flight(self):
        with Server("serve", self.current, "--http", "127.0.0.1:0") as server:
            self.deployment.provision(server)
            client = subprocess.Popen([BINARY, "classify", *PHOTOGRAPHS, "--policy", self.deployment.policy, "--server",
                                       server.address, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            while not re.search(r'infenclave_requests_total{.*code="OK"} [1-9]', self.metrics(server)):
                time.sleep(0.01)
            server.stop(signal.SIGTERM)
            answers, errors = client.communicate(timeout=60)
            refused = [line for line in errors.splitlines() if line.startswith("infenclave classify: /")]
            self.assertEqual(len(json.loads(answers)) + len(refused), len(PHOTOGRAPHS))
            self.assertGreater(len(refused), 0, "the client was done before the server")
            for line in refused:  # what came after the signal; nothing was cut off
                self.assertRegex(line, "cannot connect|shutting down")

    def metrics(self, server):
        return urllib.request.urlopen(f"http://{server.http}/metrics").read().decode()


if __name__ == "__main__":
    unittest.main()
