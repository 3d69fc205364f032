"""Fronts: tracing, showing, asking for the best point within a budget, and knowing when one is stale."""

from __future__ import annotations

import json
from typing import Any

from app.costs import CostTable
from app.db.records import FrontierRecord, ModelRecord
from app.errors import Cancelled, Item, UserError
from app.jobs.progress import Progress, check
from app.points import Frontier, Point
from app.quantities import format_bytes, format_ns
from app.selection.digest import costs_digest, same_costs
from app.selection.frontier import check_axis_of
from app.selection.frontier import trace as trace_points
from app.selection.limits import NO_LIMITS, Limits
from app.services.context import Context, DeviceRef
from app.services.measurements import cost_table, needed
from app.services.skeletons import candidates, skeleton

MEMORY_AXES = ("arena", "total", "workspace", "weights")


def check_axis(memory: str) -> str:
    """The axis, or UserError `query-invalid`."""
    if memory not in MEMORY_AXES:
        raise UserError(
            "query-invalid", f"{memory!r} is not a memory axis", items=[Item("memory", f"one of {MEMORY_AXES}")]
        )
    return memory


def check_limits(context: Context, model: ModelRecord, memory: str, limits: Limits) -> None:
    """Raise UserError when the limits name what the model does not have, or leave a layer without a primitive."""
    check_axis_of(limits, memory)
    if limits != NO_LIMITS:
        limits.narrow(candidates(context, model))


def trace(
    context: Context,
    model: ModelRecord,
    device: DeviceRef,
    memory: str,
    progress: Progress,
    *,
    limits: Limits = NO_LIMITS,
) -> FrontierRecord:
    """Trace the exact front from the stored costs and store it; raises MissingCost when some were not measured.

    A cancelled trace raises Cancelled, and what it found is stored, unless a front that is not stale is there already.
    """
    check_axis(memory)
    check_axis_of(limits, memory)
    graph = skeleton(context, model)
    progress.stage(f"tracing the {memory} front", unit="points")
    found = 0

    def on_point(_point: Point) -> None:
        nonlocal found
        found += 1
        progress.advance(found, 0)

    front = trace_points(
        graph,
        costs_of(context, model, device),
        memory,
        limits=limits,
        on_point=on_point,
        should_cancel=progress.should_cancel,
    )
    if not front.points:
        raise Cancelled
    if progress.should_cancel():
        known = newest(context, model, device, memory, limits)
        if known is not None and not is_stale(context, known):
            raise Cancelled
    record = context.frontiers.add(
        model=model.id,
        device=device.id,
        device_name=device.name,
        memory=memory,
        limits=limits.canonical(),
        document=front.to_json(),
    )
    check(progress)
    return record


def costs_of(
    context: Context, model: ModelRecord, device: DeviceRef, version: tuple[int, str] | None = None
) -> CostTable:
    """Every stored cost the model may ask for on the device, read once until one of them changes.

    `version`: that of the device's costs, where it has just been asked for.
    """
    key = ("costs", model.id, device.id, version or context.costs.version(device.id))
    return context.remember(key, lambda: cost_table(context, device, needed(context, model)))


def limits_of(record: FrontierRecord) -> Limits:
    """The limits a front was traced within."""
    return Limits.from_json(json.loads(record.limits))


def get(context: Context, frontier_id: str) -> FrontierRecord:
    """The front of that id; raises UserError `not-found`."""
    record = context.frontiers.get(frontier_id)
    if record is None:
        raise UserError("not-found", f"there is no front {frontier_id}", status=404)
    return record


def load(context: Context, record: FrontierRecord) -> Frontier:
    """The front itself."""

    def read() -> Frontier:
        document = context.frontiers.document(record.id)
        if document is None:
            raise UserError("not-found", f"there is no front {record.id}", status=404)
        return Frontier.from_json(document)

    return context.remember(("frontier", record.id), read)


