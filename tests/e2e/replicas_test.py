"""Several servers behind one stock L7 balancer, nginx: a request may reach any replica, and is answered all the same."""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.request

from deployment import PHOTOGRAPHS, DeployedTest
from peer_servers import free_port

NGINX = shutil.which("nginx", path=f"{os.environ['INFENCLAVE_BINARY_DIR']}/debian/nginx/usr/sbin:/usr/sbin")
CONFIGURATION = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  {temporary}
  upstream replicas {{ {policy} {servers} keepalive 16; }}
  server {{
    listen 127.0.0.1:{port} http2;
    http2_max_concurrent_streams 1024;
    client_max_body_size 0;
    grpc_buffer_size 64k;  # evidence comes in trailers
    location / {{ grpc_pass grpc://replicas; }}
  }}
}}
"""


class Nginx:
    def __init__(self, policy, addresses):
        self.folder = tempfile.TemporaryDirectory()
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        (pathlib.Path(self.folder.name) / "nginx.conf").write_text(CONFIGURATION.format(
            folder=self.folder.name, port=self.port, policy=policy,
            temporary=" ".join(f"{place}_temp_path {self.folder.name}/{place};" for place in places),
            servers=" ".join(f"server {address} fail_timeout=1s;" for address in addresses)))
        self.process = subprocess.Popen([NGINX, "-p", self.folder.name, "-c", f"{self.folder.name}/nginx.conf", "-e",
                                         f"{self.folder.name}/error.log"])

    def __enter__(self):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.05)
        raise AssertionError((pathlib.Path(self.folder.name) / "error.log").read_text())

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)
        self.folder.cleanup()


@unittest.skipUnless(NGINX, "SKIPPED: needs nginx (./dev test fetches it)")
class Replicas(DeployedTest):
    def setUp(self):
        self.replicas = []
        for _ in range(2):
            self.replicas.append(self.enterContext(self.deployment.serve("--http", "127.0.0.1:0", "--workers", "1")))

    def balance(self, policy):
        return Nginx(policy, [replica.address for replica in self.replicas])

    def counts(self, code):
        found = []
        for replica in self.replicas:
            text = urllib.request.urlopen(f"http://{replica.http}/metrics").read().decode()
            found.append(int((re.findall(rf'infenclave_requests_total{{.*code="{code}"}} (\d+)', text) or ["0"])[0]))
        return found

    def classify(self, balancer):
        answers = json.loads(self.deployment.classify(balancer, *PHOTOGRAPHS[:60]).stdout)
        self.assertEqual([entry["file"] for entry in answers], [str(path) for path in PHOTOGRAPHS[:60]])

    def test_dealt_out_in_turn_every_request_is_answered(self):
        with self.balance("") as balancer:
            self.classify(balancer)
        self.assertTrue(all(count > 0 for count in self.counts("OK")), "both answer")
        self.assertEqual(sum(self.counts("OK")), 60)
        self.assertGreater(sum(self.counts("FAILED_PRECONDITION")), 0, "some were sealed to the other's key at first")

    def test_with_affinity_no_request_is_sealed_twice(self):
        with self.balance("hash $http_infenclave_affinity consistent;") as balancer:
            for _ in range(8):
                self.classify(balancer)
        self.assertEqual(sum(self.counts("FAILED_PRECONDITION")), 0)
        self.assertEqual(sum(self.counts("OK")), 480)

    def test_a_replica_that_goes_leaves_its_clients_to_the_other(self):
        with self.balance("hash $http_infenclave_affinity consistent;") as balancer:
            self.classify(balancer)
            self.replicas[0].stop(signal.SIGTERM)
            for _ in range(4):
                self.classify(balancer)


if __name__ == "__main__":
    unittest.main()
