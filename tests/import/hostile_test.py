"""Model files that mean harm, given to the real program: each is told in one clear line, in little memory and time.

What a kind of harm can do inside the importer is in onnx_hostile_test.cc and darknet_cfg_test.cc; here it is the whole of
`infenclave inspect`, measured: what it computes with (its processor time) and what it holds at most.
"""
import os
import pathlib
import random
import re
import signal
import subprocess
import tempfile
import unittest

import numpy
import onnx
from onnx import TensorProto, helper

INFENCLAVE = pathlib.Path(os.environ["INFENCLAVE_BINARY_DIR"]).absolute() / "infenclave"
MAX_SECONDS, MAX_MEGABYTES = 60, 3000
HUGE = 1 << 40


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + bytes([value]))


def field(number, payload, length=None):
    """A protobuf field of bytes; `length` is what it claims to have."""
    return varint(number << 3 | 2) + varint(len(payload) if length is None else length) + payload


def node_bytes(op, inputs, outputs):
    return b"".join([*(field(1, name.encode()) for name in inputs), *(field(2, name.encode()) for name in outputs),
                     field(4, op.encode())])


def floats(name, *shape):
    return onnx.numpy_helper.from_array(numpy.ones(shape, numpy.float32), name)


def ints(name, *values):
    return onnx.numpy_helper.from_array(numpy.array(values, numpy.int64), name)


def declared(name, *dims):
    """A constant that says its dimensions and has no data."""
    return TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims)


def model(nodes, constants=(), shape=(1, 4, 8, 8), output="y"):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "hostile", [value("x", TensorProto.FLOAT, shape)],
                              [value(output, TensorProto.FLOAT, None)], constants)
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def one(op, *constants, inputs=None, shape=(1, 4, 8, 8), **attributes):
    """y = op(x, constants…)."""
    inputs = inputs or ["x", *(tensor.name for tensor in constants)]
    return model([helper.make_node(op, inputs, ["y"], **attributes)], constants, shape)


def chain(count, op="Relu", **how):
    """x, op, op, …, y, without making a message of each node: `count` may be large."""
    names = ["x", *(f"t{i}" for i in range(count - 1)), "y"]
    return with_nodes(b"".join(field(1, node_bytes(op, [a], [b])) for a, b in zip(names, names[1:])), **how)


def with_nodes(nodes, **how):
    empty = model([helper.make_node("Identity", ["x"], ["y"])], **how)
    del empty.graph.node[:]
    graph = nodes + empty.graph.SerializeToString()
    empty.ClearField("graph")
    return empty.SerializeToString() + field(7, graph)


def nested(depth):
    """Graphs within attributes of nodes of graphs."""
    graph = b""
    for _ in range(depth):
        graph = field(1, field(5, field(6, graph)))
    return field(7, graph)


def external(location, offset=0, length=4):
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        weights.external_data.add(key=key, value=str(value))
    return one("Add", weights, shape=(1, 1))


def many_constants(each=1 << 21):
    """A hundred tensors in three kilobytes, of 256 MiB each."""
    nodes = [helper.make_node("ConstantOfShape", ["shape"], [f"c{i}"]) for i in range(100)]
    total = helper.make_node("Sum", ["x", *(f"c{i}" for i in range(100))], ["y"])
    return model([*nodes, total], [ints("shape", 1, 4, 8, each)], (1, 4, 8, 1))


def cycle():
    return model([helper.make_node("Add", ["x", "b"], ["a"], name="first"), helper.make_node("Relu", ["a"], ["b"]),
                  helper.make_node("Relu", ["b"], ["y"])])


def control_characters():
    return model([helper.make_node("Relu", ["x"], ["\x1b]0;owned\x07"]), helper.make_node("Relu", ["\x1b]0;owned\x07"], ["y"])])


