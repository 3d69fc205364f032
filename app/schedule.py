"""The schedule of a chosen point: every C call in order with where its operands lie. Plain data between stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from kernels.spec import Attrs, Shape


class Region(StrEnum):
    """Who owns the memory an operand lies in."""

    ARENA = "arena"  # at `offset_bytes` of the arena
    INPUT = "input"  # the caller's buffer for graph input `index`, row-major, read only
    OUTPUT = "output"  # the caller's buffer for graph output `index`, row-major


@dataclass(frozen=True)
class Operand:
    """A tensor's place. `index` counts graph inputs or outputs; it is 0 in the arena."""

    region: Region
    index: int
    offset_bytes: int
    size_bytes: int


def span(operands: Sequence[Operand]) -> tuple[int, int]:
    """Offsets in bytes of the first byte of operands of one region, and of the byte behind the last."""
    ends = [operand.offset_bytes + operand.size_bytes for operand in operands]
    return min(operand.offset_bytes for operand in operands), max(ends)


@dataclass(frozen=True)
class Strip:
    """A call's place in a chain of nodes run strip by strip: it writes rows [first, end) of `node`'s output.

    The calls of a chain follow each other, strip after strip, `number` from 0. `whole` is the node's own geometry, and
    `note` says what the call does with the rows unless it computes them.
    """

    chain: str
    number: int
    node: str
    whole: Shape
    first: int
    end: int
    note: str = ""

    @property
    def label(self) -> str:
        """The label of the call."""
        rows = f"row {self.first}" if self.end - self.first == 1 else f"rows {self.first} to {self.end - 1}"
        return f"{self.node}, {rows} {self.note}".rstrip()


@dataclass(frozen=True)
class Call:
    """One routine call. `label` is for readers: the graph node's name, or what a conversion converts and for whom.

    `weights` and `bias` name constants of the graph. `predicted_ns` is the measured median of this primitive. `strip`
    is set in chains. `resident` is where the arena holds the weights when they are packed at the start.
    """

    label: str
    primitive: str
    shape: Shape
    attrs: Attrs
    inputs: tuple[Operand, ...]
    output: Operand
    workspace: Operand | None
    weights: str | None
    bias: str | None
    predicted_ns: int
    strip: Strip | None = None
    resident: Operand | None = None


@dataclass(frozen=True)
class PlannedBuffer:
    """One line of the memory plan: `size_bytes` at `offset_bytes` during calls [first, last) of the schedule.

    `name` is that of the node, with `:port` behind it for a converted operand.
    """

    name: str
    kind: str  # output, copy, workspace, resident
    size_bytes: int
    first: int
    last: int
    offset_bytes: int


@dataclass(frozen=True)
class Port:
    """A graph input or output as the caller sees it: float32, row-major `dims`."""

    name: str
    dims: tuple[int, ...]


@dataclass(frozen=True)
class Schedule:
    """Everything code generation needs besides the graph's constants.

    `copies` are (input index or output index as Operand, output Operand) pairs copied byte by byte after the last
    call: graph outputs that are graph inputs, or that name the same tensor twice. Up to `threads` threads share a call
    as kernels/split.py says; workspaces are large enough for that. The first `resident_bytes` of the arena hold weights
    that are packed at the start, and nothing else ever.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    calls: tuple[Call, ...]
    buffers: tuple[PlannedBuffer, ...]
    arena_bytes: int
    align_bytes: int
    copies: tuple[tuple[Operand, Operand], ...] = ()
    threads: int = 1
    resident_bytes: int = 0
