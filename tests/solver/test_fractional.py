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
