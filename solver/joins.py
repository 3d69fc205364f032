"""Which combinations of layouts can be: the tables of an elimination joined once, for optima to look at no others.

A table has an entry only where its node can run, so most of a bucket's grid stands for nothing that can be. Passing
what can be up the buckets and down again leaves what is part of a whole selection (Yannakakis: Algorithms for acyclic
database schemes, VLDB 1981).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from solver.buckets import Bucket

Ints = npt.NDArray[np.int64]
Bits = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Join:
    """What can be in one bucket, an entry per assignment, those alike but for the bucket's variable side by side.

    `tables` has for each table of the bucket (its number, the place of each entry's assignment among those kept of it),
    `messages` for each earlier bucket (its number, the place of each entry's message in its groups). Group g of entries
    begins at `first[g]`, its assignment without the variable is `group[g]`, in row-major order. `value` is that of the
    variable.
    """

    tables: tuple[tuple[int, Ints], ...]
    messages: tuple[tuple[int, Ints], ...]
    first: Ints
    group: Ints
    value: Ints


def joined(
    buckets: Sequence[Bucket], scopes: Sequence[tuple[int, ...]], cells: Sequence[Ints], domains: Sequence[int]
) -> tuple[list[Join], list[Ints]]:
    """The joins of buckets, and which of the `cells` of each table are part of any whole assignment.

    `cells` are the assignments that a table has, in row-major order of its scope, rising.
    """
    shapes = [tuple(domains[u] for u in scope) for scope in scopes]
    able = _able(buckets, shapes, cells)
    kept: list[Ints] = [np.zeros(0, np.int64)] * len(cells)
    for b, bucket in enumerate(buckets):
        for t, _ in bucket.tables:
            used = able[b].any(axis=_axes_without(bucket, scopes[t])).ravel()
            kept[t] = cells[t][used[cells[t]]]
    joins: list[Join] = []
    for b, bucket in enumerate(buckets):
        rows = np.flatnonzero(np.moveaxis(able[b], bucket.axis, -1))
        width = bucket.shape[bucket.axis]
        rest, value = rows // width, rows % width
        others = bucket.rest
        at = dict(zip(others, np.unravel_index(rest, [domains[u] for u in others]), strict=True)) if others else {}
        at[bucket.variable] = value

        def place(scope: tuple[int, ...], known: Ints, at: dict[int, Ints] = at, count: int = len(rows)) -> Ints:
            """Where the entries' assignments of a scope are among the known ones."""
            cell = np.zeros(count, np.int64)
            for u in scope:
                cell = cell * domains[u] + at[u]
            return np.searchsorted(known, cell)

        first = np.flatnonzero(np.diff(rest, prepend=-1))
        joins.append(
            Join(
                tables=tuple((t, place(scopes[t], kept[t])) for t, _ in bucket.tables),
                messages=tuple((m, place(buckets[m].rest, joins[m].group)) for m, _ in bucket.messages),
                first=first,
                group=rest[first],
                value=value,
            )
        )
    return joins, kept


def _able(buckets: Sequence[Bucket], shapes: Sequence[tuple[int, ...]], cells: Sequence[Ints]) -> list[Bits]:
    """The assignments of every bucket that are part of a whole one."""
    able: list[Bits] = []
    up: list[Bits] = []
    for bucket in buckets:
        mask = np.ones(bucket.shape, np.bool_)
        for t, shape in bucket.tables:
            known = np.zeros(prod(shapes[t]), np.bool_)
            known[cells[t]] = True
            mask &= known.reshape(shape)
        for m, shape in bucket.messages:
            mask &= up[m].reshape(shape)
        able.append(mask)
        up.append(np.asarray(mask.any(axis=bucket.axis)))
    for b in reversed(range(len(buckets))):
        for m, _ in buckets[b].messages:
            wanted = able[b].any(axis=_axes_without(buckets[b], buckets[m].rest))
            able[m] &= np.expand_dims(wanted, buckets[m].axis)
    return able


def _axes_without(bucket: Bucket, scope: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(axis for axis, u in enumerate(bucket.scope) if u not in scope)
