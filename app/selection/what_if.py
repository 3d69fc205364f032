"""Questions about other limits and budgets, answered by one warm model: built once, narrowed and bounded each time."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from app.candidates import Candidates, list_candidates
from app.chains import Chain, ChainCosts
from app.chains import cost_keys as chain_cost_keys
from app.costs import CostTable, MissingCost
from app.errors import UserError
from app.graph.ir import Graph
from app.graph.order import operators
from app.options import NodeOption
from app.order import in_order
from app.points import Point
from app.quantities import format_bytes
from app.selection.frontier import WEIGHTS, check_axis_of, infeasible, least_weights_bytes, needs
from app.selection.limits import START_UP, Limits
from app.selection.narrowed import Options, known_layouts, narrowed_options
from app.selection.points import point_from
from app.selection.problem import Built, build_problem, solver_option, time_from
from solver import problem as sp
from solver.evaluate import bottleneck
from solver.front import Infeasible
from solver.frontier import least_memory
from solver.offsets import Placed, PlacingSolver
from solver.outcome import Held
from solver.tables import TooWide
from solver.warm import WarmSolver
from solver.warm_program import WarmProgram

PROGRAM_AXES = (sp.MemoryAxis.ARENA, sp.MemoryAxis.WORKSPACE)
"""Axes that a dynamic program knows: sums over all nodes are none of its business."""

QUESTION_LIMIT_S = 5.0
"""A knapsack (total axis, bounds on weights) may take HiGHS long; then the best so far is given with its bound."""


@dataclass(frozen=True)
class Answer:
    """The fastest selection within limits and budget. `method` is what proved it: "dp", "highs-lp" or "highs-mip"."""

    point: Point
    method: str
    solve_s: float


class WarmModel:
    """Every measured option of a network on a device in one problem, with its solvers, for one objective.

    Where only a memory axis is bounded, a dynamic program answers: limits change the options of some nodes, and only
    their tables are made again. Where weights are bounded or counted, or its tables would be too wide, HiGHS does.

    Options without a cost are left out; a question whose limits would allow one raises MissingCost. Chains are those
    that no other chain beats at the costs given; limits can bring forth others. Nodes run in `order`, else in the
    file's. Safe to share between threads: one question at a time.
    """

    def __init__(
        self,
        graph: Graph,
        costs: CostTable,
        objective: str = "p50",
        order: Sequence[str] = (),
        offered: Candidates | None = None,
    ):
        """`offered`: the candidates of the graph, when they have been listed."""
        self.objective = objective
        self.costs = costs
        offered = offered or list_candidates(graph, threads=costs.threads)
        self.offered = in_order(offered, order or operators(graph))
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
        self._chain_costs = ChainCosts(time_from(self.times))
        self._solvers: dict[sp.MemoryAxis, WarmSolver] = {}
        self._programs: dict[sp.MemoryAxis, WarmProgram | None] = {}
        self._shipped = self.offered, measured
        self._build(measured, self._best_chains(measured))

    def _suit(self, limits: Limits) -> None:
        """Offer resident weights when the limits do, else none: another problem, built when that changes."""
        if (limits.residency == START_UP) == self.offered.resident:
            return
        self.offered, measured = self._shipped
        if limits.residency == START_UP:
            self.offered, measured = self.offered.with_residents(), measured.with_residents()
        self._chains.clear()
        self._build(measured, self._best_chains(measured))

    def _best_chains(self, measured: Candidates) -> tuple[Chain, ...]:
        best = self._chain_costs.best(measured.sites, measured.offers)
        return measured.of_chains([chain for chain, _ in best]).chains

    def _build(self, candidates: Candidates, chains: Iterable[Chain]) -> None:
        """The problem with these chains beside those it had."""
        self._chains |= {chain.name: chain for chain in chains}
        self.candidates = dataclasses.replace(candidates, chains=tuple(self._chains.values()))
        self.built = build_problem(self.candidates, time_from(self.times))
        self._solvers.clear()
        self._programs.clear()

    def ask(self, limits: Limits, memory: str, budget_bytes: int | None) -> Answer:
        """The fastest selection within the limits and the budget on the axis (None: no budget).

        Raises UserError `limits-invalid`, `limits-impossible`, or `budget-infeasible` with the least that works.
        """
        with self.lock:
            started = time.perf_counter()
            check_axis_of(limits, memory)
            options = self._narrowed(limits)
            try:
                point, method = self._by_program(options, limits, memory, budget_bytes)
            except TooWide:
                point, method = self._by_highs(options, limits, memory, budget_bytes)
            return Answer(point, method, time.perf_counter() - started)

    def _by_program(self, options: Options, limits: Limits, memory: str, budget_bytes: int | None) -> tuple[Point, str]:
        """The answer of the dynamic program; raises TooWide when it is none of its questions."""
        if memory not in PROGRAM_AXES or limits.max_weights_bytes is not None or self.offered.resident:
            raise TooWide("weights are bounded")
        program = self._program(sp.MemoryAxis(memory))
        built = self._within(options)
        program.take({v: built.problem.nodes[v].options for v in options})
        placing = PlacingSolver(program, enough=True)
        outcome = placing.solve(budget_bytes, QUESTION_LIMIT_S)
        if outcome.outcome.held is Held.INFEASIBILITY:
            if program.least_bytes is None or budget_bytes is None:
                raise infeasible(built.problem, limits, Infeasible(program.axis, None, None, None))
            least = least_memory(PlacingSolver(program), QUESTION_LIMIT_S)
            if least is None:
                raise _too_hard()
            step = needs(bottleneck(program.problem, least.selection, program.axis))
            raise nothing_fits(budget_bytes, memory, least.on(program.axis), step)
        return self._point(built, outcome), "dp"

    def _by_highs(self, options: Options, limits: Limits, memory: str, budget_bytes: int | None) -> tuple[Point, str]:
        """The answer of HiGHS."""
        solver = self._limited(options, limits, memory, budget_bytes)
        bound = limits.max_arena_bytes if memory == WEIGHTS else budget_bytes
        placed = PlacingSolver(solver).solve(bound, QUESTION_LIMIT_S)
        if placed.outcome.held is Held.INFEASIBILITY:
            raise self._nothing_fits(solver, options, limits, memory, budget_bytes)
        return self._point(self.built, placed), f"highs-{placed.outcome.method}"

    def _point(self, built: Built, placed: Placed) -> Point:
        outcome = placed.outcome
        if outcome.selection is None:
            raise _too_hard()
        return point_from(
            built,
            self.times,
            outcome.selection,
            proven=outcome.proven,
            bound_ns=outcome.bound_ns,
            arena=placed.arena,
        )

    def prime(self, memory: str) -> None:
        """Make ready for questions on an axis: the tables of the program, or the LP solved once for its basis."""
        with self.lock:
            axis = sp.MemoryAxis.ARENA if memory == WEIGHTS else sp.MemoryAxis(memory)
            try:
                if memory not in PROGRAM_AXES:
                    raise TooWide("weights count")
                self._program(axis).solve()
            except TooWide:
                if axis not in self._solvers:
                    self._solver(axis).ask(None, time_limit_s=QUESTION_LIMIT_S)

    def solver(self, limits: Limits, memory: str, budget_bytes: int | None = None) -> WarmSolver:
        """The solver of an axis with the limits set; the budget matters on the weights axis only. Hold `lock`."""
        check_axis_of(limits, memory)
        return self._limited(self._narrowed(limits), limits, memory, budget_bytes)

    def _program(self, axis: sp.MemoryAxis) -> WarmProgram:
        if axis not in self._programs:
            try:
                self._programs[axis] = WarmProgram(self.built.problem, axis)
            except TooWide:
                self._programs[axis] = None
        program = self._programs[axis]
        if program is None:
            raise TooWide("the tables of the dynamic program would be too wide")
        return program

    def _solver(self, axis: sp.MemoryAxis) -> WarmSolver:
        if axis not in self._solvers:
            self._solvers[axis] = WarmSolver(self.built.problem, axis)
        return self._solvers[axis]

    def _limited(self, options: Options, limits: Limits, memory: str, budget_bytes: int | None) -> WarmSolver:
        new = [o.chain for v, some in options.items() for o in some if o.chain is not None]
        if any(chain.name not in self._chains for chain in new):
            self._build(self.candidates, new)
        solver = self._solver(sp.MemoryAxis.ARENA if memory == WEIGHTS else sp.MemoryAxis(memory))
        bounds = [b for b in (limits.max_weights_bytes, budget_bytes if memory == WEIGHTS else None) if b is not None]
        solver.limit(self._closed(options), min(bounds, default=None))
        return solver

    def _narrowed(self, limits: Limits) -> Options:
        """The options that the limits leave, of the nodes they change. Raises UserError, or MissingCost."""
        self._suit(limits)
        if not self.whole:
            lacking = self.costs.missing(limits.narrow(self.offered).cost_keys())
            if lacking:
                raise MissingCost(lacking)
        options = narrowed_options(self.built, self.offered, limits, self._chain_costs)
        if not known_layouts(self.built, options):  # chains where there was none
            self._build(self.candidates, (o.chain for some in options.values() for o in some if o.chain is not None))
            options = narrowed_options(self.built, self.offered, limits, self._chain_costs)
        return options

    def _within(self, options: Options) -> Built:
        """The problem with these options of some nodes."""
        nodes, labelled = list(self.built.problem.nodes), list(self.built.options)
        for v, some in options.items():
            known = dict(zip(map(id, labelled[v]), nodes[v].options, strict=True))
            of = tuple(known.get(id(o)) or self._solver_option(o) for o in some)
            nodes[v], labelled[v] = dataclasses.replace(nodes[v], options=of), some
        problem = dataclasses.replace(self.built.problem, nodes=tuple(nodes))
        return dataclasses.replace(self.built, problem=problem, options=tuple(labelled))

    def _solver_option(self, option: NodeOption) -> sp.Option:
        known_ns = None if option.chain is None else self._chain_costs.chain_ns(option.chain)
        return solver_option(self.candidates, option, time_from(self.times), known_ns)

    def _closed(self, options: Options) -> Iterator[tuple[int, int]]:
        """The choices of the whole problem that are not among these, as (problem node, option)."""
        for v, some in options.items():
            left = {id(option) for option in some} | {option.key for option in some if option.site is not None}
            for i, option in enumerate(self.built.options[v]):
                # Those of chains are others, of the same key, when the problem has been built again in between.
                if id(option) not in left and (option.site is None or option.key not in left):
                    yield v, i

    def _nothing_fits(
        self, solver: WarmSolver, options: Options, limits: Limits, memory: str, budget_bytes: int | None
    ) -> UserError:
        """The error that says what would be enough."""
        narrowed = self._within(options).problem
        if memory == WEIGHTS:
            solver.limit(self._closed(options), limits.max_weights_bytes)
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
        return nothing_fits(budget_bytes, memory, least, step)


def nothing_fits(budget_bytes: int, memory: str, least_bytes: int, step: str) -> UserError:
    """The error of a budget too small, with what would be enough."""
    return UserError(
        "budget-infeasible",
        f"nothing within these limits fits {format_bytes(budget_bytes)} of {memory}: the smallest selection needs "
        f"{format_bytes(least_bytes)}, at step {step}",
        hint=f"raise the budget by {format_bytes(least_bytes - budget_bytes)}, or lift a limit",
        facts={
            "smallest_bytes": least_bytes,
            "available_bytes": budget_bytes,
            "excess_bytes": least_bytes - budget_bytes,
            "smallest_step": step,
        },
        status=404,
    )


def _too_hard() -> UserError:
    return UserError(
        "question-too-hard",
        f"no selection was found in {QUESTION_LIMIT_S:g} s whose offsets fit",
        hint="trace the front of these limits instead: that runs as a job without this limit",
        status=503,
    )
