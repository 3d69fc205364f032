"""Reference marks of a stored model."""

from __future__ import annotations

from app.db.records import ModelRecord
from app.marks import Mark, marks_of
from app.services.context import Context
from app.services.skeletons import skeleton


def marks(context: Context, record: ModelRecord) -> tuple[Mark, ...]:
    """What other runtimes plan for the network, found by its structure; () when it is none that was measured."""
    return context.remember(("marks", record.id), lambda: marks_of(skeleton(context, record)))
