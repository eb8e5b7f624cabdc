"""kserve_backnet.py MODEL.onnx NAME GRPC_PORT HTTP_PORT: a BackNet on KServe's Python server, with ONNX Runtime behind
it. Needs kserve.txt's packages."""

import sys

import onnxruntime
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer


class BackNet(Model):
    def __init__(self, model, name):
        super().__init__(name)
        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self.ready = True

    def predict(self, payload: InferRequest, headers=None, response_headers=None) -> InferResponse:
        ir = payload.inputs[0].as_numpy()
        scores = self.session.run(None, {self.session.get_inputs()[0].name: ir})[0]
        output = InferOutput(name="scores", shape=list(scores.shape), datatype="FP32")
        output.set_data_from_numpy(scores, binary_data=False)
        return InferResponse(response_id=payload.id, model_name=self.name, infer_outputs=[output])


ModelServer(http_port=int(sys.argv[4]), grpc_port=int(sys.argv[3])).start([BackNet(sys.argv[1], sys.argv[2])])
