"""Harness builds shared by the kernel tests: one child process per way of compiling, kept for the session."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kernels.build import Toolchain, build_harness, host_toolchain
from kernels.harness import Harness

_X86_FEATURES = {"avx2": ("avx2", "fma"), "sse": ("sse2",)}


def _toolchain(variant: str) -> tuple[Toolchain, bool]:
    """The compiler and flags of a variant, and whether it is sanitised; skips when this machine cannot run it."""
    if variant == "clang":
        if not shutil.which("clang"):
            pytest.skip("clang is not installed")
        return Toolchain("clang"), False
    cc = host_toolchain().cc
    if variant in _X86_FEATURES:
        if platform.machine() != "x86_64":
            pytest.skip(f"{variant} is a variant of x86-64")
        features = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
        if not all(f" {feature} " in features for feature in _X86_FEATURES[variant]):
            pytest.skip(f"this processor has no {variant}")
    flags = {
        "sanitized": ("-march=native",),
        "native": ("-O3", "-march=native"),
        "avx2": ("-O3", "-mavx2", "-mfma"),
        "sse": ("-O3", "-march=x86-64"),
        "scalar": ("-O2", "-DTS_SCALAR"),
    }
    return Toolchain(cc, flags[variant]), variant == "sanitized"


@pytest.fixture(scope="session")
def harness_dir(request: pytest.FixtureRequest) -> Path:
    """Where test builds are cached between sessions; the names in it are content hashes."""
    return Path(request.config.cache.mkdir("harness"))


@pytest.fixture(scope="session")
def harness_of(harness_dir: Path) -> Iterator[Callable[[str], Harness]]:
    """The running harness of a variant: sanitized, native, avx2, sse, scalar or clang."""
    running: dict[str, Harness] = {}

    def start(variant: str) -> Harness:
        if variant not in running:
            toolchain, sanitize = _toolchain(variant)
            running[variant] = Harness(build_harness(toolchain, harness_dir, sanitize=sanitize))
        return running[variant]

    yield start
    for harness in running.values():
        harness.close()
