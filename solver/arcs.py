"""How a node's output reaches one reader: what the reader demands, and the ways it can be served."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from solver.problem import Edge, Problem


@dataclass(frozen=True)
class Demand:
    """What an option asks of one arc: a layout per port, and the port it overwrites with how many bytes.

    Options with the same demand are interchangeable on the arc. In-place options have a demand of their own, because
    which producer layouts they can follow differs.
    """

    layouts: tuple[str, ...]
    in_place: int | None = None  # position among the arc's ports
    out_bytes: int = 0  # rounded; 0 unless in place


@dataclass(frozen=True)
class Arc:
    """All edges from `src` to `dst`, in port order."""

    src: int
    dst: int
    edges: tuple[int, ...]


@dataclass(frozen=True)
class Pair:
    """One way an arc can be served: producer layout, demand, conversion time, bytes at each step of `dst`.

    `bytes_at[s]` counts the producer's tensor while it is live, copies and conversion workspace, for step s of the
    consumer: its ports in order, then its run.
    """

    arc: int
    layout: str
    demand: Demand
    time_ns: int
    bytes_at: tuple[int, ...]


def rounded(size_bytes: int, align_bytes: int) -> int:
    """`size_bytes` rounded up to the alignment."""
    return -(-size_bytes // align_bytes) * align_bytes


def bundle(edges: Iterable[Edge]) -> list[Arc]:
    """Edges grouped by (src, dst), ports in order; arcs sorted by (dst, first port)."""
    found: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for index, edge in enumerate(edges):
        found.setdefault((edge.dst, edge.src), []).append((edge.port, index))
    arcs = [(dst, min(ports)[0], src, sorted(ports)) for (dst, src), ports in found.items()]
    return [Arc(src, dst, tuple(e for _, e in ports)) for dst, _, src, ports in sorted(arcs)]


def demands(problem: Problem, arc: Arc, xs: list[int], options: tuple[tuple[int, int], ...]) -> dict[int, Demand]:
    """What each of the variables `xs`, options of the arc's reader, demands of it."""
    ports = [problem.edges[e].port for e in arc.edges]
    node = problem.nodes[arc.dst]
    found = {}
    for j in xs:
        option = node.options[options[j][1]]
        layouts = tuple(option.in_layouts[port] for port in ports)
        if option.in_place in ports:
            out_bytes = rounded(node.out_bytes[option.out_layout], problem.align_bytes)
            found[j] = Demand(layouts, ports.index(option.in_place), out_bytes)
        else:
            found[j] = Demand(layouts)
    return found


def pair_of(
    problem: Problem, a: int, arc: Arc, layout: str, demand: Demand, last_use: list[int], n_ports: int
) -> Pair | None:
    """How `arc` serves `demand` from `layout`; None when it cannot."""
    conversions = []
    for e, wanted in zip(arc.edges, demand.layouts, strict=True):
        conversion = problem.edges[e].conversions.get((layout, wanted))
        if conversion is None:
            return None
        conversions.append(conversion)
    align = problem.align_bytes
    original = rounded(problem.nodes[arc.src].out_bytes[layout], align)
    is_last = last_use[arc.src] == arc.dst
    if demand.in_place is not None:
        taken = conversions[demand.in_place]
        taken_bytes = rounded(taken.copy_bytes, align) if taken.copies else original
        if taken_bytes != demand.out_bytes or taken_bytes == 0:
            return None
        if not taken.copies and not (is_last and len(arc.edges) == 1):
            return None
    ports = [problem.edges[e].port for e in arc.edges]
    # The original is read by the run itself unless every port is converted; then its last reader is the last port.
    freed_after = ports[-1] if is_last and all(c.copies for c in conversions) else None
    bytes_at = []
    for step in range(n_ports + 1):
        live = original if freed_after is None or step <= freed_after else 0
        for port, conversion in zip(ports, conversions, strict=True):
            if conversion.copies and port <= step:
                live += rounded(conversion.copy_bytes, align)
            if conversion.copies and port == step:
                live += rounded(conversion.workspace_bytes, align)
        bytes_at.append(live)
    return Pair(a, layout, demand, sum(c.time_ns for c in conversions), tuple(bytes_at))
