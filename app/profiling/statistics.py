"""Robust figures from repeated samples, and the rule that says when more samples are wasted. No I/O, no clock."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

CLEARLY_SLOWER_RATIOS = (1.5, 1.2, 1.1, 1.06)
"""After the pilot and after each round but the last: a candidate whose fastest sample is this much slower than the
median of one that is no larger in anything gets no further samples. The more samples there are, the less noise moves
the two; the first ratio is far outside the spread of repeats on a shared machine (10-20 %)."""


def quantile_ns(samples_ns: Sequence[int], fraction: float) -> int:
    """Nearest-rank quantile; `fraction` in [0, 1]. Raises ValueError on no samples."""
    if not samples_ns:
        raise ValueError("no samples")
    ordered = sorted(samples_ns)
    return ordered[min(len(ordered) - 1, max(0, round(fraction * (len(ordered) - 1))))]


def median_ns(samples_ns: Sequence[int]) -> int:
    """Lower median: always a sample, and one interrupted call cannot move it past a neighbour even among two."""
    return statistics.median_low(samples_ns)


@dataclass(frozen=True)
class Contender:
    """What decides whether a candidate can still matter: its layouts, its sizes and its samples so far."""

    name: str
    layouts: tuple[str, str]
    workspace_bytes: int
    weights_bytes: int
    fastest_ns: int
    median_ns: int


def hopeless(contenders: Iterable[Contender], ratio: float) -> set[str]:
    """Names of contenders that another one of the same layouts beats by `ratio` without needing more of anything.

    No front on any memory axis can contain them, whatever the layers around them do.
    """
    contenders = list(contenders)
    return {
        slow.name
        for slow in contenders
        if any(
            fast.layouts == slow.layouts
            and fast.workspace_bytes <= slow.workspace_bytes
            and fast.weights_bytes <= slow.weights_bytes
            and fast.median_ns * ratio < slow.fastest_ns
            for fast in contenders
        )
    }
