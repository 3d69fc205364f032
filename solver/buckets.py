"""The order of an elimination, and what meets in each of its steps. Numbers of variables and tables only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

from solver.tables import TooWide


@dataclass(frozen=True)
class Bucket:
    """Elimination of `variable`: the tables and earlier messages that mention it, over `scope` (variable included)."""

    variable: int
    scope: tuple[int, ...]
    axis: int  # of `variable` in scope
    shape: tuple[int, ...]
    tables: tuple[tuple[int, tuple[int, ...]], ...]  # (table, its shape broadcast into the scope)
    messages: tuple[tuple[int, tuple[int, ...]], ...]  # (earlier bucket, its message's shape broadcast into the scope)

    @cached_property
    def rest(self) -> tuple[int, ...]:
        """The scope without the variable: that of the message."""
        return tuple(u for u in self.scope if u != self.variable)


def eliminate(scopes: Sequence[tuple[int, ...]], domains: Sequence[int], most_entries: int) -> list[Bucket]:
    """An elimination order, smallest next table first, as buckets; TooWide when a table exceeds `most_entries`."""
    neighbours: list[set[int]] = [set() for _ in domains]
    for scope in scopes:
        for u in scope:
            neighbours[u].update(scope)
    left = set(range(len(domains)))
    pending_tables = dict(enumerate(scopes))
    pending_messages: dict[int, tuple[int, ...]] = {}
    buckets: list[Bucket] = []
    entries = {v: prod(domains[u] for u in neighbours[v] | {v}) for v in left}
    while left:
        v = min(left, key=lambda u: (entries[u], u))
        if entries[v] > most_entries:
            raise TooWide(f"a table of {entries[v]} entries would be needed")
        scope = tuple(sorted(neighbours[v] | {v}))
        shape = tuple(domains[u] for u in scope)

        def spread(part: tuple[int, ...], scope: tuple[int, ...] = scope) -> tuple[int, ...]:
            return tuple(domains[u] if u in part else 1 for u in scope)

        tables = [(t, spread(part)) for t, part in pending_tables.items() if v in part]
        messages = [(m, spread(part)) for m, part in pending_messages.items() if v in part]
        for t, _ in tables:
            del pending_tables[t]
        for m, _ in messages:
            del pending_messages[m]
        rest = tuple(u for u in scope if u != v)
        pending_messages[len(buckets)] = rest
        buckets.append(Bucket(v, scope, scope.index(v), shape, tuple(tables), tuple(messages)))
        left.remove(v)
        for u in rest:
            neighbours[u] = (neighbours[u] | set(rest)) - {v}
        for u in rest:
            entries[u] = prod(domains[w] for w in neighbours[u] | {u})
    return buckets
