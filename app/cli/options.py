"""Options that several commands share, and opening the data folder for a command."""

from __future__ import annotations

from typing import Annotated

import typer

from app.errors import UserError
from app.quantities import parse_bytes, parse_ns
from app.services.context import Context

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON; errors too, as a problem document.")]
ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="Name, id or unique beginning of either.")]
DeviceName = Annotated[str, typer.Option(help="Device whose costs count.")]
Memory = Annotated[str, typer.Option(help="Memory axis: arena, total or workspace.")]
Budget = Annotated[str | None, typer.Option(help="Most memory: 384KiB, 6MiB, 500KB or bytes.")]
MaxLatency = Annotated[str | None, typer.Option("--max-latency", help="Most time: 20ms, 350us.")]
MaxWeights = Annotated[str | None, typer.Option("--max-weights", help="Most bytes of packed weights.")]
Families = Annotated[
    str | None, typer.Option(help="Convolution families, comma-separated, for example direct,winograd.")
]
Prefix = Annotated[str, typer.Option(help="Prefix of the C symbols, and name of the folder in the zip.")]


def opened(context: typer.Context) -> Context:
    """The data folder; closed when the command ends."""
    found = Context(context.obj)
    context.call_on_close(found.close)
    return found


def size(text: str | None) -> int | None:
    """Bytes of an optional size."""
    return parse_bytes(text) if text is not None else None


def duration(text: str | None) -> int | None:
    """Nanoseconds of an optional time."""
    return parse_ns(text) if text is not None else None


def listed(text: str | None) -> list[str] | None:
    """The words of a comma-separated option; None when it was not given."""
    if text is None:
        return None
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise UserError("query-invalid", "--families names no family", hint="leave it out to allow all")
    return words


def named_dims(values: list[str] | None) -> dict[str, int]:
    """`--dim N=1 --dim H=224` as a dictionary."""
    found = {}
    for value in values or []:
        name, equals, number = value.partition("=")
        if not equals or not name or not number.isdecimal() or int(number) < 1:
            raise UserError("query-invalid", f"--dim {value}: not NAME=NUMBER", hint="write --dim N=1")
        found[name] = int(number)
    return found
