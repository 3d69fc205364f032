"""What a front may not do: families, routines per layer, bytes of weights, error; and which time counts.

Limits belong to a front's identity: fronts of other limits are other fronts and live side by side. Families and
routines are closed before the problem is built, so every exact method sees the same narrower problem.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from app.candidates import Candidates
from app.costs import CostTable
from app.errors import Item, UserError
from app.options import IN_CHAINS, NodeOption
from app.order import PROFILES, RULES
from app.sites import Site
from app.slices import buffer_of
from kernels import registry

OBJECTIVES = ("p50", "p90")
SHIPPED, START_UP = "shipped", "start-up"
RESIDENCIES = (SHIPPED, START_UP)
"""Where packed weights come from: the bundle, or for every layer that or the plain ones when the network starts."""
MOST_REMEDIES = 4


@dataclass(frozen=True)
class Limits:
    """Bounds beside the memory axis. The default limits nothing.

    `forbid` and `only` speak of convolution families (`only` empty: all). `pins` and `bans` are (layer, primitive)
    pairs, at most one pin per layer. `max_weights_bytes` bounds packed weights on any axis, `max_arena_bytes` the arena
    on the weights axis. `max_error` bounds the declared relative error of every layer's primitive (the largest, not
    their sum: docs/explanations.md). `objective`: the quantile of the measured samples that counts as the time.
    `order`: the rule of app.order by which execution orders are looked at. `residency`: whether layers may ship plain
    weights that are packed at the start into memory of their own.
    """

    forbid: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    pins: tuple[tuple[str, str], ...] = ()
    bans: tuple[tuple[str, str], ...] = ()
    max_weights_bytes: int | None = None
    max_arena_bytes: int | None = None
    max_error: float | None = None
    objective: str = "p50"
    order: str = PROFILES
    residency: str = SHIPPED

    def __post_init__(self) -> None:
        for name in ("forbid", "only", "pins", "bans"):
            object.__setattr__(self, name, tuple(sorted(set(getattr(self, name)))))
        faults = []
        if self.objective not in OBJECTIVES:
            faults.append(Item("objective", f"{self.objective!r} is not one of {', '.join(OBJECTIVES)}"))
        if self.order not in RULES:
            faults.append(Item("order", f"{self.order!r} is not one of {', '.join(RULES)}"))
        if self.residency not in RESIDENCIES:
            faults.append(Item("residency", f"{self.residency!r} is not one of {', '.join(RESIDENCIES)}"))
        faults += [
            Item(name, "is negative")
            for name in ("max_weights_bytes", "max_arena_bytes")
            if (getattr(self, name) or 0) < 0
        ]
        if self.max_error is not None and not (math.isfinite(self.max_error) and self.max_error >= 0):
            faults.append(Item("max_error", f"{self.max_error} is not a relative error"))
        layers = [layer for layer, _ in self.pins]
        for layer in sorted({layer for layer in layers if layers.count(layer) > 1}):
            both = " and ".join(primitive for at, primitive in self.pins if at == layer)
            faults.append(Item(f"pins/{layer}", f"is pinned to {both}; a layer runs one primitive"))
        known = {p.family for p in registry.all_primitives().values() if p.op == "conv"}
        faults += [
            Item(name, f"{family!r} is not a convolution family: {', '.join(sorted(known))}")
            for name in ("forbid", "only")
            for family in getattr(self, name)
            if family not in known
        ]
        if faults:
            raise UserError("limits-invalid", f"the limits are not right: {_first(faults)}", items=faults)

    def to_json(self) -> dict[str, Any]:
        """Plain data, defaults left out; pins as {layer: primitive}, bans as {layer: [primitive, ...]}."""
        found = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if getattr(self, f.name) != f.default}
        for name in ("forbid", "only"):
            if name in found:
                found[name] = list(found[name])
        if self.pins:
            found["pins"] = dict(self.pins)
        if self.bans:
            found["bans"] = {layer: [p for at, p in self.bans if at == layer] for layer, _ in self.bans}
        return found

    def canonical(self) -> str:
        """The one text of these limits: equal limits have equal text."""
        return json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Limits:
        """Inverse of `to_json`; raises UserError `limits-invalid` on anything it does not know."""
        unknown = sorted(set(data) - {f.name for f in dataclasses.fields(cls)})
        if unknown:
            items = [Item(name, "no such limit") for name in unknown]
            raise UserError("limits-invalid", f"the limits are not right: {_first(items)}", items=items)
        fields = dict(data)
        for name in ("forbid", "only"):
            fields[name] = tuple(data.get(name) or ())
        fields["pins"] = tuple((data.get("pins") or {}).items())
        fields["bans"] = tuple((layer, p) for layer, banned in (data.get("bans") or {}).items() for p in banned)
        fields["objective"] = data.get("objective") or "p50"
        fields["order"] = data.get("order") or PROFILES
        fields["residency"] = data.get("residency") or SHIPPED
        return cls(**fields)

    def arguments(self) -> str:
        """The same on the command line."""
        words = [f"--forbid {family}" for family in self.forbid] + [f"--only {family}" for family in self.only]
        words += [f"--pin '{layer}={primitive}'" for layer, primitive in self.pins]
        words += [f"--ban '{layer}={primitive}'" for layer, primitive in self.bans]
        for name, option in (("max_weights_bytes", "--max-weights"), ("max_arena_bytes", "--arena")):
            if getattr(self, name) is not None:
                words.append(f"{option} {getattr(self, name)}")
        if self.max_error is not None:
            words.append(f"--max-error {self.max_error:g}")
        if self.objective != "p50":
            words.append(f"--objective {self.objective}")
        if self.order != PROFILES:
            words.append(f"--order {self.order}")
        if self.residency != SHIPPED:
            words.append(f"--residency {self.residency}")
        return " ".join(words)

    def times(self, costs: CostTable) -> CostTable:
        """The costs with the objective's quantile as the time of every call."""
        if self.objective == "p50":
            return costs
        return CostTable(
            (dataclasses.replace(cost, median_ns=cost.p90_ns) for cost in costs.values()), threads=costs.threads
        )

    def objections(self, node: str, option: NodeOption) -> list[str]:
        """What would have to be lifted for this option of a node to be allowed, in words; empty when it is."""
        found = []
        if node in self._named:
            found += [f"lift the ban of {name}" for name in sorted(names_of(option)) if (node, name) in self.bans]
            pinned = dict(self.pins).get(node)
            if pinned is not None and pinned not in names_of(option):
                found.append(f"lift the pin to {pinned}")
        if not (self.forbid or self.only or self.max_error is not None):
            return found
        for primitive in option.primitives:
            if primitive.op == "conv" and primitive.family in self.forbid:
                found.append(f"allow the family {primitive.family}")
            if primitive.op == "conv" and self.only and primitive.family not in self.only:
                found.append(f"add {primitive.family} to the families asked for")
            if self.max_error is not None and primitive.max_rel_err > self.max_error:
                found.append(f"raise the error budget to {primitive.max_rel_err:g}")
        return found

    @functools.cached_property
    def _named(self) -> frozenset[str]:
        """Layers that a pin or ban speaks of."""
        return frozenset(layer for layer, _ in (*self.pins, *self.bans))

    def allows(self, site: Site) -> bool:
        """Whether the concats inside a chain may be joined there; other layers run what they are offered."""
        concats = [node.name for node in site.nodes if node.op == "concat" and node.name in self._named]
        pins = dict(self.pins)
        return all((name, IN_CHAINS) not in self.bans and pins.get(name, IN_CHAINS) == IN_CHAINS for name in concats)

    def check_names(self, candidates: Candidates) -> None:
        """Raise UserError `limits-invalid` for a pin or ban of a layer or primitive that there is not."""
        faults = []
        for kind, pairs in (("pins", self.pins), ("bans", self.bans)):
            for layer, name in pairs:
                fault = _fault(candidates, layer, name)
                if fault:
                    faults.append(Item(f"{kind}/{layer}", fault))
        if faults:
            raise UserError(
                "limits-invalid",
                f"the limits do not fit {candidates.graph.name}: {_first(faults)}",
                items=faults,
                hint="`tradespace models show` lists layers, `tradespace explain --layer NAME` what one can run",
            )

    def narrow(self, candidates: Candidates) -> Candidates:
        """The candidates these limits allow.

        Raises UserError `limits-invalid` for unknown names and `limits-impossible` naming every layer that no primitive
        is left for, with what would have to be lifted.
        """
        self.check_names(candidates)
        options: dict[str, tuple[NodeOption, ...]] = {}
        lacking = []
        for node, offered in candidates.options.items():
            options[node] = tuple(option for option in offered if not self.objections(node, option))
            if not options[node]:
                lacking.append(Item(node, f"{len(offered)} options, none allowed; {self._remedy(node, offered)}"))
        if lacking:
            raise impossible(candidates.graph.name, lacking)
        joinable = _joinable(candidates, options)
        unjoined = [
            Item(node, "is pinned to a concat without copying, and a layer before it may not write where it would")
            for node, left in joinable.items()
            if not left
        ]
        if unjoined:
            raise impossible(candidates.graph.name, unjoined)
        left = dataclasses.replace(candidates, options=joinable, sites=tuple(filter(self.allows, candidates.sites)))
        return left.with_residents() if self.residency == START_UP else left

    def _remedy(self, node: str, offered: Iterable[NodeOption]) -> str:
        """The shortest ways to make a layer possible."""
        if (node, IN_CHAINS) in self.pins and not any(IN_CHAINS in names_of(option) for option in offered):
            return f"{IN_CHAINS} runs it inside chains alone, which cannot be pinned; to make it possible, lift the pin"
        ways = {tuple(dict.fromkeys(self.objections(node, option))) for option in offered}
        fewest = min(map(len, ways))
        shortest = sorted(way for way in ways if len(way) == fewest)
        words = [" and ".join(way) for way in shortest[:MOST_REMEDIES]]
        more = f", or {len(shortest) - MOST_REMEDIES} more ways" if len(shortest) > MOST_REMEDIES else ""
        return "to make it possible, " + ", or ".join(words) + more


