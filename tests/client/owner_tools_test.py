"""The owner's and the user's tools around a simulated server, as people run them: a pinned policy, measurements from a
signed list, the log of releases, keys in a token, collateral over TLS."""

import http.server
import json
import os
import shutil
import ssl
import subprocess
import tempfile
import threading
import unittest

BINARY = os.environ["INFENCLAVE_BINARY_DIR"]
INFENCLAVE = os.path.join(BINARY, "infenclave")
SOFTHSM = "/usr/lib/softhsm/libsofthsm2.so"
VECTORS = os.path.join(os.environ["INFENCLAVE_SHARED"], "vectors", "attestation")


def infenclave(*args, env=None):
    done = subprocess.run([INFENCLAVE, *args], capture_output=True, text=True, env={**os.environ, **(env or {})})
    return done.returncode, done.stdout + done.stderr


class Folder(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.env = {"XDG_STATE_HOME": self.folder, "XDG_CACHE_HOME": self.folder}

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w") as f:
            f.write(text)
        return self.path(name)


def find_model():
    folder = os.path.join(os.environ["INFENCLAVE_SHARED"], "models")
    for root, _, names in os.walk(folder):
        for name in sorted(names):
            if "squeezenet" in name.lower() and name.endswith(".onnx"):
                return os.path.join(root, name)
    return None


@unittest.skipUnless(os.path.exists(INFENCLAVE), "SKIPPED: no " + INFENCLAVE)
@unittest.skipUnless(find_model(), "SKIPPED: no SqueezeNet in INFENCLAVE_SHARED/models")
class Tools(Folder):
    def ok(self, *args):
        status, text = infenclave(*args, env=self.env)
        self.assertEqual(status, 0, text)
        return text

    def cut(self):
        status, text = infenclave("inspect", find_model(), "--json")
        self.assertEqual(status, 0, text)
        return json.loads(text)["cuts"][3]["name"]

    def serve(self, bundle):
        server = subprocess.Popen([INFENCLAVE, "serve", bundle, "--listen", "127.0.0.1:0", "--json"],
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                  env={**os.environ, **self.env})
        self.addCleanup(server.stdout.close)
        self.addCleanup(server.wait)
        self.addCleanup(server.terminate)
        return json.loads(server.stdout.readline())["address"]

    def partition(self, out, owner, *more):
        labels = self.write("labels", "".join(f"class {i}\n" for i in range(1000)))
        self.ok("partition", find_model(), "--labels", labels, "--owner-key", owner, "--cut", self.cut(), "--tee",
                "simulated", "--preprocessing", "squeezenet1.1", "--open", "-o", self.path(out), *more)
        return self.path(out)

    def keys(self):
        """An owner's and a release key: in a token where there is SoftHSM."""
        if not os.path.exists(SOFTHSM) or shutil.which("softhsm2-util") is None:
            print("SKIPPED: no SoftHSM: the keys lie in files")
            for name in ("owner", "release"):
                self.ok("keygen", "-o", self.path(name))
            return self.path("owner"), self.path("release")
        os.mkdir(self.path("tokens"))
        self.env["SOFTHSM2_CONF"] = self.write("softhsm2.conf", f"directories.tokendir = {self.path('tokens')}\n")
        subprocess.run(["softhsm2-util", "--init-token", "--free", "--label", "owners", "--pin", "1234", "--so-pin",
                        "5678"], check=True, capture_output=True, env={**os.environ, **self.env})
        pin = self.write("pin", "1234\n")
        uris = [f"pkcs11:token=owners;object={name}?module-path={SOFTHSM}&pin-source=file:{pin}"
                for name in ("owner", "release")]
        for uri in uris:
            self.assertIn("public key ed25519:", self.ok("keygen", "-o", uri))
        return uris

    def test_owner_and_user(self):
        owner, release = self.keys()
        bundle = self.partition("a.bundle", owner, "--release-key", release)
        address = self.serve(bundle)

        # A policy whose measurement comes from the owner's signed list alone.
        with open(bundle + ".policy.toml") as f:
            starter = f.read()
        line = next(x for x in starter.splitlines() if x.startswith("measurements"))
        self.ok("measurements", "--simulated", os.path.join(BINARY, "infenclave-enclave"), "--owner-key", owner,
                "--version", "2", "-o", self.path("measurements.json"))
        policy = self.write("policy.toml", starter.replace(line, "measurements = []").replace(
            "min_bundle_version", 'measurements = "measurements.json"\nmin_bundle_version', 1))

        # Without the token's release key no release; with it one, and the log has it.
        self.assertNotEqual(infenclave("provision", bundle + ".keys", "--policy", policy, "--server", address, "--log",
                                       self.path("refused.log"), env=self.env)[0], 0)
        self.ok("provision", bundle + ".keys", "--policy", policy, "--server", address, "--release-key", release)
        log = json.loads(self.ok("releases", bundle + ".keys.log", "--json"))
        self.assertEqual([r["server"] for r in log["releases"]], [address])
        self.ok("releases", bundle + ".keys.log", "--head", log["head"])
        self.assertEqual(infenclave("releases", bundle + ".keys.log", "--head", "00" * 32)[0], 3)
        with open(bundle + ".keys.log") as f:
            text = f.read()
        self.write("tampered.log", text.replace('"lease":', '"lease":1', 1) + text)
        self.assertEqual(infenclave("releases", self.path("tampered.log"))[0], 3)

        # An older list of measurements than one seen is refused.
        self.ok("measurements", "--simulated", os.path.join(BINARY, "infenclave-enclave"), "--owner-key", owner,
                "--version", "1", "-o", self.path("measurements.json"))
        status, text = infenclave("provision", bundle + ".keys", "--policy", policy, "--server", address,
                                  "--release-key", release, env=self.env)
        self.assertEqual(status, 3, text)
        self.assertIn("of the owner's measurements was seen before", text)

        # Pinned: the same server is accepted, another bundle of the same owner is not, though the policy accepts it.
        starter_policy = bundle + ".policy.toml"
        self.ok("attest", "--server", address, "--policy", starter_policy, "--pin", self.path("pinned.toml"))
        self.ok("attest", "--server", address, "--policy", self.path("pinned.toml"))
        other = self.serve(self.partition("b.bundle", owner))
        self.ok("attest", "--server", other, "--policy", starter_policy)
        status, text = infenclave("attest", "--server", other, "--policy", self.path("pinned.toml"), env=self.env)
        self.assertEqual(status, 3, text)
        self.assertIn("FAILED  bundle: ", text)


class Tls(Folder):
    """A service over TLS: its certificate counts, unless the content could be had no other way."""

    @unittest.skipUnless(os.path.exists(VECTORS), "SKIPPED: no " + VECTORS)
    def test_certificate_of_the_service(self):
        client = os.path.join(BINARY, "collateral_peer")
        if not os.path.exists(client) or shutil.which("openssl") is None:
            self.skipTest("SKIPPED: no collateral_peer, or no openssl")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-keyout", self.path("key"), "-out", self.path("cert"), "-subj", "/CN=localhost", "-addext",
                        "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path("cert"), self.path("key"))

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", "5")
                self.end_headers()
                self.wfile.write(b"hello")

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)

        def get(host, trusted):
            env = {**os.environ, **({"SSL_CERT_FILE": self.path("cert")} if trusted else {})}
            return subprocess.run([client, f"https://{host}:{server.server_port}/"], capture_output=True, text=True,
                                  env=env).stdout

        self.assertEqual(get("localhost", True), "200 hello\n")
        self.assertEqual(get("127.0.0.1", True), "200 hello\n")
        self.assertIn("certificate verify failed", get("localhost", False))


if __name__ == "__main__":
    unittest.main()
