"""Bundles whose calls are shared among threads, and bundles that know nothing of threads."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from app.codegen.bundle import pack
from app.codegen.plan import make_plan
from app.errors import UserError
from app.graph.ir import Graph
from app.verify import verify_bundle
from kernels import registry
from kernels.spec import Attrs, Layout, Primitive, Shape
from tests.tiny_bundles import PROVENANCE, conv, files, graph, plan, schedule, two_convolutions, vectors

RELU = Attrs(lo=0.0)


def shared_network() -> Graph:
    """Worth sharing: convolutions, a pool, an addition with a branch, a dense layer; and an end that is too small."""
    return graph(
        [("image", (16, 28, 28))],
        [
            ("a", conv(16, 28, 28, 32), ("image",), RELU),
            ("b", conv(32, 28, 28, 32), ("a",), Attrs()),
            ("sum", Shape("add", 32, 28, 28, 32, 28, 28), ("a", "b"), RELU),
            ("small", Shape("max_pool", 32, 28, 28, 32, 14, 14, kh=2, kw=2, stride_h=2, stride_w=2), ("sum",), Attrs()),
            ("c", conv(32, 14, 14, 64, 1), ("small",), RELU),
            ("hidden", Shape("dense", 64, 14, 14, 40, 1, 1), ("c",), RELU),
            ("scores", Shape("dense", 40, 1, 1, 10, 1, 1), ("hidden",), Attrs()),
        ],
        ["scores"],
    )


def hwc(shape: Shape) -> Primitive:
    """A routine from hwc to hwc, with a workspace where there is one; dense layers from chw."""
    accepted, _ = registry.candidates(shape)
    wanted = Layout.CHW if shape.op == "dense" else Layout.HWC
    fitting = [p for p in accepted if p.in_layout is wanted and p.out_layout is wanted]
    return next((p for p in fitting if p.workspace_bytes(shape) and p.family == "winograd"), fitting[0])


def planar(shape: Shape) -> Primitive:
    """A routine from chw to chw that needs little to compile."""
    accepted, _ = registry.candidates(shape)
    fitting = [p for p in accepted if p.in_layout is p.out_layout is Layout.CHW]
    return next((p for p in fitting if p.family == "im2col"), fitting[0])


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("choose", [hwc, planar])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_shared_bundle_is_verified(choose, threads: int, compiler: str, objects: Path) -> None:
    bundle = plan(shared_network(), choose, threads=threads)
    assert bundle.threads == threads
    proof = verify_bundle(
        pack(files(shared_network(), choose, threads=threads), "net"),
        compiler=compiler,
        extra_flags=["-O1"],
        runs=50,
        cache=objects,
    )
    assert proof.argmax_ok
    assert proof.arena_used_bytes == proof.arena_bytes == bundle.schedule.arena_bytes


@pytest.mark.parametrize("choose", [hwc, planar])
def test_shared_bundle_is_clean_under_the_sanitizers(choose, objects: Path) -> None:
    proof = verify_bundle(
        pack(files(shared_network(), choose, threads=3), "net"), sanitize=True, runs=20, cache=objects
    )
    assert proof.sanitized


def test_verification_sees_a_race(objects: Path) -> None:
    bundle = files(shared_network(), hwc, threads=2)
    pool = bytes(bundle["kernels/ts_pool.h"])
    # The caller does not wait for the others.
    wait = b"    for (int32_t i = 0; i < parts - 1; i++) {\n"
    broken = pool.replace(wait, wait.replace(b"parts - 1", b"0"))
    assert broken != pool
    altered = bundle | {"kernels/ts_pool.h": broken}
    manifest = json.loads(bytes(bundle["manifest.json"]))
    manifest["files"]["kernels/ts_pool.h"] = hashlib.sha256(broken).hexdigest()
    altered["manifest.json"] = json.dumps(manifest).encode()
    with pytest.raises(UserError):
        verify_bundle(pack(altered, "net"), sanitize=True, runs=20, cache=objects)


def test_threads_are_stated() -> None:
    bundle = files(shared_network(), hwc, threads=2)
    header, source = bytes(bundle["net.h"]).decode(), bytes(bundle["net.c"]).decode()
    assert "#define NET_THREADS 2 " in header
    assert "void net_close(struct net *n);" in header
    assert "pthread" not in header, "a C++ program or another thread library must be able to include it"
    assert "/* rows 0 to 13 */" in source
    assert "ts_pool_run(pool, 2, &call);" in source
    assert b"-pthread" in bytes(bundle["Makefile"])
    assert b"Threads::Threads" in bytes(bundle["CMakeLists.txt"])
    manifest = json.loads(bytes(bundle["manifest.json"]))
    assert manifest["threads"] == 2
    assert any(call["parts"] == ["rows 0 to 13", "rows 14 to 27"] for call in manifest["calls"])
    assert manifest["calls"][-1]["parts"] == [], "too small to share"


@pytest.mark.parametrize("threads", [1, 2])
def test_bundle_without_shared_calls_contains_no_threads(threads: int) -> None:
    alone = files(two_convolutions(), planar, threads=threads)
    assert "kernels/ts_pool.h" not in alone
    for path, data in alone.items():
        text = bytes(data)
        assert not any(word in text for word in (b"pthread", b"stdatomic", b"ts_pool", b"_close(")), path
    assert json.loads(bytes(alone["manifest.json"]))["threads"] == 1
    assert alone == files(two_convolutions(), planar)


STRESS = r"""
#include <stdio.h>
#include <string.h>
#include "net.h"
extern const float net_test_vectors[];
static _Alignas(NET_ARENA_ALIGN) float arena[NET_ARENA_BYTES / sizeof(float)];
static float first[NET_OUTPUT_0_ELEMS], y[NET_OUTPUT_0_ELEMS];
int main(void)
{
    struct net n;
    if (net_run(&(struct net){0}, net_test_vectors, y) == NET_OK)
        return 1; /* never initialised */
    for (int round = 0; round < 200; round++) {
        if (net_init(&n, arena, sizeof arena) != NET_OK)
            return 2;
        for (int run = 0; run < 50; run++) {
            memset(y, 0xFF, sizeof y);
            if (net_run(&n, net_test_vectors, y) != NET_OK)
                return 3;
            if (round == 0 && run == 0)
                memcpy(first, y, sizeof y);
            if (memcmp(first, y, sizeof y) != 0)
                return 4;
        }
        net_close(&n);
        if (net_run(&n, net_test_vectors, y) == NET_OK)
            return 5; /* closed */
    }
    puts("ok");
    return 0;
}
"""


@pytest.mark.parametrize("threads", [2, 5])
def test_ten_thousand_runs_between_two_hundred_starts_and_ends(threads: int, tmp_path: Path) -> None:
    """More threads than this machine has cores must come to an end as well."""
    small = graph(
        [("image", (40, 17, 17))],
        [("y", Shape("clamp", 40, 17, 17, 40, 17, 17), ("image",), RELU), ("z", conv(40, 17, 17, 40, 1), ("y",), RELU)],
        ["z"],
    )
    for path, data in files(small, planar, threads=threads).items():
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    (tmp_path / "stress.c").write_text(STRESS)
    kernels = sorted(f"kernels/{path.name}" for path in (tmp_path / "kernels").glob("*.c"))
    sources = ["stress.c", "net.c", "net_weights.c", "test/vectors.S", *kernels]
    command = ["gcc", "-std=c11", "-O2", "-Itest", *sources, "-o", "stress", "-lm", "-pthread"]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    done = subprocess.run([tmp_path / "stress"], capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stdout) == (0, "ok\n")


def test_a_shared_call_may_not_overwrite_what_another_part_reads() -> None:
    made = schedule(shared_network(), hwc, 2)
    over = dataclasses.replace(made.calls[1].output, offset_bytes=made.calls[1].inputs[0].offset_bytes + 64)
    calls = (made.calls[0], dataclasses.replace(made.calls[1], output=over), *made.calls[2:])
    with pytest.raises(ValueError, match="lies over its input"):
        make_plan(
            "tiny",
            shared_network().constants,
            dataclasses.replace(made, calls=calls),
            prefix="net",
            vectors=vectors(shared_network(), 1),
            provenance=PROVENANCE,
        )