# Name to the file and the message; None: it is no harm, and is answered.
ONNX_CASES = {
    "a million nodes": (lambda: with_nodes(1_000_000 * field(1, node_bytes("Relu", ["x"], ["y"]))),
                        "more memory than the limit"),
    "more nodes than any classifier": (lambda: chain(100_000), "100000 nodes, at most 65536"),
    "more cuts than any classifier": (lambda: chain(60_000), "59999 cut points, at most 2048"),
    "a deep chain": (lambda: chain(700), None),
    "a deep chain of large tensors": (lambda: chain(700, "Sin", shape=(1, 4, 8, 1 << 21)), None),
    "nodes that do nothing": (lambda: chain(65_000, "Identity"), None),
    "a node that reads itself": (lambda: one("Add", inputs=["x", "y"]), "'y': is part of a cycle"),
    "a cycle": (cycle, "'first': is part of a cycle or reads from one"),
    "nesting": (lambda: nested(20_000), "nest deeper than 32"),
    "a length beyond the file": (lambda: field(7, b"", length=HUGE), "truncated or not a ModelProto"),
    "a length beyond 64 bits": (lambda: b"\x3a" + b"\xff" * 12, "not an ONNX model"),
    "dimensions whose product overflows": (lambda: one("Add", declared("w", 1 << 32, 1 << 32)), r"more than 2\^40"),
    "dimensions without data": (lambda: one("Add", declared("w", 1 << 29)), "needs 2147483648 bytes of data, has 0"),
    "a negative dimension": (lambda: one("Add", declared("w", -5)), "negative dimension"),
    "an input as large as a disk": (lambda: one("Relu", shape=(1, 3, 1 << 20, 1 << 20)), "elements"),
    "Tile": (lambda: one("Tile", ints("r", 1, 1 << 20, 1 << 20, 1)), "Tile 'y': .*more than"),
    "Expand": (lambda: one("Expand", ints("s", 1 << 24, 1, 1, 1, 1)), "Expand 'y': .*more than"),
    "ConstantOfShape": (lambda: one("ConstantOfShape", ints("s", HUGE), inputs=["s"]), "ConstantOfShape 'y': .*more than"),
    "many large constants": (many_constants, "ConstantOfShape 'c4': its result, .* may take 1024 MiB"),
    "many large constants, within the limit, and a cut at each": (lambda: many_constants(20_000), None),
    "Range": (lambda: one("Range", *(onnx.numpy_helper.from_array(numpy.int64(v), n) for n, v in
                                     (("a", 0), ("b", 1 << 62), ("c", 1))), inputs=["a", "b", "c"]), "Range 'y'"),
    "Pad": (lambda: one("Pad", ints("p", *[0, 0, 1 << 62, 1 << 62] * 2)), "Pad 'y'"),
    "Resize": (lambda: one("Resize", onnx.numpy_helper.from_array(numpy.array([1, 1, 1e30, 1], numpy.float32), "s"),
                           inputs=["x", "", "s"]), "Resize 'y': scale 1e"),
    "Concat that doubles": (lambda: model([helper.make_node("Concat", [f"t{i - 1}" if i else "x"] * 2,
                                                            [f"t{i}" if i < 39 else "y"], axis=1) for i in range(40)]),
                            "Concat 't[0-9]+': .*more than"),
    "Conv's pads": (lambda: one("Conv", floats("w", 4, 4, 3, 3), pads=[1 << 62] * 4), "Conv 'y'"),
    "Conv's dilations": (lambda: one("Conv", floats("w", 4, 4, 3, 3), dilations=[1 << 62] * 2), "Conv 'y'"),
    "Conv's group": (lambda: one("Conv", floats("w", 4, 4, 3, 3), group=HUGE), "Conv 'y'"),
    "Conv's strides": (lambda: one("Conv", floats("w", 4, 4, 3, 3), strides=[-1, 0]), "Conv 'y'"),
    "MaxPool's window": (lambda: one("MaxPool", kernel_shape=[1 << 62] * 2, pads=[1 << 61] * 4), "MaxPool 'y'"),
    "LRN's window, which only sees the channels that are there": (lambda: one("LRN", size=1 << 40), None),
    "control characters": (control_characters, "control character"),
    "a long name": (lambda: model([helper.make_node("Relu", ["x"], ["n" * 400]), helper.make_node("Tanh", ["n" * 400], ["y"])]),
                    None),
    "a name that is too long": (lambda: model([helper.make_node("Relu", ["x"], ["n" * 600]),
                                               helper.make_node("Tanh", ["n" * 600], ["y"])]), "name is longer than 512"),
    "external data outside": (lambda: external("../outside.bin"), "outside the model's folder"),
    "external data by an absolute path": (lambda: external("/etc/passwd"), "is not a relative path"),
    "external data by a link": (lambda: external("link.bin"), "outside the model's folder"),
    "external data by a folder that is a link": (lambda: external("folder/outside.bin"), "outside the model's folder"),
    "external data that is a link to itself": (lambda: external("loop.bin"), "loop.bin"),
    "external data that is a pipe": (lambda: external("pipe"), "'pipe' has 0 bytes"),
    "external data that is a folder": (lambda: external("inside"), "'inside' has 0 bytes"),
    "external data beyond the file": (lambda: external("inside/w.bin", offset=(1 << 64) - 4), "has 4 bytes"),
    "external data of another length": (lambda: external("inside/w.bin", length=HUGE), "length 1099511627776, the shape needs 4"),
}
CFG = "[net]\nheight=8\nwidth=8\nchannels=3\n"
CONVOLUTION = "[convolutional]\nfilters=4\nsize=3\npad=1\nactivation=relu\n"
HEADER = b"\0\0\0\0\2\0\0\0" + bytes(12)
WEIGHTS = 4 * (4 + 4 * 3 * 9)
DARKNET_CASES = {
    "no weights at all": (CFG + CONVOLUTION, b"", "too few for a header"),
    "weights that end early": (CFG + CONVOLUTION, HEADER + bytes(WEIGHTS - 1), "line 5 .*weights end early: needs 432 bytes"),
    "weights that are left over": (CFG + CONVOLUTION, HEADER + bytes(WEIGHTS + 4), "4 bytes are left over"),
    "weights that are not finite": (CFG + CONVOLUTION, HEADER + b"\xff" * WEIGHTS, "not finite"),
    "filters without end": (CFG + CONVOLUTION.replace("=4", f"={HUGE}"), HEADER, "filters=1099511627776 is outside"),
    "as many weights as may be": (CFG.replace("channels=3", "channels=1024") + "[connected]\noutput=1048576\n", HEADER,
                                  "weights end early"),
    "a picture without end": (CFG.replace("=8", "=99999999"), HEADER, "height=99999999 is outside"),
    "routes that grow": (CFG + CONVOLUTION + "[route]\nlayers=-1,-1\n" * 40, HEADER + bytes(WEIGHTS), "more than 2\\^31"),
    "a route to itself": (CFG + "[route]\nlayers=0\n", HEADER, "layer 0 is not before this one"),
    "too many layers": (CFG + "[dropout]\n" * 5000, HEADER, "more than 2049 sections"),
    "a cfg that is too long": (CFG + "#" * (1 << 21), HEADER, "model.cfg"),
}


