"""Questions about other limits and budgets, answered by one warm model: built once, closed and bounded each time."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from app.candidates import Candidates, list_candidates
from app.costs import CostKey, CostTable, MissingCost
from app.errors import UserError
from app.graph.ir import Graph
from app.options import NodeOption
from app.points import Point
from app.quantities import format_bytes
from app.selection.frontier import WEIGHTS, check_axis_of, infeasible, least_weights_bytes, needs
from app.selection.limits import Limits
from app.selection.points import point_from
from app.selection.problem import build_problem, time_from
from solver import problem as sp
from solver.frontier import Infeasible
from solver.outcome import Held, Outcome
from solver.warm import WarmSolver

QUESTION_LIMIT_S = 5.0
"""A knapsack (total axis, bounds on weights) may take HiGHS long; then the best so far is given with its bound."""

MOST_CUTS = 20
"""Selections whose offsets need more than their live bytes, and more than the budget, are cut one by one."""


@dataclass(frozen=True)
class Answer:
    """The fastest selection within limits and budget. `method` is what HiGHS solved last: "lp" or "mip"."""

    point: Point
    method: str
    solve_s: float


class WarmModel:
    """Every measured option of a network on a device in one problem, with a solver per axis, for one objective.

    Options without a cost are left out; a question whose limits would allow one raises MissingCost. Safe to share
    between threads: one question at a time.
    """

    def __init__(self, graph: Graph, costs: CostTable, objective: str = "p50"):
        self.objective = objective
        self.costs = costs
        self.offered = list_candidates(graph, threads=costs.threads)
        self.times = Limits(objective=objective).times(costs)
        self.unmeasured = {
            (node, i): missing
            for node, options in self.offered.options.items()
            for i, option in enumerate(options)
            if (missing := costs.missing(_keys(self.offered, option)))
        }
        measured = {
            node: tuple(option for i, option in enumerate(options) if (node, i) not in self.unmeasured)
            for node, options in self.offered.options.items()
        }
        if not all(measured.values()):
            raise MissingCost(key for missing in self.unmeasured.values() for key in missing)
        self.candidates: Candidates = dataclasses.replace(self.offered, options=measured)
        self.built = build_problem(self.candidates, time_from(self.times))
        self.lock = threading.RLock()
        self._solvers: dict[sp.MemoryAxis, WarmSolver] = {}

    def ask(self, limits: Limits, memory: str, budget_bytes: int | None) -> Answer:
        """The fastest selection within the limits and the budget on the axis (None: no budget).

        Raises UserError `limits-invalid`, `limits-impossible`, or `budget-infeasible` with the least that works.
        """
        with self.lock:
            started = time.perf_counter()
            solver = self.solver(limits, memory, budget_bytes)
            bound = limits.max_arena_bytes if memory == WEIGHTS else budget_bytes
            first: Outcome | None = None
            for _ in range(MOST_CUTS):
                outcome = solver.ask(bound, time_limit_s=QUESTION_LIMIT_S)
                first = first or outcome
                if outcome.held is Held.INFEASIBILITY:
                    raise self._nothing_fits(solver, limits, memory, budget_bytes)
                if outcome.selection is None:
                    raise UserError(
                        "question-too-hard",
                        f"no selection was found in {QUESTION_LIMIT_S:g} s",
                        hint="trace the front of these limits instead: that runs as a job without this limit",
                        status=503,
                    )
                # What an earlier cut allowed was not faster: the first bound holds for all of them.
                point = point_from(
                    self.built, self.times, outcome.selection, proven=outcome.proven, bound_ns=first.bound_ns
                )
                if memory not in ("arena", WEIGHTS) or bound is None or point.arena_bytes <= bound:
                    proven = point.latency_ns == first.bound_ns
                    return Answer(
                        dataclasses.replace(point, proven=proven), outcome.method, time.perf_counter() - started
                    )
                solver.exclude(outcome.selection)
            raise UserError(
                "question-too-hard",
                f"the offsets of {MOST_CUTS} selections exceed the budget although their live bytes fit",
                hint="raise the budget by a few KiB",
                status=503,
            )

    def solver(self, limits: Limits, memory: str, budget_bytes: int | None = None) -> WarmSolver:
        """The solver of an axis with the limits set; the budget matters on the weights axis only. Hold `lock`."""
        check_axis_of(limits, memory)
        limits.narrow(self.offered)  # for its errors
        self._require(limits)
        axis = sp.MemoryAxis.ARENA if memory == WEIGHTS else sp.MemoryAxis(memory)
        if axis not in self._solvers:
            self._solvers[axis] = WarmSolver(self.built.problem, axis)
        solver = self._solvers[axis]
        bounds = [b for b in (limits.max_weights_bytes, budget_bytes if memory == WEIGHTS else None) if b is not None]
        solver.limit(self.closed(limits), min(bounds, default=None))
        return solver

    def closed(self, limits: Limits) -> Iterator[tuple[int, int]]:
        """The choices the limits take away, as (problem node, option)."""
        for v, node in enumerate(self.built.operators):
            for i, option in enumerate(self.built.options[v]):
                if node is not None and limits.objections(node.name, option):
                    yield v, i

    def _require(self, limits: Limits) -> None:
        lacking = [
            key
            for (node, i), keys in self.unmeasured.items()
            if not limits.objections(node, self.offered.options[node][i])
            for key in keys
        ]
        if lacking:
            raise MissingCost(dict.fromkeys(lacking))

    def _nothing_fits(self, solver: WarmSolver, limits: Limits, memory: str, budget_bytes: int | None) -> UserError:
        """The error that says what would be enough."""
        narrowed = build_problem(limits.narrow(self.candidates), time_from(self.times)).problem
        if memory == WEIGHTS:
            solver.limit(self.closed(limits), limits.max_weights_bytes)
            least = least_weights_bytes(narrowed, limits.max_arena_bytes)
            step = "packed weights"
        else:
            found = solver.least(QUESTION_LIMIT_S)
            least, step = (found[0], needs(found[1])) if found else (None, "")
        if least is None or budget_bytes is None or least <= budget_bytes:
            axis = sp.MemoryAxis.ARENA
            if memory == WEIGHTS and limits.max_arena_bytes is not None:
                return infeasible(narrowed, limits, solver.infeasible(limits.max_arena_bytes))
            return infeasible(narrowed, limits, Infeasible(axis, None, None, None))
        return UserError(
            "budget-infeasible",
            f"nothing within these limits fits {format_bytes(budget_bytes)} of {memory}: the smallest selection needs "
            f"{format_bytes(least)}, at step {step}",
            hint=f"raise the budget by {format_bytes(least - budget_bytes)}, or lift a limit",
            facts={
                "smallest_bytes": least,
                "available_bytes": budget_bytes,
                "excess_bytes": least - budget_bytes,
                "smallest_step": step,
            },
            status=404,
        )


def _keys(candidates: Candidates, option: NodeOption) -> list[CostKey]:
    return [candidates.cost_key(call.primitive, call.shape) for call in option.calls]
