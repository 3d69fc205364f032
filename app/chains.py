"""Where a graph may run layers strip by strip, with which primitives, at what cost.

A chain (app/strips.py) computes the whole output of its last node from one whole input; what lies in between exists
only as rolling buffers of a few rows, which are the chain's workspace together with the scratch of its calls. Inside,
everything is hwc, where rows are contiguous; a chain may start at a graph input, which is chw.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from app.costs import CostKey
from app.graph.ir import Node
from app.sites import Site, aligned, cost_key, mover
from app.strips import INPUT, StripCall, StripMove
from kernels import registry
from kernels.spec import Layout, Primitive, Shape, canonical
from kernels.split import on_threads

FAMILIES = frozenset({"direct", "pointwise", "depthwise", "winograd"})
"""Convolution families offered inside chains: those whose scratch does not grow with the image. The others would undo
what a chain is for."""

TILES = ("b3p8", "b4p6", "b2p12", "b3t8", "b4t6")
"""Register tiles of the families that come in many. Which of the others is a little faster on a whole layer says little
about a strip of it, and every one of them would have to be measured on every strip shape."""

MOST_RESIDENT = 3
"""Nodes of a chain among which any may have resident weights: each doubles the ways to run the chain."""


@dataclass(frozen=True)
class Chain:
    """A site with a primitive per node; None for a concat, which is there when its parts are.

    `resident` are the nodes whose weights are packed when the network starts.
    """

    site: Site
    primitives: tuple[Primitive | None, ...]
    resident: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Unique within a graph."""
        return f"{self.site.name} " + "+".join(p.name for p in self.primitives if p) + self.residents

    @property
    def residents(self) -> str:
        """Which nodes have resident weights, as part of a name."""
        return f" resident {','.join(map(str, self.resident))}" if self.resident else ""

    def packed_at_start(self) -> Iterator[Chain]:
        """The same with weights of some nodes packed at the start: any of MOST_RESIDENT nodes, of more all or none."""
        able = [layer for layer, primitive in enumerate(self.primitives) if primitive and primitive.packing.packer]
        sizes = range(1, len(able) + 1) if len(able) <= MOST_RESIDENT else [len(able)]
        for size in sizes:
            for layers in itertools.combinations(able, size):
                yield dataclasses.replace(self, resident=layers)

    def keys(self, layer: int) -> Iterator[tuple[CostKey, int]]:
        """The costs of the calls and copies of node `layer`, and how often each is paid."""
        yield from self.site.layer_keys(layer, self.primitives[layer])
        for shape, count in self.site.copy_shapes[layer].items():
            yield cost_key(mover(), shape, self.site.again_from), count

    def step_keys(self, layer: int) -> tuple[CostKey, ...]:
        """The costs of the calls and copies of node `layer` one by one, in the order of the plan."""
        return self._step_keys[layer]

    @cached_property
    def _step_keys(self) -> tuple[tuple[CostKey, ...], ...]:
        found: list[list[CostKey]] = [[] for _ in self.primitives]
        firsts, kinds = self.site.plan.kinds
        layers = [max(0, step.layer - self.site.staged) for step in firsts]
        again = [self._step_key(step, self.site.again_from) for step in firsts]
        called: set[int] = set()
        for kind in kinds:
            layer, key = layers[kind], again[kind]
            if layer not in called and self.site.copy_shape(firsts[kind]) is None:
                called.add(layer)
                key = self._step_key(firsts[kind], self.site.weights_from)
            if key is not None:
                found[layer].append(key)
        return tuple(map(tuple, found))

    def _step_key(self, step: StripCall | StripMove, weights_from: str) -> CostKey | None:
        """The cost of a step whose weights come from there; None when there is nothing to call."""
        if (shape := self.site.copy_shape(step)) is not None:
            return cost_key(mover(), shape, self.site.again_from)
        primitive = self.primitives[max(0, step.layer - self.site.staged)]
        if primitive is None or not isinstance(step, StripCall):
            return None
        return cost_key(primitive, self.site.call_shape(step), weights_from)

    @property
    def workspace_bytes(self) -> int:
        """Rolling buffers, and the scratch of the neediest call."""
        return self.site.workspace_bytes(
            max(_scratch_bytes(p, self.site.call_shapes[i]) for i, p in enumerate(self.primitives))
        )

    @property
    def weights_bytes(self) -> int:
        """Weights of all layers as shipped."""
        return sum(self.layer_weights_bytes(layer) for layer in range(len(self.primitives)))

    def layer_primitives(self, layer: int) -> tuple[Primitive, ...]:
        """The primitive of a node, if it has one."""
        primitive = self.primitives[layer]
        return () if primitive is None else (primitive,)

    def layer_weights_bytes(self, layer: int) -> int:
        """Weights of a layer as shipped; its calls share them."""
        found = self._calls_of(layer)
        return found[0].weights_bytes(found[1], resident=layer in self.resident) if found else 0

    @property
    def resident_bytes(self) -> int:
        """Weights packed at the start, of all layers, each aligned."""
        return sum(aligned(self.layer_resident_bytes(layer)) for layer in self.resident)

    def layer_resident_bytes(self, layer: int) -> int:
        """Packed weights of a layer that are resident; its calls share them."""
        found = self._calls_of(layer) if layer in self.resident else None
        return found[0].resident_bytes(found[1]) if found else 0

    def _calls_of(self, layer: int) -> tuple[Primitive, Shape] | None:
        """The primitive of a node, if it has one, and the first shape it is called on."""
        primitive = self.primitives[layer]
        return None if primitive is None else (primitive, next(iter(self.site.call_shapes[layer])))


