"""OpenVINO on the CPU in float32: latency hint, one stream, the caller's input memory shared."""

from __future__ import annotations

import numpy as np
import openvino

from app.benchmark.peers.worker import FloatArray
from app.benchmark.task import Task


class OpenVino:
    """One compiled model and its only infer request."""

    def __init__(self, task: Task, inputs: list[FloatArray]):
        core = openvino.Core()
        model = core.read_model(str(task.model))
        if model.is_dynamic():
            model.reshape({tensor.name: list(tensor.dims) for tensor in task.inputs})
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": task.threads,
        }
        self._model = core.compile_model(model, "CPU", settings)
        self._request = self._model.create_infer_request()
        self._inputs = inputs
        for tensor, array in zip(task.inputs, inputs, strict=True):
            self._request.set_tensor(tensor.name, openvino.Tensor(array, shared_memory=True))
        self._names = [tensor.name for tensor in task.outputs]

    def feed(self) -> None:
        """Nothing to do: inputs stay as they are."""

    def run(self) -> None:
        """One inference."""
        self._request.infer()

    def outputs(self) -> list[FloatArray]:
        """The request's output tensors."""
        return [np.array(self._request.get_tensor(name).data) for name in self._names]

    def session_bytes(self) -> int | None:
        """It does not say."""
        return None


load = OpenVino
