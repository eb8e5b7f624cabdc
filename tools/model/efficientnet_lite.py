"""EfficientNet-Lite 0 to 2 as ONNX: the authors' architecture and weights, BatchNorm kept as a node.

A value has the name of the layer that ends in it ("stem", "block02/expand", "block02/project", "block03/add", "head",
"logits"); what comes before a layer's activation is "<layer>/conv" and "<layer>/bn". So a cut reads as what it is.
"""

import dataclasses
import json
import math

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

EPSILON = 1e-3
STEM, HEAD, CLASSES = 32, 1280, 1000


@dataclasses.dataclass(frozen=True)
class Variant:
    width: float
    depth: float
    size: int


VARIANTS = {
    "efficientnet-lite0": Variant(1.0, 1.0, 224),
    "efficientnet-lite1": Variant(1.0, 1.1, 240),
    "efficientnet-lite2": Variant(1.1, 1.2, 260),
}


@dataclasses.dataclass(frozen=True)
class Stage:
    repeats: int
    kernel: int
    stride: int
    expand: int
    channels: int


STAGES = [
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
]


def preprocessing(name):
    """The metadata that `infenclave` reads: how a photograph becomes this network's input."""
    size = VARIANTS[name].size
    return json.dumps({
        "width": size, "height": size, "resize": "crop-square", "crop_padding": 32, "filter": "bicubic",
        "channels": "rgb", "mean": [127, 127, 127], "scale": [1 / 128, 1 / 128, 1 / 128]})


def _scaled(channels, width, divisor=8):
    scaled = channels * width
    rounded = max(divisor, int(scaled + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * scaled else rounded


class _Builder:
    def __init__(self, weights, size):
        self.weights, self.unused, self.size = weights, set(weights), size
        self.nodes, self.initializers = [], []
        self.constant("relu6/min", np.float32(0))
        self.constant("relu6/max", np.float32(6))

    def constant(self, name, value):
        self.initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def weight(self, key, name, shape):
        array = self.weights[key]
        self.unused.discard(key)
        if array.shape != shape or array.dtype != np.float32:
            raise ValueError(f"{key}: {array.dtype} {array.shape}, expected float32 {shape}")
        return self.constant(name, array)

    def node(self, operator, inputs, output, **attributes):
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def conv_bn(self, x, layer, conv, bn, shape, stride=1, group=1, relu6=True):
        """Convolution with TensorFlow's SAME padding, BatchNorm and, where asked, ReLU6."""
        kernel = shape[2]
        out = math.ceil(self.size / stride)
        pad = max((out - 1) * stride + kernel - self.size, 0)
        self.size = out
        before, after = pad // 2, pad - pad // 2
        weight = self.weight(f"{conv}.weight", f"{layer}/conv/weight", shape)
        x = self.node("Conv", [x, weight], f"{layer}/conv", kernel_shape=[kernel, kernel], strides=[stride, stride],
                      pads=[before, before, after, after], group=group)
        parameters = [self.weight(f"{bn}.{key}", f"{layer}/bn/{name}", (shape[0],)) for key, name in
                      [("weight", "scale"), ("bias", "bias"), ("running_mean", "mean"), ("running_var", "variance")]]
        self.unused.discard(f"{bn}.num_batches_tracked")
        x = self.node("BatchNormalization", [x, *parameters], f"{layer}/bn" if relu6 else layer, epsilon=EPSILON)
        return self.node("Clip", [x, "relu6/min", "relu6/max"], layer) if relu6 else x

    def block(self, x, number, key, stage, stride, inputs, outputs):
        name, inner, skip = f"block{number:02}", inputs * stage.expand, x
        if stage.expand != 1:
            x = self.conv_bn(x, f"{name}/expand", f"{key}._expand_conv", f"{key}._bn0", (inner, inputs, 1, 1))
        x = self.conv_bn(x, f"{name}/depthwise", f"{key}._depthwise_conv", f"{key}._bn1",
                         (inner, 1, stage.kernel, stage.kernel), stride, group=inner)
        x = self.conv_bn(x, f"{name}/project", f"{key}._project_conv", f"{key}._bn2", (outputs, inner, 1, 1),
                         relu6=False)
        return self.node("Add", [x, skip], f"{name}/add") if stride == 1 and inputs == outputs else x


def convert(name, weights):
    """An onnx.ModelProto of the network, from its state dict (name -> array); every weight must find its place."""
    variant = VARIANTS[name]
    build = _Builder(weights, variant.size)
    x = build.conv_bn("input", "stem", "_conv_stem", "_bn0", (STEM, 3, 3, 3), stride=2)
    channels, number = STEM, 0
    for index, stage in enumerate(STAGES):
        fixed = index in (0, len(STAGES) - 1)  # the first and the last stage are never repeated more
        repeats = stage.repeats if fixed else math.ceil(variant.depth * stage.repeats)
        outputs = _scaled(stage.channels, variant.width)
        for repeat in range(repeats):
            x = build.block(x, number + 1, f"_blocks.{number}", stage, stage.stride if repeat == 0 else 1, channels, outputs)
            channels, number = outputs, number + 1
    x = build.conv_bn(x, "head", "_conv_head", "_bn1", (HEAD, channels, 1, 1))
    x = build.node("GlobalAveragePool", [x], "pool")
    x = build.node("Flatten", [x], "features", axis=1)
    fc = [build.weight("_fc.weight", "logits/weight", (CLASSES, HEAD)), build.weight("_fc.bias", "logits/bias", (CLASSES,))]
    build.node("Gemm", [x, *fc], "logits", transB=1)
    if build.unused:
        raise ValueError(f"weights left over: {sorted(build.unused)}")
    graph = helper.make_graph(
        build.nodes, name,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, variant.size, variant.size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])], build.initializers)
    model = helper.make_model(graph, producer_name="infenclave tools/model", ir_version=7,
                              opset_imports=[helper.make_opsetid("", 13)])
    helper.set_model_props(model, {"infenclave.preprocessing": preprocessing(name)})
    onnx.checker.check_model(model, full_check=True)
    return model
