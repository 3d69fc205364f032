"""Requests and answers of the questions about a front, as they are documented."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from app.api.schemas import Axis, Limits, Point, PointSummary, Strict


class Question(Strict):
    """What if: other limits (null: the front's own), a budget on the front's axis, a point to compare with."""

    limits: Limits | None = None
    budget_bytes: int | None = Field(None, ge=0)
    point: str | None = None


class LayerDifference(BaseModel):
    """A layer whose choice or conversions differ, in what (`changes`); figures are after less before."""

    node: str
    before: str
    after: str
    changes: list[Literal["primitive", "in_place", "strips", "conversions", "resident_bytes"]]
    latency_ns: int
    workspace_bytes: int
    weights_bytes: int


class Differences(BaseModel):
    """The answer's figures less those of the point it is compared with; layers by what they change in time."""

    latency_ns: int
    arena_bytes: int
    peak_bytes: int
    workspace_bytes: int
    weights_bytes: int
    total_bytes: int
    layers: list[LayerDifference]


class WhatIf(BaseModel):
    """The answer. `answered_from`: the stored front or the warm model; `on_front`: the point is one of the front."""

    frontier_id: str
    memory: Axis
    limits: Limits
    budget_bytes: int | None
    point: Point
    on_front: bool
    against: PointSummary
    differences: Differences
    answered_from: Literal["front", "model"]
    certified_by: str
    stale: bool
    stale_because: str
    elapsed_ms: float


class PinPrice(BaseModel):
    """What a pin costs: the fastest point with it less the fastest without it, at the same budget and other limits."""

    layer: str
    primitive: str
    instead: str
    latency_ns: int
    arena_bytes: int
    workspace_bytes: int
    weights_bytes: int


class LayerOption(BaseModel):
    """A way to run a layer. `objections`: what the limits would have to give up for it."""

    primitive: str
    family: str
    variant: str
    in_layouts: list[str]
    out_layout: str
    in_place: int | None
    time_ns: int
    workspace_bytes: int
    weights_bytes: int
    max_rel_err: float
    objections: list[str]


class LayerOptions(BaseModel):
    """What a layer could run, and the reason of each primitive that cannot."""

    node: str
    options: list[LayerOption]
    refused: dict[str, str]


class BindingStep(BaseModel):
    """A step whose bytes are within one alignment of the point's; `parts` are (what is live, bytes)."""

    step: str
    live_bytes: int
    parts: list[tuple[str, int]]


class MemoryPrice(BaseModel):
    """Between two neighbours of a front: `bytes` more memory buy `saved_ns`."""

    smaller: str
    larger: str
    bytes: int
    saved_ns: int
    ns_per_kib: float


class Explanation(BaseModel):
    """Why a point is no smaller, and the price of memory to its neighbours (null at the ends of the front)."""

    point: str
    memory: Axis
    smallest_bytes: int
    smallest_step: str
    binding: list[BindingStep]
    next_larger: MemoryPrice | None
    next_smaller: MemoryPrice | None


class Robustness(BaseModel):
    """See app.selection.robustness.Robustness."""

    point: str
    budget_bytes: int
    draws: int
    seed: int
    kept: dict[str, float]
    same: float
    regret_mean: float
    regret_p90: float
    regret_worst: float
    proven: bool
    single: int
    complete: bool
    elapsed_s: float
