"""What simpler methods pick, as references beside a front. Nothing is claimed about their optimality."""

from __future__ import annotations

import contextlib
import dataclasses

from app.candidates import Candidates
from app.costs import CostTable
from app.errors import UserError
from app.options import NodeOption
from app.points import Baseline
from app.selection.limits import Limits
from app.selection.points import point_from
from app.selection.problem import Built, build_problem, fastest_per_node, time_from
from app.slices import buffer_of
from solver import frontier as sf
from solver import problem as sp
from solver.arena import Arena
from solver.evaluate import ImpossibleSelection, evaluate, lifetimes
from solver.front import Infeasible
from solver.planner import largest_first

DIRECT = frozenset({"direct", "depthwise", "pointwise"})
"""Families that compute a convolution as its definition says, without workspace."""


def baselines(
    offered: Candidates, costs: CostTable, built: Built, limits: Limits, fastest: sp.Selection | None = None
) -> tuple[Baseline, ...]:
    """Those baselines that exist within the limits. The bound of each is its own latency.

    `offered` are all candidates, without limits; `fastest` is the fastest selection of all, where it is known.
    """

    def named(name: str, text: str, of: Built, selection: sp.Selection, arena: Arena | None = None) -> Baseline:
        bound_ns = evaluate(of.problem, selection).time_ns
        return Baseline(name, text, point_from(of, costs, selection, proven=False, bound_ns=bound_ns, arena=arena))

    selection = fastest or _fastest(built, limits)
    found = [named("time-only", "the least latency when memory does not matter", built, selection)]
    # Two neighbours' fastest choices may not be joined by any conversion, and limits may leave a node only what lies in
    # another's memory: then there is no such baseline.
    with contextlib.suppress(ImpossibleSelection):
        found.append(
            named(
                "fastest-per-layer",
                "each layer's fastest primitive by itself; the layout changes this causes are paid",
                built,
                fastest_per_node(built),
            )
        )
    allowed = tuple((DIRECT - set(limits.forbid)) & set(limits.only or DIRECT))
    if not allowed:
        return tuple(found)
    only_direct = dataclasses.replace(limits, forbid=(), only=allowed)
    # The limits may leave no such selection: then there is no such baseline.
    with contextlib.suppress(UserError, Infeasible):
        candidates = only_direct.narrow(offered)
        plain = build_problem(candidates, time_from(costs))
        found.append(
            named(
                "all-direct",
                "the fastest selection of direct convolutions (direct, pointwise, depthwise): no workspace",
                plain,
                _fastest(plain, limits),
            )
        )
        candidates = _apart(candidates)
        if not all(candidates.options.values()):
            return tuple(found)
        apart = build_problem(candidates, time_from(costs))
        selection = _fastest(apart, limits)
        found.append(
            named(
                "greedy-planner",
                "direct convolutions, every tensor in memory of its own (nothing in place, no slices, no chains), "
                "placed largest first at the lowest free offset: the planner of TensorFlow Lite Micro on this network",
                apart,
                selection,
                largest_first(lifetimes(apart.problem, selection).buffers),
            )
        )
    return tuple(found)


def _apart(candidates: Candidates) -> Candidates:
    """The candidates whose output is a tensor of its own."""

    def alone(option: NodeOption) -> bool:
        shared = option.joins or option.cuts or option.in_place is not None
        return not shared and not any(map(buffer_of, (*option.in_layouts, option.out_layout)))

    kept = {name: tuple(filter(alone, options)) for name, options in candidates.options.items()}
    return dataclasses.replace(candidates, options=kept, slices={}, sites=(), chains=(), pieces={})


def _fastest(built: Built, limits: Limits) -> sp.Selection:
    selection = sf.fastest(built.problem, max_weights_bytes=limits.max_weights_bytes).selection
    assert selection is not None  # without a time limit there is an optimum, or fastest() has raised
    return selection
