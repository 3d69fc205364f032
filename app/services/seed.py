"""The first start: one example network imported, measured and traced, so that the page has something to show."""

from __future__ import annotations

from app.db.records import FrontierRecord
from app.jobs.progress import Progress, check
from app.services import frontiers, measurements, models
from app.services.context import Context

AXES = ("arena", "total", "workspace")


def prepare(context: Context, example: str, device_name: str, progress: Progress) -> FrontierRecord:
    """Import `example`, measure what is missing, trace its fronts; returns the arena front.

    Each step is kept when a later one is cut short, and not repeated when the job is tried again.
    """
    progress.stage(f"importing {example}")
    model, _ = models.add_example(context, example)
    check(progress)
    device = context.device(device_name)
    measurements.measure(context, model, device, progress)
    first: FrontierRecord | None = None
    for memory in AXES:
        known = frontiers.newest(context, model, device, memory)
        if known is None or frontiers.is_stale(context, known):
            known = frontiers.trace(context, model, device, memory, progress)
        first = first or known
    assert first is not None
    return first
