"""The ways of compiling that together reach every vector width, with and without sanitizers.

Of those of this machine only `native` is optimised as bundles are; the others trade that for compile time. The targets
are other processors, emulated."""

from __future__ import annotations

import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from kernels.build import Toolchain, compiler_identity, host_toolchain

_X86_FEATURES = {"avx2": ("avx2", "fma"), "sse": ("sse2",)}


@dataclass(frozen=True)
class Target:
    """Another processor: its name in Debian, flags that choose its instructions, its emulator, its vectors."""

    triple: str
    flags: tuple[str, ...]
    emulator: str
    vector_floats: int

    @property
    def cc(self) -> str:
        return f"{self.triple}-gcc"

    @property
    def runner(self) -> tuple[str, ...]:
        return (self.emulator, "-L", f"/usr/{self.triple}")

    def toolchain(self) -> Toolchain:
        """Optimised as bundles are; skips when compiler or emulator are missing."""
        for tool in (self.cc, self.emulator):
            if not shutil.which(tool):
                pytest.skip(f"{tool} is not installed (docs/targets.md)")
        return Toolchain(self.cc, ("-O3", *self.flags), self.runner)


TARGETS = {
    "aarch64": Target("aarch64-linux-gnu", (), "qemu-aarch64", 4),
    "armv7": Target("arm-linux-gnueabihf", ("-mcpu=cortex-a15", "-mfpu=neon-vfpv4"), "qemu-arm", 4),
    "riscv64": Target("riscv64-linux-gnu", (), "qemu-riscv64", 1),
}


def toolchain_of(variant: str) -> tuple[Toolchain, bool]:
    """The compiler and flags of a variant, and whether it is sanitised; skips when this machine cannot run it."""
    if variant in TARGETS:
        return TARGETS[variant].toolchain(), False
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
