"""FrontNet and BackNet as ONNX files: valid by onnx.checker, and together ONNX Runtime's result of the whole network.

At three cut points of the networks that are small, with a batch that the files leave free. With INFENCLAVE_EVERY_CUT set,
at every one and of every network that the documentation names, by OpenVINO too (pip install -r bench/requirements.txt);
this takes hours. As "export_test.py ExportTest.test_darknet53" one network alone.
"""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import numpy
import onnx
import onnxruntime

import darknet_files

SOURCE = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(SOURCE / "tests"), str(SOURCE / "bench")]
import inception  # noqa: E402
from onnx_net import Net  # noqa: E402

BINARIES = pathlib.Path(os.environ["INFENCLAVE_BINARY_DIR"])
SHARED = pathlib.Path(os.environ["INFENCLAVE_SHARED"]) / "models"
MODELS = pathlib.Path(os.environ.get("INFENCLAVE_MODELS", "/nonexistent"))
# Real graphs, whose weights are one number repeated.
LIGHT = pathlib.Path(onnx.__file__).parent / "backend/test/data/light"
EVERY_CUT = bool(os.environ.get("INFENCLAVE_EVERY_CUT"))
SAMPLE = 3


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


def by_onnx_runtime(path, images):
    """The whole network, one image at a time: its batch may be fixed."""
    s = session(in_f32(path))
    return numpy.concatenate([s.run(None, {s.get_inputs()[0].name: x[None]})[0] for x in images])


def by_the_engine(path, images):
    """The whole network, for Darknet's files. darknet_test.py compares the engine with Debian's darknet."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for image in images:
            numpy.save(f"{folder}/x.npy", image[None])
            subprocess.run([BINARIES / "infenclave", "run", path, "--input", f"{folder}/x.npy", "-o", f"{folder}/y.npy"],
                           check=True, stdout=subprocess.DEVNULL)
            results.append(numpy.load(f"{folder}/y.npy"))
    return numpy.concatenate(results)


def by_openvino(front, back, images):
    import openvino

    for model in (front, back):
        compiled = openvino.Core().compile_model(
            model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1})
        images = compiled(images)[0]
    return images


def with_random_weights(path, to):
    """The light network with weights that tell pictures apart."""
    model = onnx.load(path)
    random = numpy.random.default_rng(5)
    shapes = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type != "ConstantOfShape"]
    for node in model.graph.node:
        if node.op_type == "ConstantOfShape":
            shape = shapes[node.input[0]]
            weights = random.uniform(0.5, 1, shape)
            if len(shape) > 1:
                weights = random.standard_normal(shape) * (2 / numpy.prod(shape[1:])) ** 0.5
            model.graph.initializer.append(onnx.numpy_helper.from_array(weights.astype(numpy.float32), node.output[0]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, to)


class Parts:
    """A model's two parts at one cut point after the other, in files that the next pair replaces."""

    def __init__(self, model, folder):
        self.files = str(folder / "front.onnx"), str(folder / "back.onnx")
        self.tool = subprocess.Popen([BINARIES / "export_parts", model, *self.files], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, text=True)

    def at(self, cut):
        print(cut, file=self.tool.stdin, flush=True)
        if self.tool.stdout.readline().rstrip("\n") != cut:
            raise AssertionError(f"no parts at {cut}")
        return self.files

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with self.tool:
            self.tool.stdin.close()


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


ON_REQUEST = unittest.skipUnless(EVERY_CUT, "only with INFENCLAVE_EVERY_CUT, for its weights are large")


class ExportTest(unittest.TestCase):
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

    def check(self, path, side=224, least_cuts=10, tolerance=1e-5, whole=by_onnx_runtime):
        """The parts' result differs from the whole's by at most `tolerance` of its range."""
        if not path.exists():
            self.skipTest(f"SKIPPED: {path} is not there")
        cuts = subprocess.run([BINARIES / "export_parts", path], check=True, capture_output=True,
                              text=True).stdout.splitlines()
        self.assertGreaterEqual(len(cuts), least_cuts)
        if not EVERY_CUT and len(cuts) > SAMPLE:  # the first, the last and some between
            cuts = [cuts[round(i * (len(cuts) - 1) / (SAMPLE - 1))] for i in range(SAMPLE)]
        images = numpy.random.default_rng(7).standard_normal((2, 3, side, side)).astype(numpy.float32)
        want = whole(path, images)
        worst = {}
        with tempfile.TemporaryDirectory() as folder, Parts(path, pathlib.Path(folder)) as parts:
            for cut in cuts:
                with self.subTest(cut=cut):
                    front, back = parts.at(cut)
                    self.check_anonymous(front)
                    self.check_anonymous(back)
                    results = {"ONNX Runtime": run(back, run(front, images))}
                    if EVERY_CUT and least_cuts >= 10:
                        results["OpenVINO"] = by_openvino(front, back, images)
                    for runtime, got in results.items():
                        self.assertEqual(got.shape, want.shape)
                        error = numpy.abs(got - want).max() / numpy.ptp(want)
                        worst[runtime] = max(worst.get(runtime, 0), error)
                        self.assertLessEqual(error, tolerance * (10 if runtime == "OpenVINO" else 1), runtime)
        print(f"{path.stem}: {len(cuts)} cuts,", ", ".join(f"{name} within {error:.1e}" for name, error in worst.items()),
              flush=True)

    def check_light(self, network):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / f"{network}.onnx"
            with_random_weights(LIGHT / f"light_{network}.onnx", path)
            self.check(path)

    def check_darknet(self, network):
        source = pathlib.Path(darknet_files.CFG) / f"{network}.cfg"
        if not source.exists():
            self.skipTest("SKIPPED: Debian's darknet is not installed")
        with tempfile.TemporaryDirectory() as folder:
            cfg = pathlib.Path(folder) / source.name
            cfg.symlink_to(source)
            sections = darknet_files.sections(cfg)
            darknet_files.make_weights(cfg.with_suffix(".weights"), sections, numpy.random.default_rng(6))
            self.check(cfg, side=int(sections[0][1]["height"]), tolerance=1e-4, whole=by_the_engine)

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

    def test_efficientnet_lite2(self):
        self.check(MODELS / "efficientnet-lite2.onnx", side=260)

    @ON_REQUEST
    def test_inception_v3(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "inception_v3.onnx"
            inception.build(path)
            self.check(path, side=299)


# The large ones are on request.
LIGHT_NETWORKS = {"densenet121": True, "inception_v1": True, "inception_v2": True, "resnet50": True, "shufflenet": True,
                  "squeezenet": True, "bvlc_alexnet": False, "vgg19": False, "zfnet512": False}
DARKNET_NETWORKS = {"darknet": True, "alexnet": False, "darknet53": False, "densenet201": False, "extraction": False,
                    "resnet50": False, "resnext50": False, "vgg-16": False}


def add_cases():
    for networks, kind in ((LIGHT_NETWORKS, "light"), (DARKNET_NETWORKS, "darknet")):
        for network, small in networks.items():
            def test(self, network=network, check=f"check_{kind}"):
                getattr(self, check)(network)
            setattr(ExportTest, f"test_{kind}_{network.replace('-', '_')}", test if small else ON_REQUEST(test))


add_cases()


if __name__ == "__main__":
    unittest.main()
