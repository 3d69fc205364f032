"""The invariant checker sees every kind of broken graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from app.graph.check import BrokenGraph, check
from app.graph.ir import Graph, Tensor
from app.graph.onnx_import import import_onnx
from kernels.spec import Attrs, Layout
from tests import nets


def node_changed(position: int, **changes: Any) -> Callable[[Graph], Graph]:
    def change(graph: Graph) -> Graph:
        nodes = list(graph.nodes)
        nodes[position] = dataclasses.replace(nodes[position], **changes)
        return dataclasses.replace(graph, nodes=tuple(nodes))

    return change


def shape_changed(position: int, **changes: Any) -> Callable[[Graph], Graph]:
    def change(graph: Graph) -> Graph:
        return node_changed(position, shape=dataclasses.replace(graph.nodes[position].shape, **changes))(graph)  # type: ignore[type-var]

    return change


def constant_changed(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Graph], Graph]:
    def changed(graph: Graph) -> Graph:
        name = str(graph.nodes[1].weights)
        return dataclasses.replace(graph, constants={**graph.constants, name: change(graph.constants[name])})

    return changed


BREAKS: dict[str, Callable[[Graph], Graph]] = {
    "order": lambda g: dataclasses.replace(g, nodes=g.nodes[::-1]),
    "missing writer": lambda g: dataclasses.replace(g, nodes=g.nodes[:-1]),
    "written twice": lambda g: dataclasses.replace(g, nodes=(*g.nodes, dataclasses.replace(g.nodes[-1], name="again"))),
    "name twice": node_changed(2, name="node_y1"),
    "unknown output": lambda g: dataclasses.replace(g, outputs=("nowhere",)),
    "dims and chw": lambda g: dataclasses.replace(g, tensors={**g.tensors, "x": Tensor("x", (1, 8, 8, 3), 3, 8, 8)}),
    "operator": node_changed(1, op="dense"),
    "weights missing": node_changed(1, weights=None),
    "clamp on softmax-like": node_changed(0, attrs=Attrs(lo=0.0)),
    "empty clamp": node_changed(1, attrs=Attrs(lo=2.0, hi=1.0)),
    "kernel": shape_changed(1, kh=5),
    "stride": shape_changed(1, stride_h=2),
    "group": shape_changed(1, group=2),
    "unused field": shape_changed(1, axis=1),
    "view size": lambda g: dataclasses.replace(g, tensors={**g.tensors, "x": Tensor.of("x", (1, 8, 8, 4))}),
    "view layout": node_changed(0, view_in=Layout.CHW8C),
    "constant size": constant_changed(lambda v: v.reshape(-1)[:-1]),
    "constant type": constant_changed(lambda v: v.astype(np.float64)),
    "constant values": constant_changed(lambda v: v * np.float32(np.nan)),
    "unread constant": lambda g: dataclasses.replace(g, constants={**g.constants, "more": np.zeros(1, np.float32)}),
    "unread tensor": lambda g: dataclasses.replace(g, tensors={**g.tensors, "more": Tensor.of("more", (1,))}),
}


@pytest.mark.parametrize("name", BREAKS)
def test_broken_graph_is_seen(name: str) -> None:
    graph = import_onnx(nets.nhwc(), name="net")
    check(graph)
    broken = BREAKS[name](graph)
    with pytest.raises(BrokenGraph):
        check(broken)
