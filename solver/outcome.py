"""How a solve ended: why it stopped, what it holds, and what is proven. Knows no solver."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from solver.evaluate import Lifetimes
from solver.problem import Evaluation, Selection


class Stopped(StrEnum):
    """Why the solver returned."""

    FINISHED = "finished"
    TIME_LIMIT = "time_limit"
    CANCELLED = "cancelled"
    SOLVER_LIMIT = "solver_limit"  # iterations, memory or numerical trouble inside the solver
    OFFSETS = "offsets"  # too many selections fit in live bytes and not with offsets


class Held(StrEnum):
    """What the solver holds when it returns."""

    OPTIMUM = "optimum"  # a selection, proven minimal
    INCUMBENT = "incumbent"  # a selection, with a bound below it
    INFEASIBILITY = "infeasibility"  # a proof that no selection fits
    NOTHING = "nothing"


@dataclass(frozen=True)
class Outcome:
    """One solve. `evaluation` has the selection's exact integer figures; no selection is faster than `bound_ns`."""

    stopped: Stopped
    held: Held
    selection: Selection | None
    evaluation: Evaluation | None
    bound_ns: int
    solve_s: float
    method: str  # what proved it: "lp", "mip", or "dp" where HiGHS did not in time
    lived: Lifetimes | None = None  # of the selection's buffers

    @property
    def proven(self) -> bool:
        """Nothing faster fits, or nothing fits at all."""
        return self.held in (Held.OPTIMUM, Held.INFEASIBILITY)

    @property
    def gap(self) -> float:
        """(time - bound) / time; 0 when proven, 1 when there is no selection."""
        if self.proven:
            return 0.0
        if self.evaluation is None:
            return 1.0
        return (self.evaluation.time_ns - self.bound_ns) / self.evaluation.time_ns
