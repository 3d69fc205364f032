"""The Pyomo model of a flow, and its one compilation into columns and rows. Numbers as in docs/formulation.md."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyomo.environ as pyo
from pyomo.core.expr.numeric_expr import LinearExpression
from pyomo.repn import generate_standard_repn

from solver.flow import Flow
from solver.step_memory import added_bytes

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]
MOST_BYTES = 1 << 52  # no problem is larger; exact in a double


@dataclass(frozen=True)
class Matrix:
    """min cost.x subject to row_lower <= A x <= row_upper, 0 <= x <= upper; A by rows (start, index, value).

    `x` and `y` give the column of each variable of the flow; `step_rows` the row of each step row; the other rows
    do not depend on the budget, but for `total_row` (None unless options add to the axis), whose right side is the
    budget less `total_base_bytes`. `binary` marks the columns that must be 0 or 1.
    """

    cost: Floats
    upper: Floats
    row_lower: Floats
    row_upper: Floats
    start: Ints
    index: Ints
    value: Floats
    x: Ints
    y: Ints
    step_rows: Ints
    binary: npt.NDArray[np.bool_]
    total_row: int | None = None
    total_base_bytes: int = 0


def build_model(flow: Flow, max_weights_bytes: int | None = None) -> pyo.ConcreteModel:
    """The whole model, with the budget open: the sweep tightens the filter (5) and the right sides of (4)."""
    m = pyo.ConcreteModel()
    m.flow = flow
    m.max_weights_bytes = max_weights_bytes
    m.options_of = flow.options_of()
    m.layout_groups = layout_groups(flow)
    m.demand_groups = demand_groups(flow)
    m.Nodes = pyo.RangeSet(0, len(flow.problem.nodes) - 1)
    m.Options = pyo.RangeSet(0, len(flow.options) - 1)
    m.Pairs = pyo.RangeSet(0, len(flow.pairs) - 1)
    m.Steps = pyo.RangeSet(0, len(flow.rows) - 1)
    m.x = pyo.Var(m.Options, domain=pyo.Binary, doc="1 when the option is taken")
    m.y = pyo.Var(m.Pairs, domain=pyo.NonNegativeReals, bounds=(0, 1), doc="1 when the arc is served by this pair")
    m.time_ns = pyo.Objective(rule=total_time, sense=pyo.minimize)
    m.one_option_per_node = pyo.Constraint(m.Nodes, rule=one_option_per_node)
    m.producers = pyo.Constraint(list(m.layout_groups), rule=producer_writes_the_layout_served)
    m.consumers = pyo.Constraint(list(m.demand_groups), rule=consumer_gets_what_it_demands)
    if flow.adds_up:
        m.z = pyo.Var(domain=pyo.NonNegativeReals, doc="largest step above its base, in units of the alignment")
        m.step_memory = pyo.Constraint(m.Steps, rule=step_memory_within_arena)
        m.total = pyo.Constraint(rule=total_within_budget)
    else:
        m.step_memory = pyo.Constraint(m.Steps, rule=step_memory_within_budget)
    if max_weights_bytes is not None:
        m.weights = pyo.Constraint(rule=weights_within_bound)
    return m


def total_time(m: Any) -> Any:
    """(1) The time of the options taken and of the conversions they imply."""
    flow: Flow = m.flow
    times_ns = [flow.option(j).time_ns for j in m.Options] + [pair.time_ns for pair in flow.pairs]
    return _linear(times_ns, [*m.x.values(), *m.y.values()])


def one_option_per_node(m: Any, v: int) -> Any:
    """(2) Each node runs exactly one option."""
    return _sum(m.x[j] for j in m.options_of[v]) == 1


def producer_writes_the_layout_served(m: Any, a: int, k: int) -> Any:
    """(3) On each arc, the producer's options with layout k carry as much as the pairs that start from it."""
    options, pairs = m.layout_groups[a, k]
    return _difference(m, options, pairs) == 0


def consumer_gets_what_it_demands(m: Any, a: int, k: int) -> Any:
    """(3) On each arc, the consumer's options with demand k carry as much as the pairs that end in it."""
    options, pairs = m.demand_groups[a, k]
    return _difference(m, options, pairs) == 0


