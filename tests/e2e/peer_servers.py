"""OIP servers of other make as BackNets: MLServer, KServe and Triton, each in an environment of its own that is made once,
in the build folder."""

import hashlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

import tritonclient.grpc as triton

HERE = pathlib.Path(__file__).resolve().parent / "peers"
PEERS = pathlib.Path(os.environ["INFENCLAVE_BINARY_DIR"]) / "peers"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def interpreter(peer):
    """Its environment's Python, or why there is none."""
    requirements = HERE / f"{peer}.txt"
    python = PEERS / peer / "bin" / "python"
    stamp = PEERS / peer / f".installed-{hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]}"
    if stamp.exists():
        return python
    print(f"installing {requirements} into {PEERS / peer} (about 500 MB)", file=sys.stderr)
    PEERS.mkdir(exist_ok=True)
    # Triton's wheel works with the system's Python only.
    for command in (["/usr/bin/python3", "-m", "venv", PEERS / peer],
                    [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements]):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            return f"SKIPPED: {peer} cannot be installed: {(done.stderr.strip() or 'no reason given').splitlines()[-1]}"
    stamp.touch()
    return python


class PeerServer:
    """One of them, ready. `model` is the BackNet's ONNX file."""

    def __init__(self, peer, python, model, name="backnet"):
        self.name, self.port = name, free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.log = tempfile.TemporaryFile("w+")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen([python, HERE / f"{peer}_backnet.py", model, name, str(self.port), str(free_port())],
                                        stdout=self.log, stderr=self.log, env=environment, start_new_session=True)
        deadline = time.monotonic() + 120
        client = triton.InferenceServerClient(self.address)
        while not self.answers(client):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.log.seek(0)
                raise AssertionError(f"{peer} did not start:\n{self.log.read()[-3000:]}")
            time.sleep(0.2)
        client.close()

    def answers(self, client):
        try:
            return client.is_model_ready(self.name)
        except triton.InferenceServerException:
            return False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def has_failed(self):
        self.log.seek(0)
        return self.process.poll() is not None or "not healthy" in self.log.read()

    def stop(self):
        """All of it: these servers have children."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=30)
