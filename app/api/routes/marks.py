"""Reference marks of a model."""

from __future__ import annotations

import dataclasses
from typing import Any

from fastapi import APIRouter

from app.api import schemas
from app.api.dependencies import Opened, Paged
from app.services import models
from app.services.marks import marks

router = APIRouter(prefix="/models", tags=["models"])


@router.get("/{model}/marks", response_model=schemas.Page[schemas.Mark])
def list_marks(context: Opened, paging: Paged, model: str) -> dict[str, Any]:
    """Arenas that other runtimes plan for this very network, measured elsewhere; none for unknown networks."""
    return paging.slice([dataclasses.asdict(mark) for mark in marks(context, models.find(context, model))])