def _scratch_bytes(primitive: Primitive | None, shapes: Iterable[Shape]) -> int:
    return max((primitive.workspace_bytes(shape) for shape in shapes), default=0) if primitive else 0


def _weights_bytes(primitive: Primitive | None, shapes: Iterable[Shape]) -> int:
    return primitive.weights_bytes(next(iter(shapes))) if primitive else 0


def layer_primitives(site: Site, layer: int) -> tuple[Primitive | None, ...]:
    """Primitives that can make every call of node `layer` of the chain; None alone where there is nothing to call."""
    shapes = tuple(site.call_shapes[layer])
    want = site.in_layout if site.feeds(layer)[0] == INPUT and not site.staged else Layout.HWC
    return _computing(shapes, want, site.threads) if shapes else (None,)


@cache
def _computing(shapes: tuple[Shape, ...], want: Layout, threads: int) -> tuple[Primitive, ...]:
    # Rows lie alike in canonically equal layouts only if that holds for each strip.
    reads = _same_as(want, [shape.input_dims(0) for shape in shapes])
    writes = _same_as(Layout.HWC, [shape.output_dims for shape in shapes])
    # A pitch means something else in blocks of channels, even where one block is all there is.
    if any(shape.y_pitch for shape in shapes):
        writes = frozenset({Layout.HWC})
    if want is Layout.HWC and any(shape.x_pitch for shape in shapes):
        reads = frozenset({Layout.HWC})
    return tuple(
        on_threads(primitive, threads)
        for primitive in _suiting(shapes[0].op)
        if primitive.in_layout in reads
        and primitive.out_layout in writes
        and not any(primitive.refusal(shape) for shape in shapes)
        and len({primitive.weights_bytes(shape) for shape in shapes}) == 1
    )


def _same_as(want: Layout, dims: Sequence[tuple[int, int, int]]) -> frozenset[Layout]:
    """The layouts that are `want` for tensors of all these dims."""
    return frozenset(layout for layout in Layout if all(canonical(layout, *d) == canonical(want, *d) for d in dims))


@cache
def _suiting(op: str) -> tuple[Primitive, ...]:
    """The primitives of an operator that are offered inside chains."""
    every = (primitive for primitive in registry.all_primitives().values() if primitive.op == op)
    return tuple(primitive for primitive in every if op != "conv" or _suits_strips(primitive))


def _suits_strips(conv: Primitive) -> bool:
    if conv.family not in FAMILIES:
        return False
    return conv.family == "depthwise" or conv.variant.endswith(TILES) or conv.in_layout is not Layout.HWC


Offers = Callable[[Node], Collection[str]]
"""Names of the primitives a node may run."""


def cost_keys(sites: Iterable[Site], offers: Offers) -> list[CostKey]:
    """Every cost the chains of the sites are made of, without repeats."""
    keys: dict[CostKey, None] = {}
    for site in sites:
        for layer, node in enumerate(site.nodes):
            for primitive in layer_primitives(site, layer):
                if primitive is None or primitive.name in offers(node):
                    keys.update((key, None) for key, _ in site.layer_keys(layer, primitive))
            keys.update((cost_key(mover(), shape, site.again_from), None) for shape in site.copy_shapes[layer])
    return list(keys)


Figures = tuple[int, int, int]
"""Of a chain: ns, bytes of workspace, bytes of weights."""
Use = tuple[int, int, int, Primitive | None]
"""A way to run a layer of a chain: ns, bytes of scratch, bytes of weights, primitive."""


