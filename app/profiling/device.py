"""A device: a compiler with flags, a core to run on, and the record of the environment that measured."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import UserError
from kernels.build import BuildError, Toolchain, compiler_identity, host_toolchain

HOST = "host"


@dataclass(frozen=True)
class Device:
    """Where costs are measured. `cpu` is the core the harness is pinned to; None leaves it to the system."""

    name: str
    toolchain: Toolchain
    cpu: int | None
    threads: int = 1
    description: str = ""

    def fingerprint(self) -> str:
        """16 hex digits over compiler, flags, processor and threads: costs of another fingerprint do not mix."""
        text = "\0".join(
            [_compiler(self.toolchain), *self.toolchain.flags, cpu_model(), platform.machine(), str(self.threads)]
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def cost_id(self) -> str:
        """Key of this device's costs: its name and fingerprint."""
        return f"{self.name}:{self.fingerprint()}"

    def environment(self) -> dict[str, Any]:
        """What a reader of the costs must know about the machine, as it is now."""
        return {
            "cpu": cpu_model(),
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "pinned_cpu": self.cpu,
            "threads": self.threads,
            "compiler": _compiler(self.toolchain),
            "flags": " ".join(self.toolchain.flags),
            "kernel": platform.release(),
            "governor": _read(f"/sys/devices/system/cpu/cpu{self.cpu or 0}/cpufreq/scaling_governor") or "unknown",
            "load_1min": round(os.getloadavg()[0], 2),
        }


def host_device(cc: str | None = None) -> Device:
    """This machine: its own compiler, its last core (the first one serves most interrupts)."""
    try:
        toolchain = host_toolchain(cc)
    except BuildError as error:
        raise UserError("compiler-missing", error.message, hint=error.hint) from None
    return Device(HOST, toolchain, max(os.sched_getaffinity(0)), description=f"{cpu_model()} (this machine)")


def load_devices(toolchains_file: Path | None) -> dict[str, Device]:
    """The host and every device of the settings file; its entries are [device.NAME] with cc, flags, cpu.

    Raises UserError `device-invalid` naming file and entry.
    """
    devices = {HOST: host_device()}
    if toolchains_file is None:
        return devices
    try:
        entries = tomllib.loads(toolchains_file.read_text()).get("device", {})
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UserError("device-invalid", f"{toolchains_file}: {error}", hint="see docs/devices.md") from None
    for name, entry in entries.items():
        where = f"{toolchains_file}: [device.{name}]"
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,39}", name):
            raise UserError("device-invalid", f"{where}: a name is lower-case letters, digits, - and _")
        unknown = set(entry) - {"cc", "flags", "cpu", "description"}
        if unknown or not isinstance(entry.get("cc"), str) or not isinstance(entry.get("flags", []), list):
            raise UserError("device-invalid", f"{where}: needs cc (text), may have flags (list), cpu, description")
        toolchain = Toolchain(entry["cc"], tuple(str(flag) for flag in entry.get("flags", [])))
        devices[name] = Device(name, toolchain, entry.get("cpu"), description=entry.get("description", ""))
    return devices


def cpu_model() -> str:
    """The processor's own name, or the machine type where the system does not say."""
    match = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo") or "", re.MULTILINE)
    return match.group(1).strip() if match else platform.processor() or platform.machine()


def _compiler(toolchain: Toolchain) -> str:
    try:
        return compiler_identity(toolchain)
    except BuildError as error:
        raise UserError("compiler-missing", error.message, hint=error.hint) from None


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None
