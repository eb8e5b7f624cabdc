"""FrontNet and BackNet as ONNX files: valid by onnx.checker, and together ONNX Runtime's result of the whole network.

For cut points of the networks that are there, with a batch that the files leave free: a sample of them, or all, and
Debian's Darknet networks and OpenVINO too, where INFENCLAVE_EVERY_CUT is set (OpenVINO: pip install -r
bench/requirements.txt).
"""
import os
import pathlib
import subprocess
import tempfile
import unittest

import numpy
import onnx
import onnxruntime

BINARIES = pathlib.Path(os.environ["INFENCLAVE_BINARY_DIR"])
SHARED = pathlib.Path(os.environ["INFENCLAVE_SHARED"]) / "models"
MODELS = pathlib.Path(os.environ.get("INFENCLAVE_MODELS", "/nonexistent"))
EVERY_CUT = bool(os.environ.get("INFENCLAVE_EVERY_CUT"))
SAMPLE = 4


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(model, array):
    s = session(model)
    return s.run(None, {s.get_inputs()[0].name: array})[0]


def in_f32(path):
    """The file's network with its half-precision tensors widened: the same weights, computed in f32."""
    model = onnx.load(path)
    graph = model.graph
    for tensor in graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT16:
            wide = onnx.numpy_helper.to_array(tensor).astype(numpy.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(wide, tensor.name))
    for info in list(graph.input) + list(graph.output) + list(graph.value_info):
        if info.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16:
            info.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return model.SerializeToString()


def run_openvino(front, back, images):
    import openvino

    for model in (front, back):
        compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        images = compiled(images)[0]
    return images


