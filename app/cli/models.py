"""`tradespace models`: add, list, show, rm, examples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.options import Json, ModelName, named_dims, opened
from app.cli.terminal import print_json, print_table
from app.quantities import format_bytes
from app.services import models
from app.services.vectors import Vectors, find_vectors, load_array

commands = typer.Typer(name="models", help="Networks: add, list, show, remove.", no_args_is_help=True)

Dims = Annotated[list[str] | None, typer.Option("--dim", help="Value of a symbolic dimension, N=1; may be repeated.")]
VectorFolder = Annotated[
    Path | None, typer.Option("--vectors", help="Folder of test inputs <file>.<case>.in.npy (default: ref/ beside it).")
]
InputFile = Annotated[
    list[Path] | None, typer.Option("--input", help="A test input as .npy; repeat it for a network of several inputs.")
]


def register(program: typer.Typer) -> None:
    """Add the commands to the program."""
    program.add_typer(commands)


def test_inputs(file: Path, folder: Path | None, inputs: list[Path] | None) -> Vectors:
    """The test inputs that the options name, else those found beside the model."""
    if inputs:
        return {inputs[0].stem: {port: load_array(path) for port, path in enumerate(inputs)}}
    return find_vectors(file, folder)


@commands.command()
def add(
    context: typer.Context,
    file: Annotated[
        str, typer.Argument(help="An ONNX file, or the name of an example (`tradespace models examples`).")
    ],
    name: Annotated[str | None, typer.Option(help="Name of the model (default: the file's).")] = None,
    dim: Dims = None,
    vectors: VectorFolder = None,
    inputs: InputFile = None,
    as_json: Json = False,
) -> None:
    """Import an ONNX file, or a network of the example library."""
    site = opened(context)
    path = Path(file)
    if not path.exists() and file in models.example_names():
        record, new = models.add_example(site, file)
    else:
        record, new = models.add_file(
            site, path, name=name, dims=named_dims(dim), vectors=test_inputs(path, vectors, inputs)
        )
    if as_json:
        print_json(record.to_json())
        return
    print(
        f"{'added' if new else 'known already as'} {record.name} ({record.id}): {record.nodes} nodes, "
        f"{record.macs / 1e6:.1f} million multiply-accumulates, weights {format_bytes(record.weights_bytes)}"
    )


@commands.command("list")
def list_models(context: typer.Context, as_json: Json = False) -> None:
    """All models, newest first."""
    records = opened(context).models.page()
    if as_json:
        print_json({"items": [record.to_json() for record in records], "next_cursor": None})
        return
    print_table(
        ("name", "id", "nodes", "MMACs", "weights bytes", "added"),
        [(r.name, r.id, r.nodes, f"{r.macs / 1e6:.1f}", f"{r.weights_bytes:,}", r.created_at[:19]) for r in records],
        right=("nodes", "MMACs", "weights bytes"),
    )


@commands.command()
def show(context: typer.Context, model: ModelName, as_json: Json = False) -> None:
    """One model with its layers and how many primitives can run each."""
    site = opened(context)
    record = models.find(site, model)
    layers = models.layers(site, record)
    if as_json:
        print_json(record.to_json() | {"layers": layers})
        return
    print(f"{record.name} ({record.id}), sha256 {record.sha256}")
    for what, ports in (("input", record.inputs), ("output", record.outputs)):
        for port in ports:
            print(f"{what} {port['name']}: {'x'.join(map(str, port['dims']))}")
    print_table(
        ("layer", "operator", "shape", "MMACs", "primitives"),
        [(x["node"], x["op"], x["shape"].split(" ", 1)[1], f"{x['macs'] / 1e6:.2f}", x["candidates"]) for x in layers],
        right=("MMACs", "primitives"),
    )


@commands.command()
def rm(context: typer.Context, model: ModelName, as_json: Json = False) -> None:
    """Delete a model with its fronts and bundles."""
    site = opened(context)
    record = models.find(site, model)
    models.remove(site, record)
    print_json({"removed": record.id}) if as_json else print(f"removed {record.name} ({record.id})")


@commands.command()
def examples(context: typer.Context, as_json: Json = False) -> None:
    """The built-in example library."""
    found = models.examples(opened(context))
    if as_json:
        print_json({"items": found, "next_cursor": None})
        return
    print_table(
        ("name", "network", "weights bytes", "imported"),
        [(x["name"], x["title"], f"{x['weights_bytes']:,}", "yes" if x["imported"] else "") for x in found],
        right=("weights bytes",),
    )
