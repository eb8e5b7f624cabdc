"""triton_backnet.py MODEL.onnx NAME GRPC_PORT HTTP_PORT: a BackNet on Triton, by way of nvidia-pytriton, with ONNX Runtime
behind it. Needs triton.txt's packages, in an environment of the system's Python."""

import sys

import numpy
import onnxruntime
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
(source,), (sink,) = session.get_inputs(), session.get_outputs()


@batch
def infer(ir):
    return [session.run(None, {source.name: ir})[0]]


config = TritonConfig(http_address="127.0.0.1", http_port=int(sys.argv[4]), grpc_address="127.0.0.1",
                      grpc_port=int(sys.argv[3]), allow_metrics=False)
with Triton(config=config) as triton:
    triton.bind(model_name=sys.argv[2], infer_func=infer,
                inputs=[Tensor(name="ir", dtype=numpy.float32, shape=tuple(source.shape[1:]))],
                outputs=[Tensor(name="scores", dtype=numpy.float32, shape=tuple(sink.shape[1:]))],
                config=ModelConfig(max_batch_size=4))
    triton.serve()
