"""Everything the services work with, opened once: settings, database, stores, files, devices."""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

from app.db.access import ReplyStore, TokenStore
from app.db.blobs import BlobStore
from app.db.database import Database
from app.db.jobs import JobStore
from app.db.migrate import upgrade
from app.db.stores import BundleStore, CostStore, FrontierStore, ModelStore
from app.errors import UserError
from app.profiling.device import HOST, Device, base_and_threads, cores, load_devices, with_threads
from app.settings import Settings

REMEMBERED = 128
T = TypeVar("T")


@dataclass(frozen=True)
class DeviceRef:
    """A device costs exist for or can be measured on. `id` is name:fingerprint, the key of its costs.

    `device` is None for one that was measured elsewhere and whose costs were imported.
    """

    name: str
    id: str
    threads: int
    device: Device | None


class Context:
    """The opened data folder. Close it, or use it as a context manager."""

    def __init__(self, settings: Settings):
        self.settings = settings
        settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.database = Database(settings.url)
        self.backup_made = upgrade(self.database)
        self.blobs = BlobStore(settings.data)
        self.models = ModelStore(self.database)
        self.costs = CostStore(self.database)
        self.frontiers = FrontierStore(self.database)
        self.bundles = BundleStore(self.database)
        self.jobs = JobStore(self.database)
        self.tokens = TokenStore(self.database)
        self.replies = ReplyStore(self.database)
        self._memory: OrderedDict[Hashable, Any] = OrderedDict()
        self._memory_lock = threading.Lock()

    def remember(self, key: Hashable, make: Callable[[], T]) -> T:
        """`make()`, or what it returned for this key before; the last few are kept."""
        with self._memory_lock:
            if key in self._memory:
                self._memory.move_to_end(key)
                known: T = self._memory[key]
                return known
        made = make()
        with self._memory_lock:
            self._memory[key] = made
            while len(self._memory) > REMEMBERED:
                self._memory.popitem(last=False)
        return made

    @functools.cached_property
    def devices(self) -> dict[str, Device]:
        """The host and those of the toolchains file; raises UserError when that is wrong or no compiler is there."""
        return load_devices(self.settings.toolchains)

    def device(self, name: str) -> DeviceRef:
        """The device of that name, NAME@THREADS for another number of threads than its own.

        Raises UserError `device-unknown` listing those there are.
        """
        try:
            local = self.local_device(name)
        except UserError:
            # Threads that this process has no processors for (any more): what was measured with them stays readable.
            if not self.costs.device_ids(name):
                raise
            local = None
        if local is not None:
            if local.name not in self._cost_ids:
                self._cost_ids[local.name] = local.cost_id
            return DeviceRef(local.name, self._cost_ids[local.name], local.threads, local)
        imported = self.costs.device_ids(name)
        if imported:
            environment = next(row["environment"] for row in self.costs.registered() if row["id"] == imported[0])
            return DeviceRef(name, imported[0], int(environment.get("threads", 1)), None)
        known = sorted({*self.devices, *(row["name"] for row in self.costs.registered())})
        raise UserError(
            "device-unknown",
            f"there is no device {name!r}",
            hint=f"known devices: {', '.join(known)}",
            facts={"known": known},
            status=404,
        )

    def local_device(self, name: str) -> Device | None:
        """The device of that name if it can be measured from here: the host, or one of the toolchains file."""
        base, threads = base_and_threads(name)
        if base not in self.devices:
            return None
        return self.devices[base] if threads is None else with_threads(self.devices[base], threads)

    @functools.cached_property
    def _cost_ids(self) -> dict[str, str]:
        return {}

    def device_json(self, name: str) -> dict[str, Any]:
        """The public form of a device."""
        found = self.device(name)
        if found.device is None:
            environment = next(row["environment"] for row in self.costs.registered() if row["id"] == found.id)
        else:
            environment = found.device.environment()
        return {
            "name": found.name,
            "id": found.id,
            "description": found.device.description if found.device else "measured before or elsewhere",
            "compiler": str(environment.get("compiler", "")),
            "flags": str(environment.get("flags", "")),
            "threads": found.threads,
            "measurable": found.device is not None,
            "environment": environment,
        }

    def device_names(self) -> list[str]:
        """Every device: those of this machine's settings, the host on all its cores, those with costs."""
        shared = [f"{HOST}@{len(cores())}"] if len(cores()) > 1 else []
        return list(dict.fromkeys([*self.devices, *shared, *(row["name"] for row in self.costs.registered())]))

    def forget_devices(self) -> None:
        """Read the toolchains file again when a device is asked for next."""
        for name in ("devices", "_cost_ids"):
            self.__dict__.pop(name, None)

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
