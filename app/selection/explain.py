"""Why a point is what it is: what binds it, what memory costs beside it, what a pin costs, what differs from another.

Everything here is computed from the point, its front or the warm model; nothing is estimated.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.errors import UserError
from app.points import LayerChoice, Point
from app.selection.limits import Limits
from app.selection.what_if import WarmModel

ALIGN_BYTES = 64


@dataclass(frozen=True)
class BindingStep:
    """A step that keeps a point from being smaller: its bytes are within one alignment of the point's.

    `parts` are (what is live, bytes), largest first.
    """

    step: str
    live_bytes: int
    parts: tuple[tuple[str, int], ...]


def binding_steps(point: Point, memory: str) -> tuple[BindingStep, ...]:
    """The steps that set a point's bytes on the axis, in order of execution.

    On the workspace axis the layers of largest workspace; on the weights axis none: every layer adds to the sum.
    """
    if memory == "weights":
        return ()
    if memory == "workspace":
        return tuple(
            BindingStep(
                layer.node, layer.workspace_bytes, ((f"workspace of {layer.primitive}", layer.workspace_bytes),)
            )
            for layer in point.layers
            if layer.workspace_bytes and layer.workspace_bytes > point.workspace_bytes - ALIGN_BYTES
        )
    found = []
    for number, label in enumerate(point.steps):
        live = [buffer for buffer in point.buffers if buffer.first <= number < buffer.last]
        live_bytes = sum(buffer.size_bytes for buffer in live)
        if live_bytes and live_bytes > point.peak_bytes - ALIGN_BYTES:
            parts = [(_what(buffer.kind, buffer.node, buffer.port), buffer.size_bytes) for buffer in live]
            found.append(BindingStep(label, live_bytes, tuple(sorted(parts, key=lambda part: -part[1]))))
    return tuple(found)


def _what(kind: str, node: str, port: int | None) -> str:
    if kind == "output":
        return node
    at = node if port is None else f"{node}:{port}"
    if kind == "resident":
        return f"resident weights of {at}"
    return f"copy for {at}" if kind == "copy" else f"workspace of {at}"


@dataclass(frozen=True)
class MemoryPrice:
    """What lies between two neighbours of a front: `bytes` more memory buy `saved_ns`."""

    smaller: str  # ids of points
    larger: str
    bytes: int
    saved_ns: int

    @property
    def ns_per_kib(self) -> float:
        """Nanoseconds saved per KiB spent."""
        return self.saved_ns * 1024 / self.bytes


def memory_prices(points: Sequence[Point], memory: str) -> tuple[MemoryPrice, ...]:
    """The price between each two neighbours of a front, by rising memory."""
    size = f"{memory}_bytes"
    rising = sorted(points, key=lambda p: (getattr(p, size), p.latency_ns))
    return tuple(
        MemoryPrice(low.id, high.id, getattr(high, size) - getattr(low, size), low.latency_ns - high.latency_ns)
        for low, high in itertools.pairwise(rising)
        if getattr(high, size) > getattr(low, size)
    )


@dataclass(frozen=True)
class PinPrice:
    """What one pin costs at a budget, the other limits kept: differences of the fastest points with and without it.

    Negative bytes are saved by the pin.
    """

    layer: str
    primitive: str
    instead: str  # what the layer runs when it is free
    latency_ns: int
    arena_bytes: int
    workspace_bytes: int
    weights_bytes: int


def pin_prices(
    model: WarmModel, limits: Limits, memory: str, budget_bytes: int | None, pinned: Point
) -> tuple[PinPrice, ...]:
    """The price of each pin: solved again without it, everything else as it was. `pinned` is the answer with all."""
    found = []
    for layer, primitive in limits.pins:
        others = dataclasses.replace(limits, pins=tuple(pin for pin in limits.pins if pin[0] != layer))
        free = model.ask(others, memory, budget_bytes).point
        instead = next(choice.primitive for choice in free.layers if choice.node == layer)
        found.append(
            PinPrice(
                layer,
                primitive,
                instead,
                pinned.latency_ns - free.latency_ns,
                pinned.arena_bytes - free.arena_bytes,
                pinned.workspace_bytes - free.workspace_bytes,
                pinned.weights_bytes - free.weights_bytes,
            )
        )
    return tuple(found)


def price_of_pin(
    model: WarmModel, limits: Limits, memory: str, budget_bytes: int | None, layer: str, primitive: str
) -> PinPrice:
    """The price of one more pin at a budget. Raises UserError when nothing fits with it, saying what would."""
    pins = (*(pin for pin in limits.pins if pin[0] != layer), (layer, primitive))
    more = dataclasses.replace(limits, pins=pins)
    point = model.ask(more, memory, budget_bytes).point
    return next(price for price in pin_prices(model, more, memory, budget_bytes, point) if price.layer == layer)


CHANGES = ("primitive", "in_place", "strips", "conversions", "resident_bytes")
"""What the choices for a layer can differ in."""

FIGURES = ("latency_ns", "arena_bytes", "peak_bytes", "workspace_bytes", "weights_bytes", "total_bytes")


def differences(before: Point, after: Point) -> dict[str, Any]:
    """`after` less `before`: every figure, and each layer whose choice or conversions differ, by what it changes."""
    known = {layer.node: layer for layer in before.layers}
    layers = [
        _changed(known[layer.node], layer)
        for layer in after.layers
        if layer.node in known and choice_of(known[layer.node]) != choice_of(layer)
    ]
    layers.sort(key=lambda change: -abs(change["latency_ns"]))
    figures: dict[str, Any] = {name: getattr(after, name) - getattr(before, name) for name in FIGURES}
    return figures | {"layers": layers}


def choice_of(layer: LayerChoice) -> tuple[object, ...]:
    """What makes two choices for a layer the same choice."""
    return layer.option or (layer.primitive, layer.in_place), layer.conversions


def _changed(before: LayerChoice, after: LayerChoice) -> dict[str, Any]:
    def cost_ns(layer: LayerChoice) -> int:
        return layer.time_ns + layer.conversion_ns

    return {
        "node": after.node,
        "before": before.primitive,
        "after": after.primitive,
        "changes": [name for name in CHANGES if getattr(before, name) != getattr(after, name)],
        "latency_ns": cost_ns(after) - cost_ns(before),
        "workspace_bytes": after.workspace_bytes - before.workspace_bytes,
        "weights_bytes": after.weights_bytes - before.weights_bytes,
    }


def layer_options(model: WarmModel, limits: Limits, node: str) -> list[dict[str, Any]]:
    """Every option of a layer with its cost and bytes, fastest first; `objections` says why limits rule it out."""
    if node not in model.candidates.options:
        raise UserError("not-found", f"there is no layer {node}", status=404)
    v = model.built.index_of(node)
    found = [
        {
            "primitive": option.name,
            "family": option.family,
            "variant": option.variant,
            "in_layouts": list(option.in_layouts),
            "out_layout": option.out_layout,
            "in_place": option.in_place,
            "time_ns": model.built.problem.nodes[v].options[i].time_ns,
            "workspace_bytes": option.workspace_bytes,
            "weights_bytes": option.weights_bytes,
            "max_rel_err": max((primitive.max_rel_err for primitive in option.primitives), default=0.0),
            "objections": limits.objections(node, option),
        }
        for i, option in enumerate(model.built.options[v])
        if option.site is None  # chains are choices of several layers together
    ]
    return sorted(found, key=lambda option: option["time_ns"])
