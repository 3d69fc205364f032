"""What a network offers, listed once per test: one that plays every point of a front asks for it once per point."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import pytest

from app import candidates
from app.candidates import Candidates
from app.graph.ir import Graph
from app.selection import frontier, schedule, what_if
from tests.selection import test_schedule


@pytest.fixture
def offered_once(request: pytest.FixtureRequest) -> Iterator[None]:
    """`list_candidates` remembers its answers, which are immutable, for the graphs of one test.

    Not for tests that change what is offered while a graph stays.
    """
    known: dict[tuple[object, ...], tuple[Graph, Candidates]] = {}
    listed = candidates.list_candidates

    def remembered(
        graph: Graph,
        families: Collection[str] | None = None,
        *,
        threads: int = 1,
        chains: Collection[str] | None = None,
    ) -> Candidates:
        key = (id(graph), *(None if names is None else frozenset(names) for names in (families, chains)), threads)
        if key not in known:  # the graph too, so that its id stays its own
            known[key] = graph, listed(graph, families, threads=threads, chains=chains)
        return known[key][1]

    with pytest.MonkeyPatch.context() as patch:
        for module in {frontier, schedule, what_if, test_schedule, request.module}:
            if hasattr(module, "list_candidates"):
                patch.setattr(module, "list_candidates", remembered)
        yield
