"""Rows of the result: medians of round medians, ratios round by round, rates, memory."""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict, dataclass
from typing import Any

from app.benchmark.race import Record

OURS = "tradespace"


@dataclass(frozen=True)
class Row:
    """One runtime on one network. Everything after `error` is None when the runtime did not finish; `error` says why.

    `median_ns` is the median of the medians of the rounds, `p10_ns` and `p90_ns` are of all single runs together.
    `ratio` = median_ns / ours; `ratio_min` and `ratio_max` over the rounds, each against our own turn of that round.
    `gflops` counts two operations per multiply-accumulate of direct convolution, whatever was really computed.
    `fma_peak_share` = gflops / (measured FMA peak of a core x threads).
    `resident_bytes` = resident after the first run - before the network was read; `load_peak_bytes` and
    `run_peak_bytes` are the most resident memory while loading and while running, minus the same; `peak_bytes` is the
    most of the whole process, its code included. `planned_bytes` is what the runtime says it needs: our arena, weights,
    inputs and outputs; MNN's session.
    """

    network: str
    runtime: str
    version: str
    threads: int
    error: str = ""
    runs: int | None = None
    median_ns: float | None = None
    p10_ns: float | None = None
    p90_ns: float | None = None
    min_round_ns: float | None = None
    max_round_ns: float | None = None
    round_medians_ns: tuple[float, ...] = ()
    ratio: float | None = None
    ratio_min: float | None = None
    ratio_max: float | None = None
    gflops: float | None = None
    fma_peak_share: float | None = None
    max_rel_err: float | None = None
    resident_bytes: int | None = None
    load_peak_bytes: int | None = None
    run_peak_bytes: int | None = None
    peak_bytes: int | None = None
    planned_bytes: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data; an infinite error, which JSON cannot say, is the largest number it can."""
        found = asdict(self)
        if self.max_rel_err is not None and not math.isfinite(self.max_rel_err):
            found["max_rel_err"] = 1e300
        return found


def make_row(
    network: str,
    runtime: str,
    version: str,
    record: Record,
    ours: Record,
    *,
    threads: int,
    macs: int,
    fma_gflops: float,
    planned_bytes: int | None,
) -> Row:
    """The figures of one record. `fma_gflops` is the peak of one core."""
    if record.error or record.loaded is None or not record.bursts:
        return Row(
            network,
            runtime,
            version,
            threads,
            error=record.error or "it took no turn",
            max_rel_err=record.max_rel_err,
        )
    medians = _medians(record)
    ratios = [mine / base for mine, base in zip(medians, _medians(ours), strict=True)]
    samples = sorted(sample for burst in record.bursts for sample in burst.samples_ns)
    median_ns = statistics.median(medians)
    gflops = 2.0 * macs / median_ns
    loaded, before = record.loaded, record.loaded.rss_before_bytes
    run_peaks = [burst.run_peak_bytes for burst in record.bursts]
    run_peak_bytes = max((peak for peak in run_peaks if peak is not None), default=None)
    known_peaks = [peak for peak in (loaded.load_peak_bytes, run_peak_bytes) if peak is not None]
    return Row(
        network,
        runtime,
        version,
        threads,
        runs=len(samples),
        median_ns=median_ns,
        p10_ns=_quantile(samples, 0.1),
        p90_ns=_quantile(samples, 0.9),
        min_round_ns=min(medians),
        max_round_ns=max(medians),
        round_medians_ns=tuple(medians),
        ratio=median_ns / statistics.median(_medians(ours)),
        ratio_min=min(ratios),
        ratio_max=max(ratios),
        gflops=gflops,
        fma_peak_share=gflops / (fma_gflops * threads),
        max_rel_err=record.max_rel_err,
        resident_bytes=loaded.rss_bytes - before,
        load_peak_bytes=None if loaded.load_peak_bytes is None else loaded.load_peak_bytes - before,
        run_peak_bytes=None if run_peak_bytes is None else run_peak_bytes - before,
        peak_bytes=max(known_peaks, default=None),
        planned_bytes=loaded.session_bytes if planned_bytes is None else planned_bytes,
    )


def _medians(record: Record) -> list[float]:
    return [float(statistics.median(burst.samples_ns)) for burst in record.bursts]


def _quantile(ordered: list[int], share: float) -> float:
    """Linear interpolation between the two nearest of `ordered`."""
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
