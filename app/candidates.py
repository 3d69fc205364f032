"""Which primitives can run each node, which conversions each edge may need, and the cost keys of both.

The one place where a graph meets the registry; measuring and selection both read it, so they cannot disagree.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from app.chain_sites import find_sites, sites_named
from app.chain_slices import with_slices
from app.chains import Chain, best_chains
from app.chains import cost_keys as chain_cost_keys
from app.costs import CostKey
from app.errors import Item, UserError
from app.graph.ir import VIEW, Graph, Node
from app.links import ConversionStep, Link, links_of
from app.options import NodeOption, offered, pitch_of, plain
from app.sites import LAST_LEVEL_BYTES, TOKEN, WHOLE, Site, cost_key, unpitched
from app.slices import Slice, Slicing, buffer_of
from app.splits import ANY, Hold, Piece, Splitting
from kernels.spec import F32_BYTES, Layout, Primitive, Shape, weight_elems


@dataclass(frozen=True)
class Candidates:
    """Everything selectable for a graph: operator nodes in execution order, their options, the links.

    `slices` has, for each node, what its output may be a slice of, by the layout name options use for it, `pieces` what
    of its input it may be a piece of; `holds` are what holds the wholes of pieces. `sites` are where chains may run;
    `chains` are those that are offered beside the options, none before `with_chains`. `resident`: weights may be packed
    when the network starts, in every option and chain that has a packing which makes them larger.
    """

    graph: Graph
    nodes: tuple[Node, ...]
    options: Mapping[str, tuple[NodeOption, ...]]
    refused: Mapping[str, Mapping[str, str]]
    links: tuple[Link, ...]
    slices: Mapping[str, Mapping[str, Slice]]
    weights_from: str
    sites: tuple[Site, ...] = ()
    chains: tuple[Chain, ...] = ()
    resident: bool = False
    pieces: Mapping[str, Mapping[str, Piece]] = field(default_factory=dict)
    holds: tuple[Hold, ...] = ()

    @cached_property
    def _names(self) -> Mapping[str, frozenset[str]]:
        return {
            name: frozenset(primitive.name for option in options for primitive in option.primitives)
            for name, options in self.options.items()
        }

    def offers(self, node: Node) -> frozenset[str]:
        """Names of the primitives that some option of a node calls: those its chains may call as well."""
        return self._names[node.name]

    def with_chains(self, time_ns: Callable[[CostKey], int]) -> Candidates:
        """The same with the chains that no other chain of their nodes beats in time, workspace and weights."""
        return self.of_chains(best_chains(self.sites, self.offers, time_ns))

    def of_chains(self, chains: Sequence[Chain]) -> Candidates:
        """The same with these chains, and with what they become where weights may be packed when the network starts."""
        twins = [twin for chain in chains for twin in chain.packed_at_start()] if self.resident else []
        return dataclasses.replace(self, chains=(*chains, *twins))

    def with_residents(self) -> Candidates:
        """The same and every option once more with its weights packed at the start, where that makes them larger."""
        options = {
            name: (*found, *(twin for option in found if (twin := option.packed_at_start()) is not None))
            for name, found in self.options.items()
        }
        return self if self.resident else dataclasses.replace(self, options=options, resident=True)

    def cost_key(self, primitive: Primitive, shape: Shape) -> CostKey:
        """The key under which this graph looks up the cost of a primitive on a shape."""
        return cost_key(primitive, shape, self.weights_from)

    def costs_of(self, option: NodeOption) -> Iterator[tuple[CostKey, int]]:
        """The costs an option is made of, and how often each is paid."""
        if option.chain is not None:
            for layer in range(len(option.chain.primitives)):
                yield from option.chain.keys(layer)
        for call in option.calls:
            yield self.cost_key(call.primitive, call.shape), 1

    def call_keys(self, option: NodeOption) -> list[CostKey]:
        """The cost of each call of an option that is none of a chain, in order."""
        return [self.cost_key(call.primitive, call.shape) for call in option.calls]

    def cost_keys(self) -> list[CostKey]:
        """Every cost the optimiser can ask for, without repeats: nodes in order, conversions, then chains."""
        return list(self._cost_keys)

    @cached_property
    def _cost_keys(self) -> tuple[CostKey, ...]:
        keys: dict[CostKey, None] = {}
        for node in self.nodes:
            for option in self.options[node.name]:
                for call in option.calls:
                    keys[self.cost_key(call.primitive, call.shape)] = None
        for link in self.links:
            for have in self.layouts_of(link.producer):
                for want in self.layouts_wanted(link):
                    for step in self.steps(link, have, want) or ():
                        keys[self.cost_key(step.primitive, step.shape)] = None
        keys.update((key, None) for key in chain_cost_keys(self.sites, self.offers))
        return tuple(keys)

    def steps(self, link: Link, have: str, want: str) -> tuple[ConversionStep, ...] | None:
        """The conversions that serve `want` from `have`; None when nothing can.

        A slice is read like any tensor, but by the concat it is a slice for only where it lies; with a pitch it is
        read by options for that pitch, or becomes a dense copy. Inside a chain only its own nodes fit each other, and
        the first one reads its input as it is.
        """
        if want == ANY:
            return ()
        if have.startswith(TOKEN) or want.startswith(TOKEN):
            return () if have == want else None
        if want.startswith(WHOLE):
            return () if self._serves_chain(link, have, want.removeprefix(WHOLE)) else None
        if buffer_of(want):
            return () if buffer_of(have) == buffer_of(want) else None
        place = self.slices.get(link.producer or "", {}).get(have)
        if place is not None and place.join == link.consumer:
            return None
        lies = place or self.pieces.get(link.producer or "", {}).get(have)
        pitch = lies.pitch if lies is not None else 0
        if wanted_pitch := pitch_of(want):
            return () if wanted_pitch == pitch and link.via is None else None
        return link.steps(plain(have), plain(want), pitch)

    def _serves_chain(self, link: Link, have: str, want: str) -> bool:
        """Whether a chain that reads its input in `want` can read it from `have`.

        With a pitch only a slice will do: its concat, which reads it later, keeps it until the chain has run.
        """
        if link.via is not None:
            return False
        if pitch := pitch_of(want):
            place = self.slices.get(link.producer or "", {}).get(have)
            return place is not None and place.pitch == pitch and place.join != link.consumer
        return not buffer_of(have) and not link.steps(plain(have), Layout(want))

    def out_bytes(self, node: Node, layout: str) -> int:
        """Bytes of memory of its own that a node's output takes in a layout."""
        if layout in self.pieces.get(node.name, {}):
            return 0
        place = self.slices.get(node.name, {}).get(layout)
        return plain(layout).bytes(*self.graph.tensors[node.output].chw) if place is None else place.arena_bytes

    def layouts_of(self, producer: str | None) -> tuple[str, ...]:
        """Layouts a node can write, in a fixed order; graph inputs are row-major."""
        if producer is None:
            return (Layout.CHW,)
        return tuple(dict.fromkeys(option.out_layout for option in self.options[producer]))

    def layouts_wanted(self, link: Link) -> tuple[str, ...]:
        """Layouts the consumer can read on the link's port; graph outputs are row-major."""
        if link.consumer is None:
            return (Layout.CHW,)
        return tuple(dict.fromkeys(option.in_layouts[link.port] for option in self.options[link.consumer]))


