"""The service itself: versions and limits, and whether it is alive and ready."""

from __future__ import annotations

import shutil
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from app.api import schemas
from app.api.dependencies import Opened
from app.db.migrate import current_revision, head_revision
from app.profiling.device import HOST
from app.version import VERSION

router = APIRouter()
health = APIRouter(include_in_schema=False)
LEAST_FREE_BYTES = 64 * 2**20


@router.get("/meta", response_model=schemas.Meta, tags=["service"])
def meta(context: Opened) -> dict[str, Any]:
    """Versions, limits and the name of the device that is this machine."""
    return {
        "version": VERSION,
        "api": "v1",
        "limits": {"upload_bytes": context.settings.upload_limit_bytes},
        "host_device": HOST,
    }


@router.get("/tokens", response_model=schemas.Page[schemas.Token], tags=["service"])
def list_tokens(context: Opened) -> dict[str, Any]:
    """Tokens without their secrets; they are made and removed with `tradespace tokens` on the server."""
    names = ("id", "name", "created_at", "last_used_at")
    found = [{name: getattr(token, name) for name in names} for token in context.tokens.page()]
    return {"items": found, "next_cursor": None}


@health.get("/healthz")
def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@health.get("/readyz")
def readyz(request: Request, context: Opened) -> JSONResponse:
    """Work can be done: database writable and current, disk not full, jobs looked after."""
    executor = request.app.state.executor
    checks = {
        "database": current_revision(context.database) == head_revision() and _writable(context),
        "disk": shutil.disk_usage(context.settings.data).free >= LEAST_FREE_BYTES,
        "jobs": executor is None or bool(executor.alive),
    }
    return JSONResponse(
        {"status": "ok" if all(checks.values()) else "not ready", "checks": checks},
        200 if all(checks.values()) else 503,
    )


def _writable(context: Opened) -> bool:
    with context.database.write() as connection:
        return not connection.closed
