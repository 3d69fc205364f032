"""MNN on the CPU: precision high (float32), memory normal, power high; the session interface."""

from __future__ import annotations

import MNN
import numpy as np

from app.benchmark.peers.worker import FloatArray
from app.benchmark.task import Task

_MEMORY = 0  # of Interpreter.getSessionInfo; the answer is in MB of 2^20 bytes


class Mnn:
    """One session. It uses the memory of its inputs for other tensors, so they are copied into it before every run."""

    def __init__(self, task: Task, inputs: list[FloatArray]):
        self._interpreter = MNN.Interpreter(str(task.model / "model.mnn"))
        settings = {"backend": "CPU", "precision": "high", "memory": "normal", "power": "high"}
        self._session = self._interpreter.createSession(settings | {"numThread": task.threads})
        targets = [self._interpreter.getSessionInput(self._session, tensor.name) for tensor in task.inputs]
        if any(tuple(target.getShape()) != tensor.dims for target, tensor in zip(targets, task.inputs, strict=True)):
            for target, tensor in zip(targets, task.inputs, strict=True):
                self._interpreter.resizeTensor(target, tensor.dims)
            self._interpreter.resizeSession(self._session)
        given = [
            MNN.Tensor(array.shape, MNN.Halide_Type_Float, array, MNN.Tensor_DimensionType_Caffe) for array in inputs
        ]
        self._copies = list(zip(targets, given, strict=True))
        self._outputs = task.outputs

    def feed(self) -> None:
        """Copy the inputs in."""
        for target, given in self._copies:
            target.copyFrom(given)

    def run(self) -> None:
        """One inference."""
        self._interpreter.runSession(self._session)

    def outputs(self) -> list[FloatArray]:
        """Copies in the file's axis order."""
        found = []
        for tensor in self._outputs:
            source = self._interpreter.getSessionOutput(self._session, tensor.name)
            empty = np.full(tensor.dims, np.nan, np.float32)
            target = MNN.Tensor(tensor.dims, MNN.Halide_Type_Float, empty, MNN.Tensor_DimensionType_Caffe)
            source.copyToHostTensor(target)
            found.append(np.array(target.getNumpyData(), np.float32))
        return found

    def session_bytes(self) -> int | None:
        """Weights, activations and workspace, by its own account."""
        return int(self._interpreter.getSessionInfo(self._session, _MEMORY) * 2**20)


load = Mnn
