"""A graph opened for rewriting by one pass: find neighbours, merge nodes, close it again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from app.graph.ir import Constant, Graph, Node, Tensor


class Draft:
    """Nodes keep their place in the execution order; a merged node takes the place of the earlier one unless late."""

    def __init__(self, graph: Graph):
        self._graph = graph
        self._nodes: list[Node | None] = list(graph.nodes)
        self._tensors = dict(graph.tensors)
        self._constants = dict(graph.constants)
        self._place = {node.output: i for i, node in enumerate(graph.nodes)}
        self._readers: dict[str, list[int]] = {name: [] for name in graph.tensors}
        for i, node in enumerate(graph.nodes):
            for name in node.inputs:
                self._readers[name].append(i)

    def nodes(self) -> Iterator[Node]:
        """The nodes that are there when the iterator comes by, in execution order."""
        for i in range(len(self._nodes)):
            node = self._nodes[i]
            if node is not None:
                yield node

    def tensor(self, name: str) -> Tensor:
        """A tensor by name."""
        return self._tensors[name]

    def constant(self, name: str | None) -> npt.NDArray[np.float64]:
        """A constant's values in float64; none is zeros of length 0."""
        return np.zeros(0) if name is None else self._constants[name].astype(np.float64)

    def producer(self, tensor: str) -> Node | None:
        """The node that writes `tensor`; None for a graph input."""
        return self._nodes[self._place[tensor]] if tensor in self._place else None

    def place(self, tensor: str) -> int:
        """Where in the execution order `tensor` is written; -1 for a graph input."""
        return self._place.get(tensor, -1)

    def sole_reader(self, tensor: str) -> Node | None:
        """The one node that reads `tensor`, if nothing else does (not the caller of the network either)."""
        readers = self._readers[tensor]
        return self._nodes[readers[0]] if len(readers) == 1 and not self.is_output(tensor) else None

    def is_output(self, tensor: str) -> bool:
        """Whether `tensor` is a graph output."""
        return tensor in self._graph.outputs

    def replace(self, node: Node, **changes: Any) -> Node:
        """`node` with fields changed, in its place; its output keeps its name."""
        changed = dataclasses.replace(node, **changes)
        place = self._place[node.output]
        self._unread(place, node)
        self._put(place, changed)
        return changed

    def merge(self, first: Node, second: Node, *, late: bool = False, **changes: Any) -> Node:
        """One node for `first` followed by `second`, its sole reader: `first` in its place, writing second's output.

        The sources of both are kept; `changes` are the other fields of the merged node. `late` puts it where `second`
        was, for a node that reads something written in between.
        """
        place = self._place.pop(first.output)
        then = self._place[second.output]
        self._remove(second)
        self._unread(place, first)
        del self._tensors[first.output]
        del self._readers[first.output]
        merged = dataclasses.replace(
            first, output=second.output, sources=_joined(first.sources, second.sources), **changes
        )
        if late:
            self._nodes[place], place = None, then
        self._place[second.output] = place
        self._put(place, merged)
        return merged

    def drop(self, node: Node) -> None:
        """Remove a node of one input that changes nothing; its readers read its input.

        Where it writes a graph output, its input takes the output's name and dims if it may; else the node stays.
        """
        source, output = node.inputs[0], node.output
        if self.is_output(output):
            producer = self.producer(source)
            if producer is None or self.is_output(source):
                return
            place = self._place.pop(source)
            self._remove(node)
            readers = self._readers.pop(source)
            del self._tensors[source]
            self._place[output] = place
            self._nodes[place] = dataclasses.replace(producer, output=output)
            for i in readers:
                self._nodes[i] = _reading(self._nodes[i], source, output)
            self._readers[output] += readers
            return
        self._remove(node)
        for i in self._readers.pop(output):
            self._nodes[i] = _reading(self._nodes[i], output, source)
            self._readers[source].append(i)
        del self._tensors[output]

    def add_constant(self, name: str, values: npt.NDArray[np.float64]) -> str | None:
        """The name of a new constant made from the one called `name`; None if float32 cannot hold `values`."""
        with np.errstate(over="ignore", invalid="ignore"):
            array: Constant = np.ascontiguousarray(values, np.float32)
        if not np.isfinite(array).all():
            return None
        n = 1
        base, fresh = name.split("~")[0], name
        while fresh in self._constants:
            fresh, n = f"{base}~{n}", n + 1
        self._constants[fresh] = array
        return fresh

    def build(self) -> Graph:
        """The rewritten graph, without constants nobody reads."""
        nodes = tuple(node for node in self._nodes if node is not None)
        used = {name for node in nodes for name in (node.weights, node.bias)}
        constants = {name: value for name, value in self._constants.items() if name in used}
        return dataclasses.replace(self._graph, nodes=nodes, tensors=self._tensors, constants=constants)

    def _put(self, place: int, node: Node) -> None:
        self._nodes[place] = node
        for name in node.inputs:
            self._readers[name].append(place)

    def _unread(self, place: int, node: Node) -> None:
        for name in node.inputs:
            self._readers[name].remove(place)

    def _remove(self, node: Node) -> None:
        place = self._place.pop(node.output)
        self._unread(place, node)
        self._nodes[place] = None


def _reading(node: Node | None, old: str, new: str) -> Node | None:
    if node is None:
        return None
    return dataclasses.replace(node, inputs=tuple(new if name == old else name for name in node.inputs))


def _joined(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *second)))
