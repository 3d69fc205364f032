"""Where the relaxation is fractional: the dynamic program's optimum helps HiGHS, or stands in for it and says so."""

import pytest

from bench.solver_scale import branch
from solver import highs
from solver.dp import DynamicProgram
from solver.frontier import trace
from solver.problem import MemoryAxis

MOST = 12


@pytest.fixture(scope="module")
def problem():
    return branch(52)


def found(front):
    return [(point.evaluation.arena_bytes, point.evaluation.time_ns) for point in front.points]


def optima(problem, front):
    program = DynamicProgram(problem, front.axis)
    return [(solved.need_bytes, solved.time_ns) for solved in program.trace()][-len(front.points) :]


def test_a_fractional_relaxation_is_closed_by_the_mip(problem):
    front = trace(problem, MemoryAxis.ARENA, max_points=MOST)
    assert front.certified_by == "highs-lp+mip+dp"
    assert found(front) == optima(problem, front)


def test_a_mip_that_takes_too_long_is_left_to_the_dynamic_program_and_the_front_says_so(problem, monkeypatch):
    monkeypatch.setattr(highs, "PATIENCE_S", 0.0)
    front = trace(problem, MemoryAxis.ARENA, max_points=MOST)
    assert front.certified_by == "dp"
    assert "the dynamic program alone" in front.uncertified_because
    assert all(point.proven for point in front.points)
    assert found(front) == optima(problem, front)


def test_an_optimum_that_presolve_loses_is_found_without_it(problem, monkeypatch):
    """HiGHS 1.15.1 lost one on MobileNetV2's front; here a presolved MIP may not take the first option it should."""
    solve, known, asked = highs.run, highs.FlowSolver._known, []
    taken = []  # columns of the known optimum, by solver

    def remember(self):
        found = known(self)
        if found is not None:
            wanted = set(enumerate(found[0].options))
            taken[:] = [self.matrix.x[j] for j, choice in enumerate(self.flow.options) if choice in wanted]
        return found

    closed = []  # what a presolved MIP was kept from

    def losing(solver, *limits):
        presolved = solver.getOptionValue("presolve")[1] != "off"
        asked.append(presolved)
        if any(int(kind) for kind in solver.getLp().integrality_):
            for column, upper in closed:
                solver.changeColBounds(column, 0.0, upper)
            closed.clear()
            if presolved:
                column = int(taken[0])
                closed.append((column, solver.getLp().col_upper_[column]))
                solver.changeColBounds(column, 0.0, 0.0)
        solve(solver, *limits)

    monkeypatch.setattr(highs.FlowSolver, "_known", remember)
    monkeypatch.setattr(highs, "run", losing)
    front = trace(problem, MemoryAxis.ARENA, max_points=MOST)
    assert False in asked
    assert front.certified_by == "highs-lp+mip+dp"
    assert found(front) == optima(problem, front)
