"""A numpy interpreter of the graph in float64: what the network means, whatever the C does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from app.graph import views
from app.graph.ir import VIEW, Graph, Node
from kernels.reference import Float64Array, compute


def run(
    graph: Graph, inputs: Mapping[str, npt.NDArray[np.floating]], *, tensors: Iterable[str] | None = None
) -> dict[str, Float64Array]:
    """The graph's outputs by name, float64 in their ONNX dims; or those of `tensors`, any tensors of the graph.

    `inputs` has one array per graph input, of the input's number of elements in row-major order.
    """
    wanted = list(graph.outputs if tensors is None else tensors)
    last_reader = {name: step for step, node in enumerate(graph.nodes) for name in node.inputs}
    values: dict[str, Float64Array] = {
        name: np.asarray(inputs[name], np.float64).reshape(graph.tensors[name].chw) for name in graph.inputs
    }
    for step, node in enumerate(graph.nodes):
        values[node.output] = _run_node(graph, node, values)
        for name in set(node.inputs):
            if last_reader[name] == step and name not in wanted:
                del values[name]
    return {name: values[name].reshape(graph.tensors[name].dims) for name in wanted}


def _run_node(graph: Graph, node: Node, values: Mapping[str, Float64Array]) -> Float64Array:
    if node.op == VIEW or node.shape is None:
        target = graph.tensors[node.output].chw
        viewed = views.rename(values[node.inputs[0]], (node.view_in, node.view_out), target)
        return np.asarray(viewed, np.float64)
    weights = None if node.weights is None else graph.constants[node.weights]
    bias = None if node.bias is None else graph.constants[node.bias]
    return compute(node.shape, node.attrs, [values[name] for name in node.inputs], weights, bias)
