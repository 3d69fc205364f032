"""Fronts and their points."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from app import figures
from app.api import schemas
from app.api.dependencies import OnlyOnce, Opened, Paged, accepted
from app.selection.limits import Limits
from app.services import frontiers, jobs, models, questions

router = APIRouter(prefix="/frontiers", tags=["frontiers"])


@router.post("", response_model=schemas.Job, status_code=202)
def add_frontier(context: Opened, once: OnlyOnce, body: schemas.NewFrontier) -> Response:
    """Trace the exact front of a model on a device, as a job."""

    def make() -> Any:
        return accepted(
            jobs.submit_frontier(
                context, body.model, body.device, body.memory, limits=Limits.from_json(body.limits.model_dump())
            )
        )

    return once(body.model_dump(), make)


@router.get("", response_model=schemas.Page[schemas.FrontierSummary])
def list_frontiers(
    context: Opened,
    paging: Paged,
    model: str | None = None,
    device: str | None = None,
    memory: schemas.Axis | None = None,
) -> dict[str, Any]:
    """Stored fronts, newest first. `stale` says that costs, kernels or the device changed since."""
    return paging.rows(
        context.frontiers.page,
        lambda record: frontiers.summary(context, record),
        model=models.find(context, model).id if model else None,
        device_name=device,
        memory=memory,
    )


@router.get("/{frontier}", response_model=schemas.Frontier)
def show_frontier(context: Opened, frontier: str) -> dict[str, Any]:
    """A front with its points and baselines in short."""
    record = frontiers.get(context, frontier)
    shown = frontiers.document(context, record)
    questions.prepare(context, record)
    return shown


@router.get("/{frontier}/figure")
def front_figure(context: Opened, frontier: str) -> dict[str, Any]:
    """The front as a Plotly figure."""
    return figures.front_figure(frontiers.load(context, frontiers.get(context, frontier)))


@router.get("/{frontier}/points/{point}", response_model=schemas.Point)
def show_point(context: Opened, frontier: str, point: str) -> dict[str, Any]:
    """Everything about a point: layers, conversions, buffers, steps."""
    record = frontiers.get(context, frontier)
    found = frontiers.point_of(frontiers.load(context, record), point)
    return frontiers.full_point(context, record, found)


@router.get("/{frontier}/points/{point}/figure")
def memory_figure(context: Opened, frontier: str, point: str) -> dict[str, Any]:
    """The memory picture of a point as a Plotly figure."""
    front = frontiers.load(context, frontiers.get(context, frontier))
    return figures.memory_figure(frontiers.point_of(front, point))
