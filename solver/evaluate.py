"""Exact integer figures and concrete buffer lifetimes of any selection. Knows the memory model, no optimisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from solver.problem import Buffer, BufferKind, Conversion, Evaluation, MemoryAxis, Problem, Selection


class ImpossibleSelection(ValueError):
    """A selection the problem does not allow: a layout pair no conversion serves, or an illegal in-place option."""


@dataclass(frozen=True)
class Step:
    """One conversion (on edge `edge`, for node `node`) or the run of node `node` (`edge` is None)."""

    node: int
    edge: int | None
    label: str


@dataclass(frozen=True)
class Lifetimes:
    """When every buffer of a selection is live, and which buffer holds each tensor.

    An in-place chain is one buffer, named after whoever made the storage: the OUTPUT of the first node of the chain,
    or the COPY it overwrote. So is a buffer of parts: the OUTPUT of the node that wrote the first one. `storage[v]` is
    the buffer that holds v's output (None: outside the arena), `copies[e]` the buffer of the copy on edge e, for
    converted edges whose copy lies in the arena; after an in-place run over a copy, `storage[v]` and `copies[e]` are
    the same buffer. `workspaces[v]` and `conversion_workspaces[e]` likewise.
    """

    steps: tuple[Step, ...]
    buffers: tuple[Buffer, ...]
    storage: tuple[Buffer | None, ...]
    copies: Mapping[int, Buffer]
    workspaces: Mapping[int, Buffer]
    conversion_workspaces: Mapping[int, Buffer]
    conversion_ns: int  # of all conversions

    @property
    def labels(self) -> tuple[str, ...]:
        """One label per step: "node" or "convert tensor for node:port"."""
        return tuple(step.label for step in self.steps)

    def live_bytes(self) -> list[int]:
        """Sum of live buffers at each step."""
        change = [0] * (len(self.steps) + 1)
        for buffer in self.buffers:
            change[buffer.first] += buffer.size_bytes
            change[buffer.last] -= buffer.size_bytes
        return list(accumulate(change[:-1]))


@dataclass(frozen=True)
class Bottleneck:
    """The step that sets a selection's memory and what is live there: (what, bytes), largest first."""

    step: str
    need_bytes: int
    parts: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        parts = " + ".join(f"{what} {size_bytes}" for what, size_bytes in self.parts)
        return f"{self.step}: {parts}" if parts else self.step


@dataclass
class _Storage:
    """A buffer that is still growing in time."""

    kind: BufferKind
    index: int
    size_bytes: int
    first: int
    last: int

    def freeze(self) -> Buffer:
        return Buffer(self.kind, self.index, self.size_bytes, self.first, self.last)


def conversion_on(problem: Problem, selection: Selection, edge_index: int) -> Conversion:
    """The conversion a selection implies on an edge; ImpossibleSelection when no conversion serves the pair."""
    edge = problem.edges[edge_index]
    src, dst = problem.nodes[edge.src], problem.nodes[edge.dst]
    producer, consumer = src.options[selection.options[edge.src]], dst.options[selection.options[edge.dst]]
    pair = (producer.out_layout, consumer.in_layouts[edge.port])
    try:
        return edge.conversions[pair]
    except KeyError:
        raise ImpossibleSelection(
            f"{dst.name}:{edge.port} takes {pair[1]} ({consumer.name}) and {src.name} writes {pair[0]} "
            f"({producer.name}): no conversion serves this pair"
        ) from None


