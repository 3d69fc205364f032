"""What can be, against all combinations tried one by one."""

from __future__ import annotations

import random
from itertools import product

import numpy as np
import pytest

from solver.buckets import eliminate
from solver.joins import joined


def random_tables(rng: random.Random) -> tuple[list[int], list[tuple[int, ...]], list[set[tuple[int, ...]]]]:
    """Domains, scopes of up to three variables, and the assignments that each table has."""
    domains = [rng.randrange(1, 4) for _ in range(rng.randrange(2, 7))]
    scopes, tables = [], []
    for v in range(len(domains)):
        others = rng.sample(range(v), min(v, rng.randrange(3)))
        scope = tuple(sorted({v, *others}))
        every = list(product(*(range(domains[u]) for u in scope)))
        scopes.append(scope)
        tables.append({at for at in every if rng.random() < 0.75})
    return domains, scopes, tables


@pytest.mark.parametrize("seed", range(60))
def test_what_is_kept_is_part_of_a_whole_assignment_and_nothing_else_is(seed):
    domains, scopes, tables = random_tables(random.Random(seed))
    whole = [
        at
        for at in product(*map(range, domains))
        if all(tuple(at[u] for u in scope) in table for scope, table in zip(scopes, tables, strict=True))
    ]

    def cell(scope: tuple[int, ...], at: tuple[int, ...]) -> int:
        return int(np.ravel_multi_index(at, [domains[u] for u in scope])) if scope else 0

    def seen(scope: tuple[int, ...]) -> list[int]:
        return sorted({cell(scope, tuple(at[u] for u in scope)) for at in whole})

    cells = [np.array(sorted(cell(s, at) for at in t), np.int64) for s, t in zip(scopes, tables, strict=True)]
    buckets = eliminate(scopes, domains, 10_000)
    joins, kept = joined(buckets, scopes, cells, domains)
    if not whole:  # parts that no table connects are each looked at alone
        assert any(not bucket.rest and not len(join.value) for bucket, join in zip(buckets, joins, strict=True))
        return
    assert [found.tolist() for found in kept] == [seen(scope) for scope in scopes]
    for bucket, join in zip(buckets, joins, strict=True):
        assert join.group.tolist() == seen(bucket.rest)
        ends = [*join.first[1:].tolist(), len(join.value)][: len(join.first)]
        entries = []
        for first, end, group in zip(join.first.tolist(), ends, join.group.tolist(), strict=True):
            rest = np.unravel_index(group, [domains[u] for u in bucket.rest]) if bucket.rest else ()
            for row in range(first, end):
                at = {**dict(zip(bucket.rest, map(int, rest), strict=True)), bucket.variable: int(join.value[row])}
                entries.append(cell(bucket.scope, tuple(at[u] for u in bucket.scope)))
                for t, places in join.tables:
                    assert kept[t][places[row]] == cell(scopes[t], tuple(at[u] for u in scopes[t]))
                for m, places in join.messages:
                    rest_of = buckets[m].rest
                    assert joins[m].group[places[row]] == cell(rest_of, tuple(at[u] for u in rest_of))
        assert sorted(entries) == seen(bucket.scope)
        assert len(set(entries)) == len(entries)
