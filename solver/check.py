"""Independent checker of a plan: plays it on addressed bytes. Shares no code with model, dp, evaluate or arena.

It never asks how long a buffer lives. It runs the steps in order and demands that whatever a step reads is still where
it was written, so a wrong lifetime, a wrong offset and a wrong peak all show as what they would be: corrupted data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from solver.problem import BufferKind, Evaluation, MemoryAxis, Part, Placement, Problem, Selection

Tensor = tuple[str, int]  # ("output", node), ("copy", edge) or ("resident", node)
Span = tuple[int, int]  # [begin, end) of arena addresses


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: a stable reason and the particulars."""

    reason: str
    detail: str


@dataclass(frozen=True)
class _Event:
    """A step: what it reads, what it writes (tensor, bytes), its scratch buffer, and the tensor it overwrites."""

    label: str
    reads: tuple[Tensor, ...]
    writes: Tensor
    write_bytes: int
    scratch: tuple[BufferKind, int, int]  # kind, index, bytes
    overwrites: Tensor | None = None
    part: Part | None = None  # where in a shared buffer it writes
    joins: bool = False  # writes nothing: what it reads becomes its output


def check(
    problem: Problem,
    selection: Selection,
    *,
    evaluation: Evaluation | None = None,
    placements: Sequence[Placement] | None = None,
    arena_bytes: int | None = None,
    axis: MemoryAxis | None = None,
    budget_bytes: int | None = None,
    max_weights_bytes: int | None = None,
) -> tuple[Fault, ...]:
    """Everything wrong with a plan; empty when it is right.

    Always: the selection is allowed. With `evaluation`: its four figures. With `placements`: sizes, alignment, bounds
    (`arena_bytes`, default the evaluation's), stated lifetimes, and that no data is overwritten before its last read.
    With `axis` and `budget_bytes`: the recomputed figure fits.
    """
    faults: list[Fault] = []
    if len(selection.options) != len(problem.nodes) or any(
        not 0 <= i < len(node.options) for i, node in zip(selection.options, problem.nodes, strict=False)
    ):
        return (Fault("selection-shape", "one valid option index per node is needed"),)
    events = _events(problem, selection, faults)
    if faults:
        return tuple(faults)
    _check_in_place(problem, events, faults)
    if faults:
        return tuple(faults)
    homes = _homes(events)
    _check_parts(problem, events, homes, faults)
    if faults:
        return tuple(faults)
    found = _figures(problem, selection, events, homes)
    if evaluation is not None:
        for name in ("time_ns", "arena_bytes", "workspace_bytes", "weights_bytes"):
            claimed, true = getattr(evaluation, name), getattr(found, name)
            if claimed != true:
                faults.append(Fault(f"wrong-{name.split('_')[0]}", f"{name} is {true}, not {claimed}"))
    if axis is not None and budget_bytes is not None:
        used_bytes = {
            MemoryAxis.ARENA: found.arena_bytes,
            MemoryAxis.WORKSPACE: found.workspace_bytes,
            MemoryAxis.TOTAL: found.arena_bytes + found.weights_bytes,
        }[axis]
        if used_bytes > budget_bytes:
            faults.append(Fault("over-budget", f"{axis} takes {used_bytes} bytes, the budget is {budget_bytes}"))
    if max_weights_bytes is not None and found.weights_bytes > max_weights_bytes:
        faults.append(Fault("over-weights", f"weights take {found.weights_bytes} bytes of {max_weights_bytes}"))
    if placements is not None:
        limit = arena_bytes
        if limit is None:
            limit = found.arena_bytes if evaluation is None else evaluation.arena_bytes
        faults.extend(_check_placements(problem, selection, events, homes, placements, limit))
    return tuple(faults)