def list_candidates(
    graph: Graph, families: Collection[str] | None = None, *, threads: int = 1, chains: Collection[str] | None = None
) -> Candidates:
    """All options of a graph; `families` limits the convolution families offered (None: all).

    Workspaces are those of calls that up to `threads` threads share. `chains` names the only sites wanted (None: all
    that are worth offering): to find a few takes far less time than to judge all.

    Raises UserError `no-primitive` naming every node no primitive accepts.
    """
    nodes = tuple(node for node in graph.nodes if node.op != VIEW)
    options: dict[str, tuple[NodeOption, ...]] = {}
    refused: dict[str, Mapping[str, str]] = {}
    lacking: list[Item] = []
    for node in nodes:
        assert node.shape is not None
        options[node.name], refused[node.name] = offered(node.shape, families, threads)
        if not options[node.name]:
            reasons = list(refused[node.name].items())
            why = "; ".join(f"{name}: {reason}" for name, reason in reasons[:5]) or "no primitive exists"
            lacking.append(Item(node.name, f"{node.op} [{node.shape.key()}]: {why}"))
    if lacking:
        raise UserError(
            "no-primitive",
            f"{len(lacking)} node(s) of {graph.name} have no primitive that can run them",
            items=lacking,
            hint="allow more families, or report the shape",
        )
    weights_from = "dram" if footprint_bytes(graph) > LAST_LEVEL_BYTES else "l3"
    links = tuple(links_of(graph, nodes))
    splitting = Splitting(nodes, links)
    slicing = Slicing(nodes, links, options, pitches=splitting.pitches)
    if chains is None:
        sites = with_slices(find_sites(graph, threads, weights_from), graph, slicing.slices)
    else:
        dense = sites_named(graph, {unpitched(name) for name in chains}, threads, weights_from) if chains else ()
        every = with_slices(dense, graph, slicing.slices, everywhere=True)
        sites = tuple(site for site in every if site.name in chains)
    return Candidates(
        graph=graph,
        nodes=nodes,
        options=splitting.options(slicing.options),
        refused=refused,
        links=links,
        slices=slicing.slices,
        weights_from=weights_from,
        sites=sites,
        pieces=splitting.pieces,
        holds=splitting.holds,
    )


def footprint_bytes(graph: Graph) -> int:
    """Estimate of what one inference of a fast selection touches: weights as packed, and the largest tensors.

    Convolutions that Winograd F(4,3) can run count 4 times their weights (36 / 9), because it usually wins there.
    """
    weights_bytes = 0
    for node in graph.nodes:
        if node.shape is not None:
            s = node.shape
            transformed = s.op == "conv" and (s.kh, s.kw, s.stride_h, s.stride_w, s.group) == (3, 3, 1, 1, 1)
            weights_bytes += F32_BYTES * (4 if transformed else 1) * weight_elems(s)
    return weights_bytes + 2 * F32_BYTES * max((t.elems for t in graph.tensors.values()), default=0)
