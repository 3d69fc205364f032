"""Where in a graph layers may run strip by strip, and in which strips. Pure."""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache, partial

from app.chain_worth import Prospect, Worth, in_rooms
from app.chains import layer_primitives
from app.graph.ir import VIEW, Graph, Node
from app.sites import Site, name_of
from app.strips import (
    BESIDE,
    INPUT,
    ROW_LOCAL_OPS,
    WINDOWED_OPS,
    Sources,
    StripPlan,
    least_buffer_rows,
    plan_strips,
    staging,
)
from kernels.spec import Layout, Shape, canonical

HEIGHTS = (1, 2, 6)
"""Rows of a strip: the least memory there is, and what the tiles of Winograd F(2) and F(6) divide."""
LONGEST_OVER = 5  # steps of a chain past a small tensor, which pays only over its input
LARGEST_BLOCK = 64  # nodes between two tensors that everything passes through
KEPT_SHARE = 0.5
"""Rolling buffers that hold more than this share of the tensors they replace are not worth their calls."""

Group = tuple[Node, ...]
Readers = Mapping[str, Sequence[Node]]


def find_sites(graph: Graph, threads: int = 1, weights_from: str = "l3") -> tuple[Site, ...]:
    """Every chain worth offering, in execution order of its first node."""
    return tuple(Worth(graph, list(_Finder(graph, threads, weights_from).all_prospects())).sites())


def sites_named(graph: Graph, names: Collection[str], threads: int = 1, weights_from: str = "l3") -> tuple[Site, ...]:
    """The chains of these names that can run, worth offering or not, in execution order of the first node.

    Their rooms are those that they make for each other, so they are all that a point which runs them needs.
    """
    finder = _Finder(graph, threads, weights_from)
    kinds = [{"branched": branched, "staged": staged} for branched in (False, True) for staged in (False, True)]
    meant = [
        one
        for one in finder.all_prospects()
        if any(name_of(one.nodes, one.height, **kind) in names for kind in kinds if kind["staged"] == one.staged)
    ]
    found = [one.site for one in meant if one.site is not None and one.site.name in names]
    return tuple(in_rooms(sorted(found, key=lambda site: finder.order[site.nodes[0].output]), lambda *_: True))


def sites_in_order(sites: Sequence[Site], graph: Graph) -> tuple[Site, ...]:
    """Those of the sites where the order of `graph` lets a chain run; they are the sites of another order of it."""
    finder = _Finder(graph)
    found = []
    for site in sites:
        holding = finder.holding(site.nodes, site.source)
        if holding is None:
            continue
        stays, held = holding
        if stays:
            site = dataclasses.replace(site, rooms=site.rooms[:1], takes_over=())
        if site.takes_over or not site.staged:
            found.append(dataclasses.replace(site, input_stays=stays, held=held))
    return tuple(found)


