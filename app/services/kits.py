"""Measuring kits: costs of a board that has a C compiler and a shell, but no Python and no network."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from app.costs import CostKey
from app.db.records import ModelRecord
from app.errors import UserError
from app.profiling.device import base_and_threads
from app.profiling.run import EVICT_BYTES, ROUNDS, ROUTINE_NS, SAMPLES_PER_ROUND
from app.services import measurements
from app.services.context import Context
from kernels import registry
from kernels.build import harness_files
from kernels.harness import time_request

FORMAT = "tradespace-kit-1"
_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can say: the same kit is the same bytes

_MAKEFILE = """\
# Builds the driver and measures: `make CC=gcc CFLAGS="-O3 -mcpu=cortex-a72" CPU=3`
CC ?= cc
CFLAGS ?= -O3
# The core to pin to, or as many as threads (0-3), if the board has `taskset`.
CPU ?=
SOURCES := @SOURCES@
PIN := $(if $(CPU),taskset -c $(CPU))

results.jsonl: harness requests.txt keys.jsonl
\t$(PIN) ./harness < requests.txt > answers.jsonl
\tprintf '{"format": "@FORMAT@", "device": "@DEVICE@", "compiler": "%s", "flags": "%s", "machine": "%s"}\\n' \\
\t  "$$($(CC) --version | head -n 1 | tr -d '"\\\\')" "$(CFLAGS)" "$$(uname -m)" > $@.new
\tpaste -d '\\n' keys.jsonl answers.jsonl >> $@.new
\tmv $@.new $@

harness: $(SOURCES)
\t$(CC) -std=c11 $(CFLAGS) -I kernels/include -I generated $(SOURCES) -o $@ -lm -pthread

clean:
\trm -f harness answers.jsonl results.jsonl results.jsonl.new

.PHONY: clean
"""

_README = """\
Measuring kit for device @DEVICE@, network @MODEL@: @COUNT@ costs.

1. Copy this folder to the board, which needs a C11 compiler, make and a POSIX shell.
2. make CC=<compiler> CFLAGS="<the flags you will build the network with>" CPU=<core>
   While it runs nothing else should. It takes as long as @REQUESTS@ short measurements.
3. Copy results.jsonl back and run: tradespace costs import results.jsonl
   Then: tradespace frontier @MODEL@ --device @DEVICE@
"""


def make(
    context: Context, model: ModelRecord, device_name: str, *, families: Collection[str] | None = None
) -> tuple[bytes, int]:
    """The kit as a zip, and how many costs it measures: those the device does not have yet."""
    check_name(context, device_name)
    threads = threads_of(device_name)
    keys = measurements.needed(context, model, families)
    if device_name in context.device_names():
        keys = measurements.missing(context, model, context.device(device_name), families)
    if not keys:
        raise UserError(
            "query-invalid", f"{device_name} has every cost of {model.name} already", hint="trace a front with them"
        )
    # Rounds over all keys, so that a slow phase of the board hits all routines alike.
    rounds = [key for _ in range(ROUNDS) for key in keys]
    sources = harness_files({registry.get(key.primitive) for key in keys})
    words = {
        "@SOURCES@": " ".join(sorted(name for name in sources if name.endswith(".c"))),
        "@FORMAT@": FORMAT,
        "@DEVICE@": device_name,
        "@MODEL@": model.name,
        "@COUNT@": str(len(keys)),
        "@REQUESTS@": str(len(rounds)),
    }
    files = sources | {
        "Makefile": _filled(_MAKEFILE, words),
        "README.txt": _filled(_README, words),
        "requests.txt": "".join(_request(key, threads) for key in rounds).encode(),
        "keys.jsonl": "".join(json.dumps(asdict(key)) + "\n" for key in rounds).encode(),
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(f"kit-{device_name}/{name}", _DATE)
            entry.external_attr = 0o100644 << 16
            entry.create_system = 3
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, files[name])
    return stream.getvalue(), len(keys)


def _filled(text: str, words: dict[str, str]) -> bytes:
    for word, value in words.items():
        text = text.replace(word, value)
    return text.encode()


def threads_of(device_name: str) -> int:
    """Threads of a board: those its name asks for, else one."""
    return base_and_threads(device_name)[1] or 1


def _request(key: CostKey, threads: int) -> str:
    return time_request(
        registry.get(key.primitive),
        key.parsed_shape,
        samples=SAMPLES_PER_ROUND,
        evict_bytes=EVICT_BYTES[key.weights_from],
        dram_weights=key.weights_from == "dram",
        max_ns=ROUTINE_NS // ROUNDS,
        threads=threads,
    )


def check_name(context: Context, device_name: str) -> None:
    """Raise UserError unless this can be the name of a board: no device that is measured from here has it."""
    if not measurements.DEVICE_NAME.fullmatch(device_name):
        raise UserError(
            "device-invalid",
            f"{device_name!r}: a name is lower-case letters, digits, - and _, then @ and the threads, up to 40 in all",
        )
    if context.local_device(device_name) is not None:
        raise UserError(
            "device-invalid",
            f"{device_name} is measured from here, it needs no kit",
            hint=f"tradespace measure MODEL --device {device_name}",
        )


def is_result(data: bytes) -> bool:
    """Whether this is what a kit's `make` wrote, by its first line."""
    return f'"{FORMAT}"'.encode() in data[:200].split(b"\n", 1)[0]


def import_results(context: Context, data: bytes, device_name: str | None = None) -> dict[str, Any]:
    """Store a kit's results.jsonl: a header, then a key and its answer in turn. Raises UserError `costs-invalid`."""
    try:
        header, *lines = [json.loads(line) for line in data.splitlines() if line.strip()]
        if len(lines) % 2:
            raise ValueError("it ends in the middle of an answer; was the run interrupted?")
        samples: dict[CostKey, list[int]] = {}
        for key, answer in zip(lines[::2], lines[1::2], strict=True):
            samples.setdefault(CostKey(**key), []).extend(answer["samples_ns"])
        environment = {name: str(header[name]) for name in ("compiler", "flags", "machine")}
        threads = threads_of(str(header["device"]))
        name = device_name or str(header["device"])
        if threads_of(name) != threads:
            raise ValueError(f"it measured {threads} thread(s), which {name} does not say")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            "costs-invalid", f"the kit's results cannot be read: {error}", hint="run `make` on the board again"
        ) from None
    check_name(context, name)
    document = {
        "format": measurements.FORMAT,
        "device": name,
        "environment": environment | {"threads": threads},
        "costs": [asdict(key) | {"samples_ns": found} for key, found in samples.items()],
    }
    return measurements.import_costs(context, json.dumps(document).encode())
