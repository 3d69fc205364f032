"""A Graph as bytes and back, with its constants, without pickle: what crosses a process border or waits on disk."""

from __future__ import annotations

import dataclasses
import json
import struct
from typing import Any

import numpy as np

from app.graph.ir import Graph, Node, Tensor
from kernels.spec import Attrs, Layout, Shape

_MAGIC = b"TSGRAPH1"
_HEADER = struct.Struct("<8sQ")


def save(graph: Graph) -> bytes:
    """Header, JSON, then the constants' float32 values, little-endian, in the order of the JSON."""
    text = json.dumps(_plain(graph), separators=(",", ":")).encode()
    values = [np.ascontiguousarray(value, "<f4").tobytes() for value in graph.constants.values()]
    return b"".join([_HEADER.pack(_MAGIC, len(text)), text, *values])


def load(data: bytes) -> Graph:
    """Inverse of `save`; ValueError when `data` is not what `save` returned. Constants are read-only."""
    if len(data) < _HEADER.size or data[: len(_MAGIC)] != _MAGIC:
        raise ValueError("not a saved graph")
    _, text_bytes = _HEADER.unpack_from(data)
    at = _HEADER.size + text_bytes
    plain = json.loads(data[_HEADER.size : at])
    constants = {}
    for name, dims in plain["constants"].items():
        count = int(np.prod(dims, dtype=np.int64))
        constants[name] = np.frombuffer(data, "<f4", count, at).reshape(dims)
        at += 4 * count
    if at != len(data):
        raise ValueError("a saved graph with bytes missing or left over")
    return Graph(
        name=plain["name"],
        inputs=tuple(plain["inputs"]),
        outputs=tuple(plain["outputs"]),
        tensors={t["name"]: Tensor(**(t | {"dims": tuple(t["dims"])})) for t in plain["tensors"]},
        nodes=tuple(_node(n) for n in plain["nodes"]),
        constants=constants,
    )


def _plain(graph: Graph) -> dict[str, Any]:
    return graph.to_json() | {"nodes": [node_json | _attrs(n) for node_json, n in _with_json(graph)]}


def _with_json(graph: Graph) -> list[tuple[dict[str, Any], Node]]:
    return list(zip(graph.to_json()["nodes"], graph.nodes, strict=True))


def _attrs(node: Node) -> dict[str, Any]:
    # The shortest text that reads back as the same double; covers the infinities, which JSON has no word for.
    return {"attrs": {k: repr(v) for k, v in dataclasses.asdict(node.attrs).items()}}


def _node(plain: dict[str, Any]) -> Node:
    return Node(
        name=plain["name"],
        op=plain["op"],
        inputs=tuple(plain["inputs"]),
        output=plain["output"],
        shape=Shape.parse(plain["shape"]) if plain["shape"] else None,
        attrs=Attrs(**{k: float(v) for k, v in plain["attrs"].items()}),
        weights=plain["weights"],
        bias=plain["bias"],
        sources=tuple(plain["sources"]),
        view_in=Layout(plain["view_in"]),
        view_out=Layout(plain["view_out"]),
    )
