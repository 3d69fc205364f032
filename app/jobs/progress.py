"""What long work tells and asks while it runs, and the way from a worker process to the jobs table."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from app.db.jobs import JobStore
from app.errors import Cancelled

WRITE_EVERY_S = 0.25
ASK_EVERY_S = 0.25


class Progress(Protocol):
    """The listener of long work."""

    def stage(self, name: str, *, unit: str = "", total: int = 0) -> None:
        """A new stage begins, of `total` units (0: unknown)."""

    def advance(self, completed: int, total: int) -> None:
        """`completed` of `total` units of the stage are done."""

    def should_cancel(self) -> bool:
        """Whether to stop as soon as possible."""


class Silent:
    """A listener that neither shows anything nor stops the work."""

    def stage(self, name: str, *, unit: str = "", total: int = 0) -> None:
        """Ignored."""

    def advance(self, completed: int, total: int) -> None:
        """Ignored."""

    def should_cancel(self) -> bool:
        """Never."""
        return False


def check(progress: Progress) -> None:
    """Raise Cancelled when the listener wants the work to stop."""
    if progress.should_cancel():
        raise Cancelled


class JobProgress:
    """Writes progress into the job's row, a few times a second at most, and reads its cancel flag as often."""

    def __init__(self, store: JobStore, job_id: str, owner: str, clock: Callable[[], float] = time.monotonic):
        self._store = store
        self._job_id = job_id
        self._owner = owner
        self._clock = clock
        self._name, self._unit, self._started = "starting", "", clock()
        self._first = 0  # units that were done when the stage began to count
        self._written = self._asked = float("-inf")
        self._cancelled = False

    def stage(self, name: str, *, unit: str = "", total: int = 0) -> None:
        """A new stage begins; written at once."""
        self._name, self._unit, self._started, self._first = name, unit, self._clock(), -1
        self._write(0, total)

    def advance(self, completed: int, total: int) -> None:
        """Written if the last time is long enough ago or the stage is complete."""
        if self._first < 0:
            self._first, self._started = completed, self._clock()
        if completed >= total or self._clock() - self._written >= WRITE_EVERY_S:
            self._write(completed, total)

    def should_cancel(self) -> bool:
        """Whether the job was asked to stop or is no longer ours. Once true, always true."""
        if not self._cancelled and self._clock() - self._asked >= ASK_EVERY_S:
            self._asked = self._clock()
            self._cancelled = self._store.is_cancelled(self._job_id, self._owner)
        return self._cancelled

    def _write(self, completed: int, total: int) -> None:
        self._written = self._clock()
        done = completed - max(self._first, 0)
        elapsed_s = self._clock() - self._started
        eta_s = round(elapsed_s / done * (total - completed), 1) if done > 0 and total >= completed else None
        self._store.progress(
            self._job_id, self._owner, stage=self._name, completed=completed, total=total, unit=self._unit, eta_s=eta_s
        )
