"""`tradespace devices`: list, show, add."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.options import Json, opened
from app.cli.terminal import print_json, print_table
from app.services import devices
from kernels.split import MOST_THREADS

commands = typer.Typer(name="devices", help="Devices: where costs are measured.", no_args_is_help=True)


def register(program: typer.Typer) -> None:
    """Add the commands to the program."""
    program.add_typer(commands)


@commands.command("list")
def list_devices(context: typer.Context, as_json: Json = False) -> None:
    """This machine, the devices of the toolchains file, and those known by imported costs."""
    site = opened(context)
    found = [site.device_json(name) for name in site.device_names()]
    if as_json:
        print_json({"items": found, "next_cursor": None})
        return
    print_table(
        ("name", "threads", "compiler", "flags", "description"),
        [
            (device["name"], device["threads"], device["compiler"], device["flags"], device["description"])
            for device in found
        ],
        right=("threads",),
    )


@commands.command()
def show(
    context: typer.Context, device: Annotated[str, typer.Argument(help="Name of the device.")], as_json: Json = False
) -> None:
    """One device with the environment that will be recorded with its costs."""
    found = opened(context).device_json(device)
    if as_json:
        print_json(found)
        return
    print(f"{found['name']}: {found['description']}")
    print_table(("", ""), sorted((name, value) for name, value in found["environment"].items()))


@commands.command()
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits, - and _.")],
    cc: Annotated[str, typer.Option(help="The compiler to call.")],
    flags: Annotated[str, typer.Option(help="Its flags, as one text.")] = "-O3",
    cpu: Annotated[list[int] | None, typer.Option(help="Core to pin to; one for each thread, repeatable.")] = None,
    threads: Annotated[int, typer.Option(min=1, max=MOST_THREADS, help="Threads that share a run.")] = 1,
    description: Annotated[str, typer.Option(help="What it is.")] = "",
    as_json: Json = False,
) -> None:
    """Add a device to the toolchains file (TRADESPACE_TOOLCHAINS), after a test that its compiler answers."""
    site = opened(context)
    devices.add(site, name, cc=cc, flags=flags.split(), cpus=cpu or (), threads=threads, description=description)
    found = site.device_json(name)
    print_json(found) if as_json else print(f"added {name} ({found['compiler']}) to {site.settings.toolchains}")
