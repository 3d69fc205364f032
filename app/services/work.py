"""What each kind of job does, as worker processes run it: open the data folder, do the work, name the result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.jobs.child import Work
from app.jobs.progress import Progress
from app.selection.limits import Limits
from app.services import bundles, frontiers, measurements, models, seed
from app.services.context import Context
from app.settings import Settings


def measure(settings: Settings, params: dict[str, Any], progress: Progress) -> str | None:
    """Kind `measure`: params model, device, families, only_missing."""
    with Context(settings) as context:
        model = models.find(context, params["model"])
        measurements.measure(
            context,
            model,
            context.device(params["device"]),
            progress,
            families=params["families"],
            only_missing=params["only_missing"],
        )
        return f"/api/v1/costs?model={model.id}&device={params['device']}"


def frontier(settings: Settings, params: dict[str, Any], progress: Progress) -> str | None:
    """Kind `frontier`: params model, device, memory, limits."""
    with Context(settings) as context:
        record = frontiers.trace(
            context,
            models.find(context, params["model"]),
            context.device(params["device"]),
            params["memory"],
            progress,
            limits=Limits.from_json(params["limits"]),
        )
        return f"/api/v1/frontiers/{record.id}"


def bundle(settings: Settings, params: dict[str, Any], progress: Progress) -> str | None:
    """Kind `bundle`: params frontier, point, prefix."""
    with Context(settings) as context:
        record = bundles.export(context, params["frontier"], params["point"], params["prefix"], progress)
        return f"/api/v1/bundles/{record.id}"


def prepare(settings: Settings, params: dict[str, Any], progress: Progress) -> str | None:
    """Kind `seed`: params example, device."""
    with Context(settings) as context:
        record = seed.prepare(context, params["example"], params["device"], progress)
        return f"/api/v1/frontiers/{record.id}"


WORK: Mapping[str, Work] = {"measure": measure, "frontier": frontier, "bundle": bundle, "seed": prepare}
