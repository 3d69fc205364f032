"""Candidates in another execution order than the file's, and what there is to know about orders before choosing one.

Another order offers nothing that the file's order does not, because costs are measured for the file's: a concat by
slices or a chain that the file's order rules out stays ruled out. docs/decisions/020.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import combinations

from app.candidates import Candidates
from app.chain_sites import sites_in_order
from app.graph.ir import VIEW
from app.graph.order import ordered
from app.links import links_of
from app.options import NodeOption, pitch_of
from app.slices import Slicing, buffer_of
from app.splits import Splitting
from solver.order import Order, Pair, Precedence

GIVEN, PROFILES, JOINT = "given", "profiles", "joint"
RULES = (GIVEN, PROFILES, JOINT)
"""How the order of a front's points comes about; see app.selection.orders."""


def in_order(candidates: Candidates, names: Sequence[str]) -> Candidates:
    """The candidates of the file's order, without chains, in the order of `names`."""
    graph = ordered(candidates.graph, names)
    if graph is candidates.graph:
        return candidates
    nodes = tuple(node for node in graph.nodes if node.op != VIEW)
    links = tuple(links_of(graph, nodes))
    raw = {name: tuple(filter(_alone, options)) for name, options in candidates.options.items()}
    joined = {name for name, options in candidates.options.items() if any(option.joins for option in options)}
    splitting = Splitting(nodes, links, {hold.producer for hold in candidates.holds})
    slicing = Slicing(nodes, links, raw, joined, splitting.pitches)
    options = {}
    for name, offered in splitting.options(slicing.options).items():
        known = {(option.in_layouts, option.out_layout) for option in candidates.options[name] if not option.joins}
        options[name] = tuple(o for o in offered if o.joins or (o.in_layouts, o.out_layout) in known)
    return dataclasses.replace(
        candidates,
        graph=graph,
        nodes=nodes,
        options=options,
        links=links,
        slices=slicing.slices,
        pieces=splitting.pieces,
        holds=splitting.holds,
        sites=sites_in_order(candidates.sites, graph),
    )


def _alone(option: NodeOption) -> bool:
    """Whether the option has to do with no concat and no slice operator but by a call of its own."""
    lies = option.joins or option.cuts or buffer_of(option.out_layout)
    return not lies and not any(map(pitch_of, option.in_layouts))


