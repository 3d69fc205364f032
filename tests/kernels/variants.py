"""The ways of compiling that together reach every vector width, with and without sanitizers.

Only `native` is optimised as bundles are; the others trade that for compile time."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

import pytest

from kernels.build import Toolchain, compiler_identity, host_toolchain

_X86_FEATURES = {"avx2": ("avx2", "fma"), "sse": ("sse2",)}


def toolchain_of(variant: str) -> tuple[Toolchain, bool]:
    """The compiler and flags of a variant, and whether it is sanitised; skips when this machine cannot run it."""
    if variant == "clang":
        if not shutil.which("clang"):
            pytest.skip("clang is not installed")
        return Toolchain("clang", ("-O1", "-march=native")), False
    cc = host_toolchain().cc
    if variant in _X86_FEATURES:
        if platform.machine() != "x86_64":
            pytest.skip(f"{variant} is a variant of x86-64")
        features = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
        if not all(f" {feature} " in features for feature in _X86_FEATURES[variant]):
            pytest.skip(f"this processor has no {variant}")
    # Calls instead of inlined checks in large functions: gcc compiles the convolutions in half the time.
    is_gcc = "clang" not in compiler_identity(Toolchain(cc))
    by_calls = ("--param=asan-instrumentation-with-call-threshold=100",) if is_gcc else ()
    flags = {
        "sanitized": ("-march=native", *by_calls),
        "native": ("-O3", "-march=native"),
        "avx2": ("-O2", "-mavx2", "-mfma"),
        "sse": ("-O2", "-march=x86-64"),
        "scalar": ("-O1", "-DTS_SCALAR"),
    }
    return Toolchain(cc, flags[variant]), variant == "sanitized"