def _events(problem: Problem, selection: Selection, faults: list[Fault]) -> list[_Event]:
    """The steps of the selection in order; impossible layout pairs go to `faults`."""
    align = problem.align_bytes

    def up(size_bytes: int) -> int:
        return size_bytes + (-size_bytes) % align

    incoming: dict[int, list[int]] = {}
    for e, edge in enumerate(problem.edges):
        incoming.setdefault(edge.dst, []).append(e)
    events = []
    for v, node in enumerate(problem.nodes):
        option = node.options[selection.options[v]]
        reads: list[Tensor] = []
        for e in sorted(incoming.get(v, ()), key=lambda e: problem.edges[e].port):
            edge = problem.edges[e]
            source = problem.nodes[edge.src]
            pair = (source.options[selection.options[edge.src]].out_layout, option.in_layouts[edge.port])
            conversion = edge.conversions.get(pair)
            if conversion is None:
                faults.append(
                    Fault("layout-mismatch", f"{source.name} writes {pair[0]}, {node.name}:{edge.port} takes {pair[1]}")
                )
            elif conversion.copies:
                label = f"convert {source.name} for {node.name}:{edge.port}"
                scratch = (BufferKind.CONVERSION_WORKSPACE, e, up(conversion.workspace_bytes))
                events.append(_Event(label, (("output", edge.src),), ("copy", e), up(conversion.copy_bytes), scratch))
                reads.append(("copy", e))
            else:
                reads.append(("output", edge.src))
        scratch = (BufferKind.WORKSPACE, v, up(option.workspace_bytes))
        size_bytes = up(node.out_bytes[option.out_layout])
        over = None if option.in_place is None or len(reads) <= option.in_place else reads[option.in_place]
        reads += [("resident", v)] if option.resident_bytes else []
        part = node.parts.get(option.out_layout)
        events.append(_Event(node.name, tuple(reads), ("output", v), size_bytes, scratch, over, part, option.joins))
    return events


def _check_in_place(problem: Problem, events: list[_Event], faults: list[Fault]) -> None:
    """Nothing reads a tensor after, or beside, the step that writes over it."""
    size_of = {event.writes: event.write_bytes for event in events}
    for at, event in enumerate(events):
        victim = event.overwrites
        if victim is None:
            continue
        why = ""
        if size_of[victim] == 0 or size_of[victim] != event.write_bytes:
            why = f"it holds {size_of[victim]} bytes, the output needs {event.write_bytes}"
        elif any(victim in later.reads for later in events[at + 1 :]):
            why = "it is read later"
        elif victim[0] == "output":
            v = event.writes[1]
            if problem.nodes[victim[1]].stays_live:
                why = "it must stay live"
            elif sum(edge.src == victim[1] and edge.dst == v for edge in problem.edges) > 1:
                why = "another port of the node reads it too"
        if why:
            faults.append(Fault("illegal-in-place", f"{event.label} overwrites {victim[0]} {victim[1]}: {why}"))


def _homes(events: list[_Event]) -> dict[Tensor, Tensor]:
    """The tensor whose storage each tensor lives in."""
    homes: dict[Tensor, Tensor] = {}
    makers: dict[str, Tensor] = {}
    for event in events:
        homes.update((tensor, tensor) for tensor in event.reads if tensor[0] == "resident")
        home = event.writes if event.overwrites is None else homes[event.overwrites]
        if event.part is not None:
            home = makers.setdefault(event.part.buffer, home)
        homes[event.writes] = home
    return homes


def _check_parts(problem: Problem, events: list[_Event], homes: dict[Tensor, Tensor], faults: list[Fault]) -> None:
    """Buffers are made by their first part and hold the others; joins read parts of their own output, end to end."""
    bytes_of = {event.writes: event.write_bytes for event in events}
    part_of = {event.writes: event.part for event in events}
    for event in events:
        home, part = homes[event.writes], event.part
        if part is not None and not 0 <= part.offset_bytes <= bytes_of[home] - part.size_bytes:
            faults.append(Fault("part-outside", f"{event.label} writes {part} of {bytes_of[home]} bytes"))
        if part is not None and event.overwrites is None and home != event.writes and event.write_bytes:
            faults.append(
                Fault("two-buffers", f"{event.label} brings {event.write_bytes} more bytes for {part.buffer}")
            )
        if not event.joins or event.write_bytes == bytes_of[home] == 0:
            continue
        at = 0 if part is None else part.offset_bytes
        end = event.write_bytes if part is None else at + part.size_bytes
        for tensor in event.reads:
            read = part_of[tensor]
            if read is None or homes[tensor] != home or read.offset_bytes != at:
                faults.append(Fault("illegal-join", f"{event.label} takes {tensor[0]} {tensor[1]} for bytes from {at}"))
                break
            at += read.size_bytes
        else:
            # A whole output is rounded up, its last part is not.
            if not 0 <= end - at < (problem.align_bytes if part is None else 1):
                faults.append(Fault("illegal-join", f"{event.label} has {at} bytes of {end}"))


