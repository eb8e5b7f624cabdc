"""ONNX Runtime behind the Open Inference Protocol, for BackNets of another make."""

import concurrent.futures

import grpc
import numpy as np
import onnxruntime
from tritonclient.grpc import service_pb2, service_pb2_grpc

TYPES = {"tensor(float)": ("FP32", np.float32), "tensor(uint8)": ("UINT8", np.uint8)}


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


class OnnxRuntimeServer(service_pb2_grpc.GRPCInferenceServiceServicer):
    """One ONNX file, on a thread of this process. `asked` counts requests, `received` the bytes of their tensors."""

    def __init__(self, model, name):
        self.session, self.name, self.asked, self.received = session(model), name, 0, 0
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self.server)
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self):
        self.server.start()
        return self

    def __exit__(self, *_):
        self.server.stop(None).wait()

    def ModelMetadata(self, request, context):
        def describe(tensor):
            shape = [-1 if isinstance(d, str) else d for d in tensor.shape]
            return service_pb2.ModelMetadataResponse.TensorMetadata(name=tensor.name, datatype=TYPES[tensor.type][0],
                                                                    shape=shape)

        return service_pb2.ModelMetadataResponse(
            name=self.name, platform="onnxruntime", inputs=[describe(t) for t in self.session.get_inputs()],
            outputs=[describe(t) for t in self.session.get_outputs()])

    def ModelInfer(self, request, context):
        dtype = TYPES[self.session.get_inputs()[0].type][1]
        ir = np.frombuffer(request.raw_input_contents[0], dtype).reshape(request.inputs[0].shape)
        scores = self.session.run(None, {request.inputs[0].name: ir})[0]
        self.asked += len(scores)
        self.received += ir.nbytes
        output = service_pb2.ModelInferResponse.InferOutputTensor(name=self.session.get_outputs()[0].name,
                                                                  datatype="FP32", shape=scores.shape)
        return service_pb2.ModelInferResponse(model_name=self.name, id=request.id, outputs=[output],
                                              raw_output_contents=[scores.tobytes()])
