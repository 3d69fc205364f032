"""The program `tradespace`: options that all commands share, exit codes, and how errors are told.

Exit codes: 0 done; 1 what was asked for does not hold (nothing fits the budget, a bundle fails its test);
2 bad input; 3 a fault of the program; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from app.cli.terminal import print_json
from app.errors import Cancelled, UserError
from app.problems import problem, problem_of
from app.settings import Settings
from app.version import VERSION

CONDITIONS = frozenset(
    {
        "budget-infeasible",
        "frontier-incomplete",
        "latency-infeasible",
        "bundle-rejected",
        "bundle-mismatch",
        "bundle-arena-mismatch",
        "bundle-does-not-compile",
        "bundle-altered",
        "bundle-timeout",
    }
)
"""Problems that mean "no" rather than "wrong input": exit code 1."""

COMMANDS = {
    "models": ("models",),
    "devices": ("devices",),
    "costs": ("measure", "costs", "kit"),
    "points": ("frontier", "query", "export", "verify", "run"),
    "questions": ("what-if", "explain"),
    "bench": ("bench",),
    "service": ("serve", "worker", "backup", "settings", "tokens"),
}
"""Modules of app.cli -> the commands they register. One is imported when a command of it is wanted, because together
they need everything: the optimiser, the database, the reader of ONNX."""


class _OnDemand(MutableMapping[str, Any]):
    """The commands by name; a module of COMMANDS is imported when one of its commands is read."""

    def __init__(self) -> None:
        self._found: dict[str, Any] = {name: None for names in COMMANDS.values() for name in names}

    def __getitem__(self, name: str) -> Any:
        if self._found[name] is None:
            module = next(module for module, names in COMMANDS.items() if name in names)
            part = typer.Typer()
            importlib.import_module(f"app.cli.{module}").register(part)
            self._found |= typer.main.get_group(part).commands
        return self._found[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._found[name] = command

    def __delitem__(self, name: str) -> None:
        del self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


class _Program(TyperGroup):
    """The program with its commands on demand."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = _OnDemand()


_UsageError: Any = typer.BadParameter.__base__
"""What every mistake on the command line derives from; typer exports only this subclass."""

program = typer.Typer(
    name="tradespace",
    cls=_Program,
    help="Exact latency-memory fronts of convolutional networks, measured on your device, exported as verified C.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@program.callback()
def options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
    data: Annotated[Path | None, typer.Option(help="Data folder (default: TRADESPACE_DATA, else the user's).")] = None,
) -> None:
    """Options before the command."""
    if version:
        print(f"tradespace {VERSION}")
        raise typer.Exit
    settings = Settings()
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)
    context.obj = settings.model_copy(update={"data": data}) if data is not None else settings


def main(arguments: list[str] | None = None) -> None:
    """Run the program and exit."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Run the program; returns its exit code."""
    as_json = "--json" in arguments
    try:
        code: Any = typer.main.get_command(program).main(arguments, prog_name="tradespace", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except typer.Exit as ending:
        return ending.exit_code
    except _UsageError as error:
        if as_json:
            print_json(problem("query-invalid", 422, error.format_message()))
        else:
            error.show()
        return 2
    except UserError as error:
        if as_json:
            print_json(problem_of(error))
        else:
            print(f"tradespace: {error}", file=sys.stderr)
        return 1 if error.code in CONDITIONS else 2
    except (Cancelled, KeyboardInterrupt, typer.Abort):
        print("tradespace: stopped; what was finished is kept", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone; nothing is left to say
        return 0
    except Exception as error:
        logging.getLogger("tradespace").critical("this is a fault of the program", exc_info=error)
        return 3