class Hostile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        root = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.folder = root / "model"
        (cls.folder / "inside").mkdir(parents=True)
        for file in (root / "outside.bin", cls.folder / "inside/w.bin"):
            file.write_bytes(numpy.float32(1).tobytes())
        (cls.folder / "link.bin").symlink_to("../outside.bin")
        (cls.folder / "folder").symlink_to("..")
        (cls.folder / "loop.bin").symlink_to("loop.bin")
        os.mkfifo(cls.folder / "pipe")

    def inspect(self, path):
        """The exit status and the last line on standard error, within the bounds."""
        process = subprocess.Popen([INFENCLAVE, "inspect", path], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                   env={**os.environ, "OMP_NUM_THREADS": "1"})
        said = process.stderr.read().decode(errors="replace")
        process.stderr.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.assertLess(usage.ru_utime + usage.ru_stime, MAX_SECONDS)
        self.assertLess(usage.ru_maxrss / 1024, MAX_MEGABYTES)
        return process.returncode, said

    def expect(self, path, message):
        status, said = self.inspect(path)
        self.assertEqual(status, 0 if message is None else 1, said)
        if message is None:
            return
        self.assertEqual(said.count("\n"), 1, said)
        self.assertTrue(said.startswith(f"infenclave inspect: {self.folder}/model."), said)
        self.assertRegex(said, message)
        self.assertTrue(said[:-1].isprintable(), said)

    def test_onnx(self):
        path = self.folder / "model.onnx"
        for name, (make, message) in ONNX_CASES.items():
            with self.subTest(name):
                file = make()
                path.write_bytes(file if isinstance(file, bytes) else file.SerializeToString())
                self.expect(path, message)

    def test_darknet(self):
        path = self.folder / "model.cfg"
        for name, (cfg, weights, message) in DARKNET_CASES.items():
            with self.subTest(name):
                path.write_text(cfg)
                path.with_suffix(".weights").write_bytes(weights)
                status, said = self.inspect(path)
                self.assertEqual((status, said.count("\n")), (1, 1), said)
                self.assertRegex(said, message)

    def test_weights_that_are_mostly_a_hole(self):
        """A file as large as a disk that takes no place on it."""
        path = self.folder / "model.cfg"
        path.write_text(CFG + CONVOLUTION)
        with path.with_suffix(".weights").open("wb") as file:
            file.write(HEADER)
            file.truncate(HUGE)
        self.assertIn("model.weights", self.inspect(path)[1])
        path = self.folder / "model.onnx"
        with path.open("wb") as file:
            file.truncate(HUGE)
        self.expect(path, "model.onnx")

    def test_damaged_files(self):
        """Bytes of a real model altered at random: an answer or one line, never a crash."""
        whole = one("Conv", floats("w", 4, 4, 3, 3), pads=[1] * 4).SerializeToString()
        draw = random.Random(6)
        path = self.folder / "model.onnx"
        statuses = []
        for _ in range(100):
            damaged = bytearray(whole)
            for _ in range(draw.choice((1, 3, 10))):
                damaged[draw.randrange(len(damaged))] = draw.randrange(256)
            path.write_bytes(damaged[:draw.randrange(1, len(damaged))] if draw.random() < 0.3 else damaged)
            status, said = self.inspect(path)
            self.assertIn(status, (0, 1), said)
            self.assertEqual(said.count("\n"), status, said)
            statuses.append(status)
        self.assertEqual(set(statuses), {0, 1})


if __name__ == "__main__":
    unittest.main()
