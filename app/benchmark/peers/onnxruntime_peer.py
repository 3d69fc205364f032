"""onnxruntime: graph optimisations on, input and output buffers bound once, so that a run copies nothing."""

from __future__ import annotations

import numpy as np
import onnxruntime

from app.benchmark.peers.worker import FloatArray
from app.benchmark.task import Task


class OnnxRuntime:
    """One session with bound buffers."""

    def __init__(self, task: Task, inputs: list[FloatArray]):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.intra_op_num_threads = task.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(task.model), options, providers=["CPUExecutionProvider"])
        self._inputs = inputs
        self._outputs = [np.full(tensor.dims, np.nan, np.float32) for tensor in task.outputs]
        self._binding = self._session.io_binding()
        for tensor, array in zip(task.inputs, self._inputs, strict=True):
            self._binding.bind_input(tensor.name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        for tensor, array in zip(task.outputs, self._outputs, strict=True):
            self._binding.bind_output(tensor.name, "cpu", 0, np.float32, array.shape, array.ctypes.data)

    def feed(self) -> None:
        """Nothing to do: inputs stay as they are."""

    def run(self) -> None:
        """One inference."""
        self._session.run_with_iobinding(self._binding)

    def outputs(self) -> list[FloatArray]:
        """The bound buffers."""
        return self._outputs

    def session_bytes(self) -> int | None:
        """It does not say."""
        return None


load = OnnxRuntime
