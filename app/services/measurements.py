"""Costs of a model on a device: what is needed, what is there, measuring the rest, taking them elsewhere and back."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from app.costs import Cost, CostKey, CostTable
from app.db.records import ModelRecord
from app.errors import Cancelled, UserError
from app.jobs.progress import Progress
from app.profiling.plan import needed_costs
from app.profiling.run import measure as measure_keys
from app.profiling.statistics import median_ns, quantile_ns
from app.services.context import Context, DeviceRef
from app.services.skeletons import candidates, skeleton

FORMAT = "tradespace-costs-1"
DEVICE_NAME = re.compile(r"(?=.{1,40}$)[a-z0-9][a-z0-9_-]*(@[1-9][0-9]?)?")


@dataclass(frozen=True)
class MeasureSummary:
    """`reused` costs were there already; `cut` of the `measured` ones stopped early because no front needs them."""

    measured: int
    reused: int
    cut: int
    elapsed_s: float

    def to_json(self) -> dict[str, Any]:
        """The stable form of `measure --json`."""
        return asdict(self)


def needed(context: Context, model: ModelRecord, families: Collection[str] | None = None) -> list[CostKey]:
    """Every cost a front of the model may ask for."""
    key = ("needed", model.id, tuple(sorted(families)) if families is not None else None)

    def list_them() -> list[CostKey]:
        offered = candidates(context, model) if families is None else None
        return needed_costs(skeleton(context, model), families=families, offered=offered)

    return context.remember(key, list_them)


def cost_table(context: Context, device: DeviceRef, keys: Collection[CostKey]) -> CostTable:
    """The stored costs of the shapes of `keys` on the device."""
    return CostTable(context.costs.get(device.id, shapes={key.shape for key in keys}), threads=device.threads)


def missing(
    context: Context, model: ModelRecord, device: DeviceRef, families: Collection[str] | None = None
) -> list[CostKey]:
    """The needed costs that have not been measured."""
    keys = needed(context, model, families)
    return cost_table(context, device, keys).missing(keys)


def coverage(context: Context, model: ModelRecord, device: DeviceRef) -> dict[str, Any]:
    """How many costs the model needs, how many are there, and those."""
    keys = needed(context, model)
    table = cost_table(context, device, keys)
    found = [table[key] for key in keys if key in table]
    return {
        "needed": len(keys),
        "measured": len(found),
        "missing": len(keys) - len(found),
        "items": [
            {
                "primitive": cost.key.primitive,
                "shape": cost.key.shape,
                "median_ns": cost.median_ns,
                "p10_ns": cost.p10_ns,
                "p90_ns": cost.p90_ns,
                "samples": len(cost.samples_ns),
            }
            for cost in found
        ],
    }


def measure(
    context: Context,
    model: ModelRecord,
    device: DeviceRef,
    progress: Progress,
    *,
    families: Collection[str] | None = None,
    only_missing: bool = True,
) -> MeasureSummary:
    """Measure what the model needs on the device; every finished cost is stored at once.

    Raises Cancelled when asked to stop, with everything finished kept.
    """
    if device.device is None:
        raise UserError(
            "device-unknown",
            f"device {device.name} cannot be measured from here",
            hint=f"make a kit for it: tradespace kit {model.name} --device {device.name} -o kit.zip",
        )
    keys = needed(context, model, families)
    wanted = missing(context, model, device, families) if only_missing else keys
    started = time.monotonic()
    reused = len(keys) - len(wanted)
    if not wanted:
        return MeasureSummary(0, reused, 0, 0.0)
    context.costs.register(device.id, device.name, device.device.environment())
    progress.stage("building the measuring program", unit="costs", total=len(wanted))
    named = False

    def keep(cost: Cost) -> None:
        context.costs.put(device.id, [cost])

    def advance(completed: int, total: int) -> None:
        nonlocal named
        if not named:
            named = True
            progress.stage("measuring", unit="costs", total=total)
        progress.advance(completed, total)

    report = measure_keys(
        device.device,
        wanted,
        data_dir=context.settings.data,
        on_cost=keep,
        on_progress=advance,
        should_cancel=progress.should_cancel,
    )
    if report.measured < len(wanted):
        raise Cancelled
    return MeasureSummary(report.measured, reused, report.cut, round(time.monotonic() - started, 3))


def export_costs(context: Context, device: DeviceRef, model: ModelRecord | None = None) -> dict[str, Any]:
    """All costs of the device (those the model needs, if one is given) with samples and environment."""
    if model is None:
        found = context.costs.get(device.id)
    else:
        keys = needed(context, model)
        table = cost_table(context, device, keys)
        found = [table[key] for key in keys if key in table]
    return {
        "format": FORMAT,
        "device": device.name,
        "environment": context.device_json(device.name)["environment"],
        "costs": [asdict(cost.key) | {"samples_ns": list(cost.samples_ns)} for cost in found],
    }


def import_costs(context: Context, data: bytes, device_name: str | None = None) -> dict[str, Any]:
    """Store costs written by `export_costs` or by a measuring kit; figures are recomputed from the samples.

    Raises UserError `costs-invalid` naming the entry; then nothing is stored.
    """
    try:
        document = json.loads(data)
        if document["format"] != FORMAT:
            raise ValueError(f"format is {document['format']!r}, expected {FORMAT!r}")
        name = device_name or str(document["device"])
        environment = dict(document["environment"])
        if not DEVICE_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a device name")
        costs = [_cost(number, entry) for number, entry in enumerate(document["costs"])]
    except (ValueError, KeyError, TypeError) as error:
        text = f"no field {error}" if isinstance(error, KeyError) else str(error)
        raise UserError("costs-invalid", f"the costs cannot be read: {text}", hint="see docs/devices.md") from None
    if context.local_device(name) is not None:
        device_id = context.device(name).id
        if name != document["device"] or environment.get("compiler") != context.device_json(name)["compiler"]:
            raise UserError(
                "costs-invalid",
                f"these costs are of another device than {name} of this machine",
                hint="give them another name with --device",
            )
    else:
        # Another compiler or other flags are another device: their costs must not mix.
        described = [str(environment.get(field, "")) for field in ("compiler", "flags", "cpu", "machine")]
        described += [str(environment["threads"])] if environment.get("threads", 1) != 1 else []
        device_id = f"{name}:{hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]}"
    context.costs.register(device_id, name, environment)
    return {"device": name, "imported": context.costs.put(device_id, costs)}


def _cost(number: int, entry: dict[str, Any]) -> Cost:
    samples = [int(sample) for sample in entry["samples_ns"]]
    if not samples or min(samples) < 0:
        raise ValueError(f"costs[{number}]: samples_ns must be non-empty and not negative")
    key = CostKey(
        str(entry["primitive"]), str(entry["shape"]), str(entry["source_hash"]), str(entry.get("weights_from", "l3"))
    )
    _ = key.parsed_shape
    return Cost(key, tuple(samples), median_ns(samples), quantile_ns(samples, 0.1), quantile_ns(samples, 0.9))
