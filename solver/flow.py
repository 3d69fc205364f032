"""The problem as a flow of layouts: options, arcs, layout pairs, and the bytes each adds to each step.

Plain numbers for the Pyomo model (docs/formulation.md, sections 3 and 4); no solver here. An *arc* bundles all ports of
a node fed by the same producer, so that what happens to the producer's tensor at that node is one choice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from solver.problem import Edge, MemoryAxis, Option, Problem


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


@dataclass(frozen=True)
class Row:
    """One step's memory as base + sum of the coefficients of the choices made; all coefficients >= 0, some 0.

    `x` and `y` map variable index to bytes. At least two groups of choices vary, else the row is a filter alone; on
    the total axis one is enough, because there the row bounds a variable.
    """

    label: str
    base_bytes: int
    x: dict[int, int]
    y: dict[int, int]


@dataclass(frozen=True)
class Flow:
    """Everything the model needs, as flat lists indexed like its variables.

    `options[j]` is (node, option index) of variable x[j]; `pairs[j]` of y[j]. `x_need`, `y_need` are the least memory
    on the axis of any selection that makes this choice, so the choice is excluded below it. `base_bytes` is a lower
    bound on what every selection needs at its largest step.
    """

    problem: Problem
    axis: MemoryAxis
    options: tuple[tuple[int, int], ...]
    arcs: tuple[Arc, ...]
    pairs: tuple[Pair, ...]
    demand_of: tuple[dict[int, Demand], ...]  # per arc: x variable -> demand
    x_need: tuple[int, ...]
    y_need: tuple[int, ...]
    rows: tuple[Row, ...]
    base_bytes: int

    @property
    def adds_up(self) -> bool:
        """Whether the axis is a sum over the nodes beside the largest need of a step."""
        return self.axis is MemoryAxis.TOTAL or (self.axis is MemoryAxis.ARENA and self.problem.has_residents)

    def options_of(self) -> list[list[int]]:
        """The x variables of each node."""
        found: list[list[int]] = [[] for _ in self.problem.nodes]
        for j, (v, _) in enumerate(self.options):
            found[v].append(j)
        return found

    def option(self, j: int) -> Option:
        """The option of variable x[j]."""
        node, index = self.options[j]
        return self.problem.nodes[node].options[index]


def rounded(size_bytes: int, align_bytes: int) -> int:
    """`size_bytes` rounded up to the alignment."""
    return -(-size_bytes // align_bytes) * align_bytes


def added_bytes(problem: Problem, option: Option, axis: MemoryAxis) -> int:
    """Bytes an option adds to the axis whatever the step: resident ones and, on the total axis, weights."""
    if axis is MemoryAxis.WORKSPACE:
        return 0
    resident_bytes = rounded(option.resident_bytes, problem.align_bytes)
    return resident_bytes + (option.weights_bytes if axis is MemoryAxis.TOTAL else 0)


def undominated(problem: Problem, node: int, axis: MemoryAxis, *, weights_matter: bool) -> list[int]:
    """Options of a node worth keeping: none is beaten on every objective by one of the same layouts and in-place port.

    Ties keep one option: the one with fewer weights, then the first.
    """
    align = 1 if axis is MemoryAxis.WORKSPACE else problem.align_bytes
    options = problem.nodes[node].options
    added = [added_bytes(problem, o, axis) for o in options]
    figures = [(o.time_ns, rounded(o.workspace_bytes, align), o.weights_bytes) for o in options]
    rivals: dict[object, list[int]] = {}
    kept = []
    for i in sorted(range(len(options)), key=lambda i: (*figures[i], i)):
        same = rivals.setdefault((options[i].in_layouts, options[i].out_layout, options[i].in_place), [])
        # Sorted by time, so a rival is never slower.
        if any(
            figures[r][1] <= figures[i][1]
            and added[r] <= added[i]
            and (not weights_matter or figures[r][2] <= figures[i][2])
            for r in same
        ):
            continue
        same.append(i)
        kept.append(i)
    return sorted(kept)


def bundle(edges: Iterable[Edge]) -> list[Arc]:
    """Edges grouped by (src, dst), ports in order; arcs sorted by (dst, first port)."""
    found: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for index, edge in enumerate(edges):
        found.setdefault((edge.dst, edge.src), []).append((edge.port, index))
    arcs = [(dst, min(ports)[0], src, sorted(ports)) for (dst, src), ports in found.items()]
    return [Arc(src, dst, tuple(e for _, e in ports)) for dst, _, src, ports in sorted(arcs)]


def build(problem: Problem, axis: MemoryAxis, *, weights_matter: bool, prune: bool = True) -> Flow:
    """The flow of `problem`; `weights_matter` when weights are bounded or part of the axis.

    Without `prune` it keeps dominated options, which are needed when others may be closed or times may change.
    """
    weights_matter = weights_matter or axis is MemoryAxis.TOTAL
    arcs = bundle(problem.edges)
    options = tuple(
        (v, i)
        for v, node in enumerate(problem.nodes)
        for i in (undominated(problem, v, axis, weights_matter=weights_matter) if prune else range(len(node.options)))
    )
    x_of: list[list[int]] = [[] for _ in problem.nodes]
    for j, (v, _) in enumerate(options):
        x_of[v].append(j)
    demand_of = tuple(_demands(problem, arc, x_of[arc.dst], options) for arc in arcs)
    last_use = _last_use(problem)
    n_ports = [0] * len(problem.nodes)
    for edge in problem.edges:
        n_ports[edge.dst] += 1
    pairs: list[Pair] = []
    for a, arc in enumerate(arcs):
        layouts = dict.fromkeys(problem.nodes[v].options[i].out_layout for v, i in (options[j] for j in x_of[arc.src]))
        for demand in dict.fromkeys(demand_of[a].values()):
            served = (_pair(problem, a, arc, layout, demand, last_use, n_ports[arc.dst]) for layout in layouts)
            pairs.extend(pair for pair in served if pair is not None)
    if axis is MemoryAxis.WORKSPACE:
        needs = [problem.nodes[v].options[i].workspace_bytes for v, i in options]
        base = max((min(needs[j] for j in js) for js in x_of), default=0)
        return Flow(
            problem, axis, options, tuple(arcs), tuple(pairs), demand_of, tuple(needs), (0,) * len(pairs), (), base
        )
    steps = StepMemory(problem, options, x_of, arcs, pairs, demand_of, last_use, axis)
    return Flow(
        problem,
        axis,
        options,
        tuple(arcs),
        tuple(pairs),
        demand_of,
        tuple(steps.x_need),
        tuple(steps.y_need),
        tuple(steps.rows),
        steps.base_bytes,
    )


def _last_use(problem: Problem) -> list[int]:
    """The last node that reads each output; the node itself when none does, past the end when it stays live."""
    last = list(range(len(problem.nodes)))
    for edge in problem.edges:
        last[edge.src] = max(last[edge.src], edge.dst)
    return [len(last) if node.stays_live else use for node, use in zip(problem.nodes, last, strict=True)]


def _demands(problem: Problem, arc: Arc, xs: list[int], options: tuple[tuple[int, int], ...]) -> dict[int, Demand]:
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


def _pair(
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


class StepMemory:
    """The memory of every step as rows over the choices, and the need of every choice.

    A step of node v counts: tensors that pass by (choice of their producer), what each arc of v keeps live (choice of
    a pair) and, at the run, workspace plus output (choice of v's option). The need of a choice takes every other
    choice at its least, but only pairs and options that agree on the demand.
    """

    def __init__(
        self,
        problem: Problem,
        options: tuple[tuple[int, int], ...],
        x_of: list[list[int]],
        arcs: list[Arc],
        pairs: list[Pair],
        demand_of: tuple[dict[int, Demand], ...],
        last_use: list[int],
        axis: MemoryAxis,
    ):
        # Where something adds to it, the arena is a variable that every step bounds, so no row can become a filter.
        adds_up = axis is MemoryAxis.TOTAL or problem.has_residents
        self.least_groups = 1 if adds_up else 2
        self.problem, self.options, self.x_of, self.demand_of = problem, options, x_of, demand_of
        self.arcs, self.pairs = arcs, pairs
        self.x_need = [0] * len(options)
        self.y_need = [0] * len(pairs)
        self.rows: list[Row] = []
        self.base_bytes = 0
        align = problem.align_bytes
        self.out_bytes = [
            rounded(problem.nodes[v].out_bytes[problem.nodes[v].options[i].out_layout], align) for v, i in options
        ]
        self.own_bytes = [
            rounded(problem.nodes[v].options[i].workspace_bytes, align)
            + (self.out_bytes[j] if problem.nodes[v].options[i].in_place is None else 0)
            for j, (v, i) in enumerate(options)
        ]
        arcs_of: list[list[int]] = [[] for _ in problem.nodes]
        for a, arc in enumerate(arcs):
            arcs_of[arc.dst].append(a)
        self.pairs_of: list[list[int]] = [[] for _ in arcs]
        for y, pair in enumerate(pairs):
            self.pairs_of[pair.arc].append(y)
        rows: list[tuple[Row, int]] = []
        passing: list[int] = []
        for v in range(len(problem.nodes)):
            feeds = {arcs[a].src for a in arcs_of[v]}
            passing = [u for u in passing if last_use[u] >= v]
            crossing = [u for u in passing if u not in feeds]
            converting = {
                problem.edges[e].port
                for a in arcs_of[v]
                for e in arcs[a].edges
                if any(c.copies for c in problem.edges[e].conversions.values())
            }
            n_ports = sum(len(arcs[a].edges) for a in arcs_of[v])
            for step in [*sorted(converting), n_ports]:
                rows.extend(self._step(v, step, step == n_ports, crossing, arcs_of[v]))
            passing.append(v)
        # A row that cannot exceed what every selection needs anyway never binds.
        self.rows = [row for row, most_bytes in rows if most_bytes > self.base_bytes]
        if adds_up:
            self._add([added_bytes(problem, problem.nodes[v].options[i], axis) for v, i in options])

    def _add(self, added: list[int]) -> None:
        """Turn needs of a step into needs of the axis: what the options add comes on top."""
        least = [min((added[j] for j in js), default=0) for js in self.x_of]
        total = sum(least)
        self.x_need = [
            need + total + added[j] - least[v]
            for j, (need, (v, _)) in enumerate(zip(self.x_need, self.options, strict=True))
        ]
        self.y_need = [need + total for need in self.y_need]

    def _step(self, v: int, step: int, is_run: bool, crossing: list[int], arcs: list[int]) -> list[tuple[Row, int]]:
        """Account for one step: update needs and the base, return the row if at least two groups vary."""
        x_bytes = {u: {j: self.out_bytes[j] for j in self.x_of[u]} for u in crossing}
        own = {j: self.own_bytes[j] if is_run else 0 for j in self.x_of[v]}
        y_bytes = {a: {y: self.pairs[y].bytes_at[step] for y in self.pairs_of[a]} for a in arcs}
        least_crossing = {u: min(group.values()) for u, group in x_bytes.items()}
        passing_bytes = sum(least_crossing.values())
        # Least bytes of an arc, by demand: an option only ever meets pairs of its own demand.
        least_pair: dict[int, dict[Demand, int]] = {a: {} for a in arcs}
        for a, group in y_bytes.items():
            for y, size_bytes in group.items():
                demand = self.pairs[y].demand
                least_pair[a][demand] = min(size_bytes, least_pair[a].get(demand, size_bytes))
        served = {
            j: sum(least_pair[a][self.demand_of[a][j]] for a in arcs)
            for j in self.x_of[v]
            if all(self.demand_of[a][j] in least_pair[a] for a in arcs)
        }
        if not served:
            return []  # no option of v can be served: the marginals alone are infeasible
        least_own = min(own[j] + pair_bytes for j, pair_bytes in served.items())
        self.base_bytes = max(self.base_bytes, passing_bytes + least_own)
        for j, pair_bytes in served.items():
            self.x_need[j] = max(self.x_need[j], passing_bytes + own[j] + pair_bytes)
        for u, group in x_bytes.items():
            for j, size_bytes in group.items():
                need = passing_bytes - least_crossing[u] + size_bytes + least_own
                self.x_need[j] = max(self.x_need[j], need)
        for a, group in y_bytes.items():
            least_at: dict[Demand, int] = {}
            for j, pair_bytes in served.items():
                demand = self.demand_of[a][j]
                others = own[j] + pair_bytes - least_pair[a][demand]
                least_at[demand] = min(others, least_at.get(demand, others))
            for y, size_bytes in group.items():
                demand = self.pairs[y].demand
                if demand in least_at:
                    self.y_need[y] = max(self.y_need[y], passing_bytes + size_bytes + least_at[demand])
        return self._row(v, step, is_run, [*x_bytes.values(), own], list(y_bytes.values()))

    def _row(
        self, v: int, step: int, is_run: bool, xs: list[dict[int, int]], ys: list[dict[int, int]]
    ) -> list[tuple[Row, int]]:
        base = most = 0
        x: dict[int, int] = {}
        y: dict[int, int] = {}
        varying = 0
        for groups, terms in ((xs, x), (ys, y)):
            for group in groups:
                least = min(group.values(), default=0)
                base += least
                most += max(group.values(), default=0)
                over = {j: size_bytes - least for j, size_bytes in group.items() if size_bytes > least}
                terms.update(over)
                varying += bool(over)
        if varying < self.least_groups:
            return []
        label = self.problem.nodes[v].name + ("" if is_run else f":{step}")
        return [(Row(label, base, x, y), most)]
