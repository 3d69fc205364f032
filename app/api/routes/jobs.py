"""Jobs: following, cancelling, trying again; progress by polling and as server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from app.api import schemas
from app.api.dependencies import OnlyOnce, Opened, Paged, accepted, get_context
from app.errors import UserError
from app.services import jobs
from app.services.context import Context

router = APIRouter(tags=["jobs"])
POLL_S = 0.2


@router.get("/jobs", response_model=schemas.Page[schemas.Job])
def list_jobs(context: Opened, paging: Paged, state: schemas.JobStateName | None = None) -> dict[str, Any]:
    """Jobs, newest first."""
    return paging.rows(context.jobs.page, lambda job: job.to_json(), state=state)


@router.get("/jobs/{job}", response_model=schemas.Job)
def show_job(context: Opened, response: Response, job: str) -> dict[str, Any]:
    """A job as it is now; Retry-After says when to ask again while it is not finished."""
    found = jobs.get(context, job)
    if not found.state.final:
        response.headers["Retry-After"] = "1"
    return found.to_json()


@router.delete("/jobs/{job}", response_model=schemas.Job, status_code=202)
def cancel_job(context: Opened, job: str) -> Response:
    """Ask a job to stop. Asking again, or for a finished job, changes nothing."""
    return accepted(jobs.cancel(context, job))


@router.post("/jobs/{job}/retry", response_model=schemas.Job, status_code=202)
def retry_job(context: Opened, once: OnlyOnce, job: str) -> Response:
    """The same work as a new job, once the old one is finished; what that one completed is not repeated."""
    return once(job, lambda: accepted(jobs.retry(context, job)))


class Streams:
    """Counts open event streams, of which there may be only so many."""

    def __init__(self, most: int):
        self._most = most
        self.open = 0
        self.closing = asyncio.Event()

    @contextlib.asynccontextmanager
    async def one_more(self) -> AsyncIterator[None]:
        """Within the block one more stream is open; raises UserError `too-many-streams`."""
        if self.open >= self._most:
            raise UserError("too-many-streams", f"{self._most} event streams are open", status=429)
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1


async def _counted(request: Request) -> AsyncIterator[Streams]:
    streams: Streams = request.app.state.streams
    async with streams.one_more():
        yield streams


async def _existing(job: str, context: Annotated[Context, Depends(get_context)]) -> str:
    return (await run_in_threadpool(jobs.get, context, job)).id


Stream = Annotated[Streams, Depends(_counted)]
LastEvent = Annotated[str | None, Header(alias="Last-Event-ID", description="Go on after this event.")]


@router.get("/jobs/{job}/events", response_class=EventSourceResponse)
async def job_events(
    context: Opened, streams: Stream, job: Annotated[str, Depends(_existing)], last_event_id: LastEvent = None
) -> AsyncIterator[ServerSentEvent]:
    """Event `job` with the job on every change, then event `end`. The first one is the job as it is now."""
    position = _position(last_event_id)
    if position is None:
        position = await run_in_threadpool(context.jobs.last_event)
        current = await run_in_threadpool(jobs.get, context, job)
        yield ServerSentEvent(event="job", data=current.to_json(), id=str(position))
        if current.state.final:
            yield ServerSentEvent(event="end", data={"id": job}, id=str(position))
            return
    while not streams.closing.is_set():
        events = await run_in_threadpool(context.jobs.events, position, job_id=job)
        for event in events:
            position = event.seq
            yield ServerSentEvent(event="job", data=event.data, id=str(position))
        if not events:
            # The event that ended the job may have been seen in an earlier connection.
            current = await run_in_threadpool(jobs.get, context, job)
            if current.state.final and not await run_in_threadpool(context.jobs.events, position, job_id=job):
                yield ServerSentEvent(event="end", data={"id": job}, id=str(position))
                return
            await _pause(streams)


@router.get("/events", response_class=EventSourceResponse)
async def all_events(
    context: Opened, streams: Stream, last_event_id: LastEvent = None
) -> AsyncIterator[ServerSentEvent]:
    """Event `job` with the job on every change of any job. Begins with the jobs that are not finished."""
    position = _position(last_event_id)
    if position is None:
        position = await run_in_threadpool(context.jobs.last_event)
        for current in await run_in_threadpool(context.jobs.active):
            yield ServerSentEvent(event="job", data=current.to_json(), id=str(position))
    while not streams.closing.is_set():
        events = await run_in_threadpool(context.jobs.events, position)
        for event in events:
            position = event.seq
            yield ServerSentEvent(event="job", data=event.data, id=str(position))
        if not events:
            await _pause(streams)


def _position(last_event_id: str | None) -> int | None:
    return int(last_event_id) if last_event_id and last_event_id.isdecimal() and len(last_event_id) < 19 else None


async def _pause(streams: Streams) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(streams.closing.wait(), POLL_S)
