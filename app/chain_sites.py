"""Where in a graph layers may run strip by strip, and in which strips. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from app.chain_worth import Worth
from app.chains import Site
from app.graph.ir import VIEW, Graph, Node
from app.strips import ROW_LOCAL_OPS, WINDOWED_OPS, StripCall, StripMove, StripPlan, plan_strips, staging
from kernels.spec import Layout, canonical

HEIGHTS = (1, 2, 6)
"""Rows of a strip: the least memory there is, and what the tiles of Winograd F(2) and F(6) divide."""
LONGEST = 5  # nodes of a chain, and besides the longest run of all
KEPT_SHARE = 0.5
"""Rolling buffers that hold more than this share of the tensors they replace are not worth their calls."""


def find_sites(graph: Graph, threads: int = 1, weights_from: str = "l3") -> tuple[Site, ...]:
    """Every chain worth offering, in execution order of its first node."""
    order = {node.output: number for number, node in enumerate(graph.nodes)}
    readers = _readers(graph)
    found: list[Site] = []
    for run in _runs(graph, readers):
        lengths = {*range(1, LONGEST + 1), len(run)}
        for length in sorted(n for n in lengths if n <= len(run)):
            for nodes in (run[i : i + length] for i in range(len(run) - length + 1)):
                found += _sites_of(graph, nodes, order, readers, threads, weights_from)
    return tuple(Worth(graph, found).sites())


def _runs(graph: Graph, readers: dict[str, list[Node]]) -> Iterator[tuple[Node, ...]]:
    """Maximal paths of row-local nodes in which each but the last is read by the next one alone, on port 0."""
    inside: set[str] = set()
    for node in graph.nodes:
        if node.name in inside or not _row_local(node):
            continue
        run = [node]
        while (after := _only_reader(graph, run[-1], readers)) is not None:
            run.append(after)
            inside.add(after.name)
        yield tuple(run)


def _row_local(node: Node) -> bool:
    return node.op in ROW_LOCAL_OPS and node.shape is not None and node.shape.h > 1


def _only_reader(graph: Graph, node: Node, readers: dict[str, list[Node]]) -> Node | None:
    """The next node of a path, or None. A second operand is read row by row too, so it must be whole by then."""
    found = readers.get(node.output, [])
    if len(found) != 1 or node.output in graph.outputs:
        return None
    after = found[0]
    if not _row_local(after) or after.inputs[0] != node.output or node.output in after.inputs[1:]:
        return None
    # Only the last node may have a second operand; a path that goes on behind one would need both at once.
    return after if node.shape is not None and node.shape.n_in == 1 else None


def _sites_of(
    graph: Graph,
    nodes: Sequence[Node],
    order: dict[str, int],
    readers: dict[str, list[Node]],
    threads: int,
    weights_from: str,
) -> Iterator[Site]:
    source = nodes[0].inputs[0]
    if source in graph.outputs:
        return
    if any(node.shape is None or node.shape.n_in > 1 for node in nodes[:-1]):
        return
    producer = graph.producer(source)
    if producer is not None and producer.op == VIEW:
        return
    dims = graph.tensors[source].chw
    in_layout = canonical(Layout.HWC, *dims) if producer is not None else Layout.CHW
    stays = _input_stays(graph, nodes, order, readers)
    if stays is None:
        return
    shapes = [node.shape for node in nodes if node.shape is not None]
    inner_bytes = sum(Layout.HWC.bytes(*shape.output_dims) for shape in shapes[:-1])
    out_bytes = Layout.HWC.bytes(*shapes[-1].output_dims)
    in_bytes = Layout.HWC.bytes(*dims)
    seen: set[tuple[StripCall | StripMove, ...]] = set()
    for height in HEIGHTS:
        if height >= shapes[-1].oh:
            break
        plan = plan_strips(shapes, height)
        over = not stays and plan.may_overwrite_input
        if not stays and not over and nodes[0].op in WINDOWED_OPS and out_bytes <= in_bytes:
            staged = plan_strips([staging(shapes[0]), *shapes], height)
            if _pays(staged, inner_bytes + out_bytes) and staged.may_overwrite_input:
                rooms = (in_bytes,)
                yield Site(tuple(nodes), staged, in_layout, stays, False, rooms, rooms, threads, weights_from)
        if len(nodes) > 1 and _pays(plan, inner_bytes) and plan.steps not in seen:
            seen.add(plan.steps)
            same = plan.may_overwrite_input and shapes[-1].output_dims == dims
            rooms, taken = (in_bytes,), (in_bytes,) if over else ()
            yield Site(tuple(nodes), plan, in_layout, stays, same, rooms, taken, threads, weights_from)


def _input_stays(
    graph: Graph, nodes: Sequence[Node], order: dict[str, int], readers: dict[str, list[Node]]
) -> bool | None:
    """Whether somebody keeps the input of a chain of these nodes until it has run; None when it may not run there."""
    source, last = nodes[0].inputs[0], nodes[-1]
    if any(order.get(name, -1) >= order[nodes[0].output] for name in last.inputs[1:]):
        return None  # the other operand is made while the chain runs
    later = any(order[reader.output] > order[last.output] for reader in readers[source])
    stays = later or graph.producer(source) is None or source in last.inputs[1:]
    # Read again while the chain runs, and by nobody afterwards: its end would not be the model's.
    return None if not stays and len(readers[source]) > 1 else stays


def sites_in_order(sites: Sequence[Site], graph: Graph) -> tuple[Site, ...]:
    """Those of the sites where the order of `graph` lets a chain run; they are the sites of another order of it."""
    order = {node.output: number for number, node in enumerate(graph.nodes)}
    readers = _readers(graph)
    found = []
    for site in sites:
        stays = _input_stays(graph, site.nodes, order, readers)
        if stays:
            site = dataclasses.replace(site, input_stays=True, rooms=site.rooms[:1], takes_over=())
        if stays is not None and (site.takes_over or not site.staged):
            found.append(dataclasses.replace(site, input_stays=stays))
    return tuple(found)


def _readers(graph: Graph) -> dict[str, list[Node]]:
    found: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            found.setdefault(name, []).append(node)
    return found


def _pays(plan: StripPlan, replaced_bytes: int) -> bool:
    """Whether the rolling buffers are small beside what they replace."""
    return sum(plan.buffer_bytes(i) for i in range(len(plan.shapes) - 1)) <= KEPT_SHARE * replaced_bytes
