"""Questions about a front that are answered while one waits."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from app.api import question_schemas as schemas
from app.api.dependencies import Opened
from app.selection.limits import Limits
from app.services import frontiers, questions

router = APIRouter(prefix="/frontiers", tags=["questions"])


def limits_of(body: schemas.Question) -> Limits | None:
    """The limits of a question; None for those of the front."""
    return None if body.limits is None else Limits.from_json(body.limits.model_dump())


@router.post("/{frontier}/what-if", response_model=schemas.WhatIf)
def what_if(context: Opened, frontier: str, body: schemas.Question) -> dict[str, Any]:
    """The fastest selection within other limits and a budget, with its differences from a point of the front.

    Read from the front when its own limits are asked for, else solved by a model that is kept in memory: nothing is
    stored. 404 `budget-infeasible` with the least budget when nothing fits, 422 naming the layer when limits clash.
    """
    return questions.what_if(
        context,
        frontiers.get(context, frontier),
        limits=limits_of(body),
        budget_bytes=body.budget_bytes,
        point_id=body.point,
    )


@router.post("/{frontier}/pin-prices", response_model=list[schemas.PinPrice])
def pin_prices(context: Opened, frontier: str, body: schemas.Question) -> list[dict[str, Any]]:
    """What each pin of the limits costs at the budget: solved again without it, the other limits kept."""
    record = frontiers.get(context, frontier)
    limits = limits_of(body) or frontiers.limits_of(record)
    return questions.pin_prices(context, record, limits=limits, budget_bytes=body.budget_bytes)


@router.get("/{frontier}/options", response_model=schemas.LayerOptions)
def layer_options(
    context: Opened, frontier: str, node: Annotated[str, Query(description="Name of the layer.")]
) -> dict[str, Any]:
    """What a layer could run, fastest first, with costs and bytes; and why other primitives cannot."""
    return questions.layer_options(context, frontiers.get(context, frontier), node)


@router.get("/{frontier}/points/{point}/explanation", response_model=schemas.Explanation)
def explain_point(context: Opened, frontier: str, point: str) -> dict[str, Any]:
    """Why a point is no smaller: the steps that bind it; and what memory costs around it."""
    return questions.explanation(context, frontiers.get(context, frontier), point)


@router.get("/{frontier}/points/{point}/robustness", response_model=schemas.Robustness)
def robustness(context: Opened, frontier: str, point: str) -> dict[str, Any]:
    """Which choices survive the noise of the costs: 100 optima under costs drawn anew from the measured samples."""
    return questions.robustness(context, frontiers.get(context, frontier), point)
