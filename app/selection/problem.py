"""From candidates and costs to the optimiser's problem, and back from its answers to nodes and primitives.

The only bridge between the words of networks and the words of the solver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.candidates import Candidates
from app.chains import Chain
from app.costs import CostKey, CostTable, MissingCost
from app.graph.ir import Node
from app.links import Link
from app.options import NodeOption, pitch_of, pitched, plain
from app.rooms import room_bytes_of
from app.selection.holds import Conversions, hidden_choice, holding, into_hold, out_of_hold, releasing
from app.sites import TOKEN, WHOLE, Site
from app.slices import buffer_of
from app.strips import INPUT
from kernels.spec import Layout, canonical
from solver import problem as sp
from solver.evaluate import ImpossibleSelection


@dataclass(frozen=True)
class Built:
    """The problem with the meaning of its indices.

    `operators[i]` is the graph node behind problem node i, or None for a graph input or output or a step of a hold;
    `labels[i]` names it. `options[i]` parallels the problem node's options (empty where there is no operator).
    `links[e]` is behind edge e.
    """

    problem: sp.Problem
    candidates: Candidates
    labels: tuple[str, ...]
    operators: tuple[Node | None, ...]
    options: tuple[tuple[NodeOption, ...], ...]
    links: tuple[Link, ...]

    def index_of(self, node_name: str) -> int:
        """Problem index of an operator node."""
        return next(i for i, node in enumerate(self.operators) if node is not None and node.name == node_name)


def time_from(costs: CostTable) -> Callable[[CostKey], int]:
    """The objective: the median of each call. Raises MissingCost on a key without a cost."""
    return costs.ns


def require_costs(candidates: Candidates, costs: CostTable) -> None:
    """Raise one MissingCost that lists every cost still to be measured."""
    missing = costs.missing(candidates.cost_keys())
    if missing:
        raise MissingCost(missing)


def build_problem(candidates: Candidates, time_ns: Callable[[CostKey], int]) -> Built:
    """One problem node per graph input, operator and graph output, in execution order.

    A graph output's node follows its producer at once, so a layout change into the caller's buffer frees its source
    as early as possible. A tensor whose layout serves an output directly is written straight into the caller's buffer
    and takes no arena.
    """
    graph = candidates.graph
    served = _served_outputs(candidates)
    strips = chain_options(candidates)
    nodes: list[sp.Node] = []
    labels: list[str] = []
    operators: list[Node | None] = []
    options: list[tuple[NodeOption, ...]] = []
    index: dict[tuple[str, str | int], int] = {}
    links: list[tuple[int, Link]] = []  # (consumer index, link)

    def add(
        key: tuple[str, str | int],
        label: str,
        node: sp.Node,
        operator: Node | None = None,
        opts: tuple[NodeOption, ...] = (),
    ) -> None:
        index[key] = len(nodes)
        nodes.append(node)
        labels.append(label)
        operators.append(operator)
        options.append(opts)

    def add_outputs_of(tensor: str) -> None:
        for link in candidates.links:
            if link.consumer is None and link.tensor == tensor:
                free = sp.Option("write", 0, (Layout.CHW,), Layout.CHW)
                links.append((len(nodes), link))
                add(
                    ("output", link.port),
                    f"output {graph.outputs[link.port]}",
                    sp.Node(f"output {link.port}", (free,), {Layout.CHW: 0}),
                )

    held: dict[int, Conversions] = {}  # what the steps of holds may read

    def hold_behind(node: Node) -> None:
        """The steps that take a whole over behind a node, and that release it."""
        for hold in candidates.holds:
            if hold.after == node.name:
                made = nodes[index["tensor", hold.tensor]]
                held[len(nodes)] = into_hold(hold, made.out_bytes)
                links.append((len(nodes), hold.link(hold.tensor)))
                add(("tensor", hold.name), hold.name, holding(hold, made.out_bytes))
            if hold.until == node.name:
                held[len(nodes)] = out_of_hold(hold)
                links.append((len(nodes), hold.link(hold.name)))
                add(("release", hold.name), f"release {hold.producer}", releasing(hold))

    for name in graph.inputs:
        free = sp.Option("read", 0, (), Layout.CHW)
        add(("tensor", name), f"input {name}", sp.Node(f"input {name}", (free,), {Layout.CHW: 0}))
        add_outputs_of(name)
    for node in candidates.nodes:
        out_bytes = {
            layout: 0 if (node.output, layout) in served else candidates.out_bytes(node, layout)
            for layout in candidates.layouts_of(node.name)
        }
        parts = {
            name: sp.Part(place.buffer, *place.share_bytes)
            for name, place in candidates.slices.get(node.name, {}).items()
            if name in out_bytes and place.output is None
        }
        in_strips = strips.get(node.name, ())
        for o in in_strips:
            if o.out_layout.startswith(TOKEN):
                out_bytes[o.out_layout] = _held_bytes(o)
            elif o.out_layout not in out_bytes:
                is_served = (node.output, plain(o.out_layout)) in served
                needs_bytes = room_bytes_of(o.out_layout) or candidates.out_bytes(node, o.out_layout)
                out_bytes[o.out_layout] = 0 if is_served else needs_bytes
        usable = tuple(
            o for o in (*candidates.options[node.name], *in_strips) if o.in_place is None or out_bytes[o.out_layout] > 0
        )
        links.extend((len(nodes), link) for link in candidates.links if link.consumer == node.name)
        add(
            ("tensor", node.output),
            node.name,
            sp.Node(node.name, tuple(solver_option(candidates, o, time_ns) for o in usable), out_bytes, parts=parts),
            node,
            usable,
        )
        hold_behind(node)
        add_outputs_of(node.output)

    links.sort(key=lambda pair: (pair[0], pair[1].port))
    edges = tuple(
        sp.Edge(
            src=index["tensor", link.tensor],
            dst=consumer,
            port=link.port if link.consumer is not None else 0,
            conversions=held.get(consumer) or _conversions(candidates, link, strips, time_ns),
        )
        for consumer, link in links
    )
    problem = sp.Problem(tuple(nodes), edges, tied=_tied(candidates, strips))
    return Built(problem, candidates, tuple(labels), tuple(operators), tuple(options), tuple(link for _, link in links))


def _served_outputs(candidates: Candidates) -> Mapping[tuple[str, str], int]:
    """(tensor, layout) pairs that are, byte for byte, a graph output, with the output's index (the first one)."""
    served: dict[tuple[str, str], int] = {}
    for link in candidates.links:
        if link.consumer is None and link.producer is not None:
            for layout in candidates.layouts_of(link.producer):
                if not buffer_of(layout) and not link.steps(plain(layout), Layout.CHW):
                    served.setdefault((link.tensor, layout), link.port)
    return served


