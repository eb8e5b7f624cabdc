"""Inception-v3 (Szegedy et al. 2015) with weights drawn at random: what it costs does not depend on them."""
import numpy as np
import onnx
from onnx import helper


class Builder:
    def __init__(self):
        self.rng = np.random.default_rng(3)
        self.nodes, self.constants, self.channels = [], [], {"image": 3}

    def constant(self, values):
        name = f"w{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def node(self, op, inputs, channels, **attributes):
        out = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [out], **attributes))
        self.channels[out] = channels
        return out

    def conv(self, x, channels, kernel, stride=1, same=True):
        kh, kw = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        pads = [kh // 2, kw // 2] * 2 if same and stride == 1 else [0] * 4
        fan_in = self.channels[x] * kh * kw
        weights = self.constant(self.rng.standard_normal((channels, self.channels[x], kh, kw)) * (2 / fan_in) ** 0.5)
        bias = self.constant(self.rng.standard_normal(channels) * 0.1)
        y = self.node("Conv", [x, weights, bias], channels, kernel_shape=[kh, kw], strides=[stride] * 2, pads=pads)
        return self.node("Relu", [y], channels)

    def chain(self, x, *convs):
        for arguments in convs:
            x = self.conv(x, *arguments)
        return x

    def max_pool(self, x):
        return self.node("MaxPool", [x], self.channels[x], kernel_shape=[3, 3], strides=[2, 2])

    def average_pool(self, x):
        return self.node("AveragePool", [x], self.channels[x], kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4,
                         count_include_pad=1)

    def concat(self, *parts):
        return self.node("Concat", list(parts), sum(self.channels[p] for p in parts), axis=1)


def build(path):
    b = Builder()
    x = b.chain("image", (32, 3, 2), (32, 3, 1, False), (64, 3))
    x = b.chain(b.max_pool(x), (80, 1), (192, 3, 1, False))
    x = b.max_pool(x)
    for pooled in (32, 64, 64):
        x = b.concat(b.conv(x, 64, 1), b.chain(x, (48, 1), (64, 5)), b.chain(x, (64, 1), (96, 3), (96, 3)),
                     b.conv(b.average_pool(x), pooled, 1))
    x = b.concat(b.conv(x, 384, 3, 2), b.chain(x, (64, 1), (96, 3), (96, 3, 2)), b.max_pool(x))
    for c in (128, 160, 160, 192):
        x = b.concat(b.conv(x, 192, 1), b.chain(x, (c, 1), (c, (1, 7)), (192, (7, 1))),
                     b.chain(x, (c, 1), (c, (7, 1)), (c, (1, 7)), (c, (7, 1)), (192, (1, 7))),
                     b.conv(b.average_pool(x), 192, 1))
    x = b.concat(b.chain(x, (192, 1), (320, 3, 2)), b.chain(x, (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2)),
                 b.max_pool(x))
    for _ in range(2):
        one, two = b.conv(x, 384, 1), b.chain(x, (448, 1), (384, 3))
        x = b.concat(b.conv(x, 320, 1), b.conv(one, 384, (1, 3)), b.conv(one, 384, (3, 1)), b.conv(two, 384, (1, 3)),
                     b.conv(two, 384, (3, 1)), b.conv(b.average_pool(x), 192, 1))
    x = b.node("Flatten", [b.node("GlobalAveragePool", [x], 2048)], 2048)
    weights = b.constant(b.rng.standard_normal((1000, 2048)) * 2048 ** -0.5)
    x = b.node("Gemm", [x, weights, b.constant(np.zeros(1000))], 1000, transB=1)
    image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["N", 3, 299, 299])
    scores = helper.make_tensor_value_info(x, onnx.TensorProto.FLOAT, ["N", 1000])
    graph = helper.make_graph(b.nodes, "inception-v3", [image], [scores], b.constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
