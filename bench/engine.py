"""The engine against ONNX Runtime and OpenVINO, and bf16 against f32, on the networks that INFENCLAVE_MODELS and
INFENCLAVE_SHARED hold.

One process per engine and setting stays alive; they take turns (A B C A B C …), so that whatever else the machine does
meets all of them alike. Prints a table of ratios (above 1: the engine is faster) and, with --json, one JSON object.
"""
import argparse
import importlib.util
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

ONNX_RUNTIME, OPENVINO = "onnxruntime", "openvino"


def serve(version, run):
    """The child process: the protocol of engine_bench.cc."""
    print("ready", version, flush=True)
    for line in sys.stdin:
        for _ in range(int(line)):
            before = time.perf_counter()
            run()
            print(1000 * (time.perf_counter() - before), end=" ")
        print(flush=True)


def picture(shape, dtype):
    import numpy as np

    shape = [d if isinstance(d, int) and d > 0 else 1 for d in shape]
    return (np.arange(np.prod(shape)) * 7919 % 1000 / 500 - 1).astype(dtype).reshape(shape)


def serve_onnxruntime(model, threads):
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    node = session.get_inputs()[0]
    data = picture(node.shape, np.float16 if "float16" in node.type else np.float32)
    serve(onnxruntime.__version__, lambda: session.run(None, {node.name: data}))


def serve_openvino(model, threads, precision):
    import numpy as np
    import openvino

    network = openvino.Core().read_model(model)
    shape = [d.get_length() if d.is_static else 1 for d in network.inputs[0].partial_shape]
    network.reshape(shape)
    compiled = openvino.Core().compile_model(network, "CPU", {
        "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision})
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(picture(shape, np.float32)))
    serve(openvino.__version__, request.infer)


def has_openvino():
    return importlib.util.find_spec("openvino") is not None


def fp32_copy(model, folder):
    """ONNX Runtime gets fp16 networks as fp32 ones: its fp16 kernels only cast, which would flatter the engine."""
    import numpy as np
    import onnx

    proto = onnx.load(model)
    halves = [t for t in proto.graph.initializer if t.data_type == onnx.TensorProto.FLOAT16]
    if not halves:
        return model
    for tensor in halves:
        tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    for value in [*proto.graph.input, *proto.graph.output, *proto.graph.value_info]:
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    copy = folder / (pathlib.Path(model).stem + "-fp32.onnx")
    onnx.save(proto, copy)
    return copy


class Contestant:
    def __init__(self, command):
        self.ms = []
        # As `infenclave` sets it for itself (src/cli/main.cc); the peers bring thread pools of their own.
        environment = {"GOMP_SPINCOUNT": "1000", **os.environ}
        self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, env=environment)
        ready = self.process.stdout.readline().split(maxsplit=1)
        if not ready or ready[0] != "ready":
            raise SystemExit(f"bench: {command[0]} did not start")
        self.path = ready[1].strip()

    def run(self, count):
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        return [float(ms) for ms in self.process.stdout.readline().split()]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def compare(commands, rounds, runs):
    contestants = {name: Contestant(command) for name, command in commands.items()}
    for _ in range(rounds):
        for contestant in contestants.values():
            time.sleep(0.005)  # the other's threads stop spinning
            contestant.run(2)
            contestant.ms += contestant.run(runs)
    for contestant in contestants.values():
        contestant.close()
    return {name: {"min": min(c.ms), "median": statistics.median(c.ms), "path": c.path}
            for name, c in contestants.items()}


def machine():
    model = platform.processor()
    for line in open("/proc/cpuinfo", encoding="utf-8"):
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return {"cpu": model, "cores": len(os.sched_getaffinity(0))}