class Orders:
    """What the orders of a network's nodes have to respect, and what depends on them. Nodes by their place in the file.

    `watched` are the pairs of nodes by whose order concats by slices and chains are offered or not, `together` the sets
    of nodes that such an offer concerns. Unless `exact`, branched chains count as in the file's order, whoever reads
    their input last: then what is found is an order to look at, and not proven to be the best.
    """

    def __init__(self, candidates: Candidates, *, exact: bool = True):
        self._exact = exact
        self.candidates = candidates
        self.names = tuple(node.name for node in candidates.nodes)
        self._place = {name: v for v, name in enumerate(self.names)}
        self._reads: list[set[int]] = [set() for _ in self.names]
        self._readers: dict[str, set[int]] = {}
        for link in candidates.links:
            if link.consumer is not None:
                v = self._place[link.consumer]
                self._readers.setdefault(link.tensor, set()).add(v)
                if link.producer is not None:
                    self._reads[v].add(self._place[link.producer])
        self.precedence = Precedence(tuple(map(frozenset, self._reads)))
        self._joined: list[tuple[int, list[int]]] = []
        self._nested: list[Pair] = []
        self._held: list[tuple[list[int], list[int]]] = []
        self._chained: list[tuple[list[int], int, list[int], list[int]]] = []
        self._kept: list[list[int]] = []
        groups = list(self._find())
        self.watched = frozenset(pair for pairs in groups for pair in pairs if self.precedence.free(*pair))
        self.together = [
            frozenset(v for pair in pairs for v in pair)
            for pairs in groups
            if any(pair in self.watched for pair in pairs)
        ]

    def named(self, order: Order) -> tuple[str, ...]:
        """The names of nodes in an order."""
        return tuple(self.names[v] for v in order)

    def offers(self, order: Order) -> tuple[int, ...]:
        """What an order offers: the same in orders with the same options, up to who brings a concat's buffer along."""
        at = {v: i for i, v in enumerate(order)}
        found: list[int] = [all(at[r] < at[concat] for r in readers) for concat, readers in self._joined]
        found += [max(group, key=at.__getitem__) for groups in self._held for group in groups]
        found += [at[a] < at[b] for a, b in self._nested]
        found += [max(readers, key=at.__getitem__) for readers in self._kept]
        for starts, last, others, before in self._chained:
            found += [all(at[u] < at[v] for u in before for v in starts), any(at[r] > at[last] for r in others)]
        return tuple(found)

    def _find(self) -> Iterator[list[Pair]]:
        """Note what is offered or not by the order; the pairs of nodes that decide, by what they decide."""
        joins = {v for v, name in enumerate(self.names) if any(o.joins for o in self.candidates.options[name])}
        inside: dict[int, set[int]] = {}
        for concat in sorted(joins):
            # A concat by slices reads its inputs last. Who writes them is offered slices or not, so they belong here.
            parts = self._reads[concat]
            readers = sorted({v for v, sources in enumerate(self._reads) if sources & parts} - {concat})
            self._joined.append((concat, readers))
            yield [(r, concat) for r in readers] + [(u, concat) for u in sorted(parts)]
            inside[concat] = {concat, *parts}.union(*(inside.get(u, ()) for u in parts))
            if parts & joins:  # in a nest it matters too who writes first
                pairs = list(combinations(sorted(inside[concat]), 2))
                self._nested += [pair for pair in pairs if self.precedence.free(*pair)]
                yield pairs
        for hold in self.candidates.holds:
            # A whole passes to its pieces when its last reader has run, and ends with the last reader of a piece.
            whole, pieces = ([self._place[name] for name in names] for names in (hold.readers, hold.piece_readers))
            self._held.append((whole, [*whole, *pieces]))
            yield list(combinations(sorted({*whole, *pieces}), 2))
        graph = self.candidates.graph
        groups = {site.nodes: site.source for site in self.candidates.sites}
        for nodes, source in groups.items():
            # A chain needs its residual before it starts and its input not read by others before it ends.
            mine, last = {self._place[node.name] for node in nodes}, self._place[nodes[-1].name]
            starts = self._of(source) & mine
            others = sorted(self._of(source) - mine)
            before = set(self._reads[last])
            for name in nodes[-1].inputs:
                if graph.resolve(name).tensor != name:  # a view runs just before the first node that reads it
                    before |= self._of(name)
            needed = sorted(before - mine)
            self._chained.append((sorted(starts), last, others, needed))
            # Which of several readers has the input, or what keeps it since, at last.
            kept = [sorted(self._of(name) & mine) for name in (source, *(node.output for node in nodes[:-1]))]
            kept = [readers for readers in kept if len(readers) > 1 and self._exact]
            self._kept += kept
            # What a chain leaves its output in is offered to the chains behind it.
            behind, grown = {last}, 0
            while len(behind) > grown:
                grown = len(behind)
                behind |= {self._place[more[-1].name] for more, read in groups.items() if self._makers(read) & behind}
            follow = [(last, v) for v in sorted(behind - {last})]
            pairs = [pair for readers in kept for pair in combinations(readers, 2)]
            yield [(r, last) for r in others] + [(u, v) for u in needed for v in sorted(starts)] + follow + pairs

    def _of(self, name: str) -> set[int]:
        """The nodes that read a tensor, be it through a view."""
        return self._readers.get(self.candidates.graph.resolve(name).tensor, set())

    def _makers(self, name: str) -> set[int]:
        """The node that makes a tensor, if one does."""
        producer = self.candidates.graph.producer(self.candidates.graph.resolve(name).tensor)
        return set() if producer is None or producer.name not in self._place else {self._place[producer.name]}
