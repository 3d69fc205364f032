"""One HiGHS object per flow: set a budget, solve the LP from the last basis, fall back to the MIP."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import highspy
import numpy as np
import numpy.typing as npt

from solver.evaluate import evaluate, evaluate_lifetimes, lifetimes
from solver.flow import Flow
from solver.model import Matrix
from solver.outcome import Held, Outcome, Stopped
from solver.problem import Cut, Evaluation, MemoryAxis, Problem, Selection

INTEGRAL = 1e-6  # how far from 0 or 1 an x may be and still count as taken; HiGHS' own integrality tolerance
PATIENCE_S = 2.0  # for a MIP whose optimum another method has found
PATIENCE_IN_ALL_S = 20.0  # for all such MIPs of a solver, after which the next ones are left to that method
COST_CEILING = 2.0**20  # costs are scaled down by a power of two to stay below: reduced costs keep 1e-7 accuracy

# HiGHS status -> (why it stopped, an optimum or a proof of infeasibility is in hand)
STATUS = {
    highspy.HighsModelStatus.kOptimal: (Stopped.FINISHED, Held.OPTIMUM),
    highspy.HighsModelStatus.kModelEmpty: (Stopped.FINISHED, Held.OPTIMUM),
    highspy.HighsModelStatus.kInfeasible: (Stopped.FINISHED, Held.INFEASIBILITY),
    # The objective is bounded below by 0, so "unbounded or infeasible" can only mean infeasible.
    highspy.HighsModelStatus.kUnboundedOrInfeasible: (Stopped.FINISHED, Held.INFEASIBILITY),
    highspy.HighsModelStatus.kTimeLimit: (Stopped.TIME_LIMIT, Held.NOTHING),
    highspy.HighsModelStatus.kInterrupt: (Stopped.CANCELLED, Held.NOTHING),
}


def status(model_status: highspy.HighsModelStatus) -> tuple[Stopped, Held]:
    """The meaning of a HiGHS status; anything not in the table is a limit inside the solver, holding nothing."""
    return STATUS.get(model_status, (Stopped.SOLVER_LIMIT, Held.NOTHING))


@dataclass(frozen=True)
class _Found:
    """What HiGHS says, before the exact evaluation. Held.OPTIMUM is a claim about its own arithmetic."""

    stopped: Stopped
    held: Held
    selection: Selection | None
    bound_ns: int
    method: str


class FlowSolver:
    """The compiled model in HiGHS, kept between budgets so that each LP starts from the last optimal basis."""

    def __init__(self, flow: Flow, matrix: Matrix, max_weights_bytes: int | None = None):
        self.flow, self.matrix = flow, matrix
        self.max_weights_bytes = max_weights_bytes
        self.cuts: list[Cut] = []
        # Optima of another method within a budget and outside of cuts, for where LPs are fractional.
        self.incumbent_from: Callable[[int | None, Sequence[Cut]], Selection | None] | None = None
        self._x_need = np.array(flow.x_need, dtype=np.int64)
        self._y_need = np.array(flow.y_need, dtype=np.int64)
        self._row_base = np.array([row.base_bytes for row in flow.rows], dtype=np.int64)
        top = float(matrix.cost.max(initial=0.0))
        self._scale = 2.0 ** min(0, math.floor(math.log2(COST_CEILING / top))) if top > 0 else 1.0
        self._patience_s = PATIENCE_IN_ALL_S
        self._budget: int | None = None
        self._uppers: dict[int, npt.NDArray[np.float64]] = {}  # per HiGHS object, by its id
        self._lp = self._load()
        self._mip: highspy.Highs | None = None

    def _load(self) -> highspy.Highs:
        matrix = self.matrix
        columns, rows = len(matrix.cost), len(matrix.row_lower)
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = columns, rows
        lp.col_cost_ = matrix.cost * self._scale
        lp.col_lower_, lp.col_upper_ = np.zeros(columns), matrix.upper
        lp.row_lower_, lp.row_upper_ = matrix.row_lower, matrix.row_upper
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.num_col_, lp.a_matrix_.num_row_ = columns, rows
        lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = matrix.start, matrix.index, matrix.value
        solver = quiet()
        # Times are integers: an incumbent within a quarter of a nanosecond of the bound is optimal.
        solver.setOptionValue("mip_abs_gap", 0.25 * self._scale)
        for tolerance in ("primal_feasibility_tolerance", "dual_feasibility_tolerance", "mip_feasibility_tolerance"):
            solver.setOptionValue(tolerance, 1e-9)
        if solver.passModel(lp) == highspy.HighsStatus.kError:
            raise RuntimeError("HiGHS refused the model")
        return solver

    @property
    def problem(self) -> Problem:
        """What its selections are of."""
        return self.flow.problem

    @property
    def axis(self) -> MemoryAxis:
        """What a budget bounds."""
        return self.flow.axis

    @property
    def least_bytes(self) -> int:
        """A lower bound on the axis of every selection."""
        return self.matrix.total_base_bytes if self.matrix.total_row is not None else self.flow.base_bytes

    def set_budget(self, budget_bytes: int | None) -> None:
        """Open or close every choice by its need, and set the right sides of the step rows. None: no budget."""
        self._budget = budget_bytes
        for solver in (self._lp, self._mip):
            if solver is not None:
                self._tighten(solver)
                first = solver.getNumRow() - len(self.cuts)
                for number, cut in enumerate(self.cuts):
                    solver.changeRowBounds(first + number, -np.inf, self._most_of(cut))

    def _tighten(self, solver: highspy.Highs) -> None:
        budget, matrix = self._budget, self.matrix
        self._set_upper(solver, self._upper())
        if matrix.total_row is not None:
            room_bytes = math.inf if budget is None else float(budget - matrix.total_base_bytes)
            solver.changeRowBounds(matrix.total_row, -math.inf, room_bytes)
        elif len(matrix.step_rows):
            unit = self.flow.problem.align_bytes
            room = matrix.row_upper[matrix.step_rows]
            if budget is not None:
                room = np.minimum(room, np.floor_divide(budget - self._row_base, unit).astype(np.float64))
            solver.changeRowsBounds(len(room), matrix.step_rows, np.full(len(room), -np.inf), room)

    def _set_upper(self, solver: highspy.Highs, upper: npt.NDArray[np.float64]) -> None:
        columns = np.flatnonzero(upper != self._uppers.get(id(solver), self.matrix.upper)).astype(np.int32)
        self._uppers[id(solver)] = upper
        solver.changeColsBounds(len(columns), columns, np.zeros(len(columns)), upper[columns])

    def _upper(self) -> npt.NDArray[np.float64]:
        """The upper bound of every column at the budget: 0 for choices that need more."""
        upper = self.matrix.upper.copy()
        if self._budget is not None:
            upper[self.matrix.x[self._x_need > self._budget]] = 0.0
            upper[self.matrix.y[(self._y_need > self._budget) & (self.matrix.y >= 0)]] = 0.0
        return upper

    def exclude(self, selection: Selection, evaluation: Evaluation | None = None) -> None:
        """Rule a selection out: at least one node must choose otherwise.

        For good, or with its `evaluation` at budgets that it exceeds, if it is the budget that it exceeds.
        """
        up_to_bytes = None
        if evaluation is not None and not self._too_heavy(evaluation):
            up_to_bytes = evaluation.on(self.flow.axis) - 1
        self.forbid(Cut({v: (i,) for v, i in enumerate(selection.options)}, up_to_bytes))

    def _too_heavy(self, evaluation: Evaluation) -> bool:
        return self.max_weights_bytes is not None and evaluation.weights_bytes > self.max_weights_bytes

    def forbid(self, cut: Cut) -> None:
        """Rule out what the cut rules out, at the budgets where it does."""
        self.cuts.append(cut)
        for solver in (self._lp, self._mip):
            if solver is not None:
                self._add_cut(solver, cut)

    def _add_cut(self, solver: highspy.Highs, cut: Cut) -> None:
        taken = [j for j, (v, i) in enumerate(self.flow.options) if i in cut.options.get(v, ())]
        solver.addRow(-np.inf, self._most_of(cut), len(taken), self.matrix.x[taken], np.ones(len(taken)))

    def _most_of(self, cut: Cut) -> float:
        """How many of the nodes of a cut may take its options at the budget set last."""
        return len(cut.options) - (1.0 if cut.binds(self._budget) else 0.0)

    def solve(self, time_limit_s: float | None = None, should_cancel: Callable[[], bool] | None = None) -> Outcome:
        """The fastest selection within the budget set last: the LP if its answer is integral, else the MIP.

        Every selection is evaluated again in integers. One that breaks the budget by the solver's tolerances is
        excluded and the solve repeated.
        """
        started = time.perf_counter()
        while True:
            left_s = None if time_limit_s is None else max(0.0, time_limit_s - (time.perf_counter() - started))
            found = self._solve_lp(left_s)
            if found is None:
                if should_cancel is not None and should_cancel():
                    found = _Found(Stopped.CANCELLED, Held.NOTHING, None, 0, "lp")
                else:
                    left_s = None if time_limit_s is None else max(0.0, time_limit_s - (time.perf_counter() - started))
                    found = self._solve_mip(left_s, should_cancel)
            if found.selection is None:
                elapsed_s = time.perf_counter() - started
                return Outcome(found.stopped, found.held, None, None, found.bound_ns, elapsed_s, found.method)
            lived = lifetimes(self.flow.problem, found.selection)
            evaluation = evaluate_lifetimes(self.flow.problem, found.selection, lived)
            if not self._fits(evaluation):
                self.exclude(found.selection, evaluation)
                continue
            held = Held.OPTIMUM if evaluation.time_ns <= found.bound_ns else Held.INCUMBENT
            bound_ns = min(found.bound_ns, evaluation.time_ns)
            elapsed_s = time.perf_counter() - started
            return Outcome(found.stopped, held, found.selection, evaluation, bound_ns, elapsed_s, found.method, lived)

    def _fits(self, evaluation: Evaluation) -> bool:
        if self._too_heavy(evaluation):
            return False
        return self._budget is None or evaluation.on(self.flow.axis) <= self._budget

    def _solve_lp(self, time_limit_s: float | None) -> _Found | None:
        """The LP's answer if it is one; None when it is fractional."""
        if self._budget is not None and self._budget < self.flow.base_bytes:
            return _Found(Stopped.FINISHED, Held.INFEASIBILITY, None, 0, "lp")
        run(self._lp, time_limit_s)
        stopped, held = status(self._lp.getModelStatus())
        if held is not Held.OPTIMUM:
            return _Found(stopped, held, None, 0, "lp")
        bound_ns = self._bound_ns(self._lp.getInfo().objective_function_value)
        selection = self._decode(np.asarray(self._lp.getSolution().col_value))
        return None if selection is None else _Found(stopped, held, selection, bound_ns, "lp")

    def _solve_mip(self, time_limit_s: float | None, should_cancel: Callable[[], bool] | None) -> _Found:
        """The MIP behind a fractional LP.

        The optimum of another method closes every choice whose reduced cost in the LP makes it slower than that one.
        That nothing is faster is for the LP or the MIP to say; where the MIP takes too long, `method` is "dp".
        """
        known = self._known()
        if known is not None and known[1] <= (bound_ns := self._bound_ns(self._lp.getInfo().objective_function_value)):
            return _Found(Stopped.FINISHED, Held.OPTIMUM, known[0], bound_ns, "lp")
        if known is not None and self._patience_s <= 0:
            return _Found(Stopped.FINISHED, Held.OPTIMUM, *known, "dp")
        if self._mip is None:
            self._mip = self._load()
            binary = np.flatnonzero(self.matrix.binary).astype(np.int32)
            kinds = np.full(len(binary), int(highspy.HighsVarType.kInteger), np.uint8)
            self._mip.changeColsIntegrality(len(binary), binary, kinds)
            self._tighten(self._mip)
            for cut in self.cuts:
                self._add_cut(self._mip, cut)
        self._tighten(self._mip)
        if known is not None:
            self._close_slower(self._mip, known[1])
            time_limit_s = min(PATIENCE_S, self._patience_s, math.inf if time_limit_s is None else time_limit_s)
        started = time.perf_counter()
        # Presolve of HiGHS 1.15.1 can lose the optimum of a MIP: its answer counts where a known one confirms it.
        self._mip.setOptionValue("presolve", "choose" if known is not None else "off")
        run(self._mip, time_limit_s, should_cancel)
        if known is not None and self._missed(known[1]):
            self._mip.setOptionValue("presolve", "off")
            run(self._mip, time_limit_s, should_cancel)
        stopped, held = status(self._mip.getModelStatus())
        if known is not None:
            self._patience_s -= time.perf_counter() - started
            if stopped is not Stopped.FINISHED:
                return _Found(Stopped.FINISHED, Held.OPTIMUM, *known, "dp")
        info = self._mip.getInfo()
        if held is Held.INFEASIBILITY and known is None:
            return _Found(stopped, held, None, 0, "mip")
        bound_ns = self._bound_ns(info.mip_dual_bound) if math.isfinite(info.mip_dual_bound) else 0
        selection = None if known is None else known[0]
        if info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible:
            selection = self._decode(np.asarray(self._mip.getSolution().col_value))
        return _Found(stopped, Held.NOTHING if selection is None else held, selection, bound_ns, "mip")

    def _missed(self, known_ns: int) -> bool:
        """Whether the MIP claims an optimum, or that there is none, though a selection takes `known_ns`."""
        assert self._mip is not None
        _, held = status(self._mip.getModelStatus())
        found_ns = self._mip.getInfo().objective_function_value / self._scale
        return held is Held.INFEASIBILITY or (held is Held.OPTIMUM and found_ns > known_ns + 0.5)

    def _known(self) -> tuple[Selection, int] | None:
        """A selection within the budget and all cuts from elsewhere, and its time."""
        selection = None if self.incumbent_from is None else self.incumbent_from(self._budget, self.cuts)
        if selection is None or any(cut.binds(self._budget) and cut.rules_out(selection) for cut in self.cuts):
            return None
        evaluation = evaluate(self.flow.problem, selection)
        return (selection, evaluation.time_ns) if self._fits(evaluation) else None

    def _close_slower(self, solver: highspy.Highs, known_ns: int) -> None:
        """Close the choices with which everything takes longer than `known_ns`, by the duals of the LP just solved."""
        gap = known_ns * self._scale - self._lp.getInfo().objective_function_value
        upper = self._upper()
        over = np.asarray(self._lp.getSolution().col_dual) > gap + self._scale  # a nanosecond to spare
        upper[over & (self.matrix.upper <= 1.0)] = 0.0
        self._set_upper(solver, upper)

    def _bound_ns(self, objective: float) -> int:
        """The integer time no selection can beat, allowing half a nanosecond of rounding inside the solver."""
        return max(0, math.ceil(objective / self._scale - 0.5))

    def _decode(self, columns: npt.NDArray[np.float64]) -> Selection | None:
        """The selection, if every x is 0 or 1."""
        x = columns[self.matrix.x]
        if np.any((x > INTEGRAL) & (x < 1 - INTEGRAL)):
            return None
        taken = np.flatnonzero(x > 0.5)
        if len(taken) != len(self.flow.problem.nodes):
            return None
        return Selection(tuple(self.flow.options[j][1] for j in taken))


def quiet() -> highspy.Highs:
    """A HiGHS object that prints nothing, uses one thread and stops only at a relative gap of 0."""
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("mip_rel_gap", 0.0)
    return solver


def run(solver: highspy.Highs, time_limit_s: float | None, should_cancel: Callable[[], bool] | None = None) -> None:
    """Run with a limit of its own: HiGHS counts the time of the object, not of the call."""
    limit_s = math.inf if time_limit_s is None else solver.getRunTime() + time_limit_s
    solver.setOptionValue("time_limit", limit_s)
    if should_cancel is None:
        solver.run()
        return

    def interrupt(event: highspy.HighsCallbackEvent) -> None:
        if should_cancel():
            event.interrupt()

    solver.cbMipInterrupt.subscribe(interrupt)
    try:
        solver.run()
    finally:
        solver.cbMipInterrupt.unsubscribe(interrupt)
