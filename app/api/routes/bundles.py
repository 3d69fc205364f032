"""Bundles: exported, compiled, run and compared before they can be downloaded."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from app.api import schemas
from app.api.dependencies import OnlyOnce, Opened, Paged, accepted
from app.api.middleware import matches
from app.services import bundles, frontiers, jobs

router = APIRouter(prefix="/bundles", tags=["bundles"])


@router.post("", response_model=schemas.Job, status_code=202)
def add_bundle(context: Opened, once: OnlyOnce, body: schemas.NewBundle) -> Response:
    """Export a point as C and prove that it works, as a job."""
    return once(
        body.model_dump(), lambda: accepted(jobs.submit_bundle(context, body.frontier, body.point, body.prefix))
    )


@router.get("", response_model=schemas.Page[schemas.Bundle])
def list_bundles(context: Opened, paging: Paged, frontier: str | None = None) -> dict[str, Any]:
    """Verified bundles, newest first."""
    wanted = frontiers.get(context, frontier).id if frontier else None
    return paging.rows(context.bundles.page, lambda record: record.to_json(), frontier=wanted)


@router.get("/{bundle}", response_model=schemas.Bundle)
def show_bundle(context: Opened, bundle: str) -> dict[str, Any]:
    """A bundle and the proof that it works."""
    return bundles.get(context, bundle).to_json()


@router.get(
    "/{bundle}/download",
    response_class=FileResponse,
    responses={200: {"content": {"application/zip": {}}}, 304: {"description": "Unchanged."}},
)
def download_bundle(request: Request, context: Opened, bundle: str) -> Response:
    """The zip. It never changes, so it may be kept for ever."""
    record = bundles.get(context, bundle)
    headers = {"ETag": f'"{record.sha256}"', "Cache-Control": "private, max-age=31536000, immutable"}
    if matches(request.headers.get("if-none-match", ""), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return FileResponse(
        bundles.path(context, record),
        media_type="application/zip",
        filename=f"{record.prefix}-{record.point[:8]}.zip",
        headers=headers,
    )
