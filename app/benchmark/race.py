"""The round robin: every round each contender has one turn, in an order that moves on by one from round to round."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from app.benchmark.contender import Burst, Contender, ContenderError, FloatArray, Loaded, Turn

MAX_REL_ERR = 1e-3
"""Largest difference from onnxruntime's output, relative to its largest absolute value, that still counts as equal."""


@dataclass
class Record:
    """What one contender did. `error` is "" while nothing went wrong; then it takes no further part."""

    error: str = ""
    loaded: Loaded | None = None
    bursts: list[Burst] = field(default_factory=list)  # of each round
    max_rel_err: float | None = None  # the largest seen, after loading and after each turn


def relative_error(got: tuple[FloatArray, ...], wanted: tuple[FloatArray, ...]) -> float:
    """Largest absolute difference of any output over that output's largest absolute value; infinite for NaN."""
    worst = 0.0
    for mine, theirs in zip(got, wanted, strict=True):
        reference = theirs.astype(np.float64).reshape(-1)
        scale = float(np.abs(reference).max()) or 1.0
        difference = float(np.abs(mine.astype(np.float64).reshape(-1) - reference).max())
        worst = max(worst, difference / scale if np.isfinite(difference) else float("inf"))
    return worst


def race(
    contenders: Mapping[str, Callable[[], Contender]],
    expected: tuple[FloatArray, ...],
    rounds: int,
    turn: Turn,
    *,
    on_progress: Callable[[int, int], None] = lambda _completed, _total: None,
) -> dict[str, Record]:
    """Start every contender, compare its outputs with `expected`, and time `rounds` rounds.

    A contender that does not start, fails or computes something else is out, with the reason in its record.
    `on_progress` is called after every step and may raise to stop.
    """
    records = {name: Record() for name in contenders}
    running: dict[str, Contender] = {}
    steps, total = 0, len(contenders) * (rounds + 1)

    def step(name: str, action: Callable[[], None]) -> None:
        nonlocal steps
        try:
            action()
        except ContenderError as error:
            records[name].error = str(error)
            if name in running:
                running.pop(name).close()
        steps += 1
        on_progress(steps, total)

    def start(name: str) -> None:
        running[name] = contenders[name]()
        records[name].loaded = running[name].load()
        _compare(running[name], records[name], expected)

    def take_turn(name: str) -> None:
        if name in running:
            burst = running[name].run(turn)
            _compare(running[name], records[name], expected)
            records[name].bursts.append(burst)

    try:
        for name in contenders:
            step(name, lambda name=name: start(name))  # type: ignore[misc]
        names = list(contenders)
        for number in range(rounds):
            first = number % len(names)
            for name in names[first:] + names[:first]:
                step(name, lambda name=name: take_turn(name))  # type: ignore[misc]
    finally:
        for contender in running.values():
            contender.close()
    return records


def _compare(contender: Contender, record: Record, expected: tuple[FloatArray, ...]) -> None:
    error = relative_error(contender.outputs([array.size for array in expected]), expected)
    record.max_rel_err = max(record.max_rel_err or 0.0, error)
    if error > MAX_REL_ERR:
        raise ContenderError(
            f"its output differs from onnxruntime's by {error:.2g} of the largest value, allowed is {MAX_REL_ERR:g}"
        )
