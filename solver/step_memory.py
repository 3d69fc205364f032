"""The bytes of every step of a flow: rows over the choices, and the least memory of any selection with each choice."""

from __future__ import annotations

from dataclasses import dataclass

from solver.arcs import Arc, Demand, Pair, rounded
from solver.passing import NEVER, Passing
from solver.problem import MemoryAxis, Option, Problem


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


def added_bytes(problem: Problem, option: Option, axis: MemoryAxis) -> int:
    """Bytes an option adds to the axis whatever the step: resident ones and, on the total axis, weights."""
    if axis is MemoryAxis.WORKSPACE:
        return 0
    resident_bytes = rounded(option.resident_bytes, problem.align_bytes)
    return resident_bytes + (option.weights_bytes if axis is MemoryAxis.TOTAL else 0)


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
            by = self._passing(v, [u for u in passing if u not in feeds])
            converting = {
                problem.edges[e].port
                for a in arcs_of[v]
                for e in arcs[a].edges
                if any(c.copies for c in problem.edges[e].conversions.values())
            }
            n_ports = sum(len(arcs[a].edges) for a in arcs_of[v])
            for step in [*sorted(converting), n_ports]:
                rows.extend(self._step(v, step, step == n_ports, by, arcs_of[v]))
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

    def _kind(self, j: int) -> str:
        """What decides with which options of other nodes an option is taken; "" for most."""
        v, i = self.options[j]
        layout = self.problem.nodes[v].options[i].out_layout
        return layout if layout in self.problem.tied else ""

    def _passing(self, v: int, crossing: list[int]) -> Passing:
        """What passes by while `v` runs."""
        groups: dict[int, dict[str, int]] = {u: {} for u in crossing}
        for u, group in groups.items():
            for j in self.x_of[u]:
                kind = self._kind(j)
                group[kind] = min(self.out_bytes[j], group.get(kind, self.out_bytes[j]))
        return Passing(frozenset(map(self._kind, self.x_of[v])), groups)

    def _step(self, v: int, step: int, is_run: bool, passing: Passing, arcs: list[int]) -> list[tuple[Row, int]]:
        """Account for one step: update needs and the base, return the row if at least two groups vary."""
        kinds = {self._kind(j) for j in self.x_of[v]}
        beside = {kind: passing.together(kind) for kind in kinds}
        own = {j: self.own_bytes[j] if is_run else 0 for j in self.x_of[v]}
        y_bytes = {a: {y: self.pairs[y].bytes_at[step] for y in self.pairs_of[a]} for a in arcs}
        # Least bytes of an arc, by demand: an option only ever meets pairs of its own demand.
        least_pair: dict[int, dict[Demand, int]] = {a: {} for a in arcs}
        for a, group in y_bytes.items():
            for y, size_bytes in group.items():
                demand = self.pairs[y].demand
                least_pair[a][demand] = min(size_bytes, least_pair[a].get(demand, size_bytes))
        served = {}
        for j in self.x_of[v]:
            if beside[self._kind(j)] >= NEVER:
                self.x_need[j] = NEVER
            elif all(self.demand_of[a][j] in least_pair[a] for a in arcs):
                served[j] = sum(least_pair[a][self.demand_of[a][j]] for a in arcs)
        if not served:
            return []  # no option of v can be served: the marginals alone are infeasible
        least_own: dict[str, int] = {}
        for j, pair_bytes in served.items():
            kind, bytes_here = self._kind(j), own[j] + pair_bytes
            least_own[kind] = min(bytes_here, least_own.get(kind, NEVER))
            self.x_need[j] = max(self.x_need[j], beside[kind] + bytes_here)
        self.base_bytes = max(self.base_bytes, min(beside[kind] + least_own[kind] for kind in least_own))
        over: dict[int, dict[int, int]] = {}  # bytes of what passes by above the least there is beside the same kinds
        for u in passing.groups:
            over[u] = {}
            for j in self.x_of[u]:
                mine = self._kind(j)
                with_it = [kind for kind in least_own if passing.allows(u, mine, kind)]
                others = [least_own[kind] + passing.with_others(kind, u, mine) for kind in with_it]
                self.x_need[j] = max(self.x_need[j], min(NEVER, self.out_bytes[j] + min(others, default=NEVER)))
                if with_it:  # beside any of these it has the same least, for they are told apart by the choice alone
                    over[u][j] = self.out_bytes[j] - passing.least(u, with_it[0])
        for a, group in y_bytes.items():
            least_at: dict[Demand, int] = {}
            for j, pair_bytes in served.items():
                demand = self.demand_of[a][j]
                others_bytes = beside[self._kind(j)] + own[j] + pair_bytes - least_pair[a][demand]
                least_at[demand] = min(others_bytes, least_at.get(demand, others_bytes))
            for y, size_bytes in group.items():
                demand = self.pairs[y].demand
                if demand in least_at:
                    self.y_need[y] = max(self.y_need[y], size_bytes + least_at[demand])
        apart = {kind: passing.apart(kind) for kind in kinds}
        own = {j: own[j] + apart[self._kind(j)] for j in served}
        return self._row(v, step, is_run, [*over.values(), own], list(y_bytes.values()))

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
