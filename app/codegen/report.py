"""The memory picture of the report: every buffer of the arena as a box, offset against calls."""

from __future__ import annotations

from dataclasses import dataclass

from app.codegen.text import bytes_text
from app.schedule import Schedule


@dataclass(frozen=True)
class Picture:
    """Size of the drawing in user units."""

    width: int
    height: int


PICTURE = Picture(960, 360)


@dataclass(frozen=True)
class Box:
    """A buffer in the drawing; y grows downwards, offsets grow upwards."""

    kind: str
    title: str
    x: float
    y: float
    width: float
    height: float


def boxes(schedule: Schedule) -> tuple[Box, ...]:
    """One box per buffer of the arena; none when there is no arena."""
    if not schedule.arena_bytes:
        return ()
    per_step = PICTURE.width / max(1, len(schedule.calls))
    per_byte = PICTURE.height / schedule.arena_bytes
    return tuple(
        Box(
            kind=buffer.kind if buffer.kind in ("output", "copy") else "workspace",
            title=f"{buffer.kind} {buffer.name}: {bytes_text(buffer.size_bytes)} at {buffer.offset_bytes}, "
            f"calls {buffer.first + 1} to {buffer.last}",
            x=round(buffer.first * per_step, 2),
            y=round(PICTURE.height - (buffer.offset_bytes + buffer.size_bytes) * per_byte, 2),
            width=round((buffer.last - buffer.first) * per_step, 2),
            height=round(buffer.size_bytes * per_byte, 2),
        )
        for buffer in schedule.buffers
    )
