"""A chain of nodes run strip by strip as text: its geometries once each, then its strips as loops."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from app.codegen.expressions import PrintedPart, constants, place, pointer, printed_part, shape_fields, turns
from app.codegen.loops import Loop, operands, roll, strips_of
from app.codegen.plan import Plan
from app.codegen.text import bytes_text, duration_text, shape_text
from app.schedule import Call, Operand, Strip, span
from kernels.spec import F32_BYTES, Layout, Primitive, Shape


@dataclass(frozen=True)
class PrintedNode:
    """What a chain does with one node's rows, over all strips: words for comments and the report."""

    number: str
    label: str
    summary: str
    primitive: str
    calls: int
    expected: str
    share: str
    workspace_text: str
    weights_text: str
    operands: tuple[str, ...]


@dataclass(frozen=True)
class PrintedShape:
    """A geometry that calls of the chain have, and which."""

    title: str
    fields: tuple[str, ...]


@dataclass(frozen=True)
class StripCall:
    """One call of a loop's body. `geometry` is the argument that says what to compute; `threads` share it."""

    label: str
    primitive: str
    geometry: str
    threads: int
    inputs: tuple[str, ...]
    weights: str
    bias: str
    output: str
    workspace: str


@dataclass(frozen=True)
class PrintedLoop:
    """Strips that are executed `times` times."""

    title: str
    times: int
    calls: tuple[StripCall, ...]


@dataclass(frozen=True)
class PrintedChain:
    """A chain as text. `first` and `last` are the numbers of its calls."""

    first: int
    last: int
    strips: int
    nodes: tuple[PrintedNode, ...]
    shapes: tuple[PrintedShape, ...]
    shares: tuple[PrintedPart, ...]
    loops: tuple[PrintedLoop, ...]
    is_chain: ClassVar[bool] = True


class _Printer:
    """Prints the loops of a chain and collects the geometries they use."""

    def __init__(self, plan: Plan, first: int):
        self.plan = plan
        self.first = first  # index of the chain's first call in the schedule
        self.shapes: dict[tuple[str, ...], PrintedShape] = {}
        self.shares: dict[tuple[PrintedPart, ...], int] = {}  # -> index of the first of these parts

    def loop(self, loop: Loop) -> PrintedLoop:
        calls = tuple(loop.calls)
        begin = calls[0].strip.number + 1 if calls[0].strip else 0
        return PrintedLoop(
            title=f"Strip {begin}" if loop.strips == 1 else f"Strips {begin} to {begin + loop.strips - 1}",
            times=loop.times,
            calls=tuple(
                self.call(self.first + loop.first + i, call, advance)
                for i, (call, advance) in enumerate(zip(calls, loop.advances, strict=True))
            ),
        )

    def call(self, index: int, call: Call, advance: tuple[int, ...]) -> StripCall:
        assert call.strip is not None
        primitive, parts = self.plan.primitives[index], self.plan.parts[index]
        pointers = [pointer(self.plan, *pair) for pair in zip(operands(call), advance, strict=False)]
        weights, bias = constants(self.plan, index)
        if len(parts) > 1:
            geometry = self.shared(tuple(printed_part(primitive, part, call.attrs) for part in parts))
        else:
            fields = shape_fields(call.shape, call.attrs, primitive.pitches(call.shape))
            geometry = self.shape(_title(call.strip), fields)
        return StripCall(
            label=_rows(call.strip, *advance[-2:]),
            primitive=primitive.name,
            geometry=geometry,
            threads=len(parts),
            inputs=tuple(pointers[: len(call.inputs)]),
            weights=weights,
            bias=bias,
            output=pointers[len(call.inputs)],
            workspace=pointers[-1] if call.workspace else "NULL",
        )

    def shape(self, title: str, fields: tuple[str, ...]) -> str:
        if fields not in self.shapes:
            self.shapes[fields] = PrintedShape(title, fields)
        return f"&s[{list(self.shapes).index(fields)}]"

    def shared(self, parts: tuple[PrintedPart, ...]) -> str:
        return f"&shares[{self.shares.setdefault(parts, sum(map(len, self.shares)))}]"


