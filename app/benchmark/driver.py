"""The bundle's own process: its library, built by its own Makefile, linked with a loop that answers the protocol.

C calls C here: a run is one direct call, and nothing but the network and this loop is in the process.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from string import Template

from app.errors import Item, UserError
from app.verify.opened import OpenedBundle

MOST_RUNS = 20_000
BUILD_TIMEOUT_S = 1800.0
_MOST_LINES = 12

_SOURCE = Template(
    r"""/* contender INPUTS OUTPUTS: answers the requests of app/benchmark/contender.py on standard input.
 *
 * INPUTS holds the inputs as raw float32, OUTPUTS gets the outputs of the newest run after each request.
 */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "${prefix}.h"

enum { N_IN = ${n_in}, N_OUT = ${n_out}, MOST_RUNS = ${most_runs} };

static const size_t in_elems[N_IN] = { ${in_elems} };
static const size_t out_elems[N_OUT] = { ${out_elems} };
static const char *outputs_path;
static int loaded;
static float *in[N_IN], *out[N_OUT];
/* One more unit, because an arena may have no bytes and an array may not. */
static _Alignas(${P}_ARENA_ALIGN) unsigned char arena[${P}_ARENA_BYTES + ${P}_ARENA_ALIGN];
static struct ${prefix} net;
static uint64_t samples_ns[MOST_RUNS];

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* A figure of /proc/self/status, which counts in KiB; -1 when it is not there. */
static long long status_bytes(const char *field)
{
    char line[256];
    long long bytes = -1;
    FILE *file = fopen("/proc/self/status", "r");
    if (file == NULL)
        return -1;
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, field, strlen(field)) == 0 && line[strlen(field)] == ':')
            bytes = 1024 * atoll(line + strlen(field) + 1);
    fclose(file);
    return bytes;
}

/* Let VmHWM begin anew. */
static int reset_peak(void)
{
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (file == NULL)
        return 0;
    const int written = fputs("5", file) >= 0;
    return fclose(file) == 0 && written;
}

static void print_peak(const char *name, int can_reset)
{
    if (can_reset)
        printf("\"%s\": %lld", name, status_bytes("VmHWM"));
    else
        printf("\"%s\": null", name);
}

static int run(void)
{
    return ${prefix}_run(&net, ${arguments});
}

/* Outputs are on disk before an answer says so. */
static int write_outputs(void)
{
    FILE *file = fopen(outputs_path, "wb");
    if (file == NULL)
        return -1;
    int good = 1;
    for (int o = 0; o < N_OUT; o++)
        good = good && fwrite(out[o], sizeof(float), out_elems[o], file) == out_elems[o];
    return fclose(file) == 0 && good ? 0 : -1;
}

static void fail(const char *reason)
{
    printf("{\"error\": \"%s\"}\n", reason);
}

static void load(void)
{
    const long long before = status_bytes("VmRSS");
    const int can_reset = reset_peak();
    int error = ${prefix}_init(&net, arena, ${P}_ARENA_BYTES);
    if (error == 0)
        error = run();
    const long long after = status_bytes("VmRSS");
    if (error != 0) {
        fail(${prefix}_strerror(error));
        return;
    }
    loaded = 1;
    if (write_outputs() != 0) {
        fail("the outputs cannot be written");
        return;
    }
    printf("{\"rss_before_bytes\": %lld, \"rss_bytes\": %lld, ", before, after);
    print_peak("load_peak_bytes", can_reset);
    printf(", \"session_bytes\": null}\n");
}

