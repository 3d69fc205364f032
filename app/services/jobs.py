"""Long work as jobs: what each kind does, putting one into the queue, and running one in the foreground."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

from app.codegen.literals import check_prefix
from app.db.records import JobRecord, JobState, Json
from app.errors import Cancelled, UserError
from app.jobs.local import LocalExecutor, expired_lease
from app.jobs.progress import JobProgress, Progress
from app.jobs.supervisor import machine, new_owner
from app.problems import problem, problem_of
from app.selection.limits import NO_LIMITS, Limits
from app.services import frontiers, models
from app.services.context import Context

WORK = "app.services.work:WORK"
"""Where worker processes find what each kind of job does."""

LIST_URL = "/api/v1/jobs"


def url(job: JobRecord) -> str:
    """Where the job is found in the API."""
    return f"{LIST_URL}/{job.id}"


def submit_measurement(
    context: Context, model: str, device: str, *, families: list[str] | None = None, only_missing: bool = True
) -> JobRecord:
    """Queue a measurement; the same one, if it is queued or running already, is returned."""
    found = models.find(context, model)
    reference = context.device(device)
    if reference.device is None:
        raise UserError(
            "device-unknown",
            f"device {device} cannot be measured from here",
            hint=f"make a kit for it: tradespace kit {found.name} --device {device} -o kit.zip",
        )
    params = {"model": found.id, "device": device, "families": sorted(families) if families else None}
    return context.jobs.create("measure", params | {"only_missing": only_missing}, device=reference.id, quiet=True)[0]


def submit_frontier(context: Context, model: str, device: str, memory: str, *, limits: Limits = NO_LIMITS) -> JobRecord:
    """Queue the tracing of a front; limits that nothing can meet are refused at once."""
    found = models.find(context, model)
    frontiers.check_limits(context, found, frontiers.check_axis(memory), limits)
    params = {
        "model": found.id,
        "device": context.device(device).name,
        "memory": memory,
        "limits": limits.to_json(),
    }
    return context.jobs.create("frontier", params)[0]


def submit_bundle(context: Context, frontier: str, point: str, prefix: str) -> JobRecord:
    """Queue the export of a point. It runs the network to time it, so it needs the machine for itself."""
    record = frontiers.get(context, frontier)
    found = frontiers.point_of(frontiers.load(context, record), point)
    check_prefix(prefix)
    params = {"frontier": record.id, "point": found.id, "prefix": prefix}
    return context.jobs.create("bundle", params, device=record.device, quiet=True)[0]


def submit_seed(context: Context) -> JobRecord | None:
    """Queue the preparation of the first example; None when there are models or jobs already, or it is not wanted."""
    example = context.settings.example
    if not example or context.models.page(limit=1) or context.jobs.page(limit=1):
        return None
    return context.jobs.create(
        "seed", {"example": example, "device": "host"}, device=context.device("host").id, quiet=True
    )[0]


def get(context: Context, job_id: str) -> JobRecord:
    """The job of that id; raises UserError `not-found`."""
    job = context.jobs.get(job_id)
    if job is None:
        raise UserError("not-found", f"there is no job {job_id}", status=404)
    return job


def cancel(context: Context, job_id: str) -> JobRecord:
    """Ask a job to stop; asking again, or a finished job, changes nothing."""
    get(context, job_id)
    job = context.jobs.request_cancel(job_id)
    assert job is not None
    return job


def retry(context: Context, job_id: str) -> JobRecord:
    """The same work as a new job; raises UserError `job-final` while the old one is not finished."""
    job = get(context, job_id)
    if not job.state.final:
        raise UserError("job-final", f"the job is {job.state}", hint="cancel it first", status=409)
    if job.kind == "bench":
        raise UserError(
            "query-invalid",
            "a benchmark runs from the command line only",
            hint=f"tradespace bench {job.params['model']}",
            status=409,
        )
    return context.jobs.create(job.kind, job.params, device=job.device, quiet=job.quiet)[0]


def make_executor(context: Context) -> Any:
    """What runs the jobs, by the settings: worker processes here, or a Dask scheduler. Not started yet."""
    if context.settings.scheduler:
        from app.jobs.dask import DaskExecutor

        return DaskExecutor(context.settings, context.jobs, WORK)
    return LocalExecutor(context.settings, context.jobs, WORK)


class _Both:
    """Progress to the jobs table and to a second listener; either may ask to stop."""

    def __init__(self, job: JobProgress, shown: Progress):
        self._job = job
        self._shown = shown

    def stage(self, name: str, *, unit: str = "", total: int = 0) -> None:
        self._job.stage(name, unit=unit, total=total)
        self._shown.stage(name, unit=unit, total=total)

    def advance(self, completed: int, total: int) -> None:
        self._job.advance(completed, total)
        self._shown.advance(completed, total)

    def should_cancel(self) -> bool:
        return self._shown.should_cancel() or self._job.should_cancel()


@contextlib.contextmanager
def foreground(
    context: Context, kind: str, params: Json, shown: Progress, *, device: str | None = None, quiet: bool = False
) -> Iterator[Progress]:
    """Do long work in this process as a job of its own, so that it and a running service keep out of each other's way.

    Waits until the device and the machine are free, holds them inside the `with` block, and records the outcome.
    """
    owner, lease_s = new_owner(), context.settings.lease_s
    job, _ = context.jobs.create(
        kind, params, device=device, quiet=quiet, reserved_for=owner, lease_s=lease_s, max_attempts=1
    )
    ended = threading.Event()
    try:
        _wait_for_turn(context, job.id, owner, shown)
    except BaseException:
        context.jobs.request_cancel(job.id)
        raise
    beat = threading.Thread(target=_renew, args=(context, job.id, owner, ended), daemon=True)
    beat.start()
    state, error = JobState.SUCCEEDED, None
    try:
        yield _Both(JobProgress(context.jobs, job.id, owner), shown)
    except (Cancelled, KeyboardInterrupt):
        state = JobState.CANCELLED
        raise
    except UserError as found:
        state, error = JobState.FAILED, problem_of(found)
        raise
    except BaseException as found:
        state, error = JobState.FAILED, problem("internal", 500, f"{type(found).__name__}: {found}")
        raise
    finally:
        ended.set()
        beat.join()
        context.jobs.finish(job.id, owner, state, error=error)


def _wait_for_turn(context: Context, job_id: str, owner: str, shown: Progress) -> None:
    told = False
    while True:
        context.jobs.reap(expired_lease())
        if context.jobs.claim(owner, machine=machine(), slots=1, lease_s=context.settings.lease_s, job_id=job_id):
            return
        if shown.should_cancel() or not context.jobs.keep_reservation(job_id, owner, context.settings.lease_s):
            raise Cancelled
        if not told:
            shown.stage("waiting for another job to finish")
            told = True
        time.sleep(0.2)


def _renew(context: Context, job_id: str, owner: str, ended: threading.Event) -> None:
    while not ended.wait(min(context.settings.lease_s / 4, 5.0)):
        context.jobs.renew(job_id, owner, context.settings.lease_s)
