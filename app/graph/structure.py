"""What network a graph is, whatever its weights, names and order of nodes: a digest of operators, shapes and wiring."""

from __future__ import annotations

import hashlib

from app.graph.ir import VIEW, Graph

_COMMUTATIVE = frozenset({"add", "mul"})


def structure_digest(graph: Graph) -> str:
    """16 hex digits: the same for every graph of these operators, shapes and edges, however it came about.

    A node's digest covers its operator, shape and the digests of what it reads, so it covers everything before it; the
    graph's covers its outputs' and all nodes'. Views rename memory and do not count; nor do weights and attributes.
    """
    digests = {name: _digest("input", *map(str, graph.tensors[name].chw)) for name in graph.inputs}
    nodes = [node for node in graph.nodes if node.op != VIEW]
    for node in nodes:
        assert node.shape is not None
        read = [digests[graph.resolve(name).tensor] for name in node.inputs]
        digests[node.output] = _digest(node.shape.key(), *(sorted(read) if node.op in _COMMUTATIVE else read))
    outputs = [digests[graph.resolve(name).tensor] for name in graph.outputs]
    return _digest(*outputs, "of", *sorted(digests[node.output] for node in nodes))


def _digest(*words: str) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]