static void turn(uint64_t warm_up_ns, uint64_t burst_ns, int least_runs, int most_runs)
{
    const int can_reset = reset_peak();
    int count = 0, error;
    uint64_t started = now_ns();
    do
        error = run();
    while (error == 0 && now_ns() - started < warm_up_ns);
    uint64_t before = started = now_ns();
    while (error == 0 && count < most_runs && (count < least_runs || before - started < burst_ns)) {
        before = now_ns();
        error = run();
        const uint64_t after = now_ns();
        samples_ns[count++] = after - before;
        before = after;
    }
    if (error != 0 || write_outputs() != 0) {
        fail(error != 0 ? ${prefix}_strerror(error) : "the outputs cannot be written");
        return;
    }
    printf("{");
    print_peak("run_peak_bytes", can_reset);
    printf(", \"samples_ns\": [");
    for (int i = 0; i < count; i++)
        printf("%s%" PRIu64, i ? "," : "", samples_ns[i]);
    printf("]}\n");
}

int main(int argc, char **argv)
{
    char line[256];
    FILE *file = argc == 3 ? fopen(argv[1], "rb") : NULL;
    if (file == NULL)
        return 3;
    for (int i = 0; i < N_IN; i++) {
        in[i] = malloc(in_elems[i] * sizeof(float));
        if (in[i] == NULL || fread(in[i], sizeof(float), in_elems[i], file) != in_elems[i])
            return 3;
    }
    fclose(file);
    outputs_path = argv[2];
    for (int o = 0; o < N_OUT; o++) {
        out[o] = malloc(out_elems[o] * sizeof(float));
        if (out[o] == NULL)
            return 4;
    }
    while (fgets(line, sizeof line, stdin) != NULL) {
        uint64_t warm_up_ns, burst_ns;
        int least_runs, most_runs;
        if (strcmp(line, "load\n") == 0)
            load();
        else if (loaded &&
                 sscanf(line, "run %" SCNu64 " %" SCNu64 " %d %d", &warm_up_ns, &burst_ns, &least_runs, &most_runs) ==
                     4 &&
                 most_runs <= MOST_RUNS)
            turn(warm_up_ns, burst_ns, least_runs, most_runs);
        else
            fail("unknown request");
        fflush(stdout);
    }
    return 0;
}
"""
)


def driver_source(bundle: OpenedBundle) -> str:
    """The C text of the loop for one bundle."""
    arguments = [f"in[{i}]" for i in range(len(bundle.inputs))] + [f"out[{o}]" for o in range(len(bundle.outputs))]
    return _SOURCE.substitute(
        prefix=bundle.prefix,
        P=bundle.prefix.upper(),
        n_in=len(bundle.inputs),
        n_out=len(bundle.outputs),
        most_runs=MOST_RUNS,
        in_elems=", ".join(str(tensor.elems) for tensor in bundle.inputs),
        out_elems=", ".join(str(tensor.elems) for tensor in bundle.outputs),
        arguments=", ".join(arguments),
    )


def build_driver(bundle: OpenedBundle, compiler: str, flags: Sequence[str]) -> Path:
    """The program of one bundle, compiled with `flags` as its costs were measured; raises `bundle-does-not-compile`."""
    for tool in (compiler, "make", "ar"):
        if shutil.which(tool) is None:
            raise UserError("compiler-missing", f"{tool} was not found", hint="building a bundle needs it")
    cflags = " ".join(("-std=c11", "-Wall", "-Wextra", *flags))
    library = bundle.folder / f"lib{bundle.prefix}.a"
    jobs = f"-j{len(os.sched_getaffinity(0))}"
    _run(["make", "-C", str(bundle.folder), jobs, f"CC={compiler}", f"CFLAGS={cflags}", library.name])
    source, program = bundle.folder / "contender.c", bundle.folder / "contender"
    source.write_text(driver_source(bundle))
    command = [compiler, *cflags.split(), "-Wl,--gc-sections", "-o", str(program), str(source), str(library)]
    _run([*command, "-pthread", *(["-lm"] if bundle.needs_libm else [])])
    return program


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=BUILD_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise UserError("bundle-does-not-compile", f"{command[0]} took longer than {BUILD_TIMEOUT_S:.0f} s") from None
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise UserError(
            "bundle-does-not-compile",
            f"{Path(command[0]).name} refuses the bundle",
            hint="this is a defect of the export; please report it with the lines below",
            items=[Item("compiler", line) for line in lines[:_MOST_LINES]],
        )
