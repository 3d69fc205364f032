"""What the user sees: progress on standard error, results on standard output, JSON when asked for."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

PLAIN_EVERY_S = 5.0


def print_json(value: Any) -> None:
    """A result as JSON on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Sequence[str] = ()) -> None:
    """A result as a table; columns named in `right` are numbers."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", no_wrap=column in right)
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    width = None if sys.stdout.isatty() else 200
    Console(width=width, highlight=False).print(table)


class _Rate(ProgressColumn):
    """Units per second of the stage."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f} {task.fields['unit']}/s" if task.speed else "", style="cyan")


class Shown:
    """Progress of long work: a bar with n/m, rate and ETA on a terminal, plain lines elsewhere.

    As a context manager it turns the first Ctrl-C into a wish to stop, so that finished work is kept; a second one
    interrupts at once.
    """

    def __init__(self) -> None:
        self._wanted = False
        self._terminal = sys.stderr.isatty()
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not self._terminal,
        )
        self._task: TaskID | None = None
        self._name, self._unit = "", ""
        self._started = self._said = 0.0
        self._said_tenth = 0
        self._previous: Any = None

    def __enter__(self) -> Shown:
        self._previous = signal.signal(signal.SIGINT, self._interrupt)
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        signal.signal(signal.SIGINT, self._previous)

    def _interrupt(self, *_: object) -> None:
        if self._wanted:
            raise KeyboardInterrupt
        self._wanted = True
        self.say("stopping; what is done is kept (Ctrl-C again to stop at once)")

    def say(self, text: str) -> None:
        """One line for the user."""
        if self._terminal:
            self._bar.console.print(text, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def stage(self, name: str, *, unit: str = "", total: int = 0) -> None:
        """A new stage begins."""
        self._name, self._unit, self._said_tenth = name, unit, 0
        self._started = self._said = time.monotonic()
        if self._terminal:
            if self._task is not None:
                self._bar.stop_task(self._task)
            self._task = self._bar.add_task(name, total=total or None, unit=unit or "steps")
        else:
            self.say(f"{name}" + (f": {total} {unit}" if total else ""))

    def advance(self, completed: int, total: int) -> None:
        """`completed` of `total` units are done."""
        if self._terminal:
            if self._task is not None:
                self._bar.update(self._task, completed=completed, total=total or None)
            return
        moment = time.monotonic()
        tenth = 10 * completed // total if total else 0
        # A line for every tenth, but not many lines for what is quick.
        if tenth == self._said_tenth or (moment - self._said < PLAIN_EVERY_S and completed != total):
            return
        elapsed_s = moment - self._started
        if total and completed and elapsed_s > 1:
            eta_s = elapsed_s / completed * (total - completed)
            self.say(
                f"{self._name}: {completed}/{total} {self._unit}, {completed / elapsed_s:.1f}/s, {eta_s:.0f} s left"
            )
        self._said, self._said_tenth = moment, tenth

    def should_cancel(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self._wanted