def _figures(problem: Problem, selection: Selection, events: list[_Event], homes: dict[Tensor, Tensor]) -> Evaluation:
    """Recompute everything; liveness backwards, from the end of the run."""
    taken = [node.options[i] for node, i in zip(problem.nodes, selection.options, strict=True)]
    time_ns = sum(option.time_ns for option in taken)
    for edge in problem.edges:
        time_ns += edge.conversions[taken[edge.src].out_layout, taken[edge.dst].in_layouts[edge.port]].time_ns
    stays = {(BufferKind.RESIDENT, v): size_bytes for v, size_bytes in _resident(problem, selection).items()}
    bytes_of = {event.writes: event.write_bytes for event in events}
    bytes_of |= {("resident", v): size_bytes for (_, v), size_bytes in stays.items()}
    live = {homes["output", v] for v, node in enumerate(problem.nodes) if node.stays_live}
    live |= {("resident", v) for _, v in stays}
    peak = 0
    for event in reversed(events):
        live |= {homes[tensor] for tensor in (*event.reads, event.writes)}
        peak = max(peak, sum(bytes_of[home] for home in live) + event.scratch[2])
        if homes[event.writes] == event.writes:
            live.discard(event.writes)
    return Evaluation(
        time_ns=time_ns,
        arena_bytes=peak,
        workspace_bytes=max(option.workspace_bytes for option in taken),
        weights_bytes=sum(option.weights_bytes for option in taken),
    )


def _resident(problem: Problem, selection: Selection) -> dict[int, int]:
    """Bytes, rounded up, that nodes keep in the arena for ever."""
    align = problem.align_bytes
    taken = [node.options[i].resident_bytes for node, i in zip(problem.nodes, selection.options, strict=True)]
    return {v: size_bytes + (-size_bytes) % align for v, size_bytes in enumerate(taken) if size_bytes}


def _check_placements(
    problem: Problem,
    selection: Selection,
    events: list[_Event],
    homes: dict[Tensor, Tensor],
    placements: Sequence[Placement],
    arena_bytes: int,
) -> list[Fault]:
    """Sizes, bounds and stated lifetimes of every placement, then the run on addresses."""
    faults: list[Fault] = []
    spans: dict[tuple[BufferKind, int], Span] = {}
    stated: dict[tuple[BufferKind, int], Span] = {}
    for placement in placements:
        buffer, begin = placement.buffer, placement.offset_bytes
        name = f"{buffer.kind} {buffer.index}"
        if (buffer.kind, buffer.index) in spans:
            faults.append(Fault("placed-twice", name))
        if begin % problem.align_bytes:
            faults.append(Fault("misaligned", f"{name} at {begin}"))
        if begin < 0 or begin + buffer.size_bytes > arena_bytes:
            faults.append(Fault("outside-arena", f"{name} at {begin}, {buffer.size_bytes} of {arena_bytes} bytes"))
        spans[buffer.kind, buffer.index] = (begin, begin + buffer.size_bytes)
        stated[buffer.kind, buffer.index] = (buffer.first, buffer.last)
    needed: dict[tuple[BufferKind, int], int] = {}
    used: dict[tuple[BufferKind, int], list[int]] = {}
    for at, event in enumerate(events):
        for tensor in (*event.reads, event.writes):
            key = _key(homes[tensor])
            used.setdefault(key, []).append(at)
        if event.overwrites is None:
            needed[_key(event.writes)] = event.write_bytes
        kind, index, size_bytes = event.scratch
        needed[kind, index] = size_bytes
        used[kind, index] = [at]
    for v, node in enumerate(problem.nodes):
        if node.stays_live:
            used[_key(homes["output", v])].append(len(events) - 1)
    resident = _resident(problem, selection)
    for v, size_bytes in resident.items():
        needed[BufferKind.RESIDENT, v] = size_bytes
        used[BufferKind.RESIDENT, v] = [0, len(events) - 1]
        end = spans.get((BufferKind.RESIDENT, v), (0, 0))[1]
        if end > sum(resident.values()):
            faults.append(Fault("resident-behind", f"{BufferKind.RESIDENT} {v} ends at {end}, behind other data"))
    for key, size_bytes in needed.items():
        name = f"{key[0]} {key[1]}"
        if size_bytes == 0:
            if key in spans:
                faults.append(Fault("unknown-buffer", f"{name} takes no bytes of the arena"))
            continue
        if key not in spans:
            faults.append(Fault("missing-buffer", name))
            continue
        if spans[key][1] - spans[key][0] != size_bytes:
            faults.append(Fault("wrong-size", f"{name} is {spans[key][1] - spans[key][0]} bytes, needs {size_bytes}"))
        if stated[key] != (min(used[key]), max(used[key]) + 1):
            true = (min(used[key]), max(used[key]) + 1)
            faults.append(Fault("wrong-lifetime", f"{name} says steps {stated[key]}, is used during {true}"))
    faults.extend(Fault("unknown-buffer", f"{kind} {index}") for kind, index in spans if (kind, index) not in needed)
    if not any(fault.reason == "missing-buffer" for fault in faults):
        faults.extend(_play(problem, events, homes, spans))
    return faults