def step_memory_within_budget(m: Any, s: int) -> Any:
    """(4) The bytes at a step above its base, in units of the alignment; the sweep sets the right side.

    Only steps where two choices add up are rows. Where one choice decides, the filter (5) is the constraint.
    """
    row = m.flow.rows[s]
    unit = m.flow.problem.align_bytes
    coefficients = [size_bytes // unit for size_bytes in (*row.x.values(), *row.y.values())]
    variables = [*(m.x[j] for j in row.x), *(m.y[j] for j in row.y)]
    return (None, _linear(coefficients, variables), sum(coefficients))


def step_memory_within_arena(m: Any, s: int) -> Any:
    """(7) Where options add to the axis, a step fits z, both in units of the alignment above a base."""
    flow: Flow = m.flow
    row = flow.rows[s]
    unit = flow.problem.align_bytes
    coefficients = [size_bytes // unit for size_bytes in (*row.x.values(), *row.y.values())]
    variables = [*(m.x[j] for j in row.x), *(m.y[j] for j in row.y)]
    return (None, _linear([*coefficients, -1], [*variables, m.z]), (flow.base_bytes - row.base_bytes) // unit)


def total_within_budget(m: Any) -> Any:
    """(8) z and what the options add fit the budget, above their bases; the sweep sets the right side.

    Options add their resident bytes and, on the total axis, their weights.
    """
    flow: Flow = m.flow
    least = least_added(flow)
    over = [_added(flow, j) - least[v] for j, (v, _) in enumerate(flow.options)]
    return (None, _linear([flow.problem.align_bytes, *over], [m.z, *m.x.values()]), float(MOST_BYTES))


def weights_over_least(flow: Flow) -> list[int]:
    """Weights of each option above the least of its node."""
    least = least_weights(flow)
    return [flow.option(j).weights_bytes - least[v] for j, (v, _) in enumerate(flow.options)]


def least_weights(flow: Flow) -> list[int]:
    """The least weights any option of each node loads."""
    least = [MOST_BYTES] * len(flow.problem.nodes)
    for j, (v, _) in enumerate(flow.options):
        least[v] = min(least[v], flow.option(j).weights_bytes)
    return least


def _added(flow: Flow, j: int) -> int:
    return added_bytes(flow.problem, flow.option(j), flow.axis)


def least_added(flow: Flow) -> list[int]:
    """The least that any option of each node adds to the axis."""
    least = [MOST_BYTES] * len(flow.problem.nodes)
    for j, (v, _) in enumerate(flow.options):
        least[v] = min(least[v], _added(flow, j))
    return least


def weights_within_bound(m: Any) -> Any:
    """(6) The weights of the options taken fit their bound, above the least every node needs anyway."""
    flow: Flow = m.flow
    over = weights_over_least(flow)
    if not any(over):
        return pyo.Constraint.Skip  # every selection has the same weights; the sweep has compared them
    return (None, _linear(over, list(m.x.values())), m.max_weights_bytes - sum(least_weights(flow)))


def _linear(coefficients: list[int], variables: list[Any]) -> Any:
    kept = [(c, variable) for c, variable in zip(coefficients, variables, strict=True) if c]
    return LinearExpression(linear_coefs=[float(c) for c, _ in kept], linear_vars=[variable for _, variable in kept])


def _sum(variables: Iterable[Any]) -> Any:
    listed = list(variables)
    return _linear([1] * len(listed), listed)


def _difference(m: Any, options: list[int], pairs: list[int]) -> Any:
    variables = [*(m.x[j] for j in options), *(m.y[j] for j in pairs)]
    return _linear([1] * len(options) + [-1] * len(pairs), variables)


Groups = dict[tuple[int, int], tuple[list[int], list[int]]]


def layout_groups(flow: Flow) -> Groups:
    """For each (arc, number of a producer layout): the options that write it, the pairs that start from it."""
    options_of = flow.options_of()
    written = ((a, flow.option(j).out_layout, j) for a, arc in enumerate(flow.arcs) for j in options_of[arc.src])
    return _group(written, ((pair.arc, pair.layout, y) for y, pair in enumerate(flow.pairs)))


def demand_groups(flow: Flow) -> Groups:
    """For each (arc, number of a demand): the options that make it, the pairs that end in it."""
    made = ((a, demand, j) for a, demands in enumerate(flow.demand_of) for j, demand in demands.items())
    return _group(made, ((pair.arc, pair.demand, y) for y, pair in enumerate(flow.pairs)))


def _group(options: Iterable[tuple[int, object, int]], pairs: Iterable[tuple[int, object, int]]) -> Groups:
    groups: Groups = {}
    numbers: dict[tuple[int, object], int] = {}
    sizes: dict[int, int] = {}
    for side, entries in enumerate((options, pairs)):
        for a, key, j in entries:
            if (a, key) not in numbers:
                numbers[a, key] = sizes[a] = sizes.get(a, -1) + 1
            groups.setdefault((a, numbers[a, key]), ([], []))[side].append(j)
    return groups


def compile_model(m: pyo.ConcreteModel) -> Matrix:
    """Columns and rows of the model: the variables in their order, the constraints in theirs.

    Not by Pyomo's own compiler: that one imports all of scipy first, which takes longer than any front here.
    """
    flow: Flow = m.flow
    variables = [*m.x.values(), *m.y.values(), *([m.z] if m.component("z") is not None else [])]
    column = {id(variable): j for j, variable in enumerate(variables)}
    cost = np.zeros(len(variables))
    times = generate_standard_repn(m.time_ns.expr)
    for variable, coefficient in zip(times.linear_vars, times.linear_coefs, strict=True):
        cost[column[id(variable)]] = coefficient
    lower: list[float] = []
    upper: list[float] = []
    start, index, value = [0], [], []
    step_rows = np.zeros(len(flow.rows), np.int32)
    total_row = None
    for constraint in m.component_data_objects(pyo.Constraint, active=True):
        body = generate_standard_repn(constraint.body)
        assert body.is_linear()
        if constraint.parent_component() is m.step_memory:
            step_rows[constraint.index()] = len(lower)
        elif constraint is m.component("total"):
            total_row = len(lower)
        lower.append(-np.inf if constraint.lb is None else constraint.lb - body.constant)
        upper.append(np.inf if constraint.ub is None else constraint.ub - body.constant)
        index += [column[id(variable)] for variable in body.linear_vars]
        value += body.linear_coefs
        start.append(len(index))
    return Matrix(
        total_row=total_row,
        total_base_bytes=flow.base_bytes + sum(least_added(flow)),
        upper=np.array([np.inf if variable.ub is None else variable.ub for variable in variables]),
        cost=cost,
        row_lower=np.array(lower),
        row_upper=np.array(upper),
        start=np.array(start, np.int32),
        index=np.array(index, np.int32),
        value=np.array(value, np.float64),
        x=np.arange(len(m.x), dtype=np.int32),
        y=np.arange(len(m.x), len(m.x) + len(m.y), dtype=np.int32),
        step_rows=step_rows,
        binary=np.array([variable.is_binary() for variable in variables]),
    )