def lifetimes(problem: Problem, selection: Selection) -> Lifetimes:
    """Steps in execution order and the buffers they need; ImpossibleSelection when the selection is not allowed."""
    align = problem.align_bytes
    feeds, last_consumer = problem.in_edges, problem.last_reader
    conversions = [conversion_on(problem, selection, e) for e in range(len(problem.edges))]
    steps: list[Step] = []
    made: list[_Storage] = []
    storage: list[_Storage | None] = []
    copies: dict[int, _Storage] = {}
    workspaces: dict[int, _Storage] = {}
    conversion_workspaces: dict[int, _Storage] = {}
    residents: list[_Storage] = []
    wholes: dict[str, _Storage] = {}  # buffers of parts

    def make(kind: BufferKind, index: int, size_bytes: int) -> _Storage | None:
        """New bytes from the current step to its end; None when there are none."""
        if size_bytes == 0:
            return None
        rounded = -(-size_bytes // align) * align
        made.append(_Storage(kind, index, rounded, len(steps), len(steps) + 1))
        return made[-1]

    for v, node in enumerate(problem.nodes):
        resident = make(BufferKind.RESIDENT, v, node.options[selection.options[v]].resident_bytes)
        residents += [resident] if resident is not None else []
    for v, node in enumerate(problem.nodes):
        option = node.options[selection.options[v]]
        read: list[_Storage | None] = []
        for e in feeds[v]:
            edge, conversion = problem.edges[e], conversions[e]
            original = storage[edge.src]
            if not conversion.copies:
                read.append(original)
                continue
            if original is not None:
                original.last = max(original.last, len(steps) + 1)
            copy = make(BufferKind.COPY, e, conversion.copy_bytes)
            scratch = make(BufferKind.CONVERSION_WORKSPACE, e, conversion.workspace_bytes)
            if copy is not None:
                copies[e] = copy
            if scratch is not None:
                conversion_workspaces[e] = scratch
            read.append(copy)
            steps.append(Step(v, e, f"convert {problem.nodes[edge.src].name} for {node.name}:{edge.port}"))
        for buffer in read:
            if buffer is not None:
                buffer.last = max(buffer.last, len(steps) + 1)
        workspace = make(BufferKind.WORKSPACE, v, option.workspace_bytes)
        if workspace is not None:
            workspaces[v] = workspace
        part = node.parts.get(option.out_layout)
        if option.in_place is None:
            made_here = make(BufferKind.OUTPUT, v, node.out_bytes[option.out_layout])
            if part is not None:
                if (part.buffer in wholes) != (made_here is None):
                    raise ImpossibleSelection(f"{node.name}: {part.buffer} is not made by its first part")
                made_here = wholes.setdefault(part.buffer, made_here) if made_here else wholes[part.buffer]
                made_here.last = max(made_here.last, len(steps) + 1)
            storage.append(made_here)
        else:
            taken = read[option.in_place]
            reason = _in_place_fault(problem, feeds[v], conversions, option.in_place, last_consumer)
            rounded = -(-node.out_bytes[option.out_layout] // align) * align
            if reason is None and (taken is None or taken.size_bytes != rounded):
                found_bytes = taken.size_bytes if taken else 0
                reason = f"its output takes {rounded} bytes, the storage it overwrites {found_bytes}"
            if reason is not None:
                raise ImpossibleSelection(f"{node.name} ({option.name}) cannot work in place: {reason}")
            storage.append(taken)
        steps.append(Step(v, None, node.name))
    for v, node in enumerate(problem.nodes):
        kept = storage[v]
        if node.stays_live and kept is not None:
            kept.last = len(steps)
    for resident in residents:
        resident.last = len(steps)
    frozen = {id(buffer): buffer.freeze() for buffer in made}
    return Lifetimes(
        steps=tuple(steps),
        buffers=tuple(frozen.values()),
        storage=tuple(None if buffer is None else frozen[id(buffer)] for buffer in storage),
        copies={e: frozen[id(buffer)] for e, buffer in copies.items()},
        workspaces={v: frozen[id(buffer)] for v, buffer in workspaces.items()},
        conversion_workspaces={e: frozen[id(buffer)] for e, buffer in conversion_workspaces.items()},
        conversion_ns=sum(conversion.time_ns for conversion in conversions),
    )


def _in_place_fault(
    problem: Problem, feeds: Sequence[int], conversions: Sequence[Conversion], port: int, last_consumer: Sequence[int]
) -> str | None:
    """Why the tensor read on `port` may not be overwritten; None when it may."""
    edge = problem.edges[feeds[port]]
    if conversions[feeds[port]].copies:
        return None
    src = problem.nodes[edge.src]
    if src.stays_live:
        return f"{src.name} must stay live"
    if last_consumer[edge.src] != edge.dst:
        return f"{src.name} is read later"
    if sum(problem.edges[e].src == edge.src for e in feeds) > 1:
        return f"{src.name} is read by another port as well"
    return None


def evaluate(problem: Problem, selection: Selection) -> Evaluation:
    """Exact figures of any selection; ImpossibleSelection when it is not allowed."""
    return evaluate_lifetimes(problem, selection, lifetimes(problem, selection))


def evaluate_lifetimes(problem: Problem, selection: Selection, lived: Lifetimes) -> Evaluation:
    """The same when the lifetimes are known already."""
    chosen = [node.options[i] for node, i in zip(problem.nodes, selection.options, strict=True)]
    return Evaluation(
        time_ns=sum(option.time_ns for option in chosen) + lived.conversion_ns,
        arena_bytes=max(lived.live_bytes(), default=0),
        workspace_bytes=max((option.workspace_bytes for option in chosen), default=0),
        weights_bytes=sum(option.weights_bytes for option in chosen),
    )


def bottleneck(problem: Problem, selection: Selection, axis: MemoryAxis) -> Bottleneck:
    """What sets the selection's bytes on `axis`; the first such step when several do."""
    chosen = [node.options[i] for node, i in zip(problem.nodes, selection.options, strict=True)]
    if axis is MemoryAxis.WORKSPACE:
        v = max(range(len(chosen)), key=lambda i: chosen[i].workspace_bytes)
        need_bytes = chosen[v].workspace_bytes
        if not need_bytes:
            return Bottleneck("no node needs workspace", 0, ())
        return Bottleneck(problem.nodes[v].name, need_bytes, ((f"workspace of {chosen[v].name}", need_bytes),))
    lived = lifetimes(problem, selection)
    live_bytes = lived.live_bytes()
    at = max(range(len(live_bytes)), key=live_bytes.__getitem__)
    parts = [(buffer_label(problem, b, selection), b.size_bytes) for b in lived.buffers if b.first <= at < b.last]
    need_bytes = live_bytes[at]
    if axis is MemoryAxis.TOTAL:
        weights_bytes = sum(option.weights_bytes for option in chosen)
        parts.append(("weights", weights_bytes))
        need_bytes += weights_bytes
    parts.sort(key=lambda part: -part[1])
    return Bottleneck(lived.steps[at].label, need_bytes, tuple(parts))


def buffer_label(problem: Problem, buffer: Buffer, selection: Selection) -> str:
    """What a reader calls a buffer: "conv1", "copy of conv1 for conv2:0", "workspace of conv2"."""
    if buffer.kind is BufferKind.OUTPUT:
        node = problem.nodes[buffer.index]
        whole = node.options[selection.options[buffer.index]].out_layout in node.parts
        return f"{node.name} with the rest of its concat" if whole else node.name
    if buffer.kind in (BufferKind.WORKSPACE, BufferKind.RESIDENT):
        what = "workspace" if buffer.kind is BufferKind.WORKSPACE else "resident weights"
        return f"{what} of {problem.nodes[buffer.index].name}"
    edge = problem.edges[buffer.index]
    copy = f"copy of {problem.nodes[edge.src].name} for {problem.nodes[edge.dst].name}:{edge.port}"
    return copy if buffer.kind is BufferKind.COPY else f"workspace of the {copy}"
