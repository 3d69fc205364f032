"""Builds are cached by content, complete, warning-free, and fail with an explanation."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from kernels import registry
from kernels.build import BuildError, Toolchain, build_harness, compiler_identity, host_toolchain, included_headers
from kernels.harness import Harness, HarnessError
from kernels.spec import Array, Attrs, Layout, Primitive, Shape

CLAMP = registry.get("clamp_elementwise_chw_chw_f32")
SHAPE = Shape("clamp", 2, 3, 5, 2, 3, 5)
ROUTINE = """
#include "ts.h"
TS_ROUTINE(clamp_{family}_chw_chw_f32)
{{
    (void)s, (void)x, (void)weights, (void)bias, (void)y, (void)workspace;
    {body}
}}
"""
COPY = "for (int32_t i = 0; i < s->c * s->h * s->w; i++)\n        y[i] = x[0][i];\n    "


def _primitive(folder: Path, family: str, body: str) -> Primitive:
    source = folder / f"{family}.c"
    source.write_text(ROUTINE.format(family=family, body=body))
    return Primitive("clamp", family, Layout.CHW, Layout.CHW, str(source), cite="test")


def test_second_build_is_the_same_file_and_compiles_nothing(tmp_path: Path) -> None:
    first = build_harness(host_toolchain(), tmp_path, sanitize=False, primitives=[CLAMP])
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert build_harness(host_toolchain(), tmp_path, sanitize=False, primitives=[CLAMP]) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == stamps


def test_builders_at_the_same_time_compile_every_source_once(tmp_path: Path) -> None:
    toolchain = host_toolchain()
    log = tmp_path / "compiled"
    counting = tmp_path / "counting-cc"
    counting.write_text(f'#!/bin/sh\necho "$*" >> {log}\nexec {toolchain.cc} "$@"\n')
    counting.chmod(0o755)

    def build(_: int) -> Path:
        return build_harness(Toolchain(str(counting)), tmp_path / "out", sanitize=False, primitives=[CLAMP])

    with ThreadPoolExecutor(3) as pool:
        (binary,) = set(pool.map(build, range(3)))
    assert binary.is_file()
    assert len([line for line in log.read_text().splitlines() if " -c " in line]) == 2  # the routine and the driver


def test_changed_source_flags_or_sanitizer_give_another_binary(tmp_path: Path) -> None:
    toolchain = host_toolchain()
    primitive = _primitive(tmp_path, "copy", COPY)
    seen = {build_harness(toolchain, tmp_path, sanitize=False, primitives=[primitive])}
    seen.add(build_harness(toolchain, tmp_path, sanitize=True, primitives=[primitive]))
    seen.add(build_harness(Toolchain(toolchain.cc, ("-O1",)), tmp_path, sanitize=False, primitives=[primitive]))
    _primitive(tmp_path, "copy", COPY + " y[0] += 1.0f;")
    seen.add(build_harness(toolchain, tmp_path, sanitize=False, primitives=[primitive]))
    assert len(seen) == 4


def test_changed_header_compiles_again_only_what_includes_it(tmp_path: Path) -> None:
    (tmp_path / "gain.h").write_text("#define GAIN 2.0f\n")
    plain = _primitive(tmp_path, "plain", COPY)
    gained = _primitive(tmp_path, "gained", COPY + " y[0] *= GAIN;")
    source = tmp_path / "gained.c"
    source.write_text('#include "gain.h"\n' + source.read_text())
    build_harness(host_toolchain(), tmp_path, sanitize=False, primitives=[plain, gained])
    before = set((tmp_path / "objects").iterdir())
    (tmp_path / "gain.h").write_text("#define GAIN 3.0f\n")
    build_harness(host_toolchain(), tmp_path, sanitize=False, primitives=[plain, gained])
    (new,) = set((tmp_path / "objects").iterdir()) - before
    assert new.name.startswith("gained-")


def test_included_headers_are_followed_through_headers() -> None:
    assert included_headers(registry.ROOT / CLAMP.source) == (
        "include/ts.h",
        "include/ts_blocks.h",
        "include/ts_runs.h",
        "include/ts_vec.h",
    )


def test_compiler_warning_is_an_error_that_names_file_and_line(tmp_path: Path) -> None:
    primitive = _primitive(tmp_path, "careless", "int unused; " + COPY)
    with pytest.raises(BuildError, match=r"rejected careless\.c") as caught:
        build_harness(host_toolchain(), tmp_path, sanitize=False, primitives=[primitive])
    assert "careless.c:6" in caught.value.hint
    assert "unused" in caught.value.hint
    assert not list(tmp_path.glob("harness-*"))


def test_missing_compiler_is_named_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BuildError, match="no-such-cc was not found") as caught:
        build_harness(Toolchain("no-such-cc"), tmp_path, sanitize=False, primitives=[CLAMP])
    assert "Install no-such-cc" in caught.value.hint
    with pytest.raises(BuildError, match="no-such-cc"):
        compiler_identity(Toolchain("no-such-cc"))
    monkeypatch.setenv("CC", "other-cc")
    with pytest.raises(BuildError, match="other-cc was not found"):
        host_toolchain()
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match="No C compiler"):
        host_toolchain()


@pytest.mark.parametrize(
    ("refused", "flags"),
    [
        ("none", ("-O3", "-march=native")),
        ("-march=native", ("-O3", "-mcpu=native")),
        ("-march=native|-mcpu=native", ("-O3",)),
    ],
)
def test_the_flags_for_this_machine_are_those_the_compiler_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str, flags: tuple[str, ...]
) -> None:
    """Older clang on ARM: "error: the clang compiler does not support '-march=native'"."""
    compiler = tmp_path / "fake-cc"
    script = f'for word in "$@"; do case "$word" in {refused}) echo "unsupported $word" >&2; exit 1;; esac; done'
    compiler.write_text(f"#!/bin/sh\n{script}\necho fake 1.0\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    assert host_toolchain() == Toolchain(str(compiler), flags)


def test_compiler_identity_is_its_version_line() -> None:
    toolchain = host_toolchain()
    assert any(character.isdigit() for character in compiler_identity(toolchain))
    assert "\n" not in compiler_identity(toolchain)


# The driver itself.


@pytest.fixture(scope="module")
def harness_binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("driver")
    primitives = [
        CLAMP,
        _primitive(folder, "hangs", "for (volatile int on = 1; on;)\n        y[0] = x[0][0];"),
        _primitive(folder, "crashes", "((volatile float *)0)[s->c - 2] = x[0][0]; y[0] = 0.0f;"),
        _primitive(folder, "sleeps", "for (volatile int i = 0; i < 30000000; i++)\n        y[0] = x[0][0];"),
    ]
    return build_harness(host_toolchain(), folder, sanitize=False, primitives=primitives)


def _family(family: str) -> Primitive:
    return Primitive("clamp", family, Layout.CHW, Layout.CHW, "unused.c", cite="test")


def test_time_takes_the_asked_number_of_samples(harness_binary: Path) -> None:
    with Harness(harness_binary, cpus=[min(os.sched_getaffinity(0))]) as harness:
        samples_ns = harness.time(CLAMP, SHAPE, samples=7, evict_bytes=1 << 20, max_ns=10**10)
    assert len(samples_ns) == 7
    assert all(isinstance(ns, int) and ns > 0 for ns in samples_ns)


def test_time_limit_stops_a_slow_routine_after_its_first_sample(harness_binary: Path) -> None:
    with Harness(harness_binary) as harness:
        assert len(harness.time(_family("sleeps"), SHAPE, samples=50, evict_bytes=0, max_ns=1000)) == 1


def test_larger_tensors_take_longer(harness_binary: Path) -> None:
    large = Shape("clamp", 512, 64, 64, 512, 64, 64)
    with Harness(harness_binary) as harness:
        options = {"samples": 9, "evict_bytes": 0, "max_ns": 10**10}
        small_ns = sorted(harness.time(CLAMP, SHAPE, **options))[4]
        large_ns = sorted(harness.time(CLAMP, large, **options))[4]
    assert large_ns > 20 * small_ns  # 8 MB against 120 bytes


def test_crash_names_primitive_and_shape_and_the_harness_goes_on(harness_binary: Path) -> None:
    with Harness(harness_binary) as harness:
        for _ in range(2):
            with pytest.raises(HarnessError, match="signal") as caught:
                harness.time(_family("crashes"), SHAPE, samples=1, evict_bytes=0, max_ns=10**9)
            assert caught.value.primitive == "clamp_crashes_chw_chw_f32"
            assert caught.value.shape == SHAPE.key()
            assert harness.time(CLAMP, SHAPE, samples=1, evict_bytes=0, max_ns=10**9)


def test_hang_ends_at_the_time_out(harness_binary: Path) -> None:
    started_s = time.monotonic()
    with Harness(harness_binary, timeout_s=0.3) as harness:
        with pytest.raises(HarnessError, match="no answer within") as caught:
            harness.check(_family("hangs"), SHAPE, Attrs(), [_zeros()])
        assert caught.value.primitive == "clamp_hangs_chw_chw_f32"
        assert harness.check(CLAMP, SHAPE, Attrs(), [_zeros()]).guards_ok
    assert time.monotonic() - started_s < 60


def test_unknown_primitive_is_refused_by_name(harness_binary: Path) -> None:
    with Harness(harness_binary) as harness, pytest.raises(HarnessError, match="no such primitive"):
        harness.check(_family("absent"), SHAPE, Attrs(), [_zeros()])


def test_host_measurement_has_rate_and_bandwidths(harness_binary: Path) -> None:
    with Harness(harness_binary) as harness:
        speed = harness.measure_host()
    assert speed.fma_gflops > 0
    assert sorted(speed.read_gb_per_s) == [16 << 10, 512 << 10, 4 << 20, 256 << 20]
    assert speed.vector_floats in (1, 4, 8, 16)


def _zeros() -> Array:
    return np.zeros((2, 3, 5), np.float32)
