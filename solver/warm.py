"""One compiled model for many questions: choices closed, weights bounded, times replaced, without building again."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import highspy
import numpy as np
import numpy.typing as npt

from solver import flow as flows
from solver.evaluate import Bottleneck, bottleneck, evaluate
from solver.front import Infeasible
from solver.highs import FlowSolver
from solver.model import MOST_BYTES, build_model, compile_model, least_weights, weights_over_least
from solver.outcome import Held, Outcome, Stopped
from solver.problem import MemoryAxis, Problem, Selection, validate

Times = npt.NDArray[np.int64]
Closed = frozenset[tuple[int, int]]  # (node, option index) pairs that may not be taken


@dataclass(frozen=True)
class Retimed:
    """The fastest selection under other times. `proven`: `time_ns` is the optimum; else `bound_ns` is below it."""

    selection: Selection
    time_ns: int
    bound_ns: int
    proven: bool


class WarmSolver(FlowSolver):
    """The flow of every option, dominated ones too, so that any of them can be closed and any time can change.

    Closing a choice sets its upper bound to 0. The needs of the remaining ones then may be underestimates, but every
    step where two choices vary has a row, so the model stays exact. With `prune` dominated options are left out, for
    callers that bound weights and nothing else. Not to be shared between threads.
    """

    def __init__(self, problem: Problem, axis: MemoryAxis, *, prune: bool = False):
        validate(problem)
        flow = flows.build(problem, axis, weights_matter=True, prune=prune)
        matrix = compile_model(build_model(flow))
        self._column_of = {choice: j for j, choice in enumerate(flow.options)}
        self._pair_of = {(pair.arc, pair.layout, pair.demand): y for y, pair in enumerate(flow.pairs)}
        self._closed: npt.NDArray[np.int32] = np.zeros(0, np.int32)
        self._least_weights = sum(least_weights(flow))
        self._weights_row = len(matrix.row_lower)
        super().__init__(flow, matrix)

    def _load(self) -> highspy.Highs:
        solver = super()._load()
        over = weights_over_least(self.flow)
        taken = [j for j, size_bytes in enumerate(over) if size_bytes]
        coefficients = np.array([over[j] for j in taken], np.float64)
        solver.addRow(-np.inf, np.inf, len(taken), self.matrix.x[taken].astype(np.int32), coefficients)
        return solver

    def _tighten(self, solver: highspy.Highs) -> None:
        super()._tighten(solver)
        most = self.max_weights_bytes
        room = np.inf if most is None else float(min(most, MOST_BYTES) - self._least_weights)
        solver.changeRowBounds(self._weights_row, -np.inf, room)

    def _upper(self) -> npt.NDArray[np.float64]:
        upper = super()._upper()
        upper[self._closed] = 0.0
        return upper

    def limit(self, closed: Iterable[tuple[int, int]] = (), max_weights_bytes: int | None = None) -> None:
        """Choices that may not be taken and a bound on weights, until the next call. Forgets the budget."""
        self._closed = self.matrix.x[[self._column_of[choice] for choice in closed]].astype(np.int32)
        self.max_weights_bytes = max_weights_bytes
        for solver in (self._lp, self._mip):  # what an earlier question ruled out, this one does not
            if solver is not None and self.cuts:
                rows = solver.getNumRow()
                solver.deleteRows(len(self.cuts), np.arange(rows - len(self.cuts), rows, dtype=np.int32))
        self.cuts = []
        self.set_budget(None)

    def ask(
        self,
        budget_bytes: int | None,
        *,
        time_limit_s: float | None = None,
        should_cancel: Callable[[], bool] | None = None,
    ) -> Outcome:
        """The fastest selection within the budget and the limits; Held.INFEASIBILITY when none fits."""
        self.set_budget(budget_bytes)
        return self.solve(time_limit_s, should_cancel)

    def solve(self, time_limit_s: float | None = None, should_cancel: Callable[[], bool] | None = None) -> Outcome:
        """As FlowSolver.solve, within the limits as well."""
        if self.max_weights_bytes is not None and self.max_weights_bytes < self._least_weights:
            return Outcome(Stopped.FINISHED, Held.INFEASIBILITY, None, None, 0, 0.0, "lp")
        return super().solve(time_limit_s, should_cancel)

    def least(self, time_limit_s: float | None = None) -> tuple[int, Bottleneck] | None:
        """The least bytes on the axis within the limits and the step that needs them; None when nothing is possible.

        By bisection on the budget: a selection found shows that its own memory is enough.
        """
        started = time.perf_counter()

        def left_s() -> float | None:
            return None if time_limit_s is None else max(0.01, time_limit_s - (time.perf_counter() - started))

        axis = self.flow.axis
        best = self.ask(None, time_limit_s=left_s())
        if best.evaluation is None:
            return None
        low, high = self.least_bytes, best.evaluation.on(axis)
        probe = low
        while low < high:
            found = self.ask(probe, time_limit_s=left_s())
            if found.held is Held.INFEASIBILITY:
                low = probe + 1
            elif found.evaluation is None:
                return None
            else:
                best, high = found, found.evaluation.on(axis)
            probe = (low + high) // 2
        assert best.selection is not None
        return high, bottleneck(self.flow.problem, best.selection, axis)

    def infeasible(self, budget_bytes: int | None) -> Infeasible:
        """The exception for a budget that nothing fits within the limits."""
        found = self.least()
        if found is None:
            return Infeasible(self.flow.axis, None, None, None)
        return Infeasible(self.flow.axis, budget_bytes, *found)

    def time_of(self, selection: Selection, x_ns: Times, y_ns: Times) -> int:
        """The exact time of a selection under times given per option and per pair of the flow."""
        flow = self.flow
        taken = [self._column_of[choice] for choice in enumerate(selection.options)]
        total = int(x_ns[taken].sum())
        for a, arc in enumerate(flow.arcs):
            pair = (a, flow.option(taken[arc.src]).out_layout, flow.demand_of[a][taken[arc.dst]])
            total += int(y_ns[self._pair_of[pair]])
        return total

    def retime(self, x_ns: Times, y_ns: Times, budget_bytes: int | None) -> Retimed | None:
        """The fastest selection within the budget when options and pairs take these times; None when none fits.

        The problem's own times come back with `restore_times`.
        """
        self._set_costs(x_ns, y_ns)
        self.set_budget(budget_bytes)
        while True:
            found = self._solve_lp(None)
            if found is None:
                found = self._solve_mip(None, None)
            if found.selection is None:
                return None
            evaluation = evaluate(self.flow.problem, found.selection)
            if not self._fits(evaluation):
                self.exclude(found.selection, evaluation)
                continue
            time_ns = self.time_of(found.selection, x_ns, y_ns)
            bound_ns = min(found.bound_ns, time_ns)
            return Retimed(found.selection, time_ns, bound_ns, bound_ns == time_ns)

    def restore_times(self) -> None:
        """The problem's own times again."""
        flow = self.flow
        self._set_costs(
            np.array([flow.option(j).time_ns for j in range(len(flow.options))], np.int64),
            np.array([pair.time_ns for pair in flow.pairs], np.int64),
        )

    def _set_costs(self, x_ns: Times, y_ns: Times) -> None:
        cost = self.matrix.cost.copy()
        cost[self.matrix.x] = x_ns
        there = self.matrix.y >= 0
        cost[self.matrix.y[there]] = y_ns[there]
        self.matrix = dataclasses.replace(self.matrix, cost=cost)
        columns = np.arange(len(cost), dtype=np.int32)
        for solver in (self._lp, self._mip):
            if solver is not None:
                solver.changeColsCost(len(cost), columns, cost * self._scale)
