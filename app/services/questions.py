"""Questions about a front that are answered while one waits: what if, why, how robust, what else a layer could run."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from app.db.records import FrontierRecord, ModelRecord
from app.errors import UserError
from app.points import Frontier, Point
from app.selection import explain
from app.selection.limits import Limits
from app.selection.robustness import robustness as judge
from app.selection.what_if import WarmModel
from app.services import frontiers
from app.services.context import Context, DeviceRef
from app.services.skeletons import candidates, skeleton

MOST_WARM = 4
"""A warm model of a network like GoogLeNet takes some tens of megabytes."""

Key = tuple[str, str, tuple[int, str], str, tuple[str, ...]]


class _Warming:
    """A warm model while it is built, and when it is there."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.model: WarmModel | None = None  # still None when done: it could not be built


class WarmModels:
    """The models asked most recently, by (model, device, version of its costs, objective, order of the nodes)."""

    def __init__(self) -> None:
        self._known: OrderedDict[Key, _Warming] = OrderedDict()
        self._lock = threading.Lock()

    def get(
        self, context: Context, model: ModelRecord, device: DeviceRef, objective: str, order: tuple[str, ...]
    ) -> WarmModel:
        """The warm model, built when it is not there or costs have changed since.

        While one request builds a model, others for it wait instead of building it as well.
        """
        while True:
            warming, build = self.begin(context, model, device, objective, order)
            if build is not None:
                return build()
            warming.done.wait()
            if warming.model is not None:
                return warming.model

    def begin(
        self, context: Context, model: ModelRecord, device: DeviceRef, objective: str, order: tuple[str, ...]
    ) -> tuple[_Warming, Callable[[], WarmModel] | None]:
        """A warm model, and how the caller has to build it, which reads no database any more; None: others do."""
        version = context.costs.version(device.id)
        key = (model.id, device.id, version, objective, order)
        costs, graph = frontiers.costs_of(context, model, device, version), skeleton(context, model)
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                self._known.move_to_end(key)
                return known, None
            warming = self._known[key] = _Warming()
            while len(self._known) > MOST_WARM:
                self._known.popitem(last=False)

        def build() -> WarmModel:
            try:
                offered = candidates(context, model, costs.threads, graph)
                warming.model = WarmModel(graph, costs, objective, order, offered)
                return warming.model
            finally:
                if warming.model is None:
                    with self._lock:
                        self._known.pop(key, None)
                warming.done.set()

        return warming, build


def warm_model(context: Context, record: FrontierRecord, objective: str, point: Point | None = None) -> WarmModel:
    """The warm model behind a front, for an objective; UserError when the model or the device is gone.

    Its nodes run in the order of `point`, else in that of the front's fastest point.
    """
    return _warm_models(context).get(context, *_wanted(context, record, objective, point))


def _warm_models(context: Context) -> WarmModels:
    return context.remember("warm-models", WarmModels)


def _wanted(
    context: Context, record: FrontierRecord, objective: str, point: Point | None = None
) -> tuple[ModelRecord, DeviceRef, str, tuple[str, ...]]:
    """What says which warm model is behind a front."""
    model = context.models.get(record.model)
    if model is None:
        raise UserError("not-found", f"the model of front {record.id} is gone", status=404)
    order = tuple(layer.node for layer in (point or frontiers.load(context, record).points[-1]).layers)
    return model, context.device(record.device_name), objective, order


def prepare(context: Context, record: FrontierRecord) -> threading.Thread | None:
    """Build the warm model behind a front meanwhile: who is shown a front soon asks about it.

    None where it is there, or being built, already. What goes wrong is told to the question that needs the model.
    """
    build: Callable[[], WarmModel] | None = None
    with contextlib.suppress(UserError):
        wanted = _wanted(context, record, frontiers.limits_of(record).objective)
        _, build = _warm_models(context).begin(context, *wanted)
    if build is None:
        return None
    thread = threading.Thread(target=_build, args=(build, record.memory), name=f"warm {record.id}", daemon=True)
    thread.start()
    return thread


def _build(build: Callable[[], WarmModel], memory: str) -> None:
    with contextlib.suppress(UserError):
        build().prime(memory)


