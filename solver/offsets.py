"""Answers that fit their budget with offsets, not only in live bytes: selections that do not are cut, with their like.

Live bytes bound the arena from below, so the model can pick a selection whose buffers cannot be laid out within the
budget. A cut rules out every selection that has the same trouble: the same layouts and at least the same workspaces
around the steps that cannot be laid out.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from solver.arena import Arena, place
from solver.dp import SecondOpinion
from solver.evaluate import Lifetimes, lifetimes
from solver.outcome import Held, Outcome, Stopped
from solver.problem import Buffer, Cut, Evaluation, MemoryAxis, Option, Problem, Selection

MOST_CUTS = 50
"""Cuts of one trace; each takes a solve and some searches for offsets."""
WINDOW_S = 0.5
"""Time for the offsets of one window of steps; without a proof in that time the window stays larger."""

PLACING_S = 5.0
PLACING_IN_ALL_S = 20.0
"""Time of the exact search for offsets, of one selection and of all of a trace; without a proof nothing is claimed."""

Choices = dict[int, frozenset[int]]
"""Some of the options of some nodes."""


@dataclass(frozen=True)
class Placed:
    """An outcome with its offsets. `bytes_used` is what the budget of its axis bounds, offsets included."""

    outcome: Outcome
    arena: Arena | None
    bytes_used: int


class Solver(Protocol):
    """A method that finds the fastest selection in live bytes, again and again."""

    @property
    def problem(self) -> Problem:
        """What selections are of."""

    @property
    def axis(self) -> MemoryAxis:
        """What a budget bounds."""

    @property
    def least_bytes(self) -> int | None:
        """A lower bound on the axis of every selection; None when there is none."""

    def set_budget(self, budget_bytes: int | None) -> None:
        """What the next answer has to fit."""

    def forbid(self, cut: Cut) -> None:
        """Rule selections out."""

    def solve(self, time_limit_s: float | None = None, should_cancel: Callable[[], bool] | None = None) -> Outcome:
        """The fastest selection left within the budget."""


AnySolver = TypeVar("AnySolver", bound=Solver)


class PlacingSolver(Generic[AnySolver]):
    """A solver on one axis whose answers have been laid out. On the workspace axis there is nothing to lay out.

    `cuts` are those made for the sake of offsets. A selection cut without proof that it needs more than a budget leaves
    its time as bound of what is found at budgets it might have fitted. `opinion` is the other method for this problem.
    With `enough`, offsets are searched until they fit the budget; else until the arena is as small as can be.
    """

    def __init__(self, solver: AnySolver, opinion: SecondOpinion | None = None, *, enough: bool = False):
        self.solver, self.enough = solver, enough
        self.opinion = opinion or SecondOpinion(solver.problem, solver.axis)
        self.problem, self.axis = solver.problem, solver.axis
        self.cuts: list[Cut] = []
        self._placing_s = PLACING_IN_ALL_S
        # (live bytes on the axis, budget up to which it was cut, time) of what was cut without proof
        self._unproven: list[tuple[int, int, int]] = []

    def solve(
        self,
        budget_bytes: int | None,
        time_limit_s: float | None = None,
        should_cancel: Callable[[], bool] | None = None,
    ) -> Placed:
        """The fastest selection whose offsets fit the budget (None: any); as FlowSolver.solve otherwise."""
        started = time.perf_counter()
        self.solver.set_budget(budget_bytes)
        while True:
            left_s = None if time_limit_s is None else max(0.0, time_limit_s - (time.perf_counter() - started))
            outcome = self.solver.solve(left_s, should_cancel)
            outcome = dataclasses.replace(outcome, solve_s=time.perf_counter() - started)
            if outcome.selection is None or outcome.evaluation is None:
                doubtful = outcome.held is Held.INFEASIBILITY and self._doubt_ns(budget_bytes) is not None
                return Placed(dataclasses.replace(outcome, held=Held.NOTHING) if doubtful else outcome, None, 0)
            if self.axis is MemoryAxis.WORKSPACE:
                return Placed(outcome, None, outcome.evaluation.workspace_bytes)
            lived = outcome.lived or lifetimes(self.problem, outcome.selection)
            room_bytes = 0
            if self.enough and budget_bytes is not None:
                room_bytes = budget_bytes - (outcome.evaluation.on(self.axis) - outcome.evaluation.arena_bytes)
            arena = self._place(lived.buffers, room_bytes)
            bytes_used = used(outcome.evaluation, arena, self.axis)
            if budget_bytes is None or bytes_used <= budget_bytes:
                return Placed(self._with_doubt(outcome, budget_bytes), arena, bytes_used)
            if len(self.cuts) >= MOST_CUTS:
                return Placed(Outcome(Stopped.OFFSETS, Held.NOTHING, None, None, 0, 0.0, outcome.method), None, 0)
            room_bytes = budget_bytes - (bytes_used - arena.arena_bytes)
            beside_bytes = bytes_used - arena.arena_bytes
            from_bytes, up_to_bytes = arena.lower_bound_bytes + beside_bytes, budget_bytes
            if arena.proven_minimal:
                cut, least, need_bytes = conflict(self.problem, outcome.selection, lived, room_bytes)
                from_bytes, up_to_bytes = least + beside_bytes, need_bytes + beside_bytes - 1
                if self.axis is MemoryAxis.TOTAL or self.problem.has_residents:  # lighter weights leave more room
                    cut = _no_lighter(self.problem, outcome.selection, cut, self.axis)
            else:
                cut = {v: frozenset([i]) for v, i in enumerate(outcome.selection.options)}
                live_bytes, time_ns = outcome.evaluation.on(self.axis), outcome.evaluation.time_ns
                self._unproven.append((live_bytes, budget_bytes, time_ns))
            self.cuts.append(Cut(cut, up_to_bytes, from_bytes))
            self.solver.forbid(self.cuts[-1])

    def _place(self, buffers: Sequence[Buffer], enough_bytes: int) -> Arena:
        """Offsets, with what time is left for searching them."""
        started = time.perf_counter()
        limit_s = max(0.0, min(PLACING_S, self._placing_s))
        arena = place(buffers, self.problem.align_bytes, time_limit_s=limit_s, enough_bytes=enough_bytes)
        self._placing_s -= time.perf_counter() - started
        return arena

    def _doubt_ns(self, budget_bytes: int | None) -> int | None:
        """The least time of what was cut at this budget without proof."""
        if budget_bytes is None:
            return None
        return min((ns for low, high, ns in self._unproven if low <= budget_bytes <= high), default=None)

    def _with_doubt(self, outcome: Outcome, budget_bytes: int | None) -> Outcome:
        doubt_ns = self._doubt_ns(budget_bytes)
        if doubt_ns is None or doubt_ns >= outcome.bound_ns:
            return outcome
        held = Held.INCUMBENT if outcome.held is Held.OPTIMUM else outcome.held
        return dataclasses.replace(outcome, held=held, bound_ns=doubt_ns)


def used(evaluation: Evaluation, arena: Arena, axis: MemoryAxis) -> int:
    """Bytes of a selection on the axis when its buffers are laid out so."""
    return evaluation.on(axis) + arena.arena_bytes - evaluation.arena_bytes


def conflict(problem: Problem, selection: Selection, lived: Lifetimes, room_bytes: int) -> tuple[Choices, int, int]:
    """Why a selection needs more than `room_bytes`: choices, their live bytes, the arena they need at least.

    That the selection does need more must have been proven.

    The shortest run of nodes found whose steps alone cannot be laid out. What is live there follows from the layouts
    that the nodes before write and the options of the nodes inside; larger workspaces only make it worse.
    """
    first_step: list[int] = []
    for number, step in enumerate(lived.steps):
        if step.node == len(first_step):
            first_step.append(number)
    ends = [*first_step[1:], len(lived.steps)]

    live_bytes, need_bytes = 0, room_bytes + 1

    def too_large(first: int, last: int) -> bool:
        nonlocal live_bytes, need_bytes
        clipped = [
            dataclasses.replace(buffer, first=max(buffer.first, first_step[first]), last=min(buffer.last, ends[last]))
            for buffer in lived.buffers
            if buffer.first < ends[last] and buffer.last > first_step[first]
        ]
        arena = place(clipped, problem.align_bytes, time_limit_s=WINDOW_S, enough_bytes=room_bytes)
        if arena.arena_bytes <= room_bytes or not arena.proven_minimal:
            return False
        # In the end those of the last window it holds for.
        live_bytes, need_bytes = arena.lower_bound_bytes, arena.arena_bytes
        return True

    low, last = 0, len(problem.nodes) - 1
    while low < last:  # the earliest end
        middle = (low + last) // 2
        if too_large(0, middle):
            last = middle
        else:
            low = middle + 1
    first, high = 0, last
    while first < high:  # the latest beginning
        middle = (first + high + 1) // 2
        if too_large(middle, last):
            first = middle
        else:
            high = middle - 1
    return _alike(problem, selection, first, last), live_bytes, need_bytes


def _no_lighter(problem: Problem, selection: Selection, cut: Choices, axis: MemoryAxis) -> Choices:
    """The cut for selections alone of which no node adds less to the axis."""

    def added_bytes(option: Option) -> int:
        return option.resident_bytes + (option.weights_bytes if axis is MemoryAxis.TOTAL else 0)

    heavy: Choices = {}
    for v, node in enumerate(problem.nodes):
        least = added_bytes(node.options[selection.options[v]])
        heavy[v] = frozenset(i for i in cut.get(v, range(len(node.options))) if added_bytes(node.options[i]) >= least)
    return heavy


def _alike(problem: Problem, selection: Selection, first: int, last: int) -> Choices:
    """The options that leave nodes `first` to `last` with at least the same bytes at the same steps."""
    read_at = list(range(len(problem.nodes)))
    for edge in problem.edges:
        read_at[edge.src] = max(read_at[edge.src], edge.dst)
    cut: Choices = {}
    for v, node in enumerate(problem.nodes[: last + 1]):
        taken = node.options[selection.options[v]]
        if v >= first:
            cut[v] = frozenset(
                i
                for i, option in enumerate(node.options)
                if (option.in_layouts, option.out_layout, option.in_place, option.joins)
                == (taken.in_layouts, taken.out_layout, taken.in_place, taken.joins)
                and option.workspace_bytes >= taken.workspace_bytes
            )
        elif node.stays_live or read_at[v] >= first:
            cut[v] = frozenset(i for i, o in enumerate(node.options) if o.out_layout == taken.out_layout)
    return cut


def laid_out(problem: Problem, selection: Selection) -> Arena:
    """Offsets of a selection's buffers."""
    return place(lifetimes(problem, selection).buffers, problem.align_bytes)
