"""The graph of a stored model without the values of its constants: enough for candidates, costs and fronts."""

from __future__ import annotations

from typing import Any

import numpy as np

from app.candidates import Candidates, list_candidates
from app.db.records import ModelRecord
from app.errors import UserError
from app.graph.ir import Graph, Node, Tensor
from app.services.context import Context
from kernels.spec import Attrs, Layout, Shape


def skeleton(context: Context, record: ModelRecord) -> Graph:
    """The graph as it was imported, every constant zero but of the right dims; made once per model."""

    def read() -> Graph:
        document = context.models.graph(record.id)
        if document is None:
            raise UserError("not-found", f"the model {record.name} is gone", status=404)
        return graph_from_json(document)

    return context.remember(("skeleton", record.id), read)


def candidates(context: Context, record: ModelRecord, threads: int = 1, graph: Graph | None = None) -> Candidates:
    """All options of a stored model for calls that up to `threads` threads share; listed once.

    `graph`: the model's skeleton, for callers that may read no database any more.
    """
    key = ("candidates", record.id, threads)
    return context.remember(key, lambda: list_candidates(graph or skeleton(context, record), threads=threads))


def graph_from_json(document: dict[str, Any]) -> Graph:
    """Inverse of `Graph.to_json` but for the constants' values, which it does not have: they read as zero."""
    tensors = [Tensor(**tensor | {"dims": tuple(tensor["dims"])}) for tensor in document["tensors"]]
    return Graph(
        name=document["name"],
        inputs=tuple(document["inputs"]),
        outputs=tuple(document["outputs"]),
        tensors={tensor.name: tensor for tensor in tensors},
        nodes=tuple(_node(node) for node in document["nodes"]),
        constants={
            # One zero seen through strides of 0: dims and size are right, memory is four bytes.
            name: np.broadcast_to(np.float32(0), tuple(dims))
            for name, dims in document["constants"].items()
        },
    )


def _node(document: dict[str, Any]) -> Node:
    fields = document | {
        "inputs": tuple(document["inputs"]),
        "shape": Shape.parse(document["shape"]) if document["shape"] else None,
        "attrs": Attrs(**document["attrs"]),
        "sources": tuple(document["sources"]),
        "view_in": Layout(document["view_in"]),
        "view_out": Layout(document["view_out"]),
    }
    return Node(**fields)
