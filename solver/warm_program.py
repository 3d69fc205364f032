"""One dynamic program for many questions: nodes get other options, and only what these reach is computed again."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence

from solver.dp import DynamicProgram
from solver.evaluate import evaluate_lifetimes, lifetimes
from solver.front import Contradiction
from solver.outcome import Held, Outcome, Stopped
from solver.problem import Cut, MemoryAxis, Option, Problem, validate
from solver.tables import TooWide


class WarmProgram:
    """The fastest selections of a problem and of others like it, on the arena or workspace axis.

    The others differ in the options of some nodes: fewer of them or new ones, of layouts that the nodes of the problem
    know. Without relaxation: every answer is proven. Raises TooWide when the tables cannot be built, which is a matter
    of the question then or of all. Not to be shared between threads.
    """

    def __init__(self, problem: Problem, axis: MemoryAxis):
        validate(problem)
        if axis is MemoryAxis.TOTAL or (problem.has_residents and axis is MemoryAxis.ARENA):
            raise TooWide("sums over all nodes are none of the dynamic program's business")
        self.whole, self.problem, self.axis = problem, problem, axis
        try:  # without a floor there is none that other options could break
            self.program = DynamicProgram(problem, axis, with_floor=False)
        except TooWide:
            self.program = DynamicProgram(problem, axis)
        self._tables = self.program.given
        self._cuts: list[Cut] = []
        self._budget: int | None = None

    def take(self, options: Mapping[int, Sequence[Option]]) -> None:
        """Questions from now on are about the problem in which these nodes have these options. Forgets the budget."""
        self._cuts, self._budget = [], None
        nodes = list(self.problem.nodes)
        try:
            for v, node in enumerate(self.problem.nodes):
                wanted = tuple(options[v]) if v in options else self.whole.nodes[v].options
                if wanted == node.options:
                    continue
                known = wanted == self.whole.nodes[v].options
                self.program.put(v, self._tables[v] if known else self.program.table_of(v, wanted))
                nodes[v] = dataclasses.replace(node, options=wanted)
        finally:  # where a table was too wide, the rest still says what the program holds
            self.problem = dataclasses.replace(self.whole, nodes=tuple(nodes))

    def set_budget(self, budget_bytes: int | None) -> None:
        """What the next answer has to fit. None: no budget."""
        self._budget = budget_bytes

    def forbid(self, cut: Cut) -> None:
        """Rule out what the cut rules out, until other options are taken."""
        self._cuts.append(cut)

    @property
    def least_bytes(self) -> int | None:
        """The least bytes on the axis of any selection, before offsets; None when there is no selection."""
        return self.program.least_bytes()

    def solve(self, time_limit_s: float | None = None, should_cancel: Callable[[], bool] | None = None) -> Outcome:
        """The fastest selection within the budget set last that no cut rules out.

        It takes milliseconds, so the limit and the cancellation count before it only. Raises Contradiction when the
        exact evaluation disagrees with the tables.
        """
        started = time.perf_counter()
        if should_cancel is not None and should_cancel():
            return Outcome(Stopped.CANCELLED, Held.NOTHING, None, None, 0, 0.0, "dp")
        if time_limit_s is not None and time_limit_s <= 0:
            return Outcome(Stopped.TIME_LIMIT, Held.NOTHING, None, None, 0, 0.0, "dp")
        budget = self._budget
        if any(cut.binds(budget) for cut in self._cuts):
            solved = self.program.solve_outside(budget, self._cuts)
        else:
            solved = self.program.solve(budget)
        if solved is None:
            return Outcome(Stopped.FINISHED, Held.INFEASIBILITY, None, None, 0, time.perf_counter() - started, "dp")
        lived = lifetimes(self.problem, solved.selection)
        figures = evaluate_lifetimes(self.problem, solved.selection, lived)
        if figures.time_ns != solved.time_ns or figures.on(self.axis) != solved.need_bytes:
            raise Contradiction(f"the dynamic program says {solved}, the evaluation {figures}")
        seconds = time.perf_counter() - started
        return Outcome(Stopped.FINISHED, Held.OPTIMUM, solved.selection, figures, solved.time_ns, seconds, "dp", lived)