def best_chains(sites: Iterable[Site], offers: Offers, time_ns: Callable[[CostKey], int]) -> list[Chain]:
    """Strips and primitives that no others of the same nodes beat in time, workspace and weights."""
    return [chain for chain, _ in ChainCosts(time_ns).best(sites, offers)]


class ChainCosts:
    """What the layers of sites cost, each with each primitive looked up once, however often chains are asked for."""

    def __init__(self, time_ns: Callable[[CostKey], int]):
        self._time_ns = time_ns
        # Of each layer the primitives by name ("": nothing to call), and what is known of them.
        self._layers: dict[Site, list[dict[str, Primitive | None]]] = {}
        self._uses: dict[tuple[Site, int, str], Use] = {}
        self._copies_ns: dict[Site, int] = {}

    def best(self, sites: Iterable[Site], offers: Offers) -> list[tuple[Chain, Figures]]:
        """Strips and primitives that no others of the same nodes beat in time, workspace and weights, and these.

        Where strips may lie over the input and others may not, or where they read and write other memory, they do not
        compete.
        """
        groups: dict[Hashable, list[tuple[Chain, Figures]]] = {}
        for site in dict.fromkeys(sites):
            lies = (site.overwrites, site.takes_over, site.x_pitch, site.y_pitch)
            same = (*(node.name for node in site.nodes), *lies)
            groups.setdefault(same, []).extend(self._chains(site, offers))
        best = []
        for group in groups.values():
            every = {figures for _, figures in group}
            best += [(chain, figures) for chain, figures in group if not _beaten(figures, every)]
        return best

    def chain_ns(self, chain: Chain) -> int:
        """The time of a chain."""
        named = ((i, primitive.name if primitive else "") for i, primitive in enumerate(chain.primitives))
        uses = (self._layer(chain.site, layer, (name,))[0] for layer, name in named)
        return self._copies(chain.site) + sum(ns for ns, *_ in uses)

    def _layer(self, site: Site, layer: int, names: Collection[str]) -> list[Use]:
        """The ways to run a layer with primitives of these names."""
        if site not in self._layers:
            every = (layer_primitives(site, i) for i in range(len(site.nodes)))
            self._layers[site] = [{"" if p is None else p.name: p for p in primitives} for primitives in every]
        found = []
        for name, primitive in self._layers[site][layer].items():
            if primitive is not None and name not in names:
                continue
            use = self._uses.get((site, layer, name))
            if use is None:
                shapes = site.call_shapes[layer]
                use = self._uses[site, layer, name] = (
                    sum(count * self._time_ns(key) for key, count in site.layer_keys(layer, primitive)),
                    _scratch_bytes(primitive, shapes),
                    _weights_bytes(primitive, shapes),
                    primitive,
                )
            found.append(use)
        return found

    def _copies(self, site: Site) -> int:
        if site not in self._copies_ns:
            self._copies_ns[site] = sum(
                count * self._time_ns(cost_key(mover(), shape, site.again_from))
                for shapes in site.copy_shapes
                for shape, count in shapes.items()
            )
        return self._copies_ns[site]

    def _chains(self, site: Site, offers: Offers) -> list[tuple[Chain, Figures]]:
        """The choices of primitives that may be unbeaten, and what they cost.

        A layer's choice costs its own time and weights, and the scratch is that of the neediest call: for every bound
        of the scratch the fastest primitive of each layer within it is best, and so is the fastest of those with the
        lightest weights.
        """
        layers: list[list[Use]] = []
        for layer, node in enumerate(site.nodes):
            layers.append(self._layer(site, layer, offers(node)))
            if not layers[-1]:
                return []
        copies_ns = self._copies(site)
        found: dict[tuple[str, ...], tuple[Chain, Figures]] = {}
        for bound in sorted({scratch for layer in layers for _, scratch, _, _ in layer}):
            fitting = [[use for use in layer if use[1] <= bound] for layer in layers]
            if not all(fitting):
                continue
            for light in (False, True):
                picks = [min(layer, key=lambda use: (use[2] if light else 0, use[0], use[1])) for layer in fitting]
                primitives = tuple(primitive for *_, primitive in picks)
                figures = (
                    copies_ns + sum(ns for ns, *_ in picks),
                    site.workspace_bytes(max(scratch for _, scratch, *_ in picks)),
                    sum(weights for *_, weights, _ in picks),
                )
                found[tuple(p.name for p in primitives if p)] = Chain(site, primitives), figures
        return list(found.values())


def _beaten(figures: Figures, others: Iterable[Figures]) -> bool:
    return any(other != figures and all(a <= b for a, b in zip(other, figures, strict=True)) for other in others)
