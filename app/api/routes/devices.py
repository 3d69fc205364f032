"""Devices, primitives and costs."""

from __future__ import annotations

import csv
import io
from typing import Any

from fastapi import APIRouter, Request, Response

from app.api import schemas
from app.api.dependencies import OnlyOnce, Opened, Paged, accepted
from app.services import jobs, measurements, models
from kernels import registry

router = APIRouter()
COLUMNS = ("primitive", "shape", "median_ns", "p10_ns", "p90_ns", "samples")


@router.get("/devices", response_model=schemas.Page[schemas.Device], tags=["devices"])
def list_devices(context: Opened, paging: Paged) -> dict[str, Any]:
    """Where costs can be measured or were."""
    return paging.slice([context.device_json(name) for name in context.device_names()])


@router.get("/devices/{device}", response_model=schemas.Device, tags=["devices"])
def show_device(context: Opened, device: str) -> dict[str, Any]:
    """One device with its environment as it is now."""
    return context.device_json(device)


@router.get("/primitives", response_model=schemas.Page[schemas.Primitive], tags=["primitives"])
def list_primitives(paging: Paged) -> dict[str, Any]:
    """Every C routine there is, by name."""
    names = ("name", "op", "family", "variant", "in_layout", "out_layout", "cite", "max_rel_err")
    return paging.slice(
        [{name: getattr(primitive, name) for name in names} for primitive in registry.all_primitives().values()]
    )


@router.get(
    "/costs",
    response_model=schemas.Coverage,
    tags=["costs"],
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
def list_costs(request: Request, context: Opened, model: str, device: str = "host") -> Any:
    """Costs a model needs on a device and which of them are measured; CSV when asked for by Accept."""
    if "text/csv" in request.headers.get("accept", ""):
        return costs_csv(context, model, device)
    return measurements.coverage(context, models.find(context, model), context.device(device))


@router.get("/costs.csv", tags=["costs"], response_class=Response, responses={200: {"content": {"text/csv": {}}}})
def costs_csv(context: Opened, model: str, device: str = "host") -> Response:
    """The measured costs of a model on a device as CSV."""
    found = measurements.coverage(context, models.find(context, model), context.device(device))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows([row[name] for name in COLUMNS] for row in found["items"])
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8")


@router.post("/measurements", response_model=schemas.Job, status_code=202, tags=["costs"])
def add_measurement(context: Opened, once: OnlyOnce, body: schemas.NewMeasurement) -> Response:
    """Measure what a model needs on a device, as a job."""

    def make() -> Any:
        return accepted(
            jobs.submit_measurement(
                context, body.model, body.device, families=body.families, only_missing=body.only_missing
            )
        )

    return once(body.model_dump(), make)
