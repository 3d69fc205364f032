"""How graph tests compare: the numpy interpreter of the imported graph against onnxruntime on the same bytes."""

from __future__ import annotations

import numpy as np

from app.graph.ir import Graph
from app.graph.oracle import run_onnx
from app.graph.reference import run
from tests import nets

TOLERANCE = 1e-5
"""Of max|y|: onnxruntime adds in float32 and in another order."""


def relative_error(found: np.ndarray, wanted: np.ndarray) -> float:
    """Largest difference over the largest magnitude; the shapes must agree."""
    assert found.shape == wanted.shape
    scale = float(np.abs(wanted).max())
    return float(np.abs(found - wanted).max()) / (scale if scale > 0 else 1.0)


def assert_equals_onnxruntime(graph: Graph, model: bytes, *, tolerance: float = TOLERANCE, seed: int = 0) -> None:
    """Every output of `graph`, on random inputs, is onnxruntime's."""
    inputs = nets.random_inputs(model, seed)
    found, wanted = run(graph, inputs), run_onnx(model, inputs)
    assert list(found) == list(wanted)
    for name in wanted:
        assert relative_error(found[name], wanted[name]) <= tolerance, name
