"""The engine against ONNX Runtime, OpenVINO and Debian's darknet, and bf16 against f32.

Networks: the converted ones that INFENCLAVE_MODELS holds, those of INFENCLAVE_SHARED, the paper's three (Debian's .cfg
files with weights drawn at random) and Inception-v3 (the same). One process per engine and setting stays alive; they
take turns (A B C A B C …), so that whatever else the machine does meets all of them alike. Prints a table of
milliseconds, ratios (above 1: the engine is faster) and GFLOP/s as a share of the peak that multiply-adds in registers
reach in f32 (so bf16 may pass 100 %); the same as JSON goes to BUILD/bench/engine.json, or with --json to standard
output instead.
"""
import argparse
import importlib.util
import json
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path += [str(ROOT / "bench"), str(ROOT / "tests/import")]

ONNX_RUNTIME, OPENVINO, DARKNET = "onnxruntime", "openvino", "darknet"
TURN_MS = 30  # what one engine computes before the next one's turn, at least one run
FILES = {"efficientnet-lite0": "efficientnet-lite0.onnx", "efficientnet-lite2": "efficientnet-lite2.onnx",
         "mobilenet-v2": "mobilenet_v2.onnx", "squeezenet-1.1": "squeezenet1.1-fp16.onnx"}
PAPER = ("darknet", "extraction", "densenet201")


def serve(version, run):
    """The child process: the protocol of engine_bench.cc."""
    print("ready - -", version, flush=True)
    for line in sys.stdin:
        for _ in range(int(line)):
            before = time.perf_counter()
            run()
            print(1000 * (time.perf_counter() - before), end=" ")
        print(flush=True)


def picture(shape, dtype):
    import numpy as np

    return (np.arange(np.prod(shape)) * 7919 % 1000 / 500 - 1).astype(dtype).reshape(shape)


def serve_onnxruntime(model, threads, batch):
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    node = session.get_inputs()[0]
    data = picture([batch, *node.shape[1:]], np.float32)
    serve(onnxruntime.__version__, lambda: session.run(None, {node.name: data}))


def serve_openvino(model, threads, batch, precision):
    import numpy as np
    import openvino

    network = openvino.Core().read_model(model)
    shape = [batch] + [d.get_length() for d in list(network.inputs[0].partial_shape)[1:]]
    network.reshape(shape)
    compiled = openvino.Core().compile_model(network, "CPU", {
        "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision})
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(picture(shape, np.float32)))
    serve(openvino.__version__, request.infer)


class Contestant:
    def __init__(self, command):
        self.ms = []
        # As `infenclave` sets it for itself (src/cli/main.cc); the peers bring thread pools of their own.
        environment = {"GOMP_SPINCOUNT": "1000", **os.environ}
        self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, env=environment)
        ready = self.process.stdout.readline().split(maxsplit=3)
        if not ready or ready[0] != "ready":
            raise SystemExit(f"bench: {command[0]} did not start")
        self.compile_ms, self.gflop, self.path = ready[1], ready[2], ready[3].strip()
        self.run(1)
        self.runs = max(1, min(20, round(TURN_MS / self.run(1)[0])))

    def run(self, count):
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        return [float(ms) for ms in self.process.stdout.readline().split()]

    def turn(self):
        if self.runs > 1:
            self.run(2)  # the other's threads stop spinning, caches are ours
        self.ms += self.run(self.runs)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Darknet:
    """`darknet classifier predict`, which asks for a picture's path and says how long the network took."""
    path, turns = "Debian", 2  # it is slow, and steady

    def __init__(self, folder, name, threads):
        self.ms = []
        (folder / "names").write_text("".join(f"c{i}\n" for i in range(1000)), encoding="ascii")
        (folder / "data").write_text("classes=1000\nnames=names\ntop=1\n", encoding="ascii")
        self.process = subprocess.Popen(
            ["darknet", "classifier", "predict", "data", f"{name}.cfg", f"{name}.weights"], cwd=folder, bufsize=0,
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)})

    def turn(self):
        if len(self.ms) == self.turns:
            return
        self.process.stdin.write(b"picture.png\n")
        said = b""
        while not (found := re.search(rb"Predicted in ([0-9.]+) seconds", said)):
            if not (more := os.read(self.process.stderr.fileno(), 4096)):
                raise SystemExit("bench: darknet ended")
            said += more
        self.ms.append(1000 * float(found[1]))

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def compare(contestants, seconds):
    """Rounds of turns for so many seconds, but at least five."""
    started, rounds = time.monotonic(), 0
    while rounds < 5 or time.monotonic() - started < seconds:
        for contestant in contestants.values():
            time.sleep(0.005)
            contestant.turn()
        rounds += 1
    for contestant in contestants.values():
        contestant.close()
    return {name: {"min": min(c.ms), "median": statistics.median(c.ms)} for name, c in contestants.items()}


