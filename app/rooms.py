"""Outputs in more memory than they need: a chain wrote them over its larger input, whose memory they go on to hold.

Such an output lies at the beginning of a *room*, the memory of the first tensor that was there. To the optimiser a room
is a layout of its own, "<layout>@room <bytes>", of as many bytes; to everybody who reads the tensor it is that layout.
"""

from __future__ import annotations

ROOM = "@room "


def in_room(layout: str, room_bytes: int) -> str:
    """The name of a layout, or of a chain's token, in a room of so many bytes."""
    return f"{layout}{ROOM}{room_bytes}"


def room_bytes_of(layout: str) -> int:
    """Bytes of the room a layout's name speaks of; 0 when it speaks of none."""
    return int(layout.partition(ROOM)[2] or 0)
