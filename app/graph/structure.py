"""What network a graph is, whatever its weights, names and order of nodes: a digest of operators, shapes and wiring."""

from __future__ import annotations

import hashlib

from app.graph.ir import VIEW, Graph
from kernels.spec import Shape

_COMMUTATIVE = frozenset({"add", "mul"})


def structure_digest(graph: Graph) -> str:
    """16 hex digits: the same for every graph of these operators, shapes and edges, however it came about.

    A node's digest covers its operator, geometry and the digests of what it reads, so it covers everything before it;
    the graph's covers its outputs' and all nodes'. Views rename memory and do not count; nor do weights and attributes.
    """
    digests = {name: _digest("input", *map(str, graph.tensors[name].chw)) for name in graph.inputs}
    nodes = [node for node in graph.nodes if node.op != VIEW]
    for node in nodes:
        assert node.shape is not None
        read = [digests[graph.resolve(name).tensor] for name in node.inputs]
        digests[node.output] = _digest(_geometry(node.shape), *(sorted(read) if node.op in _COMMUTATIVE else read))
    outputs = [digests[graph.resolve(name).tensor] for name in graph.outputs]
    return _digest(*outputs, "of", *sorted(digests[node.output] for node in nodes))


def _geometry(s: Shape) -> str:
    """Operator, extents, window and grouping: what stays when kernels are told more about a call."""
    pads = (s.pad_t, s.pad_l, s.pad_b, s.pad_r)
    window = (s.kh, s.kw, s.stride_h, s.stride_w, *pads, s.dilation_h, s.dilation_w, s.group, s.residual)
    return " ".join(map(str, (s.op, s.c, s.h, s.w, s.m, s.oh, s.ow, *window)))


def _digest(*words: str) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]
