"""Where the time of a bundle goes, call by call: predicted, measured, and how near the processor's peak.

    python bench/layers.py BUNDLE.zip [--cpu N] [--cc gcc] [--group] [--json]

The bundle is checked against its manifest, its schedule (PREFIX.c) gets a clock around every call, and the network runs
on the bundle's first test vector until a second has passed. A figure is the median of a call's times less what the
clock itself takes. Predicted are the costs the point was chosen by, as the manifest has them. Caches are as the network
leaves them. `--group` adds up the calls of one primitive on one shape.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from app.codegen.text import shape_text
from app.errors import UserError
from app.profiling.device import Device, host_device
from app.verify.build import OPTIMISED_FLAGS
from app.verify.opened import OpenedBundle, opened
from kernels.build import build_harness
from kernels.harness import Harness
from kernels.spec import Shape

ROOT = Path(__file__).parents[1]
LEAST_RUNS, MOST_RUNS = 5, 1000
RUN_NS = 1_000_000_000
PEAK_TURNS = 5

_CLOCK = r"""
/* A clock around every call; the driver reads `times`. */
#include <time.h>
#define CALLS %(calls)d
#define MOST_RUNS %(most_runs)d
unsigned times[CALLS + 1][MOST_RUNS];
int runs_done;
static long long now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}
"""

_DRIVER = r"""
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "%(prefix)s.h"
#define CALLS %(calls)d
#define MOST_RUNS %(most_runs)d
extern unsigned times[CALLS + 1][MOST_RUNS];
extern int runs_done;
extern const float %(prefix)s_test_vectors[];
static _Alignas(%(P)s_ARENA_ALIGN) unsigned char arena[%(P)s_ARENA_BYTES + %(P)s_ARENA_ALIGN];
static struct %(prefix)s net;
static long long now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}
static int ascending(const void *a, const void *b)
{
    const unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
    return (x > y) - (x < y);
}
int main(void)
{
    static unsigned whole[MOST_RUNS], clock_ns[1001];
    float *out[%(outputs)d];
%(allocate)s
    if (%(prefix)s_init(&net, arena, %(P)s_ARENA_BYTES) != 0)
        return 3;
    const float *in = %(prefix)s_test_vectors;
    (void)in;
    for (int i = 0; i < 1001; i++) {
        const long long begin = now_ns();
        clock_ns[i] = (unsigned)(now_ns() - begin);
    }
    qsort(clock_ns, 1001, sizeof *clock_ns, ascending);
    if (%(prefix)s_run(&net, %(arguments)s) != 0) /* to warm up */
        return 3;
    const long long end = now_ns() + %(run_ns)dLL;
    for (runs_done = 0; runs_done < MOST_RUNS && (runs_done < %(least_runs)d || now_ns() < end); runs_done++) {
        const long long begin = now_ns();
        if (%(prefix)s_run(&net, %(arguments)s) != 0)
            return 3;
        whole[runs_done] = (unsigned)(now_ns() - begin);
    }
    qsort(whole, (size_t)runs_done, sizeof *whole, ascending);
    printf("%%d %%u %%u\n", runs_done, clock_ns[500], whole[(runs_done - 1) / 2]);
    for (int i = 0; i < CALLS; i++) {
        qsort(times[i], (size_t)runs_done, sizeof **times, ascending);
        printf("%%u\n", times[i][(runs_done - 1) / 2]);
    }
    return 0;
}
"""


@dataclasses.dataclass(frozen=True)
class Layer:
    """One call of the schedule, or several of one primitive on one shape."""

    label: str
    primitive: str
    shape: str  # for readers
    calls: int
    macs: int
    predicted_ns: int
    measured_ns: int


@dataclasses.dataclass(frozen=True)
class Profile:
    """All calls of a bundle. `run_ns` is the median of whole runs with the clock in them."""

    network: str
    layers: tuple[Layer, ...]
    runs: int
    clock_ns: int
    run_ns: int
    threads: int


def profile(bundle: Path, cc: str, flags: Sequence[str], runner: Sequence[str]) -> Profile:
    """Compile the bundle with a clock around every call, run it, and read the clock."""
    with opened(bundle) as found:
        manifest = json.loads((found.folder / "manifest.json").read_bytes())
        lines = _timed(found, cc, flags, runner, manifest)
    runs, clock_ns, run_ns = map(int, lines[0].split())
    layers = tuple(
        _layer(call, max(0, int(ns) - clock_ns)) for call, ns in zip(manifest["calls"], lines[1:], strict=True)
    )
    return Profile(manifest["model"]["name"], layers, runs, clock_ns, run_ns, found.threads)


def _layer(call: dict[str, Any], measured_ns: int) -> Layer:
    shape = Shape.parse(call["shape"])
    macs = shape.macs if shape.op in ("conv", "dense") else 0
    return Layer(call["label"], call["primitive"], shape_text(shape), 1, macs, call["predicted_ns"], measured_ns)


def _timed(
    found: OpenedBundle, cc: str, flags: Sequence[str], runner: Sequence[str], manifest: dict[str, Any]
) -> list[str]:
    """What the driver prints."""
    calls, prefix = len(manifest["calls"]), found.prefix
    source = found.folder / f"{prefix}.c"
    source.write_text(with_clock(source.read_text(), calls))
    sizes = [tensor.elems for tensor in found.inputs]
    inputs = [f"in + {sum(sizes[:i])}" for i in range(len(sizes))]
    driver = found.folder / "layers_main.c"
    driver.write_text(
        _DRIVER
        % {
            "prefix": prefix,
            "P": prefix.upper(),
            "calls": calls,
            "most_runs": MOST_RUNS,
            "least_runs": LEAST_RUNS,
            "run_ns": RUN_NS,
            "outputs": len(found.outputs),
            "allocate": "\n".join(
                f"    if ((out[{i}] = malloc({4 * tensor.elems}u)) == NULL)\n        return 4;"
                for i, tensor in enumerate(found.outputs)
            ),
            "arguments": ", ".join([*inputs, *(f"out[{i}]" for i in range(len(found.outputs)))]),
        }
    )
    sources = [*found.library_sources(), driver, found.folder / "test" / "vectors.S"]
    # The driver lies beside the schedule, so it is among the sources already.
    sources = list(dict.fromkeys(sources))
    with tempfile.TemporaryDirectory(prefix="tradespace-layers-") as folder:
        objects = [Path(folder) / f"{number}.o" for number in range(len(sources))]
        options = ["-std=gnu11", *OPTIMISED_FLAGS, *flags, "-I", str(found.folder)]

        def compile_one(number: int) -> None:
            _run(
                [
                    cc,
                    *options,
                    "-I",
                    str(sources[number].parent),
                    "-c",
                    "-o",
                    str(objects[number]),
                    str(sources[number]),
                ]
            )

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(compile_one, range(len(sources))))
        program = Path(folder) / "layers"
        _run([cc, "-o", str(program), *map(str, objects), "-lm", "-pthread"])
        return _run([*runner, str(program)]).splitlines()


def with_clock(source: str, calls: int) -> str:
    """A schedule with a clock around every call; raises UserError unless it has the calls its manifest says.

    A call of its own is a block. A chain of calls n to m is one block with a block per call, some of them in loops, so
    its calls count themselves, and the run fails unless the last one is call m.
    """
    lines: list[str] = []
    first = last = covered = 0  # the calls of the block at hand; how many calls have been seen
    strips, inside = False, ""  # whether the chain's shapes are behind us; the indentation of the call at hand
    for line in source.splitlines():
        if header := re.match(rf"    /\* (\d+)(?: to (\d+))?/{calls} ", line):
            first, last = int(header[1]), int(header[2] or header[1])
            chained, strips = header[2] is not None, False
        elif first and line == "    {":
            lines += [line, f"        int at_call = {first - 1};" if chained else f"        {_BEGIN}"]
            continue
        elif first and line == "    }":
            lines.append(
                f"        if (at_call != {last})\n            return -1;" if chained else _end(str(first - 1), 8)
            )
            covered, first = covered + last - first + 1, 0
        elif first and chained and re.match(r" {8}/\* Strips? .* of \d+\. \*/$", line):
            strips = True
        elif strips and not inside and (call := re.match(r"( {8}| {12})\{ /\*", line)):
            inside = call[1]
            lines += [line, f"{inside}    {_BEGIN}"]
            continue
        elif inside and line == f"{inside}}}":
            lines.append(_end("at_call++", len(inside) + 4))
            inside = ""
        lines.append(line)
    if covered != calls:
        raise UserError(
            "bad-bundle", f"the schedule does not show the {calls} calls of its manifest", hint="export it again"
        )
    place = next(i for i, line in enumerate(lines) if line.startswith("ts_routine "))
    return "\n".join([*lines[:place], _CLOCK % {"calls": calls, "most_runs": MOST_RUNS}, *lines[place:]]) + "\n"


_BEGIN = "const long long clock_begin = now_ns();"


def _end(number: str, indent: int) -> str:
    return f"{' ' * indent}times[{number}][runs_done] = (unsigned)(now_ns() - clock_begin);"


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        raise UserError(
            "bundle-does-not-compile", f"{command[0]} fails with status {done.returncode}: {done.stderr[:2000]}"
        )
    return done.stdout


def peak_gflops(device: Device, data: Path) -> float:
    """What a core of the device can do at best, measured now; `data` keeps the measuring program.

    The best of several, because disturbance only ever lowers it.
    """
    binary = build_harness(device.toolchain, data / "harness", sanitize=False, primitives=())
    with Harness(binary, cpus=device.cpus[:1]) as harness:
        return max(harness.measure_host().fma_gflops for _ in range(PEAK_TURNS))


def grouped(layers: Sequence[Layer]) -> list[Layer]:
    """The calls of one primitive on one shape added up, dearest first."""
    found: dict[tuple[str, str], Layer] = {}
    for layer in layers:
        key = (layer.primitive, layer.shape)
        if key not in found:
            found[key] = layer
            continue
        sums = {
            name: getattr(found[key], name) + getattr(layer, name)
            for name in ("calls", "macs", "predicted_ns", "measured_ns")
        }
        found[key] = dataclasses.replace(found[key], label=f"{sums['calls']} calls", **sums)
    return sorted(found.values(), key=lambda layer: -layer.measured_ns)


def markdown(found: Profile, peak: float, *, group: bool = False) -> list[str]:
    """The table, dearest calls first; `peak` is that of a core in GFLOP/s."""
    layers = grouped(found.layers) if group else sorted(found.layers, key=lambda layer: -layer.measured_ns)
    total, predicted = (sum(getattr(layer, name) for layer in layers) for name in ("measured_ns", "predicted_ns"))
    change = 100 * (total / max(1, predicted) - 1)
    lines = [
        f"{found.network}: {len(found.layers)} calls, medians of {found.runs} runs; predicted "
        f"{predicted / 1e6:.3f} ms, measured {total / 1e6:.3f} ms ({change:+.1f} %), a whole run with the clock in "
        f"it {found.run_ns / 1e6:.3f} ms. FMA peak of a core {peak:.1f} GFLOP/s.",
        "",
        "| call | primitive | shape | predicted us | measured us | error | share | GFLOP/s | % of peak |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for layer in layers:
        speed = 2 * layer.macs / layer.measured_ns if layer.measured_ns and layer.macs else None
        error = f"{100 * (layer.measured_ns / layer.predicted_ns - 1):+.0f} %" if layer.predicted_ns else ""
        rate = f"{speed:.1f} | {100 * speed / (peak * found.threads):.0f}" if speed is not None else " | "
        lines.append(
            f"| {layer.label} | {layer.primitive} | {layer.shape} | {layer.predicted_ns / 1e3:.1f} | "
            f"{layer.measured_ns / 1e3:.1f} | {error} | {100 * layer.measured_ns / max(1, total):.1f} % | {rate} |"
        )
    return lines


def main() -> None:
    """Print the table of a bundle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--cpu", type=int, help="core to run on (default: the last one)")
    parser.add_argument("--cc", help="compiler (default: the host's)")
    parser.add_argument("--group", action="store_true", help="add up the calls of one primitive on one shape")
    parser.add_argument("--json", action="store_true", help="every figure as JSON")
    parser.add_argument("--data", type=Path, default=ROOT / "build" / "audit", help="folder of the measuring program")
    arguments = parser.parse_args()
    device = host_device(arguments.cc)
    if arguments.cpu is not None:
        device = dataclasses.replace(device, cpus=(arguments.cpu,))
    flags = [flag for flag in device.toolchain.flags if flag not in OPTIMISED_FLAGS]
    runner = ("taskset", "-c", ",".join(map(str, device.cpus)))
    found = profile(arguments.bundle, device.toolchain.cc, flags, runner)
    if arguments.json:
        print(json.dumps(dataclasses.asdict(found), indent=1))
    else:
        peak = peak_gflops(device, arguments.data)
        print("\n".join(markdown(found, peak, group=arguments.group)))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"layers: {error}")
