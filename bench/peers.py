"""The confidential service beside stock servers that serve the same whole network in the clear, by ONNX Runtime: median
latency of one request at a time, and requests a second with many in flight. Client and server share this machine's cores.

    bench/run.sh peers [mlserver kserve triton]
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
os.environ.setdefault("INFENCLAVE_BINARY_DIR", str(ROOT / "build"))
sys.path.append(str(ROOT / "tests/e2e"))

import numpy as np
import tritonclient.grpc as triton
from peer_servers import PeerServer, interpreter

LATENCY_RUNS, SECONDS, IN_FLIGHT = 60, 4, 16


def ask(client, name, tensor):
    given = triton.InferInput("ir", tensor.shape, "FP32")
    given.set_data_from_numpy(tensor)
    return client.infer(name, [given])


def measure(server, tensor):
    client = triton.InferenceServerClient(server.address)
    times = []
    for _ in range(LATENCY_RUNS):
        before = time.perf_counter()
        ask(client, server.name, tensor)
        times.append(1e3 * (time.perf_counter() - before))
    done, stop = [0] * IN_FLIGHT, time.monotonic() + SECONDS

    def keep_asking(i):
        mine = triton.InferenceServerClient(server.address)
        while time.monotonic() < stop:
            ask(mine, server.name, tensor)
            done[i] += 1

    threads = [threading.Thread(target=keep_asking, args=(i,)) for i in range(IN_FLIGHT)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statistics.median(times[10:]), sum(done) / SECONDS


def main():
    model = pathlib.Path(os.environ.get("INFENCLAVE_MODELS", ROOT / "build/models")) / "efficientnet-lite0.onnx"
    ours = json.loads(subprocess.run([ROOT / "build/serving_bench", model, "--rounds", "3", "--json"], check=True,
                                     stdout=subprocess.PIPE, text=True).stdout)
    print(f"{ours['machine']}, {model.stem}\n{'':24}{'median ms':>12}{'requests/s':>12}")
    print(f"{'infenclave, sealed':24}{ours['median_ms']['confidential']:12.2f}{ours['per_second']['confidential']:12.1f}")
    tensor = np.random.default_rng(1).standard_normal((1, 3, 224, 224), dtype=np.float32)
    for peer in sys.argv[1:] or ["mlserver", "kserve", "triton"]:
        python = interpreter(peer)
        if isinstance(python, str):
            print(python)
            continue
        with PeerServer(peer, python, model) as server:
            latency, rate = measure(server, tensor)
        print(f"{peer + ', in the clear':24}{latency:12.2f}{rate:12.1f}", flush=True)


if __name__ == "__main__":
    main()
