"""Which chains are worth offering, and which of them over their input: estimates of what they do to the largest step.

The smallest arena there can be is about the largest step when each node runs in whatever keeps its step smallest, by
itself or in a chain: the *reach*. Steps well below it never need a chain, and an output needs to be written over the
input only where both beside each other would not fit. The figures decide what is offered, never what it costs.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from app.graph.ir import VIEW, Graph, Node
from app.sites import Site, fills
from kernels.spec import BINARY_OPS, F32_BYTES, UNARY_OPS

WORTH_SHARE = 0.8
"""A chain is offered where it saves memory that matters: at a step whose tensors take this share of the reach."""


SAVING_SHARE = 0.01
"""Lower strips, which take more calls, are offered where their buffers are smaller by this share of the reach."""


Ends = tuple[str, str]
"""What a chain reads and what it makes."""


@dataclass(frozen=True, eq=False)
class Prospect:
    """A chain that may be offered, as far as it is known without planning its strips.

    `least_buffer_bytes` and `may_take_over` (whether its output may lie over its input) promise no less memory than it
    needs and no more than it can; the other fields are those of Site. `find` makes the site, or finds there is none.
    """

    nodes: tuple[Node, ...]
    source: str
    height: int
    staged: bool
    input_stays: bool
    lies_over: bool
    may_take_over: bool
    least_buffer_bytes: int
    find: Callable[[], Site | None]

    @cached_property
    def site(self) -> Site | None:
        """The site; planning it takes a while."""
        return self.find()

    @property
    def ends(self) -> Ends:
        """What it reads and what it makes, by which it competes with others."""
        return self.source, self.nodes[-1].output


class Worth:
    """Estimates for one graph and every chain it could run."""

    def __init__(self, graph: Graph, prospects: Sequence[Prospect]):
        self._graph, self._prospects = graph, prospects
        self._order = {node.output: number for number, node in enumerate(graph.nodes)}
        self._live_bytes = [F32_BYTES * elems for elems in live_elems(graph)]
        self._reach_bytes = self._reach(over_inputs=False)
        self._least_bytes = self._reach(over_inputs=True)

    def sites(self) -> Iterator[Site]:
        """Those worth offering, in execution order of the first node, with the rooms their input may lie in."""
        yield from in_rooms(sorted(self._lean(), key=lambda site: self._order[site.nodes[0].output]), self._crowded)

    def _lean(self) -> Iterator[Site]:
        """Chains that need less memory, where it matters, than their nodes do in any other way at least as fast.

        That is by themselves, in higher strips, or one chain behind the other, so a tensor that is small enough to be
        whole is no inner one of a chain. Those that take over their input are compared among each other, for that is
        offered only where it matters.
        """
        beside = self._unbeaten([one for one in self._prospects if not one.staged], over_input=False)
        over = [one for one in self._unbeaten(self._prospects, over_input=True) if one.site and one.site.takes_over]
        for one in dict.fromkeys([*beside, *over]):
            if one.site is not None:
                yield one.site

    def _unbeaten(self, prospects: Sequence[Prospect], *, over_input: bool) -> Iterator[Prospect]:
        """Those that matter and need clearly less than their nodes do otherwise; higher strips are asked first."""
        groups: dict[Ends, list[Prospect]] = {}
        for one in prospects:
            groups.setdefault(one.ends, []).append(one)
        halves = self._halves(groups)
        alone = self._alone()
        nodes = {ends: _nodes_of(groups[ends]) for ends in halves}
        need_bytes: dict[Ends, float] = {
            ends: max(alone[self._order[node.output]] for node in found) for ends, found in nodes.items()
        }
        saved_bytes = SAVING_SHARE * self._least_bytes
        by_length = sorted(halves, key=lambda ends: len(nodes[ends]))
        heights = sorted({one.height for one in prospects}, reverse=True)
        for height, ends in itertools.product(heights, by_length):
            for both in halves[ends]:
                both_bytes = max(need_bytes[half] for half in both)
                if both_bytes < need_bytes[ends] and all(any(one.site for one in groups[half][::-1]) for half in both):
                    need_bytes[ends] = both_bytes
            for one in (chain for chain in groups[ends] if chain.height == height):
                one_bytes = self._needs(one, over_input=over_input, below_bytes=need_bytes[ends] - saved_bytes)
                need_bytes[ends] = min(need_bytes[ends], one_bytes)
                if one_bytes < math.inf and self._matters(one):
                    yield one

    def _halves(self, groups: Mapping[Ends, Sequence[Prospect]]) -> dict[Ends, list[tuple[Ends, Ends]]]:
        """The pairs of chains that together are a chain: of those that matter, and of what they are made of."""
        found: dict[Ends, list[tuple[Ends, Ends]]] = {}
        waiting = [ends for ends, chains in groups.items() if any(map(self._matters, chains))]
        while waiting:
            ends = waiting.pop()
            if ends in found:
                continue
            source, result = ends
            pairs = [((source, node.output), (node.output, result)) for node in _nodes_of(groups[ends])[:-1]]
            found[ends] = [pair for pair in pairs if pair[0] in groups and pair[1] in groups]
            waiting += itertools.chain.from_iterable(found[ends])
        return {ends: found[ends] for ends in groups if ends in found}

    def _matters(self, chain: Prospect) -> bool:
        """Whether it does away with a tensor at a step near the reach: the steps of all but its last node hold one."""
        most_bytes = max(self._live_bytes[self._order[node.output]] for node in chain.nodes)
        return most_bytes >= WORTH_SHARE * self._least_bytes

    def _crowded(self, site: Site, room_bytes: int) -> bool:
        """Whether output and input side by side need more than chains reach, with a room that is no larger."""
        passing_bytes = self._passing(site.nodes, site.source, site.input_stays)
        beside_bytes = passing_bytes + room_bytes + site.output_bytes + site.workspace_bytes(0)
        return room_bytes < self._reach_bytes and beside_bytes > self._least_bytes

    def _passing(self, nodes: Sequence[Node], source: str, input_stays: bool) -> int:
        """Bytes that no node of a chain wrote, and that are not its input, while the chain runs."""
        last, inner = nodes[-1], {node.output for node in nodes[:-1]}
        if not inner or not input_stays:
            inner.add(source)
        mine_bytes = self._held(last.output) + sum(self._held(name) for name in inner.intersection(last.inputs))
        return self._live_bytes[self._order[last.output]] - mine_bytes

    def _held(self, tensor: str) -> int:
        producer = self._graph.producer(tensor)
        outside = producer is None or producer.op == VIEW or tensor in self._graph.outputs
        return 0 if outside else F32_BYTES * self._graph.tensors[tensor].elems

    def _alone(self) -> list[int]:
        """What each node needs by itself."""
        return [
            live_bytes - (self._held(node.output) if _takes_no_memory(node) else 0)
            for node, live_bytes in zip(self._graph.nodes, self._live_bytes, strict=True)
        ]

    def _needs(self, chain: Prospect, *, over_input: bool, below_bytes: float = math.inf) -> float:
        """What a chain needs; infinite where it is none, or needs no less than `below_bytes`."""
        if self._least_needs(chain, over_input=over_input) >= below_bytes or chain.site is None:
            return math.inf
        takes_over = over_input and bool(chain.site.takes_over)
        need_bytes = self._tensors(chain, over_input=takes_over) + chain.site.workspace_bytes(0)
        return need_bytes if need_bytes < below_bytes else math.inf

    def _least_needs(self, chain: Prospect, *, over_input: bool) -> int:
        """A lower bound of that, without a plan."""
        return self._tensors(chain, over_input=over_input and chain.may_take_over) + chain.least_buffer_bytes

    def _tensors(self, chain: Prospect, *, over_input: bool) -> int:
        """Bytes of the whole tensors that are live while a chain runs."""
        in_bytes = 0 if chain.input_stays else self._held(chain.source)  # what stays passes
        out_bytes = self._held(chain.nodes[-1].output)
        if over_input:
            in_bytes = max(in_bytes, out_bytes)
            out_bytes = 0
        elif chain.lies_over:
            out_bytes = 0
        return self._passing(chain.nodes, chain.source, chain.input_stays) + in_bytes + out_bytes

    def _reach(self, *, over_inputs: bool) -> float:
        """The largest step when each needs as little as it can. Only chains that lower the largest step are planned."""
        least: list[float] = list(self._alone())
        at: list[list[tuple[int, Prospect]]] = [[] for _ in least]  # by step: chains and lower bounds of their needs
        for chain in self._prospects:
            bound_bytes = self._least_needs(chain, over_input=over_inputs)
            for node in chain.nodes:
                at[self._order[node.output]].append((bound_bytes, chain))
        for found in at:
            found.sort(key=lambda entry: entry[0], reverse=True)
        while least:
            largest = max(range(len(least)), key=least.__getitem__)
            if not at[largest] or at[largest][-1][0] >= least[largest]:
                return least[largest]
            _, chain = at[largest].pop()
            need_bytes = self._needs(chain, over_input=over_inputs)
            for node in chain.nodes:
                step = self._order[node.output]
                least[step] = min(least[step], need_bytes)
        return 0


def in_rooms(sites: Iterable[Site], takes: Callable[[Site, int], bool]) -> Iterator[Site]:
    """Sites in execution order, with the rooms their input may lie in for what the sites before them write.

    `takes` says whether an output that may be written over its input is, in a room of so many bytes.
    """
    rooms: dict[str, dict[int, None]] = {}
    for site in sites:
        source, result = site.source, site.nodes[-1].output
        found = [site.input_bytes, *(rooms.get(source, ()) if not site.input_stays else ())]
        taken = [room_bytes for room_bytes in found if takes(site, room_bytes)] if site.takes_over else []
        for room_bytes in taken:
            if not fills(site.output_bytes, room_bytes):
                rooms.setdefault(result, {})[room_bytes] = None
        if taken or not site.staged:
            yield dataclasses.replace(site, rooms=tuple(found), takes_over=tuple(taken))


def _nodes_of(chains: Sequence[Prospect]) -> tuple[Node, ...]:
    """The nodes of chains with the same ends: those of the first that has a site, should they differ."""
    first = chains[0].nodes
    if all(chain.nodes == first for chain in chains):
        return first
    return next((chain.nodes for chain in chains if chain.site is not None), first)


def _takes_no_memory(node: Node) -> bool:
    """Whether its output can lie where an input lies, or its inputs where the output does."""
    added = node.shape is not None and node.shape.residual
    return bool(added) or node.op == "concat" or node.op in UNARY_OPS | BINARY_OPS


def live_elems(graph: Graph) -> list[int]:
    """Elements of the tensors that are live while each node runs, graph inputs and outputs left out."""
    last_read = {name: len(graph.nodes) for name in graph.outputs}
    for number, node in enumerate(graph.nodes):
        for name in node.inputs:
            last_read[name] = max(last_read.get(name, 0), number)
    change = [0] * (len(graph.nodes) + 2)
    for number, node in enumerate(graph.nodes):
        if node.op != VIEW and node.output not in graph.outputs:
            change[number] += graph.tensors[node.output].elems
            change[last_read.get(node.output, number) + 1] -= graph.tensors[node.output].elems
    return list(itertools.accumulate(change))[: len(graph.nodes)]
