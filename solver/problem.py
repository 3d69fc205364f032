"""What the optimiser is asked: options per node, layouts per edge, integer nanoseconds and bytes. No network words.

The memory model (M2 of the formulation) is fixed here once; model, checker and allocator each implement it separately.

Nodes run in index order. Before node v runs, the conversions of its in-edges run in port order. A *step* is one
conversion or one node run, and only steps that exist in a selection count.

- The output of node v in layout a takes `out_bytes[a]`, from v's run to the last step that reads it, or for ever when
  v has `stays_live`. 0 bytes means the storage is outside the arena.
- A conversion on edge e (`copies`) makes a copy of `copy_bytes` bytes, live from the conversion's step to the end of
  the consumer's run, and needs `workspace_bytes` during its own step. It reads the original during its own step only,
  so the original is freed after the conversion when no later step reads it: all other consumers have run, no later
  port of the same consumer converts it and no port of that consumer reads it unconverted.
- Workspace of v lives during v's run only.
- Resident bytes of an option live from before the first step to after the last one, in front of everything else.
- An option with `in_place = k` writes its output over what it reads on port k, so the output takes no new bytes. What
  it reads is the copy when the edge is converted, the producer's own output otherwise; in the second case v must be
  the last consumer, the tensor must not stay live and must be read by no other port of v. The storage taken over lives
  on as v's output, so it must lie in the arena (not 0 bytes) and have exactly the bytes of v's output, rounded up.
- In a layout of `parts` the output of v is a stretch of a named buffer that other nodes write parts of as well. The
  buffer lives from the first run that writes a part to the last step that reads one. Where the bytes of a part lie in
  it is the caller's business; they are counted as if parts lay one behind the other. The buffer is counted where it is
  made: `out_bytes` are the whole buffer's for the part that runs first, whichever options are taken, 0 for all others.
  The last reader of a part reads it on one port only and takes it by a *join*, an option with `joins`: all its inputs
  are parts, unconverted, side by side in port order, and together they are its output, which may be a part again.
  A join moves nothing. The buffer lives on as its output, so it is `in_place` on the port that holds the buffer's
  first part, if it has that port.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property


class MemoryAxis(StrEnum):
    """Which bytes the budget bounds."""

    ARENA = "arena"  # peak of live tensors + copies + workspace over the steps, and what is resident
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
    joins: bool = False  # the output is what its inputs are side by side, where they lie
    resident_bytes: int = 0  # of the arena, from before the first step to after the last


@dataclass(frozen=True)
class Part:
    """A stretch of a buffer that several nodes write."""

    buffer: str
    offset_bytes: int
    size_bytes: int


@dataclass(frozen=True)
class Node:
    """A choice: exactly one option is taken. `out_bytes` has an entry for each layout an option can produce.

    `parts` has the layouts in which the output is part of a buffer.
    """

    name: str
    options: tuple[Option, ...]
    out_bytes: Mapping[str, int] = field(default_factory=dict)
    stays_live: bool = False
    parts: Mapping[str, Part] = field(default_factory=dict)


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
    """Nodes in execution order and the edges between them; src < dst on every edge.

    `tied` names layouts of which the caller promises what follows from the conversions: while one node runs and the
    output of an earlier one that does not feed it is still to be read, both have such a layout or neither, if both can.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    align_bytes: int = 64  # every buffer of the arena is rounded up to this
    tied: frozenset[str] = frozenset()

    @cached_property
    def in_edges(self) -> tuple[tuple[int, ...], ...]:
        """Edge indices into each node, in port order."""
        found: list[list[int]] = [[] for _ in self.nodes]
        for index, edge in enumerate(self.edges):
            found[edge.dst].append(index)
        return tuple(tuple(sorted(edges, key=lambda e: self.edges[e].port)) for edges in found)

    @cached_property
    def last_reader(self) -> tuple[int, ...]:
        """The last node that reads each output; the node itself when none does."""
        last = list(range(len(self.nodes)))
        for edge in self.edges:
            last[edge.src] = max(last[edge.src], edge.dst)
        return tuple(last)

    @cached_property
    def has_residents(self) -> bool:
        """Whether some option takes resident bytes: the arena is then no longer a maximum of what is near a step."""
        return any(option.resident_bytes for node in self.nodes for option in node.options)


def validate(problem: Problem) -> None:
    """Raise ValueError naming every way in which `problem` is malformed."""
    faults = []
    ports: list[list[int]] = [[] for _ in problem.nodes]
    if not problem.nodes:
        faults.append("there are no nodes")
    if problem.align_bytes < 1:
        faults.append("align_bytes must be at least 1")
    for index, edge in enumerate(problem.edges):
        if not 0 <= edge.src < edge.dst < len(problem.nodes):
            faults.append(f"edge {index} runs from node {edge.src} to node {edge.dst}: not forward")
            continue
        ports[edge.dst].append(edge.port)
        if any(min(c.time_ns, c.copy_bytes, c.workspace_bytes) < 0 for c in edge.conversions.values()):
            faults.append(f"edge {index} has a conversion with a negative figure")
        if any(not c.copies and (c.time_ns or c.copy_bytes or c.workspace_bytes) for c in edge.conversions.values()):
            faults.append(f"edge {index} has a conversion that copies nothing and is not free")
    for node, found in zip(problem.nodes, ports, strict=True):
        if sorted(found) != list(range(len(found))):
            faults.append(f"node {node.name}: ports {sorted(found)} are not 0, 1, 2, ...")
        if not node.options:
            faults.append(f"node {node.name} has no option")
        if any(size < 0 for size in node.out_bytes.values()):
            faults.append(f"node {node.name} has a negative out_bytes")
        for option in node.options:
            if len(option.in_layouts) != len(found):
                faults.append(f"{node.name}/{option.name}: {len(option.in_layouts)} layouts for {len(found)} ports")
            if option.out_layout not in node.out_bytes:
                faults.append(f"{node.name}/{option.name}: no out_bytes for layout {option.out_layout}")
            if option.in_place is not None and not 0 <= option.in_place < len(found):
                faults.append(f"{node.name}/{option.name}: in_place port {option.in_place} does not exist")
            if min(option.time_ns, option.workspace_bytes, option.weights_bytes, option.resident_bytes) < 0:
                faults.append(f"{node.name}/{option.name} has a negative figure")
    faults = faults or _part_faults(problem)
    if faults:
        raise ValueError("malformed problem: " + "; ".join(faults))


