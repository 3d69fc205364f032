"""Requests and answers of the API as they are documented; the services return the same as plain data."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Item = TypeVar("Item")
Axis = Literal["arena", "total", "workspace", "weights"]
JobKind = Literal["seed", "measure", "frontier", "bundle", "bench"]
JobStateName = Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled", "lost"]


class Strict(BaseModel):
    """A request body: unknown fields are refused, so a misspelt one is never ignored."""

    model_config = ConfigDict(extra="forbid")


class Page(BaseModel, Generic[Item]):
    """A part of a list. `next_cursor` asks for the rest; null at the end."""

    items: list[Item]
    next_cursor: str | None = None


class Finding(BaseModel):
    """One thing wrong: where and what."""

    pointer: str
    detail: str


class Problem(BaseModel):
    """RFC 9457 problem document."""

    type: str
    title: str
    status: int
    detail: str
    hint: str
    errors: list[Finding]
    facts: dict[str, Any]
    request_id: str | None


class ServiceLimits(BaseModel):
    """What the service accepts."""

    upload_bytes: int


class Meta(BaseModel):
    """The service itself."""

    version: str
    api: str
    limits: ServiceLimits
    host_device: str


Order = Literal["given", "profiles", "joint"]
Residency = Literal["shipped", "start-up"]


class Limits(Strict):
    """What a front may not do; what is left out limits nothing. Part of the front's identity.

    `forbid` and `only` name convolution families (`only` empty: all). `pins` gives layers their primitive, `bans`
    lists primitives a layer may not run. `max_weights_bytes` bounds packed weights on any axis, `max_arena_bytes` the
    arena on the weights axis. `max_error` bounds the declared relative error of every layer's primitive. `objective`
    is the quantile of the measured samples that counts as the time of a call. `order` says which execution orders are
    looked at: the file's (`given`), also one of least arena (`profiles`), or all that some budget asks for (`joint`).
    `residency`: packed weights are `shipped`, or, with `start-up`, layers may ship plain ones that are packed into
    memory of their own when the network starts (weights axis, or with `max_weights_bytes`).
    """

    forbid: list[str] = []
    only: list[str] = []
    pins: dict[str, str] = {}
    bans: dict[str, list[str]] = {}
    max_weights_bytes: int | None = Field(None, ge=0)
    max_arena_bytes: int | None = Field(None, ge=0)
    max_error: float | None = Field(None, ge=0)
    objective: Literal["p50", "p90"] = "p50"
    order: Order = "profiles"
    residency: Residency = "shipped"


class Port(BaseModel):
    """A graph input or output."""

    name: str
    dims: list[int]


class Model(BaseModel):
    """An imported network. `macs` are multiply-accumulates of one inference, `weights_bytes` plain float32."""

    id: str
    name: str
    sha256: str
    size_bytes: int
    created_at: str
    example: bool
    nodes: int
    macs: int
    weights_bytes: int
    inputs: list[Port]
    outputs: list[Port]


class Example(BaseModel):
    """A network of the example library."""

    name: str
    title: str
    weights_bytes: int
    imported: bool


class Layer(BaseModel):
    """One operator of a network. `refused` gives the reason of each primitive that cannot run it."""

    node: str
    op: str
    shape: str
    macs: int
    sources: list[str]
    candidates: int
    refused: dict[str, str]


class Device(BaseModel):
    """Where costs are measured. `measurable` is false for one whose costs were only imported."""

    name: str
    id: str
    description: str
    compiler: str
    flags: str
    threads: int
    measurable: bool
    environment: dict[str, Any]


class Primitive(BaseModel):
    """One C routine."""

    name: str
    op: str
    family: str
    variant: str
    in_layout: str
    out_layout: str
    cite: str
    max_rel_err: float


class Cost(BaseModel):
    """Measured time of one call; `samples` counts them."""

    primitive: str
    shape: str
    median_ns: int
    p10_ns: int
    p90_ns: int
    samples: int


class Coverage(BaseModel):
    """Costs a model needs on a device."""

    needed: int
    measured: int
    missing: int
    items: list[Cost]


class Progress(BaseModel):
    """Units of the current stage; total 0 means unknown."""

    completed: int
    total: int
    unit: str


class Job(BaseModel):
    """Long work. `result_url` is there once it succeeded, `error` once it failed or was lost."""

    id: str
    kind: JobKind
    state: JobStateName
    stage: str
    progress: Progress
    eta_s: float | None
    attempt: int
    created_at: str
    started_at: str | None
    finished_at: str | None
    params: dict[str, Any]
    result_url: str | None
    error: Problem | None


class PointSummary(BaseModel):
    """A point in short. `measured_ns` comes from its newest verified bundle; `resident_bytes` are part of the arena."""

    id: str
    latency_ns: int
    p10_ns: int
    p90_ns: int
    arena_bytes: int
    peak_bytes: int
    workspace_bytes: int
    weights_bytes: int
    total_bytes: int
    resident_bytes: int
    proven: bool
    bound_ns: int
    gap: float
    families: dict[str, int]
    measured_ns: int | None
    bundle_id: str | None


class Point(PointSummary):
    """A point with its layers, conversions, buffers and steps; see app.points.Point."""

    layers: list[dict[str, Any]]
    conversions: list[dict[str, Any]]
    buffers: list[dict[str, Any]]
    steps: list[str]


class Baseline(BaseModel):
    """What a simpler method picks."""

    name: str
    explanation: str
    point: PointSummary


class Mark(BaseModel):
    """The arena another runtime plans for a network, measured elsewhere."""

    runtime: str
    version: str
    network: str
    arena_bytes: int
    counts: str
    measured_on: str


class FrontierSummary(BaseModel):
    """A front in a list; `points` counts them."""

    id: str
    model: str
    device: str
    memory: Axis
    limits: Limits
    created_at: str
    stale: bool
    stale_because: str
    points: int
    solve_s: float


class Frontier(BaseModel):
    """An exact front, points by rising memory and falling latency."""

    id: str
    model: str
    device: str
    memory: Axis
    limits: Limits
    created_at: str
    stale: bool
    stale_because: str
    solve_s: float
    certified_by: str
    uncertified_because: str
    complete: bool
    incomplete_because: str
    smallest_bytes: int
    smallest_step: str
    io_bytes: int
    order: Order
    order_because: str
    points: list[PointSummary]
    baselines: list[Baseline]


class Best(BaseModel):
    """The fastest point within a budget."""

    point: PointSummary
    frontier_id: str
    stale: bool
    stale_because: str


class Bundle(BaseModel):
    """An exported bundle with the proof that it works."""

    id: str
    frontier: str
    point: str
    prefix: str
    created_at: str
    sha256: str
    size_bytes: int
    verified: dict[str, Any]


class Token(BaseModel):
    """A token's public part."""

    id: str
    name: str
    created_at: str
    last_used_at: str | None


class NewMeasurement(Strict):
    """Measure what a model needs on a device. `families` limits the convolution families; null means all."""

    model: str
    device: str = "host"
    families: list[str] | None = None
    only_missing: bool = True


class NewFrontier(Strict):
    """Trace a front."""

    model: str
    device: str = "host"
    memory: Axis = "arena"
    limits: Limits = Limits.model_validate({})


class NewBundle(Strict):
    """Export a point."""

    frontier: str
    point: str
    prefix: str = Field("net", max_length=64)