def machine(bench):
    model = platform.processor()
    for line in open("/proc/cpuinfo", encoding="utf-8"):
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    peak = float(subprocess.run([bench, "peak", "1"], check=True, capture_output=True, text=True).stdout)
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)), "peak_gflops_per_core": peak}


def make_paper(folder, name):
    """The files of one of the paper's networks, and a picture for darknet."""
    import numpy as np
    from darknet_files import CFG, make_weights, sections, smooth_noise, write_png

    source = pathlib.Path(CFG, f"{name}.cfg")
    if not source.exists():
        return None
    shutil.copy(source, folder)
    rng = np.random.default_rng(1)
    make_weights(folder / f"{name}.weights", sections(source), rng)
    write_png(folder / "picture.png", smooth_noise(rng, 256, 256))
    return folder / f"{name}.cfg"


def make_inception(folder):
    import inception

    inception.build(folder / "inception-v3.onnx")
    return folder / "inception-v3.onnx"


def networks(wanted, folder):
    folders = [os.environ.get("INFENCLAVE_MODELS", ROOT / "build/models"),
               pathlib.Path(os.environ.get("INFENCLAVE_SHARED", ROOT / "../shared"), "models")]
    for name in wanted:
        if name in PAPER:
            path = make_paper(folder, name)
        elif name == "inception-v3":
            path = make_inception(folder)
        else:
            path = next((pathlib.Path(f, FILES[name]) for f in folders if pathlib.Path(f, FILES[name]).exists()), None)
        if path is None:
            print(f"bench: {name} left out: its file is not there", file=sys.stderr)
        else:
            yield name, path


def contestants_of(arguments, name, model, reference, threads, batch):
    bench, here = arguments.build / "engine_bench", [sys.executable, __file__]
    commands = {"f32": [bench, "run", model, "f32", threads, batch],
                ONNX_RUNTIME: [*here, ONNX_RUNTIME, reference, threads, batch],
                OPENVINO: [*here, OPENVINO, reference, threads, batch, "f32"],
                "bf16": [bench, "run", model, "bf16", threads, batch],
                "openvino bf16": [*here, OPENVINO, reference, threads, batch, "bf16"]}
    if importlib.util.find_spec("openvino") is None:
        commands = {key: command for key, command in commands.items() if OPENVINO not in key}
    found = {key: Contestant(command) for key, command in commands.items()}
    if name in PAPER and batch == 1 and shutil.which("darknet"):
        found[DARKNET] = Darknet(model.parent, name, threads)
    return found


def ratios_of(ms, key):
    """How much longer the others take; f32 against the better of its peers."""
    out = {"peers:f32": min(ms[peer][key] for peer in (ONNX_RUNTIME, OPENVINO) if peer in ms) / ms["f32"][key],
           "f32:bf16": ms["f32"][key] / ms["bf16"][key]}
    if "openvino bf16" in ms:
        out["openvino:bf16"] = ms["openvino bf16"][key] / ms["bf16"][key]
    if DARKNET in ms:
        out["darknet:bf16"] = ms[DARKNET][key] / ms["bf16"][key]
    return out


