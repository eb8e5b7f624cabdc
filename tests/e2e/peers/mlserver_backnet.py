"""mlserver_backnet.py MODEL.onnx NAME GRPC_PORT HTTP_PORT: a BackNet on MLServer, with ONNX Runtime behind it. Needs
mlserver.txt's packages."""

import asyncio
import sys

import onnxruntime
from mlserver import MLModel, MLServer
from mlserver.codecs import NumpyCodec
from mlserver.settings import ModelParameters, ModelSettings, Settings
from mlserver.types import InferenceRequest, InferenceResponse


class BackNet(MLModel):
    async def load(self):
        self.session = onnxruntime.InferenceSession(self.settings.parameters.uri, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        ir = NumpyCodec.decode_input(payload.inputs[0])
        scores = self.session.run(None, {self.session.get_inputs()[0].name: ir})[0]
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("scores", scores)])


async def main(model, name, grpc_port, http_port):
    # As it comes: it takes messages of 4 MiB, and says nothing of a custom model's tensors.
    server = MLServer(Settings(host="127.0.0.1", http_port=http_port, grpc_port=grpc_port, metrics_endpoint=None,
                               parallel_workers=0))
    await server.start([ModelSettings(name=name, implementation=BackNet, parameters=ModelParameters(uri=model, version="1"))])


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
