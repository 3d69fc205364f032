"""What passes by while a node runs: the least bytes of tensors that others have made and will read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache

NEVER = 1 << 60
"""Bytes of what cannot be."""


class Passing:
    """Tensors that pass by while a node runs whose options are of some kinds.

    The kind of an option is its layout if that is tied (solver.problem.Problem.tied), else "". Nodes that can take a
    tied layout take it together, the makers of these tensors and the node that runs.
    """

    def __init__(self, kinds: frozenset[str], groups: Mapping[int, Mapping[str, int]]):
        """`kinds` are those of the node's options; `groups` the least bytes of each tensor by kind of its maker's."""
        self.groups = groups
        self._kinds = kinds
        makers: dict[str, list[int]] = {}
        for u, group in groups.items():
            for kind in group:
                if kind:
                    makers.setdefault(kind, []).append(u)
        self._makers = {kind: found for kind, found in makers.items() if len(found) > 1}
        self._families = _joined(groups, self._makers.values())
        self.with_others = cache(self._with_others)

    def allows(self, u: int, mine: str, kind: str) -> bool:
        """Whether maker `u` can have a choice of kind `mine` while the node has one of `kind`."""
        wanted = kind if kind and kind in self.groups[u] else None
        return mine == wanted if wanted is not None else not mine or mine not in self._kinds

    def least(self, u: int, kind: str) -> int:
        """Least bytes of the tensor of `u` beside an option of the node of that kind."""
        return min((size for mine, size in self.groups[u].items() if self.allows(u, mine, kind)), default=NEVER)

    def apart(self, kind: str) -> int:
        """Bytes that pass by beside an option of that kind, each tensor at its least."""
        return min(NEVER, sum(self.least(u, kind) for u in self.groups))

    def together(self, kind: str) -> int:
        """The same, all tensors together at their least: never less."""
        return self.with_others(kind, None, "")

    def _with_others(self, kind: str, fixed: int | None, fixed_kind: str) -> int:
        """Least bytes that pass by beside an option of `kind`, with maker `fixed` at `fixed_kind` and not counted."""
        taken: dict[int, str] = {}
        if fixed is not None and not self._take(taken, fixed_kind, fixed, kind):
            return NEVER
        sizes = (self._search(family, taken, kind, fixed) for family in self._families)
        return min(NEVER, sum(sizes))

    def _take(self, taken: dict[int, str], mine: str, u: int, kind: str) -> bool:
        """Give `u` a kind, and with a tied one all that can have it; False when that cannot be."""
        for maker in self._makers.get(mine, (u,)):
            if taken.setdefault(maker, mine) != mine or not self.allows(maker, mine, kind):
                return False
        return True

    def _search(self, family: Sequence[int], taken: dict[int, str], kind: str, fixed: int | None) -> int:
        """Least bytes of the tensors of a family of which some have their kinds."""
        u = next((u for u in family if u not in taken), None)
        if u is None:
            return sum(self.groups[u][taken[u]] for u in family if u != fixed)
        best = NEVER
        for mine in self.groups[u]:
            more = dict(taken)
            if self._take(more, mine, u, kind):
                best = min(best, self._search(family, more, kind, fixed))
        return best


def _joined(makers: Iterable[int], groups: Iterable[Sequence[int]]) -> list[list[int]]:
    """The makers in families: those that share a group are in one."""
    family = {u: [u] for u in makers}
    for group in groups:
        together = list(dict.fromkeys(u for maker in group for u in family[maker]))
        family |= dict.fromkeys(together, together)
    return list({id(found): found for found in family.values()}.values())
