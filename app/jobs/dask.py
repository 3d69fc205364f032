"""Jobs on a Dask cluster: the scheduler carries job ids, the jobs table stays the truth.

A worker that can use device NAME is started with `dask worker ... --resources "device:NAME=1"`; work without a
device runs anywhere. Delivering an id twice or losing it is harmless: a claim succeeds once.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from app.db.database import Database
from app.db.jobs import JobStore
from app.db.records import JobState
from app.errors import UserError
from app.jobs.local import REAP_EVERY_S, expired_lease
from app.jobs.supervisor import Supervisor, machine, new_owner
from app.settings import Settings

log = logging.getLogger("tradespace.jobs")


def run_job(job_id: str, work: str) -> bool:
    """On a Dask worker: claim the job and run it in a process of its own; False when it may not run here now."""
    settings = Settings()
    database = Database(settings.url)
    try:
        store = JobStore(database)
        job = store.claim(
            new_owner(), machine=machine(), slots=settings.workers, lease_s=settings.lease_s, job_id=job_id
        )
        if job is None:
            return False
        Supervisor(settings, store, job, work).run()
        return True
    finally:
        database.close()


class DaskExecutor:
    """Delivers the ids of queued jobs to a scheduler, again until somebody has claimed them."""

    def __init__(self, settings: Settings, store: JobStore, work: str, *, poll_s: float = 0.5):
        try:
            from distributed import Client
        except ImportError:
            raise UserError(
                "scheduler-unavailable", "the Dask client is not installed", hint="pip install 'tradespace[dask]'"
            ) from None
        try:
            self._client = Client(settings.scheduler, timeout="10s", set_as_default=False)
        except OSError as error:
            raise UserError("scheduler-unavailable", f"{settings.scheduler}: {error}", status=503) from None
        self._store = store
        self._work = work
        self._poll_s = poll_s
        self._stopping = threading.Event()
        self._futures: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._loop, name="jobs", daemon=True)
        self.beat = time.monotonic()

    @property
    def alive(self) -> bool:
        """Whether jobs are being delivered and the scheduler answers."""
        return self._thread.is_alive() and self._client.status == "running"

    def start(self) -> None:
        """Begin to deliver jobs, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Deliver nothing more. Jobs that run on workers go on; their leases are theirs."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._client.close()

    def _loop(self) -> None:
        reaped = float("-inf")
        while not self._stopping.is_set():
            self.beat = time.monotonic()
            try:
                if time.monotonic() - reaped >= REAP_EVERY_S:
                    reaped = time.monotonic()
                    self._store.reap(expired_lease())
                self.step()
            except Exception:
                log.exception("delivering jobs failed; trying again")
                self._stopping.wait(1.0)
            self._stopping.wait(self._poll_s)

    def step(self) -> None:
        """Deliver every queued job that is not on its way, forget what has arrived."""
        self._futures = {job_id: future for job_id, future in self._futures.items() if not future.done()}
        for job in self._store.active():
            if job.state is JobState.QUEUED and job.reserved_for is None and job.id not in self._futures:
                # NAME@THREADS:FINGERPRINT is the machine NAME with more of its cores.
                name = job.device.partition(":")[0].partition("@")[0] if job.device else ""
                resources = {f"device:{name}": 1} if name else None
                self._futures[job.id] = self._client.submit(
                    run_job, job.id, self._work, pure=False, resources=resources, retries=0
                )