def _joinable(
    candidates: Candidates, options: Mapping[str, tuple[NodeOption, ...]]
) -> dict[str, tuple[NodeOption, ...]]:
    """The options less joins of slices that some layer can no longer write, and slices that nobody joins any more."""
    feeds: dict[str, list[str]] = {}
    for link in candidates.links:
        if link.consumer is not None and link.producer is not None:
            feeds.setdefault(link.consumer, []).append(link.producer)

    def stays(node: str, option: NodeOption) -> bool:
        if option.joins and not all(buffer_of(option.in_layouts[0]) in written[producer] for producer in feeds[node]):
            return False
        buffer = buffer_of(option.out_layout)
        place = candidates.slices.get(node, {}).get(option.out_layout) if buffer else None
        return place is None or buffer in joined[place.join]  # a whole or a piece of one is nobody's slice

    left = dict(options)
    slicing = [node for node, some in left.items() if any(o.joins or buffer_of(o.out_layout) for o in some)]
    while True:
        written = {node: {buffer_of(option.out_layout) for option in some} for node, some in left.items()}
        joined = {
            node: {buffer_of(option.in_layouts[0]) for option in some if option.joins} for node, some in left.items()
        }
        fewer = {node: tuple(option for option in left[node] if stays(node, option)) for node in slicing}
        if all(len(fewer[node]) == len(left[node]) for node in slicing):
            return left
        left |= fewer


