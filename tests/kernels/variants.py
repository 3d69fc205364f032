"""The ways of compiling that together reach every vector width, with and without sanitizers."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

import pytest

from kernels.build import Toolchain, host_toolchain

_X86_FEATURES = {"avx2": ("avx2", "fma"), "sse": ("sse2",)}


def toolchain_of(variant: str) -> tuple[Toolchain, bool]:
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