def printed_chain(plan: Plan, first: int, end: int) -> PrintedChain:
    """Calls [first, end) of the schedule, counted from 0: all of one chain."""
    calls = plan.schedule.calls[first:end]
    strips = strips_of(calls)
    printer = _Printer(plan, first)
    loops = tuple(printer.loop(loop) for loop in roll(strips))
    return PrintedChain(
        first=first + 1,
        last=end,
        strips=len(strips),
        nodes=tuple(_nodes(plan, first, calls)),
        shapes=tuple(printer.shapes.values()),
        shares=tuple(itertools.chain.from_iterable(printer.shares)),
        loops=loops,
    )


def _rows(strip: Strip, first_step: int, end_step: int) -> str:
    """A strip's label in a loop."""
    if not (first_step or end_step):
        return strip.label
    rows = f"row {strip.first}{turns(first_step)}"
    if strip.end - strip.first > 1 or first_step != end_step:
        rows = f"rows {strip.first}{turns(first_step)} to {strip.end - 1}{turns(end_step)}"
    return f"{strip.node}, {rows} {strip.note}".rstrip()


def _title(strip: Strip) -> str:
    """What a geometry is for, at its first use."""
    count = strip.end - strip.first
    rows = f"{count} row{'s' if count > 1 else ''}"
    return f"{strip.node}: {rows} {strip.note}".rstrip() + f", first in strip {strip.number + 1}"


def _nodes(plan: Plan, first: int, calls: Sequence[Call]) -> Iterator[PrintedNode]:
    """What the chain does with the rows of each node, in order of first use."""
    found: dict[tuple[str, str], list[int]] = {}
    for index, call in enumerate(calls):
        assert call.strip is not None
        found.setdefault((call.strip.node, call.strip.note), []).append(index)
    for (node, note), indices in found.items():
        mine = [calls[index] for index in indices]
        call, strip, primitive = mine[0], mine[0].strip, plan.primitives[first + indices[0]]
        assert strip is not None
        predicted_ns = sum(call.predicted_ns for call in mine)
        scratch_bytes = max(call.workspace.size_bytes if call.workspace else 0 for call in mine)
        weights_bytes = primitive.weights_bytes(call.shape, resident=call.resident is not None)
        yield PrintedNode(
            number=f"{first + indices[0] + 1} to {first + indices[-1] + 1}",
            label=f"{node}, rows {note}" if note else node,
            summary="" if note else shape_text(strip.whole),
            primitive=primitive.name,
            calls=len(mine),
            expected=duration_text(predicted_ns),
            share=f"{100 * predicted_ns / max(1, plan.predicted_ns):.1f} %",
            workspace_text=bytes_text(scratch_bytes) if scratch_bytes else "",
            weights_text=bytes_text(weights_bytes) if weights_bytes else "",
            operands=() if note else tuple(_places(plan, mine, strip.whole, primitive)),
        )


def _places(plan: Plan, calls: Sequence[Call], whole: Shape, primitive: Primitive) -> Iterator[str]:
    """The memory a node's calls use, all of them together, and how many rows of each tensor that is."""

    def held(word: str, operands: Sequence[Operand], dims: tuple[int, int, int], layout: Layout, pitch: int = 0) -> str:
        first, end = span(operands)
        # Between two pixels of some of the channels lie the others, and behind the last pixel nothing is touched.
        others = max(0, pitch - dims[0]) if layout is Layout.HWC else 0
        rows = (end - first + F32_BYTES * others) // layout.bytes(dims[0] + others, 1, dims[2])
        return f"{word} {place(plan, *operands)}: {rows} of {dims[1]} rows {layout}"

    for port in range(len(calls[0].inputs)):
        inputs, layout = [call.inputs[port] for call in calls], primitive.port_layout(port)
        yield held("in ", inputs, whole.input_dims(port), layout, 0 if port else calls[0].shape.x_pitch)
    yield held("out", [call.output for call in calls], whole.output_dims, primitive.out_layout, calls[0].shape.y_pitch)
    if scratch := [call.workspace for call in calls if call.workspace]:
        yield f"workspace {place(plan, *scratch)}"
