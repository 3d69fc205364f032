"""The default executor: a thread that claims jobs and looks after their processes on this machine."""

from __future__ import annotations

import logging
import threading
import time

from app.db.jobs import JobStore
from app.jobs.supervisor import Supervisor, machine, new_owner
from app.problems import problem
from app.settings import Settings

REAP_EVERY_S = 2.0
log = logging.getLogger("tradespace.jobs")


def expired_lease() -> dict[str, object]:
    """The error of a job that is lost because nobody looked after it any more."""
    return problem("job-lost", 500, "the worker stopped answering", hint="retry the job")


class LocalExecutor:
    """Runs at most `settings.workers` jobs at a time, each in its own process."""

    def __init__(self, settings: Settings, store: JobStore, work: str, *, poll_s: float = 0.1):
        self._settings = settings
        self._store = store
        self._work = work
        self._poll_s = poll_s
        self._stopping = threading.Event()
        self._running: list[Supervisor] = []
        self._thread = threading.Thread(target=self._loop, name="jobs", daemon=True)
        self._reaped = float("-inf")
        self.beat = time.monotonic()

    @property
    def alive(self) -> bool:
        """Whether jobs are being looked after."""
        return self._thread.is_alive() and time.monotonic() - self.beat < 30

    def start(self) -> None:
        """Begin to run jobs, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Claim nothing more, stop the processes and put their jobs back into the queue."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _loop(self) -> None:
        while not self._stopping.is_set():
            self.beat = time.monotonic()
            try:
                self.step()
            except Exception:
                # The database may be away for a moment; jobs must go on being looked after when it is back.
                log.exception("looking after jobs failed; trying again")
                self._stopping.wait(1.0)
            self._stopping.wait(self._poll_s)
        for supervisor in self._running:
            supervisor.stop()

    def step(self) -> None:
        """Look after every process once, reap lost leases now and then, claim what may run."""
        self._running = [supervisor for supervisor in self._running if supervisor.step()]
        if time.monotonic() - self._reaped >= min(REAP_EVERY_S, self._settings.lease_s / 2):
            self._reaped = time.monotonic()
            self._store.reap(expired_lease())
        while len(self._running) < self._settings.workers and not self._stopping.is_set():
            job = self._store.claim(
                new_owner(), machine=machine(), slots=self._settings.workers, lease_s=self._settings.lease_s
            )
            if job is None:
                break
            self._running.append(Supervisor(self._settings, self._store, job, self._work))
