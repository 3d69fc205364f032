"""Models: upload, list, show, delete, layers, examples, and the one-line budget query."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, File, Form, Query, Response, UploadFile
from fastapi.responses import JSONResponse

from app.api import schemas
from app.api.dependencies import OnlyOnce, Opened, Paged
from app.errors import Item, UserError
from app.quantities import parse_bytes, parse_ns
from app.selection.limits import NO_LIMITS, Limits, named_primitive
from app.services import frontiers, models

router = APIRouter(prefix="/models", tags=["models"])


@router.get("", response_model=schemas.Page[schemas.Model])
def list_models(context: Opened, paging: Paged) -> dict[str, Any]:
    """Imported networks, newest first."""
    return paging.rows(context.models.page, lambda record: record.to_json())


@router.post("", response_model=schemas.Model, status_code=201, responses={200: {"model": schemas.Model}})
def add_model(
    context: Opened,
    once: OnlyOnce,
    file: Annotated[UploadFile, File(description="The ONNX file.")],
    name: Annotated[str | None, Form(description="Name of the model; its file's name otherwise.")] = None,
    dims: Annotated[str | None, Form(description="Values of symbolic dimensions, for example N=1,H=224.")] = None,
) -> Response:
    """Import an ONNX file; 200 with the known model when the same bytes are here already."""
    values = parse_dims(dims)
    digest = hashlib.sha256()
    while chunk := file.file.read(1 << 20):
        digest.update(chunk)
    file.file.seek(0)

    def make() -> JSONResponse:
        record, new = models.add(
            context, file.file.read(), name=name or None, file_name=file.filename or "model.onnx", dims=values
        )
        return JSONResponse(record.to_json(), 201 if new else 200, headers={"Location": f"/api/v1/models/{record.id}"})

    return once([digest.hexdigest(), name, values], make)


def parse_dims(text: str | None) -> dict[str, int]:
    """`N=1,H=224` as a dictionary; raises UserError `query-invalid`."""
    found = {}
    for part in (text or "").split(","):
        name, equals, value = part.partition("=")
        if not part.strip():
            continue
        if not equals or not name.strip() or not value.strip().isdecimal() or int(value) < 1:
            raise UserError(
                "query-invalid",
                f"dims: {part!r} is not NAME=NUMBER",
                items=[Item("dims", "write N=1,H=224")],
                hint="write N=1,H=224",
            )
        found[name.strip()] = int(value)
    return found


@router.get("/examples", response_model=schemas.Page[schemas.Example])
def list_examples(context: Opened, paging: Paged) -> dict[str, Any]:
    """The built-in example library."""
    return paging.slice(models.examples(context))


@router.post(
    "/examples/{example}", response_model=schemas.Model, status_code=201, responses={200: {"model": schemas.Model}}
)
def add_example(context: Opened, once: OnlyOnce, example: str) -> Response:
    """Import a network of the example library."""

    def make() -> JSONResponse:
        record, new = models.add_example(context, example)
        return JSONResponse(record.to_json(), 201 if new else 200, headers={"Location": f"/api/v1/models/{record.id}"})

    return once(example, make)


@router.get("/{model}", response_model=schemas.Model)
def show_model(context: Opened, model: str) -> dict[str, Any]:
    """A model by name, id or unique beginning of either."""
    return models.find(context, model).to_json()


@router.delete("/{model}", status_code=204)
def remove_model(context: Opened, model: str) -> Response:
    """Delete a model with its fronts and bundles; refused while jobs use it."""
    models.remove(context, models.find(context, model))
    return Response(status_code=204)


@router.get("/{model}/layers", response_model=schemas.Page[schemas.Layer])
def list_layers(context: Opened, paging: Paged, model: str) -> dict[str, Any]:
    """The operators of a network in execution order, with the primitives that can and cannot run each."""
    return paging.slice(models.layers(context, models.find(context, model)))


def query_limits(
    forbid: Annotated[list[str] | None, Query(description="Convolution families not to use; repeatable.")] = None,
    only: Annotated[list[str] | None, Query(description="Convolution families to use, no others; repeatable.")] = None,
    pins: Annotated[list[str] | None, Query(description="LAYER=PRIMITIVE: this layer runs that; repeatable.")] = None,
    bans: Annotated[list[str] | None, Query(description="LAYER=PRIMITIVE: this layer does not; repeatable.")] = None,
    max_weights_bytes: Annotated[int | None, Query(ge=0, description="Most packed weights, on any axis.")] = None,
    max_arena_bytes: Annotated[int | None, Query(ge=0, description="Most arena, on the weights axis.")] = None,
    max_error: Annotated[float | None, Query(ge=0, description="Largest declared error of any primitive.")] = None,
    objective: Annotated[Literal["p50", "p90"], Query(description="Quantile of the samples that counts.")] = "p50",
    order: Annotated[schemas.Order, Query(description="Execution orders that were looked at.")] = "profiles",
    residency: Annotated[schemas.Residency, Query(description="Where packed weights come from.")] = "shipped",
) -> Limits:
    """The limits of a front as parameters of a query: those of `POST /frontiers`."""
    return Limits(
        forbid=tuple(forbid or ()),
        only=tuple(only or ()),
        pins=tuple(named_primitive("pins", text) for text in pins or ()),
        bans=tuple(named_primitive("bans", text) for text in bans or ()),
        max_weights_bytes=max_weights_bytes,
        max_arena_bytes=max_arena_bytes,
        max_error=max_error,
        objective=objective,
        order=order,
        residency=residency,
    )


@router.get("/{model}/best", response_model=schemas.Best)
def best_point(
    context: Opened,
    model: str,
    device: str = "host",
    memory: schemas.Axis = "arena",
    budget: Annotated[str | None, Query(description="Most memory: 384KiB, 6MiB, 500KB or bytes.")] = None,
    max_latency: Annotated[str | None, Query(description="Most time: 20ms, 350us.")] = None,
    limits: Annotated[Limits, Depends(query_limits)] = NO_LIMITS,
) -> dict[str, Any]:
    """The fastest configuration that fits, from the stored front of these limits.

    404 `budget-infeasible` with the smallest feasible budget, or `frontier-missing` with what to ask for when no front
    has been traced within exactly these limits.
    """
    record, point = frontiers.query(
        context,
        models.find(context, model),
        context.device(device),
        memory,
        limits=limits,
        budget_bytes=parse_bytes(budget) if budget else None,
        max_latency_ns=parse_ns(max_latency) if max_latency else None,
    )
    because = frontiers.stale_because(context, record)
    return {
        "point": frontiers.point_summary(context, record, point),
        "frontier_id": record.id,
        "stale": bool(because),
        "stale_because": because,
    }