def solver_option(
    candidates: Candidates, option: NodeOption, time_ns: Callable[[CostKey], int], known_ns: int | None = None
) -> sp.Option:
    """An option of a node as the optimiser sees it. `known_ns`: its time, when it has been added up already."""
    if known_ns is None:
        known_ns = sum(count * time_ns(key) for key, count in candidates.costs_of(option))
    return sp.Option(
        name=option.name,
        time_ns=known_ns,
        in_layouts=option.in_layouts,
        out_layout=option.out_layout,
        workspace_bytes=option.workspace_bytes,
        weights_bytes=option.weights_bytes,
        in_place=option.in_place,
        joins=option.joins,
        resident_bytes=option.resident_bytes,
    )


def chain_options(candidates: Candidates) -> dict[str, tuple[NodeOption, ...]]:
    """The options of nodes inside chains. The tokens between them let a chain run as a whole or not at all."""
    found: dict[str, list[NodeOption]] = {}
    inner: dict[tuple[object, ...], NodeOption] = {}
    for site in dict.fromkeys(chain.site for chain in candidates.chains):
        for room_bytes in site.rooms:
            for layer, node in enumerate(site.nodes[:-1]):
                # Until the last node runs, the chain holds on to its input, unless somebody else does.
                reads, token, held = _inner_layouts(site, layer, room_bytes), site.token(room_bytes), site.held[layer]
                inner.setdefault((node.name, reads, token, held), NodeOption((), reads, token, held, site))
    for (name, *_), option in inner.items():
        found.setdefault(str(name), []).append(option)
    for chain in candidates.chains:
        site, last = chain.site, chain.site.nodes[-1]
        assert last.shape is not None
        outs = _slices_written(candidates, site) if site.y_pitch else [canonical(Layout.HWC, *last.shape.output_dims)]
        over = [1] if site.lies_over and _may_overwrite(chain) else []
        for room_bytes in site.rooms:
            reads = _last_layouts(site, room_bytes)
            places = [(place, out) for place in (None, *over) for out in outs if not site.staged]
            places += [(site.held[-1], site.over_input(room_bytes))] if room_bytes in site.takes_over else []
            found.setdefault(last.name, []).extend(
                NodeOption((), reads, written, place, site, chain) for place, written in places
            )
    return {name: tuple(options) for name, options in found.items()}


def _slices_written(candidates: Candidates, site: Site) -> list[str]:
    """The layouts of the slices a chain may write with its pitch: those that its last node may write by itself."""
    last = site.nodes[-1].name
    alone = {option.out_layout for option in candidates.options[last] if option.calls}
    return [name for name, p in candidates.slices.get(last, {}).items() if p.pitch == site.y_pitch and name in alone]


