"""Points and fronts as they are stored, shown and exported: plain data with units, JSON both ways."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LayerChoice:
    """What a point does with one node. `conversion_ns` is the time of the layout changes on its inputs.

    `option` is app.options.NodeOption.key; `call_ns` the median of each of its routine calls (`time_ns` is their sum).
    `strips` names the chain the node is computed in, strip by strip: "FIRST..LAST/ROWS", then what it is more than a
    path between tensors of their own; "" for a node by itself.
    `resident_bytes` of the arena hold weights that are packed when the network starts; 0: they are shipped packed.
    """

    node: str
    op: str
    shape: str  # kernels.spec.Shape.key()
    primitive: str  # the routines called, joined by "+"
    family: str
    variant: str
    in_layout: str
    out_layout: str
    in_place: int | None
    time_ns: int
    p10_ns: int
    p90_ns: int
    workspace_bytes: int
    weights_bytes: int
    conversions: tuple[str, ...]  # names of the convert primitives run before it
    conversion_ns: int
    option: str = ""
    call_ns: tuple[int, ...] = ()
    strips: str = ""
    resident_bytes: int = 0


@dataclass(frozen=True)
class ConversionChoice:
    """One layout change a point makes: of `tensor`, for input `port` of `consumer` (a node, or "output NAME")."""

    tensor: str
    consumer: str
    port: int
    primitive: str
    shape: str  # kernels.spec.Shape.key()
    time_ns: int


@dataclass(frozen=True)
class PlacedBuffer:
    """A buffer of the arena: `size_bytes` at `offset_bytes` during steps [first, last).

    `kind` is output, copy, workspace or resident; `node` is the node that writes it (output, workspace) or reads it
    (resident weights; copy, then `port` says on which input). A conversion's own workspace has kind workspace, its
    consumer's node and its port.
    """

    kind: str
    node: str
    port: int | None
    size_bytes: int
    first: int
    last: int
    offset_bytes: int


@dataclass(frozen=True)
class Point:
    """A selection with its figures. `proven`: latency_ns is the minimum for this memory; else `bound_ns` < latency_ns.

    `peak_bytes` is the largest sum of live buffers (the lower bound of any arena); `arena_bytes` is what the offsets
    need. `gap` = (latency - bound) / latency. `id` is a digest of the selection, so it survives a new sweep.
    """

    id: str
    latency_ns: int
    p10_ns: int
    p90_ns: int
    arena_bytes: int
    peak_bytes: int
    workspace_bytes: int
    weights_bytes: int
    proven: bool
    bound_ns: int
    gap: float
    families: dict[str, int]  # family of the convolution primitives -> number of nodes
    layers: tuple[LayerChoice, ...]
    conversions: tuple[ConversionChoice, ...]  # in execution order
    buffers: tuple[PlacedBuffer, ...]
    steps: tuple[str, ...]  # label of each step, in order: "node" or "convert tensor for node:port"

    @property
    def total_bytes(self) -> int:
        """Arena plus weights."""
        return self.arena_bytes + self.weights_bytes

    @property
    def resident_bytes(self) -> int:
        """The beginning of the arena: weights packed at the start, which stay between runs."""
        return sum(buffer.size_bytes for buffer in self.buffers if buffer.kind == "resident")

    def summary(self) -> dict[str, Any]:
        """The stable short form of `frontier --json`."""
        return {
            "id": self.id,
            "latency_ns": self.latency_ns,
            "p10_ns": self.p10_ns,
            "p90_ns": self.p90_ns,
            "arena_bytes": self.arena_bytes,
            "peak_bytes": self.peak_bytes,
            "workspace_bytes": self.workspace_bytes,
            "weights_bytes": self.weights_bytes,
            "total_bytes": self.total_bytes,
            "resident_bytes": self.resident_bytes,
            "proven": self.proven,
            "bound_ns": self.bound_ns,
            "gap": self.gap,
            "families": self.families,
        }

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain data."""
        parts = {  # flat records: dataclasses.asdict would copy every number of hundreds of them
            name: tuple(dict(part.__dict__) for part in getattr(self, name))
            for name in ("layers", "conversions", "buffers")
        }
        sums = {"total_bytes": self.total_bytes, "resident_bytes": self.resident_bytes}
        return self.__dict__ | parts | {"families": dict(self.families)} | sums

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Point:
        """Inverse of `to_json`."""
        fields = {f.name: data[f.name] for f in dataclasses.fields(cls)}
        fields["layers"] = tuple(
            LayerChoice(
                **(layer | {"conversions": tuple(layer["conversions"]), "call_ns": tuple(layer.get("call_ns", ()))})
            )
            for layer in data["layers"]
        )
        fields["conversions"] = tuple(ConversionChoice(**conversion) for conversion in data["conversions"])
        fields["buffers"] = tuple(PlacedBuffer(**buffer) for buffer in data["buffers"])
        fields["steps"] = tuple(data["steps"])
        return cls(**fields)


@dataclass(frozen=True)
class Baseline:
    """A named reference on the plot: what a simpler method would pick. Same figures as a point."""

    name: str  # time-only, fastest-per-layer, all-direct, greedy-planner
    explanation: str
    point: Point


@dataclass(frozen=True)
class Frontier:
    """The exact front of one (model, device, memory axis); points by rising memory, falling latency.

    `certified_by`: how optimality was established, for example "highs-lp+dp". Not `complete`: a limit ended the trace
    and only the points of largest memory are given. `io_bytes`: the caller's input and output buffers, which are not
    in the arena. `smallest_bytes` and `smallest_step`: the least budget any selection fits, and the step of execution
    that needs it; None and "" when the trace ended before that was known.
    """

    memory: str
    solve_s: float
    certified_by: str
    uncertified_because: str  # why the second method gave no answer; "" when it did
    complete: bool
    incomplete_because: str  # "" when complete
    points: tuple[Point, ...]
    baselines: tuple[Baseline, ...]
    smallest_bytes: int | None
    smallest_step: str
    io_bytes: int
    costs_digest: str  # of every cost used; another digest makes the front stale
    order: str = "given"  # the rule of app.order the execution order of the points comes from
    order_because: str = ""  # why orders were left out; "" when the rule looked at all it speaks of

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)} | {
            "points": [p.to_json() for p in self.points],
            "baselines": [
                {"name": b.name, "explanation": b.explanation, "point": b.point.to_json()} for b in self.baselines
            ],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Frontier:
        """Inverse of `to_json`."""
        fields = {f.name: data[f.name] for f in dataclasses.fields(cls) if f.name in data}
        fields["points"] = tuple(Point.from_json(p) for p in data["points"])
        fields["baselines"] = tuple(
            Baseline(b["name"], b["explanation"], Point.from_json(b["point"])) for b in data["baselines"]
        )
        return cls(**fields)

    def best(self, *, budget_bytes: int | None, max_latency_ns: int | None = None) -> Point | None:
        """The fastest point within the budget on this front's axis; None if none meets both bounds."""
        fitting = [p for p in self.points if budget_bytes is None or getattr(p, f"{self.memory}_bytes") <= budget_bytes]
        best = min(fitting, key=lambda p: p.latency_ns, default=None)
        if best is None or (max_latency_ns is not None and best.latency_ns > max_latency_ns):
            return None
        return best
