"""Errors a user can act on. Everything else is a bug and surfaces as such."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Item:
    """One finding of an error that has several: where (field, node, file) and what."""

    pointer: str
    detail: str


class UserError(Exception):
    """A problem in what the user gave, with a stable code, what is wrong and what to do.

    `code` is the slug of the problem type (`/problems/<code>` in the API). `hint` says what to do. `items` lists
    every finding when there are several. `facts` are numbers a client can use (bytes, names).
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        hint: str = "",
        items: Sequence[Item] = (),
        facts: dict[str, Any] | None = None,
        status: int = 422,
    ):
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.items = tuple(items)
        self.facts = facts or {}
        self.status = status

    def __str__(self) -> str:
        lines = [self.message, *(f"  {item.pointer}: {item.detail}" for item in self.items)]
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)


class Cancelled(Exception):
    """The work stopped because it was asked to; what it finished before is kept."""
