"""ncnn in float32: no reduced-precision storage or arithmetic, packing, sgemm and Winograd on, light mode."""

from __future__ import annotations

import ncnn
import numpy as np

from app.benchmark.peers.worker import FloatArray
from app.benchmark.task import Task

_OFF = (
    "use_fp16_packed",
    "use_fp16_storage",
    "use_fp16_arithmetic",
    "use_bf16_packed",
    "use_bf16_storage",
    "use_int8_inference",
    "use_int8_packed",
    "use_int8_storage",
    "use_int8_arithmetic",
    "use_vulkan_compute",
)
_ON = (
    "lightmode",
    "use_packing_layout",
    "use_sgemm_convolution",
    "use_winograd_convolution",
    "use_winograd23_convolution",
    "use_winograd43_convolution",
    "use_winograd63_convolution",
)


class Ncnn:
    """One net; each run makes an extractor, as its users do."""

    def __init__(self, task: Task, inputs: list[FloatArray]):
        self._net = ncnn.Net()
        for values, names in ((False, _OFF), (True, _ON)):
            for name in names:
                if not hasattr(self._net.opt, name):  # assigning an unknown name would pass without effect
                    raise RuntimeError(f"this version of ncnn has no option {name}")
                setattr(self._net.opt, name, values)
        self._net.opt.num_threads = task.threads
        for read, file in ((self._net.load_param, "model.ncnn.param"), (self._net.load_model, "model.ncnn.bin")):
            if read(str(task.model / file)) != 0:
                raise RuntimeError(f"ncnn does not read {file}")
        # ncnn's matrices have no batch dimension.
        self._inputs = [ncnn.Mat(np.ascontiguousarray(array[0])).clone() for array in inputs]
        self._input_names = list(self._net.input_names())
        self._output_names = list(self._net.output_names())
        if len(self._input_names) != len(task.inputs) or len(self._output_names) != len(task.outputs):
            raise RuntimeError(
                f"the converted network has inputs {self._input_names} and outputs {self._output_names}, the model "
                f"{len(task.inputs)} and {len(task.outputs)}"
            )
        self._outputs: list[ncnn.Mat] = []

    def feed(self) -> None:
        """Nothing to do: inputs stay as they are."""

    def run(self) -> None:
        """One inference."""
        extractor = self._net.create_extractor()
        for name, matrix in zip(self._input_names, self._inputs, strict=True):
            extractor.input(name, matrix)
        answers = [extractor.extract(name) for name in self._output_names]
        if any(status != 0 for status, _ in answers):
            raise RuntimeError(f"ncnn's extract returns {[status for status, _ in answers]}")
        self._outputs = [matrix for _, matrix in answers]

    def outputs(self) -> list[FloatArray]:
        """The extracted matrices."""
        return [np.array(matrix) for matrix in self._outputs]

    def session_bytes(self) -> int | None:
        """It does not say."""
        return None


load = Ncnn
