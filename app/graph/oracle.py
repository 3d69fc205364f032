"""onnxruntime on the original file: the judge of everything else."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnxruntime


def run_onnx(
    data: bytes, inputs: Mapping[str, npt.NDArray[np.floating]], *, threads: int = 1
) -> dict[str, npt.NDArray[np.generic]]:
    """The outputs of the ONNX file `data` by name, graph optimisations off.

    `inputs` are in the file's dims (a batch dimension included) and are cast to float32.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only: files with weights among the inputs warn once per weight
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    feeds = {name: np.asarray(value, np.float32) for name, value in inputs.items()}
    return dict(zip(names, session.run(names, feeds), strict=True))
