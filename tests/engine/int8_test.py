"""QDQ networks against ONNX Runtime, which computes them as they stand (optimisations off): in f32 between each
DequantizeLinear and QuantizeLinear. The engine computes in integers, so that sums that lie between two steps may fall on
either side, and a sum behind a convolution is quantised once rather than twice: results agree to a few steps of the last
quantisation, and most to less than one.
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
STEP = 0.02  # of the result's quantisation
SIDE = 12


class Net:
    """A quantised network written node by node; x is f32 [1,3,12,12] in [-1, 1]."""

    def __init__(self, activations):
        self.activations = activations  # "u8", "i8" or "u8z", with a zero point
        self.nodes, self.weights, self.count = [], [], 0
        self.random = numpy.random.default_rng(5)

    def constant(self, array):
        self.weights.append(onnx.numpy_helper.from_array(numpy.asarray(array), f"w{len(self.weights)}"))
        return self.weights[-1].name

    def __call__(self, op, *inputs, **attributes):
        self.count += 1
        self.nodes.append(onnx.helper.make_node(op, inputs, [f"{op}_{self.count}"], **attributes))
        return self.nodes[-1].output[0]

    def q(self, x, step=STEP, kind=None):
        kind = kind or self.activations
        zero = self.constant({"u8": numpy.uint8(0), "i8": numpy.int8(0), "u8z": numpy.uint8(113)}[kind])
        scale = self.constant(numpy.float32(step))
        return self("DequantizeLinear", self("QuantizeLinear", x, scale, zero), scale, zero)

    def weight(self, *shape, axis=0, per_tensor=False):
        values = self.constant(self.random.integers(-127, 128, shape).astype(numpy.int8))
        channels = [] if per_tensor else [shape[axis]]
        scales = (0.5 / numpy.sqrt(numpy.prod(shape[1:])) / 64 * self.random.uniform(0.5, 1.5, channels))
        zeros = self.constant(numpy.zeros(channels, numpy.int8))
        self.scales = scales
        return self("DequantizeLinear", values, self.constant(scales.astype(numpy.float32)), zeros, axis=axis)

    def bias(self, channels, step=STEP):
        values = self.constant(self.random.integers(-3000, 3000, channels).astype(numpy.int32))
        scales = numpy.broadcast_to(self.scales * step, [channels]).astype(numpy.float32)
        return self("DequantizeLinear", values, self.constant(scales.copy()), axis=0)

    def conv(self, x, channels_in, channels_out, size=1, per_tensor=False, biased=True, **attributes):
        weight = self.weight(channels_out, channels_in, size, size, per_tensor=per_tensor)
        return self("Conv", x, weight, *([self.bias(channels_out)] if biased else []), **attributes)

    def bytes(self, outputs):
        value = onnx.helper.make_tensor_value_info
        graph = onnx.helper.make_graph(self.nodes, "net", [value("x", onnx.TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
                                       [value(y, onnx.TensorProto.FLOAT, None) for y in outputs], self.weights)
        model = onnx.helper.make_model(graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 17)])
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        onnx.checker.check_model(model)
        return model.SerializeToString()


def activation(op, *bounds, **attributes):
    return lambda n, x: n(op, n.conv(x, 32, 24), *(n.constant(numpy.float32(b)) for b in bounds), **attributes)


def swish(n, x):
    y = n.conv(x, 32, 24)
    return n("Mul", y, n("Sigmoid", y))


def residual(between, act=None, order=False):
    """Behind another convolution, whose result nobody else reads: the sum can go into the second one."""

    def block(n, x):
        y = n.q(n.conv(x, 32, 32), step=0.03)
        z = n.conv(n.q(n("Relu", n.conv(y, 32, 16)), kind="u8"), 16, 32, 3, pads=[1, 1, 1, 1])
        z = n.q(z, step=0.015) if between else z
        z = n("Add", *((z, y) if order else (y, z)))
        return act(n, z) if act else z

    return block


def sum_of_activated(n, x):
    y = n.q(n("LeakyRelu", n.conv(x, 32, 32), alpha=0.1), step=0.03)
    z = n.q(n("LeakyRelu", n.conv(y, 32, 32), alpha=0.1), step=0.015)
    return n("Add", y, z)


def sum_activated(n, x):
    return n("Relu", sum_of_activated(n, x))


def concat(steps):
    def block(n, x):
        parts = [n.q(n("Relu", n.conv(x, 32, c)), step=s) for c, s in zip((24, 5, 16), steps)]
        y = n.q(n("Concat", *parts, axis=1), step=STEP)
        return n.conv(y, 45, 8)

    return block


def classifier(n, x):
    y = n("GlobalAveragePool", x)
    y = n("Flatten", n.q(y, step=0.01))
    return n("Gemm", n.q(y, step=0.01), n.weight(10, 32), n.bias(10, 0.01), transB=1)


def mean_and_matmul(n, x):
    y = n.q(n("ReduceMean", x, axes=[2, 3], keepdims=0), step=0.01)
    return n("MatMul", y, n.weight(32, 10, axis=1))


def wide_gemm(n, x):
    y = n.q(n("Reshape", n.q(n.conv(x, 32, 2)), n.constant(numpy.array([1, 2 * SIDE * SIDE]))))
    return n("Gemm", y, n.weight(2 * SIDE * SIDE, 10, axis=1), n.bias(10), alpha=0.5, beta=2.0)


BLOCKS = {
    "Conv1x1": lambda n, x: n.conv(x, 32, 24),
    "Conv3x3": lambda n, x: n.conv(x, 32, 24, 3, pads=[1, 1, 1, 1]),
    "NoBias": lambda n, x: n.conv(x, 32, 24, 3, biased=False),
    "PerTensor": lambda n, x: n.conv(x, 32, 24, 3, pads=[1, 1, 1, 1], per_tensor=True),
    "Strided": lambda n, x: n.conv(x, 32, 24, 3, strides=[2, 2], pads=[0, 0, 1, 1]),
    "Dilated": lambda n, x: n.conv(x, 32, 24, 3, dilations=[2, 2], pads=[2, 2, 2, 2]),
    "Depthwise": lambda n, x: n.conv(x, 1, 32, 3, group=32, pads=[1, 1, 1, 1]),
    "Depthwise5": lambda n, x: n.conv(x, 1, 32, 5, group=32, pads=[2, 2, 2, 2], strides=[2, 2]),
    "Grouped": lambda n, x: n.conv(x, 8, 32, 3, group=4, pads=[1, 1, 1, 1]),
    "Relu": activation("Relu"),
    "Relu6": activation("Clip", 0, 6),
    "Clip": activation("Clip", -0.75, 1.25),
    "LeakyRelu": activation("LeakyRelu", alpha=0.1),
    "Sigmoid": activation("Sigmoid"),
    "Tanh": activation("Tanh"),
    "Elu": activation("Elu"),
    "HardSwish": activation("HardSwish"),
    "Softplus": activation("Softplus"),
    "Swish": swish,
    "Residual": residual(between=False),
    "ResidualQuantizedBetween": residual(between=True),
    "ResidualRelu": residual(between=True, act=lambda n, x: n("Relu", x)),
    "ResidualLeaky": residual(between=True, act=lambda n, x: n("LeakyRelu", x, alpha=0.1), order=True),
    "ResidualSwish": residual(between=True, act=lambda n, x: n("Mul", x, n("Sigmoid", x))),
    "SumOfActivated": sum_of_activated,
    "SumActivated": sum_activated,
    "SumWithItself": lambda n, x: n("Add", x, x),
    "MaxPool": lambda n, x: n("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "AveragePool": lambda n, x: n("AveragePool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
    "AveragePoolIncludingPad": lambda n, x: n("AveragePool", x, kernel_shape=[2, 2], pads=[1, 1, 0, 0],
                                              count_include_pad=1),
    "ConcatOneScale": concat([STEP, STEP, STEP]),
    "ConcatThreeScales": concat([STEP, 0.5 * STEP, 2 * STEP]),
    "Transpose": lambda n, x: n.conv(n("Transpose", n.q(n("Transpose", x, perm=[0, 2, 3, 1])), perm=[0, 3, 1, 2]), 32, 8),
    "Classifier": classifier,
    "MeanAndMatMul": mean_and_matmul,
    "WideGemm": wide_gemm,
}


def onnx_runtime(model, x):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, {"x": x})


class Int8Test(unittest.TestCase):
    def check(self, activations, quantized_results, isa="DEFAULT"):
        """All blocks behind one quantised convolution, in one network with an output each."""
        x = numpy.random.default_rng(2).uniform(-1, 1, (1, 3, SIDE, SIDE)).astype(numpy.float32)
        net = Net(activations)
        stem = net.q(net.conv(net.q("x", 1 / 120, kind="u8z"), 3, 32, 3, pads=[1, 1, 1, 1]))
        results = [block(net, stem) for block in BLOCKS.values()]
        model = net.bytes([net.q(y) for y in results] if quantized_results else results)
        with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
            file.write(model)
            file.flush()
            run = subprocess.run([str(BINARIES / "engine_peer"), file.name, "int8"], input=x.tobytes(),
                                 env={**os.environ, "DNNL_MAX_CPU_ISA": isa}, capture_output=True, check=False)
        self.assertEqual(run.returncode, 0, run.stderr.decode())
        got = numpy.frombuffer(run.stdout, numpy.float32)
        for name, want in zip(BLOCKS, onnx_runtime(model, x), strict=True):
            with self.subTest(block=name):
                off = numpy.abs(got[:want.size] - want.ravel()) / STEP
                got = got[want.size:]
                self.assertLessEqual(off.max(), 3)
                self.assertLessEqual((off > 0.5).mean(), 0.25)
                self.assertGreater(numpy.unique(want).size, 3, "the block says nothing")
        self.assertEqual(got.size, 0)

    def test_from_zero(self):
        self.check("u8", quantized_results=True)

    def test_around_zero(self):
        self.check("i8", quantized_results=True)

    def test_with_a_zero_point(self):
        self.check("u8z", quantized_results=True)

    def test_results_in_floats(self):
        self.check("u8z", quantized_results=False)

    def test_where_the_processor_has_no_int8(self):
        self.check("u8z", quantized_results=True, isa="AVX2")


if __name__ == "__main__":
    unittest.main()
