"""How a point stands up to the noise of its costs: solved again under costs drawn anew from the stored samples."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from app.costs import CostKey
from app.errors import UserError
from app.points import Point
from app.selection.frontier import WEIGHTS
from app.selection.holds import hidden_choice
from app.selection.limits import Limits
from app.selection.problem import Built, build_problem
from app.selection.what_if import WarmModel
from solver import problem as sp
from solver.warm import WarmSolver

Times = npt.NDArray[np.int64]
DRAWS = 100
LIMIT_S = 20.0
QUANTILES = {"p50": 0.5, "p90": 0.9}


@dataclass(frozen=True)
class Robustness:
    """What a point is worth if the measured samples had fallen otherwise.

    In each of `draws` the samples of every cost are drawn again with replacement (the same draw for calls that share a
    cost), and the fastest selection at the same limits and budget is found. `kept[layer]` is the share of draws whose
    optimum makes the point's choice for the layer, `same` the share whose optimum is the point itself or as fast.
    Regret is how much slower than a draw's optimum the point is under that draw's costs, relative to the optimum.
    `proven`: every optimum was. `single` counts the costs of the point's calls with one sample only: those never vary.
    `complete`: no limit of time cut the draws short.
    """

    draws: int
    seed: int
    kept: dict[str, float]
    same: float
    regret_mean: float
    regret_p90: float
    regret_worst: float
    proven: bool
    single: int
    complete: bool
    elapsed_s: float

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return dict(self.__dict__)


def robustness(
    model: WarmModel,
    point: Point,
    limits: Limits,
    memory: str,
    budget_bytes: int | None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    limit_s: float = LIMIT_S,
) -> Robustness:
    """Judge a point of the model at a budget (that of the point itself, usually). The same seed, the same answer."""
    started = time.perf_counter()
    with model.lock:
        drawn = Draws(model, draws, seed)
        solver = model.solver(limits, memory, budget_bytes)
        bound = limits.max_arena_bytes if memory == WEIGHTS else budget_bytes
        selection = chosen_by(model.built, point)
        chosen = np.array(selection.options)
        x_ns, y_ns = drawn.times_of(solver)
        kept = np.zeros(len(chosen), np.int64)
        regrets: list[float] = []
        proven = True
        try:
            for s in range(draws):
                if regrets and time.perf_counter() - started > limit_s:
                    break
                found = solver.retime(x_ns[:, s], y_ns[:, s], bound)
                assert found is not None, "the point itself fits"
                here_ns = solver.time_of(selection, x_ns[:, s], y_ns[:, s])
                kept += np.array(found.selection.options) == chosen
                regrets.append(max(0, here_ns - found.time_ns) / found.time_ns if found.time_ns else 0.0)
                proven = proven and found.proven
        finally:
            solver.restore_times()
    done = len(regrets)
    return Robustness(
        draws=done,
        seed=seed,
        kept={node.name: int(kept[v]) / done for v, node in enumerate(model.built.operators) if node is not None},
        same=sum(regret == 0.0 for regret in regrets) / done,
        regret_mean=float(np.mean(regrets)),
        regret_p90=float(np.quantile(regrets, 0.9)),
        regret_worst=max(regrets),
        proven=proven,
        single=sum(len(model.costs[key].samples_ns) < 2 for key in _keys_of(model, selection)),
        complete=done == draws,
        elapsed_s=time.perf_counter() - started,
    )


class Draws:
    """Every cost of a model drawn anew `draws` times, and the times of options and conversions they add up to."""

    def __init__(self, model: WarmModel, draws: int, seed: int):
        self.draws = draws
        keys = model.candidates.cost_keys()
        times = _quantiles_of_draws(
            [model.costs[key].samples_ns for key in keys], draws, seed, QUANTILES[model.objective]
        )
        row = {key: number for number, key in enumerate(keys)}

        def drawn(key: CostKey) -> Any:
            return times[row[key]]

        # Times only ever add up on the way into the problem, so a vector of draws passes through like one number.
        self.problem = build_problem(model.candidates, drawn).problem

    def times_of(self, solver: WarmSolver) -> tuple[Times, Times]:
        """[option of the flow, draw] and [pair of the flow, draw]."""
        flow = solver.flow
        x_ns = np.zeros((len(flow.options), self.draws), np.int64)
        for j, (v, i) in enumerate(flow.options):
            x_ns[j] = self.problem.nodes[v].options[i].time_ns
        y_ns = np.zeros((len(flow.pairs), self.draws), np.int64)
        for y, pair in enumerate(flow.pairs):
            for e, wanted in zip(flow.arcs[pair.arc].edges, pair.demand.layouts, strict=True):
                y_ns[y] += self.problem.edges[e].conversions[pair.layout, wanted].time_ns
        return x_ns, y_ns


def _quantiles_of_draws(samples_ns: Sequence[Sequence[int]], draws: int, seed: int, fraction: float) -> Times:
    """[cost, draw]: nearest-rank quantiles (the lower median) of samples drawn with replacement; at least 1 ns."""
    found = np.zeros((len(samples_ns), draws), np.int64)
    rng = np.random.default_rng(seed)
    by_count: dict[int, list[int]] = {}
    for row, samples in enumerate(samples_ns):
        by_count.setdefault(len(samples), []).append(row)
    for count, rows in sorted(by_count.items()):
        rank = (count - 1) // 2 if fraction == 0.5 else round(fraction * (count - 1))
        for row in rows:
            drawn = np.asarray(samples_ns[row], np.int64)[rng.integers(0, count, (draws, count))]
            found[row] = np.partition(drawn, rank, axis=1)[:, rank]
    return np.maximum(found, 1)


def chosen_by(built: Built, point: Point) -> sp.Selection:
    """The selection of a stored point; raises UserError `point-stale` when an option of it is no longer there."""
    layers = {layer.node: layer for layer in point.layers}
    picks: list[int] = []
    for node, options in zip(built.operators, built.options, strict=True):
        if node is None:
            picks.append(hidden_choice(built.problem, picks))
            continue
        layer = layers.get(node.name)
        same = [i for i, option in enumerate(options) if layer is not None and option.key == layer.option]
        if not same:
            raise UserError(
                "point-stale",
                f"the point's choice for {node.name} is no longer offered",
                hint="trace the front again",
                status=409,
            )
        picks.append(same[0])
    return sp.Selection(tuple(picks))


def _keys_of(model: WarmModel, selection: sp.Selection) -> set[CostKey]:
    return {
        key
        for options, i in zip(model.built.options, selection.options, strict=True)
        if options
        for key, _ in model.candidates.costs_of(options[i])
    }
