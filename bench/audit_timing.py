"""Timing bundles in turns: each several times, and others between, so that a slow phase of a machine shows.

A phase lasts seconds to minutes. Three figures of one bundle, taken one behind the other, lie in the same phase and
agree with each other; with another bundle's compilation and timing between them they seldom do.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from app.errors import UserError
from app.verify.check import run_selftest

Row = dict[str, Any]

TURNS = 3
TIMEOUT_S = 900.0


@dataclasses.dataclass
class Turns:
    """Self-tests that are to be timed again. `on_done` gets each row when it has been timed TURNS times.

    At most TURNS - 1 programs are kept at a time: with its weights one may take half a gigabyte.
    """

    runner: Sequence[str]
    on_done: Callable[[Row], None]
    waiting: list[tuple[Row, Path]] = dataclasses.field(default_factory=list)

    def join(self, row: Row, program: Path, median_ns: int) -> None:
        """Take in a bundle that was just timed; those before it have a turn first."""
        self.turn()
        add_time(row, median_ns)
        self.waiting.append((row, program))

    def turn(self) -> None:
        """Time every waiting bundle once, the newest first: so none is timed twice in a row while another waits."""
        for row, program in reversed(self.waiting):
            try:
                add_time(row, int(run_selftest(program, None, self.runner, TIMEOUT_S)["median_ns"]))
            except UserError as error:
                row["mismatch"] = f"timed once more: {error}"
        asked, self.waiting = self.waiting, []
        for row, program in asked:
            if whole(row):
                program.unlink()
                self.on_done(row)
            else:
                self.waiting.append((row, program))

    def finish(self) -> None:
        """Turns until nobody waits."""
        while self.waiting:
            self.turn()


def whole(row: Row) -> bool:
    """Whether there is nothing left to do for a bundle."""
    return bool(row["mismatch"]) or len(row.get("times_ns", ())) == TURNS


def add_time(row: Row, median_ns: int) -> None:
    """One more timing of a bundle; its figures follow: the median, and how far the timings lie apart."""
    row["times_ns"] = times = [*row.get("times_ns", []), median_ns]
    row["measured_ns"] = statistics.median(times)
    row["spread"] = (max(times) - min(times)) / row["measured_ns"] if row["measured_ns"] else 0.0
    row["error"] = row["measured_ns"] / row["predicted_ns"] - 1