def measure(arguments, name, model, reference, threads, batch, peak):
    contestants = contestants_of(arguments, name, model, reference, threads, batch)
    ours = {key: contestants[key] for key in ("f32", "bf16")}
    ms = compare(contestants, arguments.seconds)
    share = {key: float(c.gflop) / ms[key]["min"] * 1000 / (peak * threads) for key, c in ours.items()}
    return {"network": name, "threads": threads, "batch": batch, "ms": ms, "gflop": float(ours["f32"].gflop),
            "share_of_peak": share, "compile_ms": {key: float(c.compile_ms) for key, c in ours.items()},
            "ratio": {key: ratios_of(ms, key) for key in ("min", "median")},
            "versions": {key: c.path for key, c in contestants.items()}}


def print_row(row):
    ms, ratio, share = row["ms"], row["ratio"], row["share_of_peak"]
    columns = ["f32", ONNX_RUNTIME, OPENVINO, "bf16", "openvino bf16", DARKNET]
    cells = [f"{ms[c]['min']:.2f}/{ms[c]['median']:.2f}" if c in ms else "-" for c in columns]
    cells += [f"{ratio['min'][r]:.2f}/{ratio['median'][r]:.2f}" if r in ratio["min"] else "-"
              for r in ("peers:f32", "f32:bf16", "openvino:bf16", "darknet:bf16")]
    cells += [f"{share['f32']:.0%} {share['bf16']:.0%}"]
    print(f"{row['network']:19}{row['threads']:>2}{row['batch']:>3}" + "".join(f"{cell:>14}" for cell in cells),
          flush=True)


def main():
    if len(sys.argv) > 1 and sys.argv[1] in (ONNX_RUNTIME, OPENVINO):
        serve_child = serve_onnxruntime if sys.argv[1] == ONNX_RUNTIME else serve_openvino
        return serve_child(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), *sys.argv[5:])
    every = [*FILES, *PAPER, "inception-v3"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", help="of " + ", ".join(every) + "; all if none is given")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build", help="folder with engine_bench")
    parser.add_argument("--threads", default="1,2", help="numbers of threads, separated by commas")
    parser.add_argument("--batches", default="1,8", help="batch sizes, separated by commas")
    parser.add_argument("--seconds", type=float, default=6, help="for each row of the table")
    parser.add_argument("--json", action="store_true", help="JSON instead of the table")
    arguments = parser.parse_args()
    if unknown := set(arguments.networks) - set(every):
        parser.error(f"no such network: {', '.join(sorted(unknown))}")

    folder = arguments.build / "bench"
    folder.mkdir(exist_ok=True)
    result = {"machine": machine(arguments.build / "engine_bench"), "rows": []}
    peak = result["machine"]["peak_gflops_per_core"]
    for name, model in networks(arguments.networks or every, folder):
        reference = folder / f"{name}.peer.onnx"
        subprocess.run([arguments.build / "engine_bench", "export", model, reference], check=True)
        for batch in map(int, arguments.batches.split(",")):
            for threads in map(int, arguments.threads.split(",")):
                row = measure(arguments, name, model, reference, threads, batch, peak)
                if not result["rows"] and not arguments.json:
                    print_header(result["machine"], row)
                result["rows"].append(row)
                if not arguments.json:
                    print_row(row)
    text = json.dumps(result)
    if arguments.json:
        print(text)
    else:
        (folder / "engine.json").write_text(text, encoding="ascii")
    return 0


def print_header(where, row):
    columns = ["f32", ONNX_RUNTIME, OPENVINO, "bf16", "openvino bf16", DARKNET, "peers:f32", "f32:bf16",
               "openvino:bf16", "darknet:bf16", "of peak"]
    versions = ", ".join(f"{c} {row['versions'][c]}" for c in (ONNX_RUNTIME, OPENVINO) if c in row["versions"])
    print(f"{where['cpu']}, {where['cores']} cores of {where['peak_gflops_per_core']:.0f} GFLOP/s (f32), "
          f"{row['versions']['bf16']}; {versions}. Milliseconds, then ratios (above 1: the engine is faster), as "
          "min/median; T threads, B pictures.\n"
          f"{'network':19}{'T':>2}{'B':>3}" + "".join(f"{c:>14}" for c in columns), flush=True)


if __name__ == "__main__":
    sys.exit(main())
