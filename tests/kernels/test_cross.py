"""Other processors, cross compiled and emulated: the contract, whole bundles, and what the inner loops became.

`make check-cross` runs these and insists on the tools; with plain pytest they are skipped where a tool is missing.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from app.codegen.bundle import pack
from app.errors import UserError
from app.profiling.device import load_devices
from app.verify import verify_bundle
from kernels import registry
from kernels.build import BuildError, Toolchain, build_harness
from kernels.harness import Harness, HarnessError
from kernels.spec import Attrs, Shape
from tests.kernels.contract import breaches
from tests.kernels.loops import Loop, innermost_loops
from tests.kernels.variants import TARGETS
from tests.strategies import edge_shapes
from tests.tiny_bundles import files, two_convolutions

pytestmark = pytest.mark.cross
PRIMITIVES = registry.all_primitives()
SHAPES = 8  # per primitive, spread over its accepted ones: emulation is slow, and the shapes' logic is tested at home
TILE = registry.get("conv_direct_b4p6_hwc_hwc_f32")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", PRIMITIVES)
def test_primitive_keeps_the_contract_on(name: str, target: str, harness_of: Callable[[str], Harness]) -> None:
    primitive = PRIMITIVES[name]
    harness = harness_of(target)
    numbered = [(seed, s) for seed, s in enumerate(edge_shapes(primitive.op)) if primitive.refusal(s) is None]
    stride = -(-len(numbered) // SHAPES)
    found = [breach for seed, shape in numbered[::stride] for breach in breaches(harness, primitive, shape, seed)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("target", TARGETS)
def test_a_bundle_runs_on(target: str, tmp_path: Path) -> None:
    """By its own Makefile as a user calls it, and by verification as an export does."""
    toolchain = TARGETS[target].toolchain()
    bundle = files(two_convolutions())
    for path, data in bundle.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    words = (f"CC={toolchain.cc}", f"TARGET={' '.join(toolchain.flags)}", f"RUN={' '.join(toolchain.runner)}")
    done = subprocess.run(["make", "-s", "test", *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "argmax=ok" in done.stdout
    proof = verify_bundle(
        pack(bundle, "net"), compiler=toolchain.cc, extra_flags=toolchain.flags[1:], runner=toolchain.runner, runs=1
    )
    assert proof.max_rel_err < 1e-5
    assert proof.code_bytes > 0


def _tile_loops(target: str, folder: Path, *, without_pragmas: bool = False) -> list[Loop]:
    """Inner loops of the 4 x 6 tile as bundles compile it."""
    toolchain = TARGETS[target].toolchain()
    include = folder / "include"
    include.mkdir()
    (include / "ts_config.h").write_text("#define TS_SYMBOL(name) ts_##name\n")
    for header in (registry.ROOT / "include").glob("*.h"):
        text = header.read_text()
        (include / header.name).write_text(re.sub(r"^#pragma GCC optimize.*$", "", text, flags=re.M))
        if not without_pragmas:
            (include / header.name).write_text(text)
    command = [toolchain.cc, *toolchain.flags, "-std=c11", "-I", str(include)]
    source, binary = registry.ROOT / TILE.source, folder / "tile.o"
    subprocess.run([*command, "-c", str(source), "-o", str(binary)], check=True)
    return innermost_loops(f"{TARGETS[target].triple}-objdump", binary, target)


# Measured with gcc 12 (docs/decisions/013-compiler-traps); the limits leave room for another release, not for spills.
@pytest.mark.parametrize(
    ("target", "multiply_adds", "instructions"), [("aarch64", 24, 40), ("armv7", 12, 27), ("riscv64", 24, 48)]
)
def test_the_inner_loop_is_arithmetic_in_registers_on(
    target: str, multiply_adds: int, instructions: int, tmp_path: Path
) -> None:
    loops = [loop for loop in _tile_loops(target, tmp_path) if loop.multiply_adds == multiply_adds]
    assert loops
    assert loops[0].instructions <= instructions
    assert loops[0].stack == 0
    assert loops[0].vectors == (multiply_adds if TARGETS[target].vector_floats > 1 else 0)


@pytest.mark.parametrize("target", TARGETS)
def test_without_its_pragmas_the_tile_would_not_multiply_and_add_in_one_instruction_on(
    target: str, tmp_path: Path
) -> None:
    assert not any(loop.multiply_adds > 6 for loop in _tile_loops(target, tmp_path, without_pragmas=True))


# The runner itself, with programs every machine has.

CLAMP = registry.get("clamp_elementwise_chw_chw_f32")
SHAPE = Shape("clamp", 2, 3, 5, 2, 3, 5)


def test_a_runner_starts_the_harness(tmp_path: Path) -> None:
    plain = Toolchain("cc", ("-O1",), ("env", "TS_RUNNER=1"))
    binary = build_harness(plain, tmp_path, sanitize=False, primitives=[CLAMP])
    with Harness(binary, runner=plain.runner) as harness:
        assert len(harness.time(CLAMP, SHAPE, samples=3, evict_bytes=0, max_ns=10**9)) == 3


def test_a_device_has_a_runner_and_costs_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "devices.toml"
    file.write_text('[device.here]\ncc = "cc"\n[device.there]\ncc = "cc"\nrunner = ["ssh", "board"]\n')
    devices = load_devices(file)
    assert devices["there"].toolchain.runner == ("ssh", "board")
    assert devices["there"].environment()["runner"] == "ssh board"
    assert devices["there"].fingerprint() != devices["here"].fingerprint()
    file.write_text('[device.there]\ncc = "cc"\nrunner = "ssh board"\n')
    with pytest.raises(UserError, match="may have flags, runner"):
        load_devices(file)


def test_a_missing_runner_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="runner no-such-emulator was not found") as caught:
        build_harness(Toolchain("cc", (), ("no-such-emulator",)), tmp_path, sanitize=False, primitives=[CLAMP])
    assert "Install it" in caught.value.hint


def test_a_runner_that_cannot_start_the_program_is_an_error_of_that_call(tmp_path: Path) -> None:
    binary = build_harness(Toolchain("cc", ("-O1",)), tmp_path, sanitize=False, primitives=[CLAMP])
    with Harness(binary, runner=("false",)) as harness, pytest.raises(HarnessError, match="ended with status 1"):
        harness.time(CLAMP, SHAPE, Attrs(), samples=1, evict_bytes=0, max_ns=10**9)