def point_of(front: Frontier, point_id: str) -> Point:
    """The point, baselines included, of that id or unique beginning; raises UserError `not-found`."""
    points = {point.id: point for point in (*(b.point for b in front.baselines), *front.points)}
    found = [point for identity, point in points.items() if identity.startswith(point_id)] if point_id else []
    exact = points.get(point_id)
    if exact is not None:
        return exact
    if len(found) != 1:
        raise UserError(
            "not-found", f"the front has {'no' if not found else 'more than one'} point {point_id}", status=404
        )
    return found[0]


def stale_because(context: Context, record: FrontierRecord) -> str:
    """What has changed since the front was traced; "" when nothing it depends on has.

    Compared are the times of every cost the front's optimisation saw, not the hour they were measured: measuring
    again with the same result makes nothing stale, and a cost the limits rule out does not count. Compared is also
    what was offered, so that every point of a front that is not stale can be exported.
    """
    model = context.models.get(record.model)
    if model is None:
        return "its model is gone"
    try:
        device = context.device(record.device_name)
    except UserError:
        return f"the device {record.device_name} is gone from the settings"
    if device.id != record.device:
        return f"{record.device_name} has another compiler, other flags or another machine now"
    limits = limits_of(record)
    key = ("digest", record.model, device.id, context.costs.version(device.id), record.limits)

    def read() -> str:
        try:
            costs, graph = costs_of(context, model, device), skeleton(context, model)
            return costs_digest(graph, costs, limits, candidates(context, model, costs.threads))
        except UserError:
            return "?"  # a pinned or asked-for primitive no longer exists

    digest = context.remember(key, read)
    if digest == record.costs_digest:
        return ""
    if not digest:
        return "kernels have changed and some of their costs have not been measured since"
    if digest == "?":
        return "a primitive that its limits name no longer exists"
    if same_costs(digest, record.costs_digest):
        return "what the kernels offer, or the memory they need, has changed"
    return "costs have been measured since, with other results"


def is_stale(context: Context, record: FrontierRecord) -> bool:
    """Whether a cost, a kernel or the device has changed since the front was traced."""
    return bool(stale_because(context, record))


def summary(context: Context, record: FrontierRecord) -> dict[str, Any]:
    """The short form in lists."""
    names = ("id", "model", "memory", "created_at", "points", "solve_s")
    because = stale_because(context, record)
    return {name: getattr(record, name) for name in names} | {
        "device": record.device_name,
        "limits": limits_of(record).to_json(),
        "stale": bool(because),
        "stale_because": because,
    }


def point_summary(context: Context, record: FrontierRecord, point: Point) -> dict[str, Any]:
    """A point in short, with what its newest verified bundle measured."""
    return point.summary() | _measured(context, record, point.id)


def full_point(context: Context, record: FrontierRecord, point: Point) -> dict[str, Any]:
    """Everything about a point, with what its newest verified bundle measured."""
    return point.to_json() | _measured(context, record, point.id)


def _measured(context: Context, record: FrontierRecord, point_id: str) -> dict[str, Any]:
    bundle = context.bundles.of_model(record.model, record.device).get(point_id)
    if bundle is None:
        return {"measured_ns": None, "bundle_id": None}
    return {"measured_ns": bundle.verified.get("median_ns"), "bundle_id": bundle.id}


def document(context: Context, record: FrontierRecord) -> dict[str, Any]:
    """The front with its points and baselines in short."""
    front = load(context, record)
    bundles = context.bundles.of_model(record.model, record.device)

    def short(point: Point) -> dict[str, Any]:
        bundle = bundles.get(point.id)
        return point.summary() | {
            "measured_ns": bundle.verified.get("median_ns") if bundle else None,
            "bundle_id": bundle.id if bundle else None,
        }

    return summary(context, record) | {
        "certified_by": front.certified_by,
        "uncertified_because": front.uncertified_because,
        "complete": front.complete,
        "incomplete_because": front.incomplete_because,
        "smallest_bytes": front.smallest_bytes,
        "smallest_step": front.smallest_step,
        "io_bytes": front.io_bytes,
        "order": front.order,
        "order_because": front.order_because,
        "points": [short(point) for point in front.points],
        "baselines": [{"name": b.name, "explanation": b.explanation, "point": short(b.point)} for b in front.baselines],
    }


