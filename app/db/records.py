"""Rows as frozen data: what the stores return and everything above them speaks of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class ModelRecord:
    """An imported network without its graph. `example` is its name in the example library, or empty.

    `dims` are the values given to symbolic dimensions, as canonical JSON.
    """

    seq: int
    id: str
    name: str
    sha256: str
    dims: str
    size_bytes: int
    created_at: str
    example: str
    nodes: int
    macs: int
    weights_bytes: int
    inputs: list[Json]
    outputs: list[Json]
    vectors: list[Json]

    def to_json(self) -> Json:
        """The public form."""
        names = ("id", "name", "sha256", "size_bytes", "created_at", "nodes", "macs", "weights_bytes")
        plain = {name: getattr(self, name) for name in (*names, "inputs", "outputs")}
        return plain | {"example": bool(self.example)}


@dataclass(frozen=True)
class FrontierRecord:
    """A stored front without its document. `device` is name:fingerprint, `device_name` the name alone.

    `limits` is the canonical JSON of app.selection.limits.Limits.
    """

    seq: int
    id: str
    model: str
    device: str
    device_name: str
    memory: str
    limits: str
    created_at: str
    points: int
    solve_s: float
    costs_digest: str


@dataclass(frozen=True)
class BundleRecord:
    """An exported and verified bundle."""

    seq: int
    id: str
    frontier: str
    point: str
    prefix: str
    created_at: str
    sha256: str
    size_bytes: int
    verified: Json

    def to_json(self) -> Json:
        """The public form."""
        names = ("id", "frontier", "point", "prefix", "created_at", "sha256", "size_bytes", "verified")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class TokenRecord:
    """A token's public part; the secret itself is never stored."""

    seq: int
    id: str
    name: str
    created_at: str
    last_used_at: str | None


class JobState(StrEnum):
    """Where a job stands. The last four are final: nothing changes such a job any more."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def final(self) -> bool:
        """Whether nothing changes the job any more."""
        return self not in ACTIVE_STATES


ACTIVE_STATES = (JobState.QUEUED, JobState.RUNNING, JobState.CANCELLING)
HELD_STATES = (JobState.RUNNING, JobState.CANCELLING)  # by an owner


@dataclass(frozen=True)
class JobRecord:
    """A job as the table has it; see app.db.tables for the fields."""

    seq: int
    id: str
    kind: str
    params: Json
    params_hash: str
    state: JobState
    stage: str
    completed: int
    total: int
    unit: str
    eta_s: float | None
    attempt: int
    max_attempts: int
    device: str | None
    quiet: bool
    reserved_for: str | None
    machine: str | None
    owner: str | None
    lease_until_s: float | None
    cancel_requested: bool
    result_url: str | None
    error: Json | None
    created_at: str
    started_at: str | None
    finished_at: str | None

    def to_json(self) -> Json:
        """The public form."""
        timing = ("eta_s", "attempt", "created_at", "started_at", "finished_at")
        names = ("id", "kind", "state", "stage", *timing, "params", "result_url", "error")
        progress = {"completed": self.completed, "total": self.total, "unit": self.unit}
        return {name: getattr(self, name) for name in names} | {"progress": progress}


@dataclass(frozen=True)
class JobEvent:
    """A change of a job: `seq` numbers all events of all jobs in order, `data` is the job's public form after it."""

    seq: int
    job: str
    data: Json


@dataclass(frozen=True)
class Reply:
    """A stored answer to a request with an Idempotency-Key. `status` is None while the request is still running."""

    fingerprint: str
    status: int | None
    headers: dict[str, str]
    body: Any
