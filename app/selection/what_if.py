"""Questions about other limits and budgets, answered by one warm model: built once, closed and bounded each time."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from app.candidates import Candidates, list_candidates
from app.chains import FAMILIES, Chain, best_chains
from app.chains import cost_keys as chain_cost_keys
from app.costs import CostTable, MissingCost
from app.errors import UserError
from app.graph.ir import Graph
from app.graph.order import operators
from app.order import in_order
from app.points import Point
from app.quantities import format_bytes
from app.selection.frontier import WEIGHTS, check_axis_of, infeasible, least_weights_bytes, needs
from app.selection.limits import Limits
from app.selection.points import point_from
from app.selection.problem import build_problem, time_from
from kernels.spec import DIRECT_ERROR, WINOGRAD_F4_ERROR
from solver import problem as sp
from solver.front import Infeasible
from solver.offsets import PlacingSolver
from solver.outcome import Held
from solver.warm import WarmSolver

QUESTION_LIMIT_S = 5.0
"""A knapsack (total axis, bounds on weights) may take HiGHS long; then the best so far is given with its bound."""


@dataclass(frozen=True)
class Answer:
    """The fastest selection within limits and budget. `method` is what HiGHS solved last: "lp" or "mip"."""

    point: Point
    method: str
    solve_s: float


class WarmModel:
    """Every measured option of a network on a device in one problem, with a solver per axis, for one objective.

    Options without a cost are left out; a question whose limits would allow one raises MissingCost. Chains are those
    that no other chain beats at the costs given; limits can bring forth others, with which the problem is then built
    again. Nodes run in `order`, else in the file's. Safe to share between threads: one question at a time.
    """

    def __init__(self, graph: Graph, costs: CostTable, objective: str = "p50", order: Sequence[str] = ()):
        self.objective = objective
        self.costs = costs
        self.offered = in_order(list_candidates(graph, threads=costs.threads), order or operators(graph))
        self.times = Limits(objective=objective).times(costs)
        self.whole = not costs.missing(self.offered.cost_keys())
        measured = self.offered
        if not self.whole:
            measured = dataclasses.replace(
                measured,
                options={
                    node: tuple(o for o in options if not costs.missing(self.offered.call_keys(o)))
                    for node, options in self.offered.options.items()
                },
            )
            if not all(measured.options.values()):
                raise MissingCost(costs.missing(self.offered.cost_keys()))
            sites = (s for s in measured.sites if not costs.missing(chain_cost_keys([s], measured.offers)))
            measured = dataclasses.replace(measured, sites=tuple(sites))
        self.lock = threading.RLock()
        self._chains: dict[str, Chain] = {}
        self._solvers: dict[sp.MemoryAxis, WarmSolver] = {}
        self._build(measured, _likely_chains(measured, self.times))

    def _build(self, candidates: Candidates, chains: Iterable[Chain]) -> None:
        """The problem with these chains beside those it had."""
        self._chains |= {chain.name: chain for chain in chains}
        self.candidates = dataclasses.replace(candidates, chains=tuple(self._chains.values()))
        self.built = build_problem(self.candidates, time_from(self.times))
        self._solvers.clear()

    def ask(self, limits: Limits, memory: str, budget_bytes: int | None) -> Answer:
        """The fastest selection within the limits and the budget on the axis (None: no budget).

        Raises UserError `limits-invalid`, `limits-impossible`, or `budget-infeasible` with the least that works.
        """
        with self.lock:
            started = time.perf_counter()
            solver = self.solver(limits, memory, budget_bytes)
            bound = limits.max_arena_bytes if memory == WEIGHTS else budget_bytes
            placed = PlacingSolver(solver).solve(bound, QUESTION_LIMIT_S)
            outcome = placed.outcome
            if outcome.held is Held.INFEASIBILITY:
                raise self._nothing_fits(solver, limits, memory, budget_bytes)
            if outcome.selection is None:
                raise UserError(
                    "question-too-hard",
                    f"no selection was found in {QUESTION_LIMIT_S:g} s whose offsets fit",
                    hint="trace the front of these limits instead: that runs as a job without this limit",
                    status=503,
                )
            point = point_from(
                self.built,
                self.times,
                outcome.selection,
                proven=outcome.proven,
                bound_ns=outcome.bound_ns,
                arena=placed.arena,
            )
            return Answer(point, outcome.method, time.perf_counter() - started)

    def prime(self, memory: str) -> None:
        """Compile and solve the LP of an axis once, so that the next question starts from its basis."""
        with self.lock:
            axis = sp.MemoryAxis.ARENA if memory == WEIGHTS else sp.MemoryAxis(memory)
            if axis not in self._solvers:
                self._solvers[axis] = WarmSolver(self.built.problem, axis)
                self._solvers[axis].ask(None, time_limit_s=QUESTION_LIMIT_S)

    def solver(self, limits: Limits, memory: str, budget_bytes: int | None = None) -> WarmSolver:
        """The solver of an axis with the limits set; the budget matters on the weights axis only. Hold `lock`."""
        check_axis_of(limits, memory)
        narrowed = self._narrowed(limits)
        new = [chain for chain in narrowed.chains if chain.name not in self._chains]
        if new:
            self._build(self.candidates, new)
        axis = sp.MemoryAxis.ARENA if memory == WEIGHTS else sp.MemoryAxis(memory)
        if axis not in self._solvers:
            self._solvers[axis] = WarmSolver(self.built.problem, axis)
        solver = self._solvers[axis]
        bounds = [b for b in (limits.max_weights_bytes, budget_bytes if memory == WEIGHTS else None) if b is not None]
        solver.limit(self._closed(limits, narrowed), min(bounds, default=None))
        return solver

    def _narrowed(self, limits: Limits) -> Candidates:
        """What the limits leave, with its chains. Raises UserError, or MissingCost when some of it has no cost."""
        narrowed = limits.narrow(self.offered)
        if not self.whole:
            lacking = self.costs.missing(narrowed.cost_keys())
            if lacking:
                raise MissingCost(lacking)
        chains: list[Chain] = []
        known: dict[str, list[Chain]] = {}
        for chain in self.candidates.chains:
            known.setdefault(chain.site.name, []).append(chain)
        for site in narrowed.sites:
            if all(narrowed.offers(node) == self.candidates.offers(node) for node in site.nodes):
                chains += known.get(site.name, [])  # nothing changed for this site
            else:
                chains += best_chains([site], narrowed.offers, time_from(self.times))
        return dataclasses.replace(narrowed, chains=tuple(chains))

    def _closed(self, limits: Limits, narrowed: Candidates) -> Iterator[tuple[int, int]]:
        """The choices the limits take away, as (problem node, option).

        A chain is allowed where each of its primitives is allowed by itself; a place inside a chain always is, because
        it can only be taken with the chain.
        """
        for v, node in enumerate(self.built.operators):
            for i, option in enumerate(self.built.options[v]):
                if node is None or (option.site is not None and option.chain is None):
                    continue
                if option.chain is not None:
                    used = zip(option.chain.site.nodes, option.chain.primitives, strict=True)
                    if any(primitive.name not in narrowed.offers(layer) for layer, primitive in used):
                        yield v, i
                elif limits.objections(node.name, option):
                    yield v, i

    def _nothing_fits(self, solver: WarmSolver, limits: Limits, memory: str, budget_bytes: int | None) -> UserError:
        """The error that says what would be enough."""
        candidates = self._narrowed(limits)
        narrowed = build_problem(candidates, time_from(self.times)).problem
        if memory == WEIGHTS:
            solver.limit(self._closed(limits, candidates), limits.max_weights_bytes)
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


def _likely_chains(candidates: Candidates, times: CostTable) -> Iterator[Chain]:
    """The best chains without limits, without each family and within each class of error: the questions asked most."""
    likely = [Limits(), *(Limits(forbid=(family,)) for family in sorted(FAMILIES))]
    likely += [Limits(max_error=error) for error in (DIRECT_ERROR, WINOGRAD_F4_ERROR)]
    for limits in likely:
        try:
            narrowed = limits.narrow(candidates)
        except UserError:
            continue  # nothing could run within these: nobody gets an answer to that question
        yield from narrowed.with_chains(time_from(times)).chains
