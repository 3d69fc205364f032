"""200 small networks from fixed seeds, half with parts of shared buffers: every axis against all selections played."""

import pytest

from solver.problem import MemoryAxis
from tests.solver import brute_force
from tests.solver.instances import random_problem
from tests.solver.sliced_instances import sliced_problem
from tests.solver.test_against_brute_force import model_front


@pytest.mark.parametrize("make", [random_problem, sliced_problem])
@pytest.mark.parametrize("axis", list(MemoryAxis))
def test_the_fronts_of_a_hundred_networks_are_those_of_all_selections(axis, make):
    for seed in range(100):
        problem = make(seed)
        assert model_front(problem, axis) == brute_force.front(problem, axis), f"seed {seed}"