def what_if(
    context: Context,
    record: FrontierRecord,
    *,
    limits: Limits | None = None,
    budget_bytes: int | None = None,
    point_id: str | None = None,
) -> dict[str, Any]:
    """The fastest selection within other limits (None: the front's own) and a budget, beside a point of the front.

    A question the front itself answers is read from it; any other is solved by the warm model. `against` is the point
    compared with: the one named, else the best of the front at the budget, else its fastest.
    """
    started = time.perf_counter()
    front, own = frontiers.load(context, record), frontiers.limits_of(record)
    asked = own if limits is None else limits
    because = frontiers.stale_because(context, record)
    against = _against(front, point_id, budget_bytes)
    if asked == own and front.complete and not because:
        point, method = frontiers.best(front, budget_bytes=budget_bytes), front.certified_by
        source = "front"
    else:
        answer = warm_model(context, record, asked.objective, against).ask(asked, record.memory, budget_bytes)
        point, method, source = answer.point, answer.method, "model"
    known = {known.id for known in front.points} if asked == own else set()
    return {
        "frontier_id": record.id,
        "memory": record.memory,
        "limits": asked.to_json(),
        "budget_bytes": budget_bytes,
        "point": frontiers.full_point(context, record, point),
        "on_front": point.id in known,
        "against": frontiers.point_summary(context, record, against),
        "differences": explain.differences(against, point),
        "answered_from": source,
        "certified_by": method,
        "stale": bool(because),
        "stale_because": because,
        "elapsed_ms": round(1000 * (time.perf_counter() - started), 1),
    }


def _against(front: Frontier, point_id: str | None, budget_bytes: int | None) -> Point:
    if point_id is not None:
        return frontiers.point_of(front, point_id)
    return front.best(budget_bytes=budget_bytes) or front.points[-1]


def pin_prices(
    context: Context, record: FrontierRecord, *, limits: Limits, budget_bytes: int | None = None
) -> list[dict[str, Any]]:
    """What each pin of the limits costs at the budget, the other limits kept."""
    if not limits.pins:
        return []
    against = _against(frontiers.load(context, record), None, budget_bytes)
    model = warm_model(context, record, limits.objective, against)
    pinned = model.ask(limits, record.memory, budget_bytes).point
    prices = explain.pin_prices(model, limits, record.memory, budget_bytes, pinned)
    return [dataclasses.asdict(price) for price in prices]


def explanation(context: Context, record: FrontierRecord, point_id: str) -> dict[str, Any]:
    """Why a point is no smaller and what memory costs around it."""
    front = frontiers.load(context, record)
    point = frontiers.point_of(front, point_id)
    prices = {price.smaller: price for price in explain.memory_prices(front.points, record.memory)}
    before = {price.larger: price for price in prices.values()}
    return {
        "point": point.id,
        "memory": record.memory,
        "smallest_bytes": front.smallest_bytes,
        "smallest_step": front.smallest_step,
        "binding": [dataclasses.asdict(step) for step in explain.binding_steps(point, record.memory)],
        "next_larger": _price(prices.get(point.id)),
        "next_smaller": _price(before.get(point.id)),
    }


def _price(price: explain.MemoryPrice | None) -> dict[str, Any] | None:
    if price is None:
        return None
    return dataclasses.asdict(price) | {"ns_per_kib": price.ns_per_kib}


def robustness(context: Context, record: FrontierRecord, point_id: str) -> dict[str, Any]:
    """How a point stands up to the noise of its costs, at its own memory; computed once per point and costs."""
    front, limits = frontiers.load(context, record), frontiers.limits_of(record)
    point = frontiers.point_of(front, point_id)
    model = warm_model(context, record, limits.objective, point)
    version = context.costs.version(context.device(record.device_name).id)
    budget_bytes = getattr(point, f"{record.memory}_bytes")
    if record.memory == "total":
        budget_bytes = point.peak_bytes + point.weights_bytes  # what the optimiser counts
    found = context.remember(
        ("robustness", record.id, point.id, version),
        lambda: judge(model, point, limits, record.memory, budget_bytes),
    )
    return {"point": point.id, "budget_bytes": budget_bytes} | found.to_json()


def layer_options(context: Context, record: FrontierRecord, node: str, limits: Limits | None = None) -> dict[str, Any]:
    """Every measured option of a layer with its cost and bytes; `refused` gives the reason of every other primitive."""
    asked = frontiers.limits_of(record) if limits is None else limits
    model = warm_model(context, record, asked.objective)
    model.prime(record.memory)  # who looks at options will ask what one of them costs
    return {
        "node": node,
        "options": explain.layer_options(model, asked, node),
        "refused": dict(model.offered.refused[node]),
    }
