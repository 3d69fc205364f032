"""Measuring costs: interleaved repeats on pinned cores, cold caches, every finished cost reported at once."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from app.costs import Cost, CostKey
from app.errors import UserError
from app.profiling.device import Device
from app.profiling.statistics import CLEARLY_SLOWER_RATIOS, Contender, hopeless, median_ns, quantile_ns
from kernels import registry
from kernels.build import BuildError, build_harness
from kernels.harness import Harness, HarnessError
from kernels.spec import Primitive
from kernels.split import on_threads

EVICT_BYTES = {"l2": 64 * 2**10, "l3": 4 * 2**20, "dram": 4 * 2**20}
"""Streamed before each sample, by where the weights come from: twice the first-level cache, or a few times the second
level's, where a layer's weights do not survive an inference. docs/decisions/003."""

PILOT_SAMPLES = 2
ROUNDS = len(CLEARLY_SLOWER_RATIOS)
SAMPLES_PER_ROUND = 3
ROUTINE_NS = 100_000_000  # a routine stops collecting samples once it has used this much time
PILOT_NS = 10_000_000
SLOW_PILOT_RATIO = 8
"""A pilot ends after its first call when that takes 8 times the best routine so far, and more than 10 ms."""


@dataclass(frozen=True)
class MeasureReport:
    """`measured` costs are new; `cut` of them stopped early because no front can contain them."""

    measured: int
    cut: int
    elapsed_s: float


def measure(
    device: Device,
    keys: Iterable[CostKey],
    *,
    data_dir: Path,
    on_cost: Callable[[Cost], None],
    on_progress: Callable[[int, int], None] = lambda _completed, _total: None,
    should_cancel: Callable[[], bool] = lambda: False,
) -> MeasureReport:
    """Measure `keys` on `device` and hand each finished Cost to `on_cost`.

    Routines that compute the same shape take turns, so a slow phase of the machine hits all of them alike.
    Stops between turns when `should_cancel` says so; what was handed over stays valid.
    """
    keys = list(keys)
    started = time.monotonic()
    try:
        binary = build_harness(
            device.toolchain, data_dir / "harness", sanitize=False, primitives=_beside(key.primitive for key in keys)
        )
    except BuildError as error:
        raise UserError("harness-does-not-build", error.message, hint=error.hint) from None
    measured = cut = 0
    on_progress(0, len(keys))
    with Harness(binary, cpus=device.cpus, runner=device.toolchain.runner) as harness:
        for _, group in itertools.groupby(keys, key=lambda key: (key.shape, key.weights_from)):
            if should_cancel():
                break
            costs, group_cut = _measure_group(harness, device.threads, list(group), should_cancel)
            for cost in costs:
                on_cost(cost)
            measured += len(costs)
            cut += group_cut
            on_progress(measured, len(keys))
    return MeasureReport(measured, cut, time.monotonic() - started)


def _beside(names: Iterable[str]) -> list[Primitive]:
    """Every primitive of the sources that these primitives are in: more would be compiled for nothing, and fewer, the
    same objects, would give each network a driver of its own."""
    sources = {registry.get(name).source for name in set(names)}
    return [primitive for primitive in registry.all_primitives().values() if primitive.source in sources]


def _measure_group(
    harness: Harness, threads: int, keys: list[CostKey], should_cancel: Callable[[], bool]
) -> tuple[list[Cost], int]:
    """All routines of one shape. Returns nothing when cancelled half-way: a half-measured group would be biased."""
    samples: dict[CostKey, list[int]] = {}
    limit_ns = ROUTINE_NS
    for key in keys:
        if should_cancel():
            return [], 0
        samples[key] = list(_sample(harness, threads, key, PILOT_SAMPLES, limit_ns))
        limit_ns = min(limit_ns, max(PILOT_NS, SLOW_PILOT_RATIO * min(samples[key])))
    cut: set[str] = set()
    for ratio in CLEARLY_SLOWER_RATIOS:
        cut |= hopeless((_contender(threads, key, samples[key]) for key in keys), ratio)
        for key in keys:
            if should_cancel():
                return [], 0
            if key.primitive not in cut and sum(samples[key]) < ROUTINE_NS:
                samples[key] += _sample(harness, threads, key, SAMPLES_PER_ROUND, ROUTINE_NS - sum(samples[key]))
    return [_cost(key, samples[key]) for key in keys], len(cut)


def _sample(harness: Harness, threads: int, key: CostKey, count: int, max_ns: int) -> tuple[int, ...]:
    try:
        return harness.time(
            registry.get(key.primitive),
            key.parsed_shape,
            samples=count,
            evict_bytes=EVICT_BYTES[key.weights_from],
            dram_weights=key.weights_from == "dram",
            max_ns=max_ns,
            threads=threads,
        )
    except HarnessError as error:
        raise UserError(
            "measurement-failed", str(error), hint="run `make check` to see which primitive breaks its contract"
        ) from None


def _contender(threads: int, key: CostKey, samples_ns: list[int]) -> Contender:
    primitive, shape = on_threads(registry.get(key.primitive), threads), key.parsed_shape
    return Contender(
        key.primitive,
        (primitive.in_layout, primitive.out_layout),
        primitive.workspace_bytes(shape),
        primitive.weights_bytes(shape),
        min(samples_ns),
        median_ns(samples_ns),
    )


def _cost(key: CostKey, samples_ns: list[int]) -> Cost:
    return Cost(
        key=key,
        samples_ns=tuple(samples_ns),
        median_ns=median_ns(samples_ns),
        p10_ns=quantile_ns(samples_ns, 0.1),
        p90_ns=quantile_ns(samples_ns, 0.9),
    )
