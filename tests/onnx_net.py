"""ONNX networks for tests, written node by node with random but fixed weights.

    net = Net(side=8)
    y = net("Relu", net.conv("x", 3, 6, size=3))
    net.save(y, "relu.onnx")
"""

import numpy
import onnx


class Net:
    """From a picture x [N,3,side,side]. Calling it adds a node and gives its output's name (a list if there are several)."""

    def __init__(self, opset=17, side=8, spread=0.5):
        self.opset, self.side, self.spread = opset, side, spread
        self.nodes, self.weights, self.declared, self.count = [], [], [], 0
        self.random = numpy.random.default_rng(3)

    def constant(self, array):
        self.weights.append(onnx.numpy_helper.from_array(numpy.asarray(array), f"w{len(self.weights)}"))
        return self.weights[-1].name

    def scalar(self, value):
        return self.constant(numpy.float32(value))

    def ints(self, *values):
        return self.constant(numpy.array(values, numpy.int64))

    def weight(self, *shape, spread=None):
        return self.constant(((spread or self.spread) * self.random.standard_normal(shape)).astype(numpy.float32))

    def __call__(self, op, *inputs, outputs=1, domain="", shape=None, **attributes):
        """`shape` declares what shape inference cannot know: a result of an operator that is not ONNX's own."""
        names = [f"{op}_{self.count}_{i}" for i in range(outputs)]
        self.count += 1
        self.nodes.append(onnx.helper.make_node(op, inputs, names, domain=domain, **attributes))
        if shape is not None:
            self.declared.append(onnx.helper.make_tensor_value_info(names[0], onnx.TensorProto.FLOAT, shape))
        return names[0] if outputs == 1 else names

    def conv(self, x, channels_in, channels_out, size=1, **attributes):
        return self("Conv", x, self.weight(channels_out, channels_in, size, size), self.weight(channels_out), **attributes)

    def save(self, output, path):
        value = onnx.helper.make_tensor_value_info
        graph = onnx.helper.make_graph(
            self.nodes, "net", [value("x", onnx.TensorProto.FLOAT, ["N", 3, self.side, self.side])],
            [value(output, onnx.TensorProto.FLOAT, None)], self.weights, value_info=self.declared)
        domains = {"": self.opset} | {node.domain: 1 for node in self.nodes if node.domain}
        model = onnx.helper.make_model(graph, ir_version=8, opset_imports=[
            onnx.helper.make_opsetid(domain, version) for domain, version in domains.items()])
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        onnx.checker.check_model(model)
        onnx.save(model, path)
