"""Measured costs: nanoseconds of one call, per (primitive, shape, device), and the rule that absent is never zero."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from app.errors import UserError
from kernels.spec import Shape


@dataclass(frozen=True)
class CostKey:
    """What a cost belongs to. `source_hash` retires costs when the C changes.

    `weights_from` says where a call's weights come from when the network runs: "l3" if the network's weights
    stay in the last-level cache between inferences, "dram" if they do not, both measured with a cold second level; "l2"
    in a chain whose strips find everything there.
    """

    primitive: str
    shape: str  # kernels.spec.Shape.key()
    source_hash: str
    weights_from: str = "l3"

    @property
    def parsed_shape(self) -> Shape:
        """The shape as a dataclass."""
        return Shape.parse(self.shape)


@dataclass(frozen=True)
class Cost:
    """Samples of one call on one device, with robust figures. Times in integer nanoseconds."""

    key: CostKey
    samples_ns: tuple[int, ...]
    median_ns: int
    p10_ns: int
    p90_ns: int


class MissingCost(UserError):
    """A primitive was needed whose cost has not been measured."""

    def __init__(self, keys: Iterable[CostKey]):
        keys = tuple(keys)
        first = f"{keys[0].primitive} on [{keys[0].shape}]"
        more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
        super().__init__(
            "cost-missing",
            f"no measured cost for {first}{more}",
            hint="run `tradespace measure` for this model first",
        )
        self.keys = keys


class CostTable(Mapping[CostKey, Cost]):
    """Costs of one device, whose calls `threads` threads share.

    `ns()` raises MissingCost; `missing()` lists what to measure.
    """

    def __init__(self, costs: Iterable[Cost] = (), *, threads: int = 1):
        self._costs = {cost.key: cost for cost in costs}
        self.threads = threads

    def __getitem__(self, key: CostKey) -> Cost:
        return self._costs[key]

    def __iter__(self) -> Iterator[CostKey]:
        return iter(self._costs)

    def __len__(self) -> int:
        return len(self._costs)

    def ns(self, key: CostKey) -> int:
        """Median nanoseconds of one call; at least 1, because a measured call is never free."""
        try:
            return max(1, self._costs[key].median_ns)
        except KeyError:
            raise MissingCost([key]) from None

    def missing(self, keys: Iterable[CostKey]) -> list[CostKey]:
        """Those of `keys` that have no cost, in order, without repeats."""
        return [key for key in dict.fromkeys(keys) if key not in self._costs]
