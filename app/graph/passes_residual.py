"""The pass that turns a conv followed by an addition into one operator."""

from __future__ import annotations

import dataclasses

from app.graph.draft import Draft
from app.graph.ir import Graph, Node
from app.graph.passes_fold import clamps


def fuse_residual(graph: Graph) -> Graph:
    """An add of a conv's result and a tensor r becomes the conv with r as its residual: y = clamp(conv(x) + r).

    The conv must not clamp before the addition, add nothing yet and be read by nobody else. Of two convs the later
    one is taken: its sum is then written where the earlier one's result lies. The merged node stands where the conv
    stood, or where the add stood if r is computed only in between.
    """
    draft = Draft(graph)
    for add in draft.nodes():
        if add.op != "add":
            continue
        found = [(draft.place(name), port) for port, name in enumerate(add.inputs) if _fits(draft, name)]
        if not found:
            continue
        _, port = max(found)
        conv, residual = draft.producer(add.inputs[port]), add.inputs[1 - port]
        assert conv is not None
        assert conv.shape is not None
        draft.merge(
            conv,
            add,
            late=draft.place(residual) > draft.place(conv.output),
            inputs=(conv.inputs[0], residual),
            shape=dataclasses.replace(conv.shape, residual=1),
            attrs=add.attrs,
        )
    return draft.build()


def _fits(draft: Draft, tensor: str) -> bool:
    """Whether `tensor` is the unclamped result of a conv without residual that only the add reads."""
    conv: Node | None = draft.producer(tensor)
    if conv is None or conv.op != "conv" or conv.shape is None or conv.shape.residual or clamps(conv):
        return False
    return draft.sole_reader(tensor) is not None