class Net:
    """A network written node by node: picture [N,3,8,8] to scores."""

    def __init__(self, opset=17):
        self.opset, self.nodes, self.weights, self.count = opset, [], [], 0
        self.random = numpy.random.default_rng(3)

    def constant(self, array):
        self.weights.append(onnx.numpy_helper.from_array(numpy.asarray(array), f"w{len(self.weights)}"))
        return self.weights[-1].name

    def scalar(self, value):
        return self.constant(numpy.float32(value))

    def weight(self, *shape):
        return self.constant((0.5 * self.random.standard_normal(shape)).astype(numpy.float32))

    def __call__(self, op, *inputs, outputs=1, domain="", **attributes):
        names = [f"{op}_{self.count}_{i}" for i in range(outputs)]
        self.count += 1
        self.nodes.append(onnx.helper.make_node(op, inputs, names, domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def conv(self, x, channels_in, channels_out, size=1, **attributes):
        return self("Conv", x, self.weight(channels_out, channels_in, size, size), self.weight(channels_out), **attributes)

    def save(self, output, path):
        value = onnx.helper.make_tensor_value_info
        graph = onnx.helper.make_graph(self.nodes, "net", [value("x", onnx.TensorProto.FLOAT, ["N", 3, 8, 8])],
                                       [value(output, onnx.TensorProto.FLOAT, None)], self.weights)
        model = onnx.helper.make_model(graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", self.opset)])
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        onnx.checker.check_model(model)
        onnx.save(model, path)


def activation(op, **attributes):
    return lambda n, x: n(op, x, **attributes)


def squeeze_and_excite(n, x):
    y = n("GlobalAveragePool", x)
    y = n("Relu", n.conv(y, 6, 2))
    return n("Mul", x, n("Sigmoid", n.conv(y, 2, 6)))


def shuffle(n, x):
    y = n("Reshape", x, n.constant(numpy.array([1, 2, 3, 8, 8])))  # the batch, spelt out as exporters do
    y = n("Transpose", y, perm=[0, 2, 1, 3, 4])
    return n("Reshape", y, n.constant(numpy.array([1, 6, 8, 8])))


def split(n, x):
    a, b = n("Split", x, n.constant(numpy.array([2, 4])), outputs=2, axis=1)
    return n("Concat", n("Relu", b), a, axis=1)


def cut_and_pad(n, x):
    ints = lambda *v: n.constant(numpy.array(v))
    y = n("Slice", x, ints(1, 0), ints(8, 7), ints(2, 3))
    return n("Pad", y, ints(0, 0, 1, 0, 0, 0, 0, 1), n.constant(numpy.float32(0.25)))


def resized(n, x):
    """By sizes, which spell out a batch of 1."""
    return n("Resize", x, "", "", n.constant(numpy.array([1, 6, 12, 20])), mode="linear")


BLOCKS = {
    "ResizeBySizes": resized,
    "Relu": activation("Relu"),
    "Clip": lambda n, x: n("Clip", x, n.constant(numpy.float32(-0.5)), n.constant(numpy.float32(0.75))),
    "ClipAbove": lambda n, x: n("Clip", x, "", n.constant(numpy.float32(0.75))),
    "LeakyRelu": activation("LeakyRelu", alpha=0.3),
    "Elu": activation("Elu", alpha=0.7),
    "Selu": activation("Selu"),
    "Sigmoid": activation("Sigmoid"),
    "HardSigmoid": activation("HardSigmoid", alpha=0.25, beta=0.4),
    "HardSwish": activation("HardSwish"),
    "Gelu": lambda n, x: n("Mul", n("Mul", x, n.scalar(0.5)), n("Add", n("Erf", n("Div", x, n.scalar(2**0.5))), n.scalar(1))),
    "Mish": lambda n, x: n("Mul", x, n("Tanh", n("Softplus", x))),
    "Tanh": activation("Tanh"),
    "Softplus": activation("Softplus"),
    "Swish": lambda n, x: n("Mul", x, n("Sigmoid", x)),
    "PRelu": lambda n, x: n("PRelu", x, n.weight(6, 1, 1)),
    "BatchNormAlone": lambda n, x: n("BatchNormalization", n("Relu", x), n.weight(6), n.weight(6), n.weight(6),
                                     n.constant(numpy.full(6, 0.5, numpy.float32))),
    "Residual": lambda n, x: n("Relu", n("Add", x, n.conv(x, 6, 6))),
    "SqueezeAndExcite": squeeze_and_excite,
    "Shuffle": shuffle,
    "Split": split,
    "CutAndPad": cut_and_pad,
    "MaxPoolCeil": lambda n, x: n("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "AveragePool": lambda n, x: n("AveragePool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    "SameUpper": lambda n, x: n.conv(x, 6, 6, 3, auto_pad="SAME_UPPER", strides=[2, 2]),
    "Dilated": lambda n, x: n.conv(x, 6, 6, 3, dilations=[2, 2]),
    "Depthwise": lambda n, x: n.conv(x, 1, 6, 3, group=6),
}


class ExportTest(unittest.TestCase):
    def whole(self, path, images):
        """One image at a time: the original's batch may be fixed."""
        s = session(in_f32(path))
        return numpy.concatenate([s.run(None, {s.get_inputs()[0].name: x[None]})[0] for x in images])

    def check_anonymous(self, path):
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        self.assertEqual(len(model.metadata_props), 0)
        names = [x.name for x in list(model.graph.input) + list(model.graph.output) + list(model.graph.initializer)]
        for node in model.graph.node:
            self.assertEqual(node.name + node.doc_string, "")
            names += list(node.input) + list(node.output)
        for name in names:
            self.assertRegex(name, r"^(t[0-9]+)?$")
        self.assertEqual(model.graph.input[0].type.tensor_type.shape.dim[0].dim_param, "N")

    def check(self, path, side=224, least_cuts=10, tolerance=1e-5, whole=None):
        if not path.exists():
            self.skipTest(f"SKIPPED: {path} is not there")
        tool = str(BINARIES / "export_parts")
        cuts = subprocess.run([tool, path], check=True, capture_output=True, text=True).stdout.splitlines()
        self.assertGreaterEqual(len(cuts), least_cuts)
        if not EVERY_CUT and len(cuts) > SAMPLE:  # the first, the last and some between
            cuts = [cuts[round(i * (len(cuts) - 1) / (SAMPLE - 1))] for i in range(SAMPLE)]
        images = numpy.random.default_rng(7).standard_normal((2, 3, side, side)).astype(numpy.float32)
        want = (whole or self.whole)(path, images)
        scale = numpy.ptp(want)
        with tempfile.TemporaryDirectory() as folder:
            front, back = folder + "/front.onnx", folder + "/back.onnx"
            for cut in cuts:
                with self.subTest(cut=cut):
                    subprocess.run([tool, path, cut, front, back], check=True)
                    self.check_anonymous(front)
                    self.check_anonymous(back)
                    got = run(back, run(front, images))
                    self.assertEqual(got.shape, want.shape)
                    self.assertLessEqual(numpy.abs(got - want).max() / scale, tolerance)
                    if EVERY_CUT and least_cuts >= 10:
                        got = run_openvino(front, back, images)
                        self.assertLessEqual(numpy.abs(got - want).max() / scale, 10 * tolerance)
        print(f"{path.name}: {len(cuts)} cuts")

    def test_every_kind_of_node_and_fused_activation(self):
        with tempfile.TemporaryDirectory() as folder:
            for opset in (13, 17):
                for name, block in BLOCKS.items():
                    if name == "HardSwish" and opset < 14:
                        continue
                    with self.subTest(block=name, opset=opset):
                        net = Net(opset)
                        y = block(net, net.conv("x", 3, 6, 1))
                        y = net("ReduceMean", net.conv(y, 6, 5), axes=[2, 3], keepdims=0)
                        path = pathlib.Path(folder) / f"{name}.onnx"
                        net.save(y, path)
                        self.check(path, side=8, least_cuts=2)

    def test_unknown_operators_are_carried_into_the_backnet(self):
        """A transformer's kind of rest behind a convolutional stem."""
        net = Net()
        stem = net("Relu", net.conv("x", 3, 6, 2, strides=[2, 2]))
        tokens = net("Transpose", net("Reshape", stem, net.constant(numpy.array([0, 6, 16]))), perm=[0, 2, 1])
        scores = net("Softmax", net("Einsum", tokens, tokens, equation="bik,bjk->bij"), axis=-1)
        y = net("LpNormalization", net("Einsum", scores, tokens, equation="bij,bjk->bik"), axis=-1, p=2)
        y = net("MatMul", net("ReduceMean", y, axes=[1], keepdims=0), net.weight(6, 5))
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "attention.onnx"
            net.save(y, path)
            self.check(path, side=8, least_cuts=4)

    def test_mobilenet_v2(self):
        self.check(SHARED / "mobilenet_v2.onnx")

    def test_squeezenet(self):
        self.check(SHARED / "squeezenet1.1-fp16.onnx")

    def test_efficientnet_lite0(self):
        self.check(MODELS / "efficientnet-lite0.onnx")

    @unittest.skipUnless(EVERY_CUT, "only with INFENCLAVE_EVERY_CUT")
    def test_darknet(self):
        """The whole is the engine's, which darknet_test.py compares with Debian's darknet."""
        import darknet_files

        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)

            def whole(path, images):
                results = []
                for image in images:
                    numpy.save(folder / "x.npy", image[None])
                    subprocess.run([BINARIES / "infenclave", "run", path, "--input", folder / "x.npy", "-o",
                                    folder / "y.npy"], check=True, stdout=subprocess.DEVNULL)
                    results.append(numpy.load(folder / "y.npy"))
                return numpy.concatenate(results)

            for network in ("darknet", "extraction", "densenet201", "resnet50"):
                cfg = folder / f"{network}.cfg"
                cfg.symlink_to(f"{darknet_files.CFG}/{network}.cfg")
                sections = darknet_files.sections(cfg)
                darknet_files.make_weights(folder / f"{network}.weights", sections, numpy.random.default_rng(6))
                self.check(cfg, side=int(sections[0][1]["height"]), tolerance=1e-4, whole=whole)

    def test_efficientnet_lite2(self):
        self.check(MODELS / "efficientnet-lite2.onnx", side=260)


if __name__ == "__main__":
    unittest.main()
