"""A device: a compiler with flags, cores to run on, and the record of the environment that measured."""

from __future__ import annotations

import dataclasses
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
from kernels.split import MOST_THREADS

HOST = "host"


@dataclass(frozen=True)
class Device:
    """Where costs are measured. `cpus` are the cores calls run on, one per thread; none leaves it to the system."""

    name: str
    toolchain: Toolchain
    cpus: tuple[int, ...] = ()
    threads: int = 1
    description: str = ""

    def fingerprint(self) -> str:
        """16 hex digits over compiler, flags, runner, processor and threads: costs of another one do not mix."""
        built = [_compiler(self.toolchain), *self.toolchain.flags, *self.toolchain.runner]
        text = "\0".join([*built, cpu_model(), platform.machine(), str(self.threads)])
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
            "pinned_cpus": list(self.cpus),
            "threads": self.threads,
            "compiler": _compiler(self.toolchain),
            "flags": " ".join(self.toolchain.flags),
            "runner": " ".join(self.toolchain.runner),  # if any, the processor above is not what runs the calls
            "kernel": platform.release(),
            "governor": _read(f"/sys/devices/system/cpu/cpu{min(self.cpus, default=0)}/cpufreq/scaling_governor")
            or "unknown",
            "load_1min": round(os.getloadavg()[0], 2),
        }


def host_device(cc: str | None = None) -> Device:
    """This machine: its own compiler, its last core (the first one serves most interrupts)."""
    try:
        toolchain = host_toolchain(cc)
    except BuildError as error:
        raise UserError("compiler-missing", error.message, hint=error.hint) from None
    return Device(HOST, toolchain, cores()[:1], description=f"{cpu_model()} (this machine)")


def cores() -> tuple[int, ...]:
    """Processors this process may use, best first: the last one of every core, then those that share a core."""
    usable = sorted(os.sched_getaffinity(0), reverse=True)
    first_of_core: dict[str, int] = {}
    for cpu in usable:
        siblings = _read(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") or str(cpu)
        first_of_core.setdefault(siblings, cpu)
    own = tuple(first_of_core.values())
    return own + tuple(cpu for cpu in usable if cpu not in own)


def base_and_threads(name: str) -> tuple[str, int | None]:
    """A device's own name, and the threads NAME@THREADS asks for; raises UserError `device-invalid`."""
    base, at, count = name.partition("@")
    if not at:
        return base, None
    if not count.isdecimal() or count.startswith("0") or int(count) > MOST_THREADS:
        raise UserError(
            "device-invalid", f"{name!r}: NAME@THREADS with 1 to {MOST_THREADS} threads", hint=f"for example {base}@2"
        )
    return base, int(count)


def with_threads(device: Device, threads: int) -> Device:
    """The device on `threads` threads, named NAME@THREADS; raises UserError where there are not as many cores."""
    if threads == device.threads:
        return device
    usable = cores()
    if threads > len(usable):
        raise UserError(
            "device-invalid",
            f"{device.name} cannot run {threads} threads: this program may use {len(usable)} processor(s)",
            hint=f"ask for at most {len(usable)}",
        )
    cpus: tuple[int, ...] = ()
    if device.cpus:
        cpus = (*device.cpus, *(cpu for cpu in usable if cpu not in device.cpus))[:threads]
    description = f"{device.description}, {threads} threads".removeprefix(", ")
    return dataclasses.replace(
        device, name=f"{device.name}@{threads}", cpus=cpus, threads=threads, description=description
    )


def load_devices(toolchains_file: Path | None) -> dict[str, Device]:
    """The host and every device of the settings file; its entries are [device.NAME] with cc, flags, cpus, threads.

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
        unknown = set(entry) - {"cc", "flags", "cpu", "cpus", "threads", "runner", "description"}
        if (
            unknown
            or not isinstance(entry.get("cc"), str)
            or not all(isinstance(entry.get(words, []), list) for words in ("flags", "runner"))
        ):
            raise UserError(
                "device-invalid",
                f"{where}: needs cc (text), may have flags, runner, cpus (lists), cpu, threads, description",
            )
        flags, runner = (tuple(str(word) for word in entry.get(words, [])) for words in ("flags", "runner"))
        toolchain = Toolchain(entry["cc"], flags, runner)
        threads = entry.get("threads", 1)
        cpus = tuple(entry.get("cpus", [entry["cpu"]] if "cpu" in entry else []))
        if threads not in range(1, MOST_THREADS + 1) or not all(isinstance(cpu, int) for cpu in cpus):
            raise UserError("device-invalid", f"{where}: threads is 1 to {MOST_THREADS}, cpus are numbers")
        if cpus and len(set(cpus)) != threads:
            raise UserError("device-invalid", f"{where}: {threads} thread(s) need as many cpus, given are {list(cpus)}")
        devices[name] = Device(name, toolchain, cpus, threads, description=entry.get("description", ""))
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