def networks(arguments):
    folders = [os.environ.get("INFENCLAVE_MODELS", "build/models"),
               os.path.join(os.environ.get("INFENCLAVE_SHARED", "../shared"), "models")]
    found = {}
    for name, file in [("efficientnet-lite0", "efficientnet-lite0.onnx"),
                       ("efficientnet-lite2", "efficientnet-lite2.onnx"),
                       ("mobilenet-v2", "mobilenet_v2.onnx"),
                       ("squeezenet-1.1", "squeezenet1.1-fp16.onnx")]:
        path = next((pathlib.Path(f, file) for f in folders if pathlib.Path(f, file).exists()), None)
        if arguments.networks and name not in arguments.networks:
            continue
        if path is None:
            print(f"bench: {name} left out: no {file} in {' or '.join(folders)}", file=sys.stderr)
        else:
            found[name] = path
    return found


def ratios_of(row, key):
    """How much longer the others take; f32 against the better of its peers."""
    out = {"peers : f32": min(row[peer][key] for peer in (ONNX_RUNTIME, OPENVINO) if peer in row) / row["f32"][key],
           "f32 : bf16": row["f32"][key] / row["bf16"][key]}
    if "openvino bf16" in row:
        out["openvino : bf16"] = row["openvino bf16"][key] / row["bf16"][key]
    return out


def main():
    if len(sys.argv) == 4 and sys.argv[1] == ONNX_RUNTIME:
        return serve_onnxruntime(sys.argv[2], int(sys.argv[3]))
    if len(sys.argv) == 5 and sys.argv[1] == OPENVINO:
        return serve_openvino(sys.argv[2], int(sys.argv[3]), sys.argv[4])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", help="names as in the table; all if none is given")
    parser.add_argument("--build", type=pathlib.Path, default="build", help="folder with engine_bench")
    parser.add_argument("--threads", default="1,2", help="numbers of threads, separated by commas")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--runs", type=int, default=8, help="runs of each per round")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    ours = arguments.build / "engine_bench"
    result = {"machine": machine(), "networks": []}
    columns = ["f32", ONNX_RUNTIME] + [OPENVINO] * has_openvino() + ["bf16"] + ["openvino bf16"] * has_openvino()
    for name, model in networks(arguments).items():
        reference = fp32_copy(model, arguments.build)
        for threads in map(int, arguments.threads.split(",")):
            commands = {"f32": [ours, model, "f32", threads], "bf16": [ours, model, "bf16", threads],
                        ONNX_RUNTIME: [sys.executable, __file__, ONNX_RUNTIME, reference, threads],
                        OPENVINO: [sys.executable, __file__, OPENVINO, reference, threads, "f32"],
                        "openvino bf16": [sys.executable, __file__, OPENVINO, reference, threads, "bf16"]}
            row = compare({column: commands[column] for column in columns}, arguments.rounds, arguments.runs)
            ratios = {key: ratios_of(row, key) for key in ("min", "median")}
            if not result["networks"]:
                result["machine"]["path"] = row["bf16"]["path"]
                result["peers"] = {c: row[c]["path"] for c in (ONNX_RUNTIME, OPENVINO) if c in row}
                if not arguments.json:
                    print(f"{result['machine']['cpu']}, {result['machine']['cores']} cores, {row['bf16']['path']}; "
                          + ", ".join(f"{peer} {version}" for peer, version in result["peers"].items())
                          + ". Milliseconds, then ratios (above 1: the engine is faster), as min/median.\n"
                          + f"{'network':20}{'threads':>8}" + "".join(f"{c:>15}" for c in [*columns, *ratios["min"]]),
                          flush=True)
            result["networks"].append({"network": name, "threads": threads,
                                       "ms": {k: {"min": v["min"], "median": v["median"]} for k, v in row.items()},
                                       "ratio": ratios})
            if not arguments.json:
                cells = [f"{row[k]['min']:.2f}/{row[k]['median']:.2f}" for k in columns]
                cells += [f"{ratios['min'][k]:.2f}/{ratios['median'][k]:.2f}" for k in ratios["min"]]
                print(f"{name:20}{threads:>8}" + "".join(f"{cell:>15}" for cell in cells), flush=True)
    if arguments.json:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