def _part_faults(problem: Problem) -> list[str]:
    """Every way in which a selection of this problem could use a part apart from its buffer."""
    faults = []
    feeds: list[dict[int, Edge]] = [{} for _ in problem.nodes]
    reads: list[list[Edge]] = [[] for _ in problem.nodes]
    for edge in problem.edges:
        feeds[edge.dst][edge.port] = edge
        reads[edge.src].append(edge)
    for node, readers in zip(problem.nodes, reads, strict=True):
        last = max((edge.dst for edge in readers), default=-1)
        joining = [edge for edge in readers if edge.dst == last]
        for layout, part in node.parts.items():
            if len(joining) != 1 or node.stays_live or part.offset_bytes < 0 or part.size_bytes <= 0:
                faults.append(f"{node.name} in {layout}: a part is bytes that one port of a join reads last")
                continue
            for (have, want), conversion in joining[0].conversions.items():
                taken = [o for o in problem.nodes[last].options if o.in_layouts[joining[0].port] == want]
                if have == layout and (conversion.copies or not all(option.joins for option in taken)):
                    faults.append(f"{node.name} in {layout} reaches {problem.nodes[last].name} other than by a join")
        faults += [
            f"{node.name}/{option.name} works in place and writes a part"
            for option in node.options
            if option.out_layout in node.parts and option.in_place is not None and not option.joins
        ]
    for node, inputs in zip(problem.nodes, feeds, strict=True):
        faults += [
            f"{node.name}/{option.name} is no join: {reason}"
            for option in node.options
            if option.joins and (reason := _join_fault(problem, node, option, inputs))
        ]
    return faults


def _join_fault(problem: Problem, node: Node, option: Option, inputs: Mapping[int, Edge]) -> str:
    """Why the inputs of a join are not its output where they lie; "" when they are."""
    parts, makers = [], []
    for port, want in enumerate(option.in_layouts):
        source = problem.nodes[inputs[port].src]
        haves = [have for have, wanted in inputs[port].conversions if wanted == want]
        parts += [source.parts.get(have) for have in haves]
        makers += [port for have in haves if source.out_bytes.get(have)]
        if len(haves) > 1:
            return f"port {port} takes several layouts"
    found = [part for part in parts if part is not None]
    output = node.parts.get(option.out_layout)
    if not found and output is None:  # outside the arena
        return "parts of no buffer" if node.out_bytes[option.out_layout] or makers else ""
    if len(found) < len(option.in_layouts) or len({part.buffer for part in found}) > 1:
        return "inputs are not all parts of one buffer"
    if any(one.offset_bytes + one.size_bytes != two.offset_bytes for one, two in itertools.pairwise(found)):
        return "parts are not side by side"
    span = (found[0].offset_bytes, found[-1].offset_bytes + found[-1].size_bytes)
    wanted = (0, node.out_bytes[option.out_layout])
    if output is not None:
        wanted = (output.offset_bytes, output.offset_bytes + output.size_bytes)
        if output.buffer != found[0].buffer:
            return "the output is part of another buffer"
    if span != wanted:
        return f"parts are bytes {span} of the buffer, the output {wanted}"
    if makers != ([] if option.in_place is None else [option.in_place]):
        return f"the buffer comes on ports {makers}, in_place is {option.in_place}"
    return ""


@dataclass(frozen=True)
class Selection:
    """One option index per node; conversions follow from the layouts."""

    options: tuple[int, ...]


@dataclass(frozen=True)
class Cut:
    """Options that a selection may not take all together, at budgets of at most `up_to_bytes` (None: at any).

    `options` has some of the options of some nodes; ruled out is what takes one of them at each of these nodes. All of
    that takes `from_bytes` at least: at lower budgets there is nothing left to rule out.
    """

    options: Mapping[int, Collection[int]]
    up_to_bytes: int | None = None
    from_bytes: int = 0

    def binds(self, budget_bytes: int | None) -> bool:
        """Whether it counts at a budget (None: no budget)."""
        if budget_bytes is None:
            return self.up_to_bytes is None
        return self.from_bytes <= budget_bytes and (self.up_to_bytes is None or budget_bytes <= self.up_to_bytes)

    def rules_out(self, selection: Selection) -> bool:
        """Whether the selection takes what may not be taken together."""
        return all(selection.options[v] in taken for v, taken in self.options.items())


@dataclass(frozen=True)
class Evaluation:
    """Exact integer figures of a selection."""

    time_ns: int
    arena_bytes: int  # peak over the steps, buffers rounded up to align_bytes, resident ones included
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
    RESIDENT = "resident"  # of node `index`


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