def _key(tensor: Tensor) -> tuple[BufferKind, int]:
    return BufferKind(tensor[0]), tensor[1]


def _play(
    problem: Problem,
    events: list[_Event],
    homes: dict[Tensor, Tensor],
    spans: dict[tuple[BufferKind, int], Span],
) -> list[Fault]:
    """Run the steps on addresses: a write destroys every tensor it touches, a read demands its tensor whole."""
    faults: list[Fault] = []
    # Tensors in the arena whose bytes are intact: at first those that were there before.
    whole: dict[Tensor, Span] = {("resident", v): spans[kind, v] for kind, v in spans if kind is BufferKind.RESIDENT}
    lost: dict[Tensor, str] = {}

    def meet(one: Span, other: Span) -> bool:
        return one[0] < other[1] and other[0] < one[1]

    def clobber(span: Span, by: str, *, buffer: Tensor | None = None) -> None:
        """Lose what lies in `span`, or, written as a part, whatever lies in `buffer` and is no other part of it."""
        for tensor, at in list(whole.items()):
            if meet(at, spans[_key(buffer)] if buffer is not None and homes[tensor] != buffer else span):
                del whole[tensor]
                lost[tensor] = by

    for event in events:
        reading = [whole[tensor] for tensor in event.reads if tensor in whole and tensor != event.overwrites]
        faults.extend(
            Fault("overwritten", f"{event.label} reads {tensor[0]} {tensor[1]}, overwritten by {lost[tensor]}")
            for tensor in event.reads
            if tensor in lost
        )
        scratch = spans.get(event.scratch[:2])
        target = spans.get(_key(homes[event.writes]))
        if target is not None and event.part is not None:
            begin = target[0] + event.part.offset_bytes
            target = (begin, begin + event.part.size_bytes)
        if scratch is not None:
            # Scratch is written while inputs are still read, so all of them, the overwritten one too, must be clear.
            inputs = [whole[tensor] for tensor in event.reads if tensor in whole]
            if any(meet(scratch, span) for span in inputs) or (target is not None and meet(scratch, target)):
                faults.append(Fault("overlap", f"workspace of {event.label} meets its own operands"))
            clobber(scratch, f"the workspace of {event.label}")
        if target is not None and event.joins:
            whole[event.writes] = target
        elif target is not None:
            if any(meet(target, span) for span in reading):
                faults.append(Fault("overlap", f"the output of {event.label} meets an input"))
            shared = None if event.part is None else homes[event.writes]
            clobber(target, f"the output of {event.label}", buffer=shared)
            lost.pop(event.writes, None)
            whole[event.writes] = target
    for v, node in enumerate(problem.nodes):
        if node.stays_live and ("output", v) in lost:
            faults.append(Fault("overwritten", f"{node.name} must stay live, overwritten by {lost['output', v]}"))
    return faults
