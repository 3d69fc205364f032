"""Options that several commands share, and opening the data folder for a command."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from app.errors import UserError
from app.quantities import parse_bytes, parse_ns
from app.selection.limits import Limits, named_primitive
from app.services.context import Context
from kernels.split import MOST_THREADS

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON; errors too, as a problem document.")]
ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="Name, id or unique beginning of either.")]
DeviceName = Annotated[str, typer.Option(help="Device whose costs count: NAME, or NAME@THREADS.")]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, max=MOST_THREADS, help="Threads that share a run, as in --device NAME@THREADS."),
]
Memory = Annotated[str, typer.Option(help="Memory axis: arena, total, workspace or weights.")]
Budget = Annotated[str | None, typer.Option(help="Most memory: 384KiB, 6MiB, 500KB or bytes.")]
MaxLatency = Annotated[str | None, typer.Option("--max-latency", help="Most time: 20ms, 350us.")]
MaxWeights = Annotated[str | None, typer.Option("--max-weights", help="Most bytes of packed weights, on any axis.")]
Arena = Annotated[str | None, typer.Option("--arena", help="Most arena, on the weights axis.")]
Forbid = Annotated[list[str] | None, typer.Option("--forbid", help="A convolution family not to use; repeatable.")]
Only = Annotated[list[str] | None, typer.Option("--only", help="A convolution family to use, no others; repeatable.")]
Pin = Annotated[list[str] | None, typer.Option("--pin", help="LAYER=PRIMITIVE: this layer runs that; repeatable.")]
Ban = Annotated[list[str] | None, typer.Option("--ban", help="LAYER=PRIMITIVE: this layer does not; repeatable.")]
MaxError = Annotated[float | None, typer.Option("--max-error", help="Largest declared error of any primitive: 1e-5.")]
Objective = Annotated[str, typer.Option("--objective", help="Time that counts: p50 or p90 of the samples.")]
Order = Annotated[str, typer.Option("--order", help="Orders of the layers: given, profiles or joint.")]
Residency = Annotated[
    str,
    typer.Option("--residency", help="Packed weights: shipped, or start-up (layers may ship plain ones instead)."),
]
Families = Annotated[
    str | None, typer.Option(help="Convolution families, comma-separated, for example direct,winograd.")
]
Prefix = Annotated[str, typer.Option(help="Prefix of the C symbols, and name of the folder in the zip.")]


def opened(context: typer.Context) -> Context:
    """The data folder; closed when the command ends."""
    found = Context(context.obj)
    context.call_on_close(found.close)
    return found


def on_threads(device: str, threads: int | None) -> str:
    """The device on `threads` threads, as `--threads` says; as many as its name says without it."""
    return device if threads is None else f"{device.partition('@')[0]}@{threads}"


def size(text: str | None) -> int | None:
    """Bytes of an optional size."""
    return parse_bytes(text) if text is not None else None


@dataclass(frozen=True)
class Place:
    """Where a front is: a device, with its threads, and a memory axis."""

    device: str = "host"
    memory: str = "arena"


HERE = Place()


def placed(*, device: DeviceName = HERE.device, threads: Threads = None, memory: Memory = HERE.memory) -> Place:
    """The place that these options name."""
    return Place(on_threads(device, threads), memory)


def limited(
    *,
    forbid: Forbid = None,
    only: Only = None,
    pin: Pin = None,
    ban: Ban = None,
    max_weights: MaxWeights = None,
    arena: Arena = None,
    max_error: MaxError = None,
    objective: Objective = "p50",
    order: Order = "profiles",
    residency: Residency = "shipped",
) -> Limits:
    """The limits that these options ask for, the one list of them; raises UserError `limits-invalid`."""
    return Limits(
        forbid=tuple(word.strip() for text in forbid or () for word in text.split(",")),
        only=tuple(word.strip() for text in only or () for word in text.split(",")),
        pins=tuple(named_primitive("--pin", text) for text in pin or ()),
        bans=tuple(named_primitive("--ban", text) for text in ban or ()),
        max_weights_bytes=size(max_weights),
        max_arena_bytes=size(arena),
        max_error=max_error,
        objective=objective,
        order=order,
        residency=residency,
    )


_GROUPS: dict[str, Callable[..., Any]] = {"place": placed, "limits": limited}
"""Parameters of commands -> what makes one of several options."""


def of_a_front(command: Callable[..., None]) -> Callable[..., None]:
    """The command with options in the place of its parameters `place` and `limits`, which become what those say."""
    options = {name: inspect.signature(made, eval_str=True).parameters for name, made in _GROUPS.items()}

    @functools.wraps(command)
    def spread(**given: Any) -> None:
        for group, made in _GROUPS.items():
            given[group] = made(**{name: given.pop(name) for name in options[group]})
        command(**given)

    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        parameters += options[parameter.name].values() if parameter.name in options else [parameter]
    named = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    spread.__signature__ = inspect.Signature(named)  # type: ignore[attr-defined]  # what Typer reads
    return spread


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