def newest(
    context: Context, model: ModelRecord, device: DeviceRef, memory: str, limits: Limits = NO_LIMITS
) -> FrontierRecord | None:
    """The newest front of the model on the device and axis within exactly these limits, stale or not."""
    fronts = context.frontiers.page(
        model=model.id, device_name=device.name, memory=check_axis(memory), limits=limits.canonical(), limit=1
    )
    return fronts[0] if fronts else None


def best(front: Frontier, *, budget_bytes: int | None = None, max_latency_ns: int | None = None) -> Point:
    """The fastest point within the budget.

    Raises UserError `budget-infeasible` (with the least budget and the step that needs it), `frontier-incomplete` when
    the front ends above the budget, or `latency-infeasible`.
    """
    point = front.best(budget_bytes=budget_bytes)
    if point is None:
        assert budget_bytes is not None
        if front.smallest_bytes is None or front.smallest_bytes <= budget_bytes:
            raise UserError(
                "frontier-incomplete",
                f"the {front.memory} front ends above {format_bytes(budget_bytes)}: {front.incomplete_because}",
                hint="trace it again to its end, or ask what fits that budget with what-if",
                facts={"available_bytes": budget_bytes, "incomplete_because": front.incomplete_because},
                status=404,
            )
        raise UserError(
            "budget-infeasible",
            f"nothing fits {format_bytes(budget_bytes)} of {front.memory}: the smallest selection needs "
            f"{format_bytes(front.smallest_bytes)}, at step {front.smallest_step}",
            hint=f"raise the budget by {format_bytes(front.smallest_bytes - budget_bytes)}",
            facts={
                "smallest_bytes": front.smallest_bytes,
                "available_bytes": budget_bytes,
                "excess_bytes": front.smallest_bytes - budget_bytes,
                "smallest_step": front.smallest_step,
            },
            status=404,
        )
    if max_latency_ns is not None and point.latency_ns > max_latency_ns:
        within = f" within {format_bytes(budget_bytes)}" if budget_bytes is not None else ""
        raise UserError(
            "latency-infeasible",
            f"the fastest selection{within} takes {format_ns(point.latency_ns)}, not {format_ns(max_latency_ns)}",
            hint="allow more memory or more time",
            facts={"fastest_ns": point.latency_ns, "asked_ns": max_latency_ns},
            status=404,
        )
    return point


def query(
    context: Context,
    model: ModelRecord,
    device: DeviceRef,
    memory: str,
    *,
    limits: Limits = NO_LIMITS,
    budget_bytes: int | None = None,
    max_latency_ns: int | None = None,
) -> tuple[FrontierRecord, Point]:
    """The best point from the stored front; raises UserError when there is no front or nothing fits."""
    check_axis_of(limits, memory)
    record = newest(context, model, device, memory, limits)
    if record is None:
        check_limits(context, model, memory, limits)  # of limits that can never be met, say that instead
        within = "" if limits == NO_LIMITS else " within these limits"
        arguments = f"--device {device.name} --memory {memory} {limits.arguments()}".strip()
        asked = {"model": model.id, "device": device.name, "memory": memory, "limits": limits.to_json()}
        raise UserError(
            "frontier-missing",
            f"no {memory} front of {model.name} on {device.name} has been traced{within}",
            hint=f"trace it first: tradespace frontier {model.name} {arguments}, or post `facts.post` to /frontiers",
            facts={"post": asked},
            status=404,
        )
    front = load(context, record)
    return record, best(front, budget_bytes=budget_bytes, max_latency_ns=max_latency_ns)
