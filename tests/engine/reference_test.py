"""Whole networks against ONNX Runtime on the same photographs.

Needs the networks that INFENCLAVE_MODELS (converted EfficientNet-Lite) and INFENCLAVE_SHARED/models hold, and the
photographs of INFENCLAVE_SHARED/imagenet-samples. Preprocessing is only roughly the networks' own: both sides get the same.
"""
import os
import pathlib
import subprocess
import tempfile
import unittest

import numpy as np
import onnx
import onnxruntime
from PIL import Image

SHARED = pathlib.Path(os.environ["INFENCLAVE_SHARED"])
MODELS = pathlib.Path(os.environ.get("INFENCLAVE_MODELS", "/nonexistent"))
PEER = pathlib.Path(os.environ["INFENCLAVE_BINARY_DIR"], "engine_peer")
PHOTOGRAPHS = 12


def photographs(side, mean, scale):
    files = sorted((SHARED / "imagenet-samples").rglob("*.[jJ]*"))[::17][:PHOTOGRAPHS]
    for file in files:
        image = Image.open(file).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        pixels = np.asarray(image, dtype=np.float32).transpose(2, 0, 1)[None]
        yield np.ascontiguousarray((pixels - mean) * scale, dtype=np.float32)


def as_fp32(model):
    """ONNX Runtime rounds every layer of an fp16 network; the weights as fp32 are the reference."""
    proto = onnx.load(model)
    for tensor in proto.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT16:
            values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    for value in [*proto.graph.input, *proto.graph.output, *proto.graph.value_info]:
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return proto.SerializeToString()


class AgreesWithOnnxRuntime(unittest.TestCase):
    def check(self, model, side, mean=127.0, scale=1 / 128):
        if not model.exists() or not (SHARED / "imagenet-samples").exists():
            self.skipTest(f"SKIPPED: {model} or the photographs are missing")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(as_fp32(model), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        images = list(photographs(side, mean, scale))
        self.assertEqual(len(images), PHOTOGRAPHS)
        expected = np.stack([session.run(None, {name: image})[0].ravel() for image in images])
        spread = expected.max() - expected.min()
        for precision, tolerance in (("f32", 1e-4), ("bf16", 5e-2)):
            with tempfile.TemporaryFile() as data:
                for image in images:
                    data.write(image.tobytes())
                data.seek(0)
                out = subprocess.run([PEER, model, precision], stdin=data, capture_output=True, check=True).stdout
            actual = np.frombuffer(out, dtype=np.float32).reshape(expected.shape)
            difference = np.abs(actual - expected).max() / spread
            print(f"{model.name} {precision}: largest difference {difference:.1e} of the range")
            self.assertLess(difference, tolerance)
            if precision == "f32":
                np.testing.assert_array_equal(actual.argmax(1), expected.argmax(1))

    def test_efficientnet_lite0(self):
        self.check(MODELS / "efficientnet-lite0.onnx", 224)

    def test_efficientnet_lite2(self):
        self.check(MODELS / "efficientnet-lite2.onnx", 260)

    def test_mobilenet_v2(self):
        self.check(SHARED / "models/mobilenet_v2.onnx", 224)

    def test_squeezenet(self):
        self.check(SHARED / "models/squeezenet1.1-fp16.onnx", 224, mean=114.0, scale=1.0)


if __name__ == "__main__":
    unittest.main()
