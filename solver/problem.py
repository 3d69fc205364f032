"""What the optimiser is asked: options per node, layouts per edge, integer nanoseconds and bytes. No network words.

The memory model (M2 of the formulation) is fixed here once; model, checker and allocator each implement it separately.

Nodes run in index order. Before node v runs, the conversions of its in-edges run in port order. A *step* is one
conversion or one node run, and only steps that exist in a selection count.

- The output of node v in layout a takes `out_bytes[a]`, from v's run until after the run of its last consumer, or
  for ever when v has `stays_live`. 0 bytes means the storage is outside the arena.
- A conversion on edge e makes a copy of `copy_bytes[(a, b)]` bytes, live from the conversion's step to the end of the
  consumer's run. The original stays live through the conversion step; afterwards it is freed if the edge was the
  last use of it (all its other consumers have run, and no later port of the same consumer reads it).
- Workspace of v lives during v's run only.
- An option with `in_place = k` writes its output over what it reads on port k, so the output takes no new bytes. What
  it reads is the copy when the edge is converted, the producer's own output otherwise; in the second case v must be
  the last consumer, the tensor must not stay live, must be read by no other port of v, and must not be outside the
  arena (out_bytes 0). The storage then lives on as v's output, so v's own out_bytes in that layout must not be 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class MemoryAxis(StrEnum):
    """Which bytes the budget bounds."""

    ARENA = "arena"  # peak of live tensors + copies + workspace over the steps
    WORKSPACE = "workspace"  # largest workspace of any node (the measure of TASO)
    TOTAL = "total"  # arena + weights


@dataclass(frozen=True)
class Option:
    """One way to run a node."""

    name: str
    time_ns: int
    in_layouts: tuple[str, ...]  # one per in-edge, in port order
    out_layout: str
    workspace_bytes: int = 0
    weights_bytes: int = 0
    in_place: int | None = None  # port whose storage the output takes over


@dataclass(frozen=True)
class Node:
    """A choice: exactly one option is taken. `out_bytes` has an entry for each layout an option can produce."""

    name: str
    options: tuple[Option, ...]
    out_bytes: Mapping[str, int] = field(default_factory=dict)
    stays_live: bool = False


@dataclass(frozen=True)
class Conversion:
    """Cost of serving a consumer that wants layout b from a producer that wrote layout a."""

    time_ns: int
    copy_bytes: int  # the converted copy; 0 when nothing is copied or it lies outside the arena
    copies: bool = True  # False: free of charge, the consumer reads the producer's bytes (a renaming of memory)
    workspace_bytes: int = 0


@dataclass(frozen=True)
class Edge:
    """Node `src` feeds port `port` of node `dst`.

    `conversions[(a, b)]` exists for every layout pair that can be served; a pair that is absent is impossible.
    A pair served for free has Conversion(0, 0, copies=False).
    """

    src: int
    dst: int
    port: int
    conversions: Mapping[tuple[str, str], Conversion]


@dataclass(frozen=True)
class Problem:
    """Nodes in execution order and the edges between them; src < dst on every edge."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    align_bytes: int = 64  # every buffer of the arena is rounded up to this


@dataclass(frozen=True)
class Selection:
    """One option index per node; conversions follow from the layouts."""

    options: tuple[int, ...]


@dataclass(frozen=True)
class Evaluation:
    """Exact integer figures of a selection."""

    time_ns: int
    arena_bytes: int  # peak over the steps, buffers rounded up to align_bytes
    workspace_bytes: int
    weights_bytes: int

    @property
    def total_bytes(self) -> int:
        """Arena plus weights."""
        return self.arena_bytes + self.weights_bytes

    def on(self, axis: MemoryAxis) -> int:
        """The bytes the given axis bounds."""
        return {
            MemoryAxis.ARENA: self.arena_bytes,
            MemoryAxis.WORKSPACE: self.workspace_bytes,
            MemoryAxis.TOTAL: self.total_bytes,
        }[axis]


class BufferKind(StrEnum):
    """What a buffer of the arena holds."""

    OUTPUT = "output"  # of node `index`
    COPY = "copy"  # made on edge `index`
    WORKSPACE = "workspace"  # of node `index`
    CONVERSION_WORKSPACE = "conversion_workspace"  # of the conversion on edge `index`


@dataclass(frozen=True)
class Buffer:
    """Bytes needed on the half-open step interval [first, last). Steps number the selection's conversions and runs."""

    kind: BufferKind
    index: int
    size_bytes: int  # already rounded up to align_bytes, never 0
    first: int
    last: int


@dataclass(frozen=True)
class Placement:
    """A buffer and where it lies in the arena."""

    buffer: Buffer
    offset_bytes: int
