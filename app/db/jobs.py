"""Jobs in the database: every change of state is a compare-and-set that leaves an event in the same transaction."""

from __future__ import annotations

import hashlib
import time
from typing import Any

from sqlalchemy import Connection, Update, and_, delete, exists, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from app.db.database import Database, new_id, now
from app.db.records import ACTIVE_STATES, HELD_STATES, JobEvent, JobRecord, JobState, Json
from app.db.stores import canonical_json
from app.db.tables import job_events, jobs

MAX_ATTEMPTS = 3
EVENTS_KEPT = 20  # of a finished job
_CLAIM_LOCK = 7_311_002
_S = JobState


class JobStore:
    """The truth about jobs. Whoever runs one holds its `owner` word; a change without it is refused."""

    def __init__(self, database: Database):
        self._database = database

    def create(
        self,
        kind: str,
        params: Json,
        *,
        device: str | None = None,
        quiet: bool = False,
        reserved_for: str | None = None,
        lease_s: float | None = None,
        max_attempts: int = MAX_ATTEMPTS,
    ) -> tuple[JobRecord, bool]:
        """A queued job, and whether it is new: an active job of the same work is returned as it is.

        `device` is held exclusively while the job runs; a `quiet` job runs alone on its machine. `reserved_for`
        names the only owner that may claim it, who has `lease_s` to do so.
        """
        params_hash = hashlib.sha256(canonical_json([kind, params]).encode()).hexdigest()
        values = {
            "id": new_id("job"),
            "kind": kind,
            "params": params,
            "params_hash": params_hash,
            "state": _S.QUEUED,
            "stage": "queued",
            "completed": 0,
            "total": 0,
            "unit": "",
            "attempt": 0,
            "max_attempts": max_attempts,
            "device": device,
            "quiet": quiet,
            "reserved_for": reserved_for,
            "lease_until_s": time.time() + lease_s if lease_s is not None else None,
            "cancel_requested": False,
            "created_at": now(),
        }
        same = select(jobs).where(
            jobs.c.kind == kind,
            jobs.c.params_hash == params_hash,
            jobs.c.state.in_(ACTIVE_STATES),
            jobs.c.reserved_for.is_(None),
        )
        while True:
            with self._database.read() as connection:
                row = connection.execute(same).first() if reserved_for is None else None
            if row is not None:
                return _record(row), False
            try:
                with self._database.write() as connection:
                    row = connection.execute(insert(jobs).values(values).returning(jobs)).one()
                    _add_event(connection, _record(row))
                return _record(row), True
            except IntegrityError:
                continue  # somebody created the same work in between; it may be finished again by now

    def get(self, job_id: str) -> JobRecord | None:
        """The job of that id."""
        with self._database.read() as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == job_id)).one_or_none()
        return _record(row) if row else None

    def page(self, *, state: str | None = None, limit: int | None = None, before: int | None = None) -> list[JobRecord]:
        """Jobs, newest first."""
        query = select(jobs).order_by(jobs.c.seq.desc()).limit(limit)
        if state is not None:
            query = query.where(jobs.c.state == state)
        if before is not None:
            query = query.where(jobs.c.seq < before)
        with self._database.read() as connection:
            return [_record(row) for row in connection.execute(query)]

    def active(self) -> list[JobRecord]:
        """Jobs that are not finished, oldest first."""
        query = select(jobs).where(jobs.c.state.in_(ACTIVE_STATES)).order_by(jobs.c.seq)
        with self._database.read() as connection:
            return [_record(row) for row in connection.execute(query)]

    def claim(
        self, owner: str, *, machine: str, slots: int, lease_s: float, job_id: str | None = None
    ) -> JobRecord | None:
        """Take the oldest job that may run on this machine now (or the one named); None when there is none.

        A device is used by one job at a time, on any machine. A quiet job starts when nothing else runs on the
        machine, nothing starts beside it, and nothing that came later overtakes one that waits.
        """
        running = jobs.alias("running")
        earlier = jobs.alias("earlier")
        held = running.c.state.in_(HELD_STATES)
        here = and_(held, running.c.machine == machine)
        busy = select(func.count()).select_from(running).where(here).scalar_subquery()
        conditions = [
            jobs.c.state == _S.QUEUED,
            or_(jobs.c.reserved_for.is_(None), jobs.c.reserved_for == owner),
            ~exists().where(held, running.c.device == jobs.c.device).select_from(running),
            ~exists().where(here, or_(running.c.quiet, jobs.c.quiet)).select_from(running),
            or_(
                jobs.c.quiet,
                ~exists()
                .where(earlier.c.state == _S.QUEUED, earlier.c.quiet, earlier.c.seq < jobs.c.seq)
                .select_from(earlier),
            ),
            or_(jobs.c.reserved_for == owner, busy < slots),
        ]
        if job_id is not None:
            conditions.append(jobs.c.id == job_id)
        chosen = select(jobs.c.seq).where(*conditions).order_by(jobs.c.seq).limit(1).scalar_subquery()
        statement = (
            update(jobs)
            .where(jobs.c.seq == chosen, jobs.c.state == _S.QUEUED)
            .values(
                state=_S.RUNNING,
                stage="starting",
                owner=owner,
                machine=machine,
                lease_until_s=time.time() + lease_s,
                attempt=jobs.c.attempt + 1,
                started_at=now(),
                completed=0,
                total=0,
                eta_s=None,
            )
        )
        with self._database.write() as connection:
            self._database.lock(connection, _CLAIM_LOCK)
            return _change(connection, statement)

    def renew(self, job_id: str, owner: str, lease_s: float) -> JobRecord | None:
        """Heartbeat: prolong the lease and learn whether to cancel; None when the job is no longer the owner's."""
        statement = _held(job_id, owner).values(lease_until_s=time.time() + lease_s).returning(jobs)
        with self._database.write() as connection:
            row = connection.execute(statement).one_or_none()
        return _record(row) if row else None

    def keep_reservation(self, job_id: str, owner: str, lease_s: float) -> bool:
        """Heartbeat of an owner that waits to claim its reserved job; False when it is no longer waiting."""
        statement = (
            update(jobs)
            .where(jobs.c.id == job_id, jobs.c.reserved_for == owner, jobs.c.state == _S.QUEUED)
            .values(lease_until_s=time.time() + lease_s)
        )
        with self._database.write() as connection:
            return connection.execute(statement).rowcount == 1

    def progress(
        self, job_id: str, owner: str, *, stage: str, completed: int, total: int, unit: str, eta_s: float | None
    ) -> bool:
        """Report progress; False, and nothing changes, when the job is no longer the owner's."""
        values = {"stage": stage, "completed": completed, "total": total, "unit": unit, "eta_s": eta_s}
        with self._database.write() as connection:
            return _change(connection, _held(job_id, owner).values(values)) is not None

    def finish(
        self, job_id: str, owner: str, state: JobState, *, result_url: str | None = None, error: Json | None = None
    ) -> bool:
        """Make the job final; False, and nothing changes, when it is no longer the owner's."""
        if not state.final:
            raise ValueError(f"{state} is not final")
        values = {
            "state": state,
            "stage": str(state),
            "eta_s": None,
            "owner": None,
            "lease_until_s": None,
            "result_url": result_url,
            "error": error,
            "finished_at": now(),
        }
        with self._database.write() as connection:
            return _change(connection, _held(job_id, owner).values(values)) is not None

    def give_back(self, job_id: str, owner: str, error: Json, *, counts: bool = True) -> JobRecord | None:
        """The run ended without a result: queue the job again, or end it if it was cancelled or had its attempts.

        `error` is kept when the job is lost. `counts=False` forgives the attempt: the machine stops, not the job.
        """
        with self._database.write() as connection:
            row = connection.execute(
                select(jobs).where(jobs.c.id == job_id, jobs.c.owner == owner, jobs.c.state.in_(HELD_STATES))
            ).one_or_none()
            return self._give_back(connection, _record(row), error, counts) if row else None

    def reap(self, error: Json) -> list[JobRecord]:
        """Give back every job whose owner let its lease run out; returns them as they are now."""
        expired = select(jobs).where(
            jobs.c.lease_until_s < time.time(),
            or_(jobs.c.state.in_(HELD_STATES), and_(jobs.c.state == _S.QUEUED, jobs.c.reserved_for.is_not(None))),
        )
        with self._database.read() as connection:
            if connection.execute(expired).first() is None:
                return []
        with self._database.write() as connection:
            rows = connection.execute(expired).all()
            given = [self._give_back(connection, _record(row), error, counts=True) for row in rows]
        return [job for job in given if job is not None]

    def _give_back(self, connection: Connection, job: JobRecord, error: Json, counts: bool) -> JobRecord | None:
        values: dict[str, Any] = {"owner": None, "machine": None, "lease_until_s": None, "eta_s": None}
        if job.state is _S.CANCELLING:
            values |= {"state": _S.CANCELLED, "stage": "cancelled", "finished_at": now()}
        elif job.reserved_for is not None or (counts and job.attempt >= job.max_attempts):
            values |= {"state": _S.LOST, "stage": "lost", "finished_at": now(), "error": error}
        else:
            values |= {"state": _S.QUEUED, "stage": "queued", "attempt": job.attempt - (0 if counts else 1)}
        same_owner = jobs.c.owner == job.owner if job.owner is not None else jobs.c.owner.is_(None)
        return _change(
            connection, update(jobs).where(jobs.c.id == job.id, jobs.c.state == job.state, same_owner).values(values)
        )

    def request_cancel(self, job_id: str) -> JobRecord | None:
        """Ask the job to stop; idempotent. A queued job is cancelled at once, a final one stays as it is."""
        queued = (
            update(jobs)
            .where(jobs.c.id == job_id, jobs.c.state == _S.QUEUED)
            .values(state=_S.CANCELLED, stage="cancelled", cancel_requested=True, finished_at=now(), lease_until_s=None)
        )
        running = (
            update(jobs)
            .where(jobs.c.id == job_id, jobs.c.state == _S.RUNNING)
            .values(state=_S.CANCELLING, cancel_requested=True)
        )
        with self._database.write() as connection:
            changed = _change(connection, queued) or _change(connection, running)
        return changed or self.get(job_id)

    def is_cancelled(self, job_id: str, owner: str) -> bool:
        """Whether the owner must stop: it was asked to, or the job is no longer its own."""
        query = select(jobs.c.cancel_requested).where(
            jobs.c.id == job_id, jobs.c.owner == owner, jobs.c.state.in_(HELD_STATES)
        )
        with self._database.read() as connection:
            return connection.scalar(query) is not False

    def events(self, after: int, *, job_id: str | None = None, limit: int = 200) -> list[JobEvent]:
        """Events with seq above `after`, in order."""
        query = select(job_events).where(job_events.c.seq > after).order_by(job_events.c.seq).limit(limit)
        if job_id is not None:
            query = query.where(job_events.c.job == job_id)
        with self._database.read() as connection:
            return [JobEvent(**row._mapping) for row in connection.execute(query)]

    def last_event(self) -> int:
        """The seq of the newest event; 0 when there is none."""
        with self._database.read() as connection:
            return connection.scalar(select(func.max(job_events.c.seq))) or 0


def _held(job_id: str, owner: str) -> Update:
    return update(jobs).where(jobs.c.id == job_id, jobs.c.owner == owner, jobs.c.state.in_(HELD_STATES))


def _change(connection: Connection, statement: Update) -> JobRecord | None:
    row = connection.execute(statement.returning(jobs)).one_or_none()
    if row is None:
        return None
    job = _record(row)
    _add_event(connection, job)
    if job.state.final:
        kept = select(job_events.c.seq).where(job_events.c.job == job.id).order_by(job_events.c.seq.desc())
        oldest = connection.scalar(kept.offset(EVENTS_KEPT - 1).limit(1))
        if oldest is not None:
            connection.execute(delete(job_events).where(job_events.c.job == job.id, job_events.c.seq < oldest))
    return job


def _add_event(connection: Connection, job: JobRecord) -> None:
    connection.execute(insert(job_events).values(job=job.id, data=job.to_json()))


def _record(row: Any) -> JobRecord:
    values = dict(row._mapping)
    return JobRecord(**values | {"state": JobState(values["state"])})
