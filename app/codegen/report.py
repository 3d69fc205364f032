"""The memory picture of the report: every buffer of the arena as a box, offset against calls."""

from __future__ import annotations

import itertools
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
    at = _columns(schedule)
    per_byte = PICTURE.height / schedule.arena_bytes
    return tuple(
        Box(
            kind=buffer.kind if buffer.kind in ("output", "copy", "resident") else "workspace",
            title=f"{buffer.kind} {buffer.name}: {bytes_text(buffer.size_bytes)} at {buffer.offset_bytes}, "
            f"calls {buffer.first + 1} to {buffer.last}",
            x=round(at[buffer.first], 2),
            y=round(PICTURE.height - (buffer.offset_bytes + buffer.size_bytes) * per_byte, 2),
            width=round(at[buffer.last] - at[buffer.first], 2),
            height=round(buffer.size_bytes * per_byte, 2),
        )
        for buffer in schedule.buffers
    )


def _columns(schedule: Schedule) -> list[float]:
    """Where each call begins, and where the last one ends. The calls of a chain are as wide as its nodes together."""
    widths: list[float] = []
    for chain, found in itertools.groupby(schedule.calls, key=lambda call: call.strip and call.strip.chain):
        calls = list(found)
        nodes = {call.strip.node for call in calls if call.strip}
        widths += [len(nodes) / len(calls) if chain is not None else 1.0] * len(calls)
    scale = PICTURE.width / max(1.0, sum(widths))
    return [scale * width for width in itertools.accumulate(widths, initial=0.0)]
