"""The problem as a flow of layouts: options, arcs, layout pairs, and the bytes each adds to each step.

Plain numbers for the Pyomo model (docs/formulation.md, sections 3 and 4); no solver here. An *arc* bundles all ports of
a node fed by the same producer, so that what happens to the producer's tensor at that node is one choice.
"""

from __future__ import annotations

from dataclasses import dataclass

from solver.arcs import Arc, Demand, Pair, bundle, demands, pair_of, rounded
from solver.problem import MemoryAxis, Option, Problem
from solver.step_memory import Row, StepMemory, added_bytes


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
    demand_of = tuple(demands(problem, arc, x_of[arc.dst], options) for arc in arcs)
    last_use = _last_use(problem)
    n_ports = [0] * len(problem.nodes)
    for edge in problem.edges:
        n_ports[edge.dst] += 1
    pairs: list[Pair] = []
    for a, arc in enumerate(arcs):
        layouts = dict.fromkeys(problem.nodes[v].options[i].out_layout for v, i in (options[j] for j in x_of[arc.src]))
        for demand in dict.fromkeys(demand_of[a].values()):
            served = (pair_of(problem, a, arc, layout, demand, last_use, n_ports[arc.dst]) for layout in layouts)
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