NO_LIMITS = Limits()


def named_primitive(what: str, text: str) -> tuple[str, str]:
    """(layer, primitive) of LAYER=PRIMITIVE; raises UserError `limits-invalid` naming `what` it was given for."""
    layer, equals, primitive = text.rpartition("=")  # names of layers may contain the sign, primitives never do
    if not equals or not layer or not primitive:
        raise UserError("limits-invalid", f"{what} {text}: not LAYER=PRIMITIVE", hint=f"write {what} conv1=NAME")
    return layer, primitive


def names_of(option: NodeOption) -> set[str]:
    """What a pin or ban may call an option: its name, or a routine it calls."""
    return {option.name, *(primitive.name for primitive in option.primitives)}


def impossible(graph_name: str, lacking: list[Item]) -> UserError:
    """The error of layers that cannot run within the limits."""
    return UserError(
        "limits-impossible",
        f"the limits leave {len(lacking)} layer(s) of {graph_name} without a primitive: {_first(lacking)}",
        items=lacking,
        hint=lacking[0].detail.partition("; ")[2],
        facts={"layers": [item.pointer for item in lacking]},
    )


def _fault(candidates: Candidates, layer: str, name: str) -> str:
    """Why (layer, primitive) cannot be pinned or banned; "" when it can."""
    if layer not in candidates.options:
        close = difflib.get_close_matches(layer, candidates.options, n=3, cutoff=0.5)
        return "there is no such layer" + (f"; did you mean {', '.join(close)}?" if close else "")
    chained = {node.name for site in candidates.sites for node in site.nodes if node.op == "concat"}
    names = sorted({name for option in candidates.options[layer] for name in names_of(option)})
    if name in names or (name == IN_CHAINS and layer in chained):
        return ""
    if name in candidates.refused[layer]:
        return f"{name} cannot run it: {candidates.refused[layer][name]}"
    if name in registry.all_primitives():
        return f"{name} cannot run it: it is of another operator"
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.3)
    return f"there is no primitive {name}" + (f"; did you mean {', '.join(close)}?" if close else "")


def _first(items: list[Item]) -> str:
    more = f" (and {len(items) - 1} more)" if len(items) > 1 else ""
    return f"{items[0].pointer}: {items[0].detail}{more}"