def _tied(candidates: Candidates, chained: Mapping[str, tuple[NodeOption, ...]]) -> frozenset[str]:
    """The layouts that nodes take together or not at all.

    Inside chains that have all readers of their input, and slices of a buffer that one concat alone joins, or a nest of
    which no concat can be copied into it.
    """
    every = (option for options in chained.values() for option in options if option.chain is None)
    inside = {o.out_layout for o in every if o.site is not None and not o.site.partial}
    joins: dict[str, set[str]] = {}
    for places in candidates.slices.values():
        for name, place in places.items():
            joins.setdefault(name, set()).add(place.join)
    nested = {
        place.buffer
        for found in candidates.slices.values()
        for place in found.values()
        for name in candidates.slices.get(place.join, ())
        if buffer_of(name) == place.buffer
        and any(o.calls and o.out_layout == name for o in candidates.options[place.join])
    }
    return frozenset(inside | {name for name in joins if buffer_of(name) not in nested})


def _inner_layouts(site: Site, layer: int, room_bytes: int) -> tuple[str, ...]:
    """What a node that is not the last reads: tokens, and the chain's input as it is."""
    return tuple(_as_it_is(site) if i == INPUT else site.token(room_bytes) for i in site.feeds(layer))


def _last_layouts(site: Site, room_bytes: int) -> tuple[str, ...]:
    """What the last node reads, for the whole chain."""
    shape = site.nodes[-1].shape
    assert shape is not None
    found = []
    for port, feed in enumerate(site.feeds(len(site.nodes) - 1)):
        alone = site.in_layout if feed == INPUT else canonical(Layout.HWC, *shape.input_dims(port))
        sliced = feed == INPUT and site.x_pitch
        found.append(site.token(room_bytes) if feed >= 0 else _as_it_is(site) if sliced else alone)
    return tuple(found)


def _as_it_is(site: Site) -> str:
    """What a chain calls the layout of its input."""
    return f"{WHOLE}{pitched(site.x_pitch) if site.x_pitch else site.in_layout}"


def _held_bytes(option: NodeOption) -> int:
    """Bytes a token stands for: the chain's input, which stays where it is until the chain has run."""
    assert option.site is not None
    return 0 if option.in_place is None else room_bytes_of(option.out_layout) or option.site.input_bytes


def _may_overwrite(chain: Chain) -> bool:
    """Whether the last node's output may take the place of its residual."""
    nodes = chain.site.nodes
    residual = nodes[-1].inputs[1]
    primitive = chain.primitives[-1]
    return primitive is not None and primitive.residual and (residual != chain.site.source or chain.site.overwrites)


def _conversions(
    candidates: Candidates,
    link: Link,
    strips: Mapping[str, tuple[NodeOption, ...]],
    time_ns: Callable[[CostKey], int],
) -> dict[tuple[str, str], sp.Conversion]:
    found: dict[tuple[str, str], sp.Conversion] = {}
    haves = list(candidates.layouts_of(link.producer))
    wants = list(candidates.layouts_wanted(link))
    for option in strips.get(link.producer or "", ()):
        haves += [option.out_layout] if option.out_layout not in haves else []
    for option in strips.get(link.consumer or "", ()):
        want = option.in_layouts[link.port]
        wants += [want] if want not in wants else []
    for have in haves:
        for want in wants:
            steps = candidates.steps(link, have, want)
            if steps is None:
                continue
            if not steps:
                found[have, want] = sp.Conversion(0, 0, copies=False)
                continue
            found[have, want] = sp.Conversion(
                time_ns=sum(time_ns(candidates.cost_key(step.primitive, step.shape)) for step in steps),
                # The last step of a conversion to a graph output writes into the caller's buffer.
                copy_bytes=0 if link.consumer is None else steps[-1].bytes,
                workspace_bytes=steps[0].bytes if len(steps) == 2 else 0,
            )
    return found


def selection_of(built: Built, chosen: Mapping[str, str]) -> sp.Selection:
    """The selection that runs each operator node with the option of that key; KeyError if it is not offered."""
    picks: list[int] = []
    for node, options in zip(built.operators, built.options, strict=True):
        if node is None:
            picks.append(hidden_choice(built.problem, picks))
            continue
        keys = [option.key for option in options]
        if chosen[node.name] not in keys:
            raise KeyError(f"{node.name}: {chosen[node.name]}")
        picks.append(keys.index(chosen[node.name]))
    return sp.Selection(tuple(picks))


def fastest_per_node(built: Built) -> sp.Selection:
    """Each node's fastest option by itself, as if layout changes were free: the greedy baseline.

    Where a slice lies and which nodes make a chain are matters between nodes, so there are none here. Raises
    ImpossibleSelection when a node has nothing else to run.
    """

    def fastest(node: sp.Node) -> int:
        alone = [i for i, o in enumerate(node.options) if not any(map(_is_shared, (*o.in_layouts, o.out_layout)))]
        if not alone:
            raise ImpossibleSelection(f"{node.name} runs only together with others")
        return min(alone, key=lambda i: node.options[i].time_ns)

    return sp.Selection(tuple(map(fastest, built.problem.nodes)))


def _is_shared(layout: str) -> bool:
    return bool(buffer_of(layout) or room_bytes_of(layout) or pitch_of(layout)) or layout.startswith((TOKEN, WHOLE))