class _Finder:
    """Groups of nodes that may run as a chain, and the sites they are, in the order of `graph`."""

    def __init__(self, graph: Graph, threads: int = 1, weights_from: str = "l3"):
        self.graph, self.threads, self.weights_from = graph, threads, weights_from
        self.plan = cache(plan_strips)  # blocks that a network repeats share their plans
        self.order = {node.output: number for number, node in enumerate(graph.nodes)}
        self.readers: dict[str, list[Node]] = {}
        for node in graph.nodes:
            for name in dict.fromkeys(node.inputs):
                self.readers.setdefault(name, []).append(node)

    def all_prospects(self) -> Iterator[Prospect]:
        """Every chain that the graph may run."""
        for group in dict.fromkeys(itertools.chain(self.paths(), self.branched())):
            yield from self.prospects(*group)

    def paths(self) -> Iterator[tuple[Group, str]]:
        """Paths in which each node but the last is read by the next one alone, on port 0; and what they read."""
        inside: set[str] = set()
        for node in self.graph.nodes:
            if node.name in inside or not _row_local(node):
                continue
            run = [node]
            while (after := self._only_reader(run[-1])) is not None:
                run.append(after)
                inside.add(after.name)
            tensors = [run[0].inputs[0], *(node.output for node in run)]
            for first, end in self._stretches(tensors):
                yield tuple(run[first:end]), tensors[first]

    def _only_reader(self, node: Node) -> Node | None:
        """The next node of a path, or None. A second operand is read row by row too, so it must be whole by then."""
        found = self.readers.get(node.output, [])
        if len(found) != 1 or node.output in self.graph.outputs:
            return None
        after = found[0]
        if not _row_local(after) or after.inputs[0] != node.output or node.output in after.inputs[1:]:
            return None
        # Only the last node may have a second operand; a path that goes on behind one would need both at once.
        return after if node.shape is not None and node.shape.n_in == 1 else None

    def branched(self) -> Iterator[tuple[Group, str]]:
        """Blocks between tensors that everything passes through, and sequences of them; and what they read."""
        blocks = {name: found for name in self._tensors() if (found := self._block(name)) is not None}
        behind = {found[-1].output for found in blocks.values()}
        for name in blocks:
            if name in behind:
                continue
            row = [name]
            while (last := blocks[row[-1]][-1].output) in blocks:
                row.append(last)
            for first, end in self._stretches([*row, last]):
                if any(len(blocks[name]) > 1 for name in row[first:end]):
                    yield tuple(itertools.chain.from_iterable(blocks[name] for name in row[first:end])), row[first]

    def _stretches(self, tensors: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Pairs of places in a row of tensors, of which each is made of the one before, between which a chain may pay.

        A chain does not where a tensor between is no larger than both its ends: that one may as well be whole. Unless
        the end may lie over the beginning, where it could not lie over the smaller one. An input of the graph takes no
        memory.
        """
        size = [self.graph.tensors[name].elems if self.graph.producer(name) else 0 for name in tensors]
        for first in range(len(tensors) - 1):
            between = math.inf
            for end in range(first + 1, len(tensors)):
                over_input = between < size[end] <= size[first] and end - first <= LONGEST_OVER
                if between > min(size[first], size[end]) or over_input:
                    yield first, end
                between = min(between, size[end])

    def _tensors(self) -> Iterator[str]:
        yield from self.graph.inputs
        for node in self.graph.nodes:
            if node.op != VIEW:
                yield node.output

    def _block(self, source: str) -> Group | None:
        """The fewest nodes that have all readers of `source` and whose last output is all that others read of them."""
        waiting = [self.order[node.output] for node in self.readers.get(source, [])]
        heapq.heapify(waiting)
        found: dict[str, Node] = {}
        while waiting and len(found) < LARGEST_BLOCK:
            node = self.graph.nodes[heapq.heappop(waiting)]
            if node.output in found:
                continue
            known = {source, *found}
            if not set(node.inputs) <= known or not (_row_local(node) or self._joins(node, found)):
                return None
            found[node.output] = node
            if not any(reader.output not in found for name in known for reader in self.readers[name]):
                return tuple(found.values())
            if node.output in self.graph.outputs or node.output not in self.readers:
                return None
            for reader in self.readers[node.output]:
                heapq.heappush(waiting, self.order[reader.output])
        return None

    def _joins(self, node: Node, found: Mapping[str, Node]) -> bool:
        """Whether it is a concat of channels whose parts can be written where they belong."""
        if node.op != "concat" or node.shape is None or node.shape.axis or node.shape.h == 1:
            return False
        return all(
            name in found and node.inputs.count(name) == len(self.readers[name]) == 1 and _may_be_part(found[name])
            for name in node.inputs
        )

    def prospects(self, nodes: Group, source: str) -> Iterator[Prospect]:
        """Every height of a chain of these nodes that reads `source`, with a copy of its rows at the beginning or not.

        All that is known without a plan; the prospect makes one when asked for the site.
        """
        graph = self.graph
        producer = graph.producer(source)
        sources = _sources(nodes, source)
        holding = self.holding(nodes, source)
        if source in graph.outputs or sources is None or holding is None or (producer and producer.op == VIEW):
            return
        stays, held = holding
        dims = graph.tensors[source].chw
        in_layout = canonical(Layout.HWC, *dims) if producer is not None else Layout.CHW
        if producer is None and any(INPUT in found[1:] for found in sources):
            return  # planes are read by windows only
        read_elsewhere = any(reader.name not in {node.name for node in nodes} for reader in self.readers[source])
        shapes = tuple(node.shape for node in nodes if node.shape is not None)
        in_bytes, out_bytes = (Layout.HWC.bytes(*size) for size in (dims, shapes[-1].output_dims))
        rooms = (in_bytes,)
        lies_over = shapes[-1].residual > 0 and sources[-1][1] == BESIDE
        may_overwrite = not stays and shapes[-1].op != "concat" and out_bytes <= in_bytes
        layers: dict[bool, tuple[tuple[Shape, ...], Sources]] = {  # by whether it is staged
            False: (shapes, sources),
            True: ((staging(shapes[0]), *shapes), _staged(sources)),
        }
        inner_bytes = sum(Layout.HWC.bytes(*shapes[i].output_dims) for i in least_buffer_rows(shapes, sources, 1))
        replaced_bytes = {False: inner_bytes, True: inner_bytes + out_bytes}

        def plan(height: int, is_staged: bool) -> StripPlan:
            return self.plan(layers[is_staged][0], height, layers[is_staged][1])

        def site(height: int, is_staged: bool) -> Site | None:
            """None where it does not pay, is staged for nothing, or leaves a node without a primitive."""
            strips = plan(height, is_staged)
            if not _pays(sum(map(strips.buffer_bytes, range(len(strips.shapes)))), replaced_bytes[is_staged]):
                return None
            overwrites = strips.may_overwrite_input
            if is_staged and (not overwrites or plan(height, False).may_overwrite_input):
                return None
            same = not is_staged and overwrites and shapes[-1].output_dims == dims
            lies = (stays, held, same, rooms, rooms if overwrites and not stays else ())
            found = Site(nodes, strips, in_layout, read_elsewhere, *lies, self.threads, self.weights_from)
            return found if all(layer_primitives(found, i) for i in range(len(nodes))) else None

        kinds = [True] * (may_overwrite and nodes[0].op in WINDOWED_OPS) + [False] * (len(nodes) > 1)
        for height, is_staged in itertools.product(HEIGHTS, kinds):
            rows = least_buffer_rows(*layers[is_staged], height)
            least_bytes = sum(
                Layout.HWC.bytes(s.m, rows[i], s.ow) for i, s in enumerate(layers[is_staged][0]) if i in rows
            )
            if height < shapes[-1].oh and _pays(least_bytes, replaced_bytes[is_staged]):
                find = partial(site, height, is_staged)
                yield Prospect(nodes, source, height, is_staged, stays, lies_over, may_overwrite, least_bytes, find)

    def holding(self, nodes: Group, source: str) -> tuple[bool, tuple[int | None, ...]] | None:
        """Whether somebody keeps the input of a chain of these nodes until it has run; else how the chain does.

        The second part is Site.held. None when a chain may not run there.
        """
        last, mine = nodes[-1], {node.output: node for node in nodes}
        begin = min(self.order[name] for name in mine)
        beside = [name for name in last.inputs[1:] if name not in mine]
        if any(self.order.get(name, -1) >= begin for name in beside):
            return None  # the other operand is made while the chain runs
        others = [self.order[node.output] for node in self.readers[source] if node.output not in mine]
        stays = any(number > self.order[last.output] for number in others) or self.graph.producer(source) is None
        stays = stays or source in last.inputs[(0 if len(nodes) > 1 else 1) :]
        if stays:
            return True, (None,) * len(nodes)
        if others:
            return None  # read again while the chain runs, and by nobody afterwards: its end would not be the model's
        held: dict[str, int] = {}
        while source != last.output:
            holder = max((n for n in self.readers[source] if n.output in mine), key=lambda n: self.order[n.output])
            if holder.inputs.count(source) > 1:
                return None
            held[holder.name] = holder.inputs.index(source)
            source = holder.output
        return False, tuple(held.get(node.name) for node in nodes)


def _row_local(node: Node) -> bool:
    return node.op in ROW_LOCAL_OPS and node.shape is not None and node.shape.h > 1


def _may_be_part(node: Node) -> bool:
    """Whether a node can write its rows among those of others: a residual would have to lie like them."""
    return node.shape is not None and not node.shape.residual


def _sources(nodes: Group, source: str) -> Sources | None:
    """What each node of a chain reads; None when it is no chain of `source`."""
    place = {node.output: i for i, node in enumerate(nodes)}
    found = []
    for node in nodes:
        ports = []
        for port, name in enumerate(node.inputs):
            beside = port > 0 and node is nodes[-1]
            if name not in place and not beside and name != source:
                return None
            ports.append(place.get(name, BESIDE if beside else INPUT))
        found.append(tuple(ports))
    return tuple(found)


def _staged(sources: Sources) -> Sources:
    """The same behind a layer that copies the input."""
    return ((INPUT,), *(tuple(0 if i == INPUT else i + 1 if i >= 0 else i for i in found) for found in sources))


def _pays(buffer_bytes: int, replaced_bytes: int) -> bool:
    """Whether rolling buffers are small beside what they replace."""
    return buffer_bytes <= KEPT_SHARE * replaced_bytes
