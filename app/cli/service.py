"""`tradespace serve`, `worker`, `backup`, `tokens` and `settings`: running the service."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from app.cli.options import Json, opened
from app.cli.terminal import print_json, print_table
from app.db.migrate import backup as backup_database
from app.errors import UserError
from app.services import jobs
from app.settings import settings_table

tokens = typer.Typer(name="tokens", help="Tokens for a service others can reach.", no_args_is_help=True)


def register(program: typer.Typer) -> None:
    """Add the commands to the program."""
    for command in (serve, worker, backup, settings):
        program.command()(command)
    program.add_typer(tokens)


def serve(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="Address to bind; any but loopback needs a token.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to bind.")] = None,
) -> None:
    """Start the service: upgrade the data folder, prepare the example, serve page and API, run jobs."""
    from app.api.server import serve as run_service

    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    run_service(context.obj.model_copy(update=given))


def worker(context: typer.Context) -> None:
    """Run jobs without serving the page, for more machines on one PostgreSQL database."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    site = opened(context)
    executor = jobs.make_executor(site)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    executor.start()
    print(f"running jobs of {site.database.url.render_as_string()} (Ctrl-C stops)", flush=True)
    ended.wait()
    executor.stop()


def backup(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The copy to write; must not exist.")],
    as_json: Json = False,
) -> None:
    """A consistent copy of the database while it is in use. Models and bundles are plain files beside it."""
    site = opened(context)
    backup_database(site.database, file)
    size_bytes = file.stat().st_size
    print_json({"path": str(file), "size_bytes": size_bytes}) if as_json else print(f"{file}: {size_bytes:,} B")


def settings(context: typer.Context, as_json: Json = False) -> None:
    """Every setting, the variable that sets it, its value now."""
    rows = [
        {
            "name": row.name,
            "variable": row.variable,
            "value": str(getattr(context.obj, row.name) if getattr(context.obj, row.name) is not None else ""),
            "default": row.default,
            "unit": row.unit,
            "help": row.help_text,
        }
        for row in settings_table()
    ]
    if as_json:
        print_json({"items": rows})
        return
    print_table(
        ("variable", "value", "unit", "what it sets"),
        [(row["variable"], row["value"], row["unit"], row["help"]) for row in rows],
    )


@tokens.command("add")
def add_token(
    context: typer.Context, name: Annotated[str, typer.Argument(help="What it is for.")], as_json: Json = False
) -> None:
    """A new token; its secret is shown once and never again."""
    token, secret = opened(context).tokens.add(name)
    print_json({"id": token.id, "name": name, "token": secret}) if as_json else print(secret)


@tokens.command("list")
def list_tokens(context: typer.Context, as_json: Json = False) -> None:
    """Tokens without their secrets."""
    found = opened(context).tokens.page()
    rows = [{"id": t.id, "name": t.name, "created_at": t.created_at, "last_used_at": t.last_used_at} for t in found]
    if as_json:
        print_json({"items": rows, "next_cursor": None})
        return
    print_table(("id", "name", "created", "last used"), [tuple(row.values()) for row in rows])


@tokens.command("rm")
def remove_token(
    context: typer.Context, token: Annotated[str, typer.Argument(help="Id of the token.")], as_json: Json = False
) -> None:
    """Remove a token; it stops working at once."""
    if not opened(context).tokens.remove(token):
        raise UserError("not-found", f"there is no token {token}", status=404)
    print_json({"removed": token}) if as_json else print(f"removed {token}")
