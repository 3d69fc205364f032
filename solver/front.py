"""What a front is: its points, what is proven of them, and the ways in which there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from solver.arena import Arena
from solver.evaluate import Bottleneck
from solver.problem import Evaluation, MemoryAxis, Selection


@dataclass(frozen=True)
class FrontPoint:
    """One efficient selection. `proven`: nothing within its memory is faster; else nothing beats `bound_ns`.

    `arena` are its offsets, where they have been searched.
    """

    selection: Selection
    evaluation: Evaluation
    proven: bool
    bound_ns: int
    gap: float
    solve_s: float
    arena: Arena | None = None

    def on(self, axis: MemoryAxis) -> int:
        """The bytes it takes on the axis: offsets included, where they are known."""
        live_bytes = self.evaluation.on(axis)
        if self.arena is None or axis is MemoryAxis.WORKSPACE:
            return live_bytes
        return live_bytes + self.arena.arena_bytes - self.evaluation.arena_bytes


@dataclass(frozen=True)
class Front:
    """Efficient points by rising memory on `axis`.

    `complete`: no efficient point is missing; else `incomplete_because` says which limit ended the trace (the points
    given are still the ones of largest memory). `certified_by` names the methods that agree on every point: on the
    total axis or with a bound on weights "labels+highs-mip", else "highs-lp+dp" or "highs-lp+mip+dp"; where HiGHS finds
    the points because tables would be too large, or resident weights share the arena, "highs-lp+mip+labels"; "dp" where
    HiGHS took too long for some steps and did not contradict the others. When the second method is not among them,
    `uncertified_because` says why; points are still proven, by the first alone.
    `smallest_bytes` is the least budget any selection fits and `smallest` what needs it; None only when a limit or
    a cancellation came before it was known.
    """

    axis: MemoryAxis
    points: tuple[FrontPoint, ...]
    certified_by: str
    uncertified_because: str
    complete: bool
    incomplete_because: str
    solve_s: float
    smallest_bytes: int | None
    smallest: Bottleneck | None


class Infeasible(Exception):
    """No selection fits the budget. Carries the least budget that works and the step that needs it.

    `smallest_bytes` is None when no selection exists at all, whatever the budget.
    """

    def __init__(self, axis: MemoryAxis, budget_bytes: int | None, smallest_bytes: int | None, step: Bottleneck | None):
        if smallest_bytes is None:
            message = "no selection exists: the layouts of some nodes cannot be joined, or the weights bound is too low"
        else:
            message = f"no selection fits {budget_bytes} bytes of {axis}; the least is {smallest_bytes} ({step})"
        super().__init__(message)
        self.axis, self.budget_bytes, self.smallest_bytes, self.step = axis, budget_bytes, smallest_bytes, step


class Contradiction(Exception):
    """Two exact methods disagree: a bug or a numerical failure. Nothing may be reported as optimal."""


Step = tuple[int | None, FrontPoint | None]
"""A budget (None: none), and the fastest found within it (None: nothing fits)."""

OnPoint = Callable[[FrontPoint], None]
ShouldCancel = Callable[[], bool]
