"""The emitted files as a user's toolchain sees them."""

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.codegen import weights as weights_module
from app.codegen.bundle import pack, read_manifest
from app.codegen.emit import emit
from app.codegen.plan import make_plan
from app.schedule import Operand, Region
from app.verify import verify_bundle
from kernels import registry
from kernels.spec import Attrs, Shape
from tests.tiny_bundles import (
    PROVENANCE,
    conv,
    files,
    first_chw,
    graph,
    plain,
    plan,
    schedule,
    two_convolutions,
    vectors,
)

GOLDEN = Path(__file__).parent / "golden"
STRICT = "-std=c11 -O2 -Wall -Wextra -Werror"
HOSTILE = "*/ #error ??/\n\" ' `x` <script>alert(1)</script> {{7*7}} %s \u202e é"


def unpacked(bundle, folder: Path) -> Path:
    for path, data in bundle.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return folder


def run(*command, cwd: Path) -> str:
    done = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["net.c", "net.h", "memory_plan.csv"])
def test_the_text_of_a_tiny_network_is_the_golden_one(name):
    """REGEN=1 pytest tests/codegen rewrites the golden files; read the difference before committing it."""
    text = files(two_convolutions(), plain)[name]
    if os.environ.get("REGEN"):
        GOLDEN.mkdir(exist_ok=True)
        (GOLDEN / name).write_bytes(text)
    assert bytes(text).decode() == (GOLDEN / name).read_text()


def test_the_same_inputs_give_the_same_bytes():
    first, second = (pack(files(two_convolutions(), plain), "net") for _ in range(2))
    assert first == second


def test_no_template_mark_survives():
    for path, data in files(two_convolutions(), plain).items():
        if path != "test/vectors.bin":
            assert not re.search(r"\{%|%\}|\{#|Undefined|None,", bytes(data).decode()), path


def test_kernels_are_the_very_text_of_the_repository():
    bundle = files(two_convolutions())
    manifest = read_manifest(bundle)
    assert manifest["kernels"]
    for kernel in manifest["kernels"]:
        assert bundle[kernel["file"]] == (registry.ROOT / kernel["origin"]).read_bytes()


def test_every_kernel_source_finds_its_headers_in_a_flat_folder():
    """Any primitive may be chosen: its includes must be names, declared, and unique."""
    names: dict[str, str] = {}
    for primitive in registry.all_primitives().values():
        present = {Path(header).name for header in primitive.headers} | {"ts.h", "ts_config.h"}
        for origin in (primitive.source, *primitive.headers):
            if origin.endswith(".h"):
                assert names.setdefault(Path(origin).name, origin) == origin
            for included in re.findall(r'#\s*include\s+"([^"]+)"', (registry.ROOT / origin).read_text()):
                assert included in present, f"{primitive.name}: {origin} includes {included}"


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_hostile_model_strings_do_no_harm(compiler):
    net = two_convolutions()
    original = schedule(net, plain)
    hostile = replace(
        original,
        inputs=(replace(original.inputs[0], name=HOSTILE),),
        outputs=(replace(original.outputs[0], name=HOSTILE),),
        calls=tuple(replace(call, label=HOSTILE) for call in original.calls),
        buffers=tuple(replace(buffer, name=HOSTILE) for buffer in original.buffers),
    )
    origin = replace(PROVENANCE, model_name=HOSTILE, device=HOSTILE, compiler=HOSTILE, point_id=HOSTILE)
    made = make_plan(HOSTILE, net.constants, hostile, prefix="net", vectors=vectors(net), provenance=origin)
    bundle = emit(made)
    assert "<script>" not in bytes(bundle["report.html"]).decode()
    assert verify_bundle(pack(bundle, "net"), compiler=compiler, runs=1).max_rel_err < 1e-5


def test_the_library_has_only_prefixed_names_and_no_system(tmp_path):
    folder = unpacked(files(two_convolutions(), prefix="abc"), tmp_path)
    run("make", "libabc.a", f"CFLAGS={STRICT}", cwd=folder)
    symbols = [
        line.split() for line in run("nm", "libabc.a", cwd=folder).splitlines() if re.search(r" [A-Za-z] ", line)
    ]
    external = {words[-1] for words in symbols if words[-2].isupper() and words[-2] != "U"}
    assert {"abc_init", "abc_run", "abc_strerror", "abc_weights"} <= external
    assert all(name.startswith("abc_") for name in external), external
    needed = {words[-1] for words in symbols if words[-2] == "U"} - external
    assert needed <= {"memcpy", "memset", "memmove", "_GLOBAL_OFFSET_TABLE_"}, needed
    assert not [words for words in symbols if words[-2] in "DBCdbc"], "writable data in the library"


def test_make_builds_tests_measures_and_cleans(tmp_path):
    folder = unpacked(files(two_convolutions(), plain), tmp_path)
    before = sorted(folder.rglob("*"))
    line = run("make", "-s", "test", f"CFLAGS={STRICT}", cwd=folder)
    assert re.fullmatch(
        r"max_rel_err=\S+ argmax=ok arena_used_bytes=2048 arena_bytes=2048 median_ns=\d+ runs=\d+ class=\d+,\d+\n", line
    )
    assert "linked.o" in run("make", "-s", "size", cwd=folder)
    run("make", "clean", cwd=folder)
    assert sorted(folder.rglob("*")) == before


@pytest.mark.slow
def test_the_makefile_builds_for_32_bit_x86_with_vectors(tmp_path):
    program = tmp_path / "program.c"
    program.write_text("int main(void) { return 0; }\n")
    built = subprocess.run(["gcc", "-m32", program, "-o", tmp_path / "program"], capture_output=True, check=False)
    if built.returncode != 0:
        pytest.skip("gcc has no 32-bit libraries here")

    def tiled(shape):
        return plain(shape) if shape.op != "conv" else registry.get("conv_direct_b2p12_hwc_hwc_f32")

    folder = unpacked(files(two_convolutions(), tiled), tmp_path / "net")
    assert "ts_vec.h" in {path.name for path in (folder / "kernels").iterdir()}
    line = run("make", "-s", "test", "CC=gcc -m32", "CFLAGS=-std=c11 -O1 $(TARGET) -Wall -Wextra", cwd=folder)
    assert "argmax=ok" in line


@pytest.mark.skipif(not shutil.which("cmake"), reason="cmake is not installed")
def test_cmake_builds_and_tests(tmp_path, monkeypatch):
    monkeypatch.setattr("app.codegen.plan.C_TEXT_LIMIT_BYTES", 64)
    folder = unpacked(files(two_convolutions(), plain), tmp_path / "net")
    run("cmake", "-S", folder, "-B", tmp_path / "out", cwd=tmp_path)
    run("cmake", "--build", tmp_path / "out", cwd=tmp_path)
    assert "100% tests passed" in run("ctest", cwd=tmp_path / "out")


def test_two_networks_live_in_one_program(tmp_path):
    """Two bundles of different networks that use the same kernels, linked into one C++ program."""
    for prefix, net in (("one", two_convolutions()), ("two", chain())):
        folder = unpacked(files(net, plain, prefix=prefix), tmp_path / prefix)
        run("make", "-s", f"lib{prefix}.a", f"CFLAGS={STRICT}", cwd=folder)
    (tmp_path / "main.cpp").write_text(
        """#include "one/one.h"
        #include "two/two.h"
        alignas(64) static float arena[(ONE_ARENA_BYTES + TWO_ARENA_BYTES) / sizeof(float)];
        static float in[9999], out[9999];
        int main() {
            struct one a; struct two b;
            return one_init(&a, arena, sizeof arena) || two_init(&b, arena, sizeof arena)
                || one_run(&a, in, out) || two_run(&b, in, out);
        }"""
    )
    run("g++", "-Wall", "-Wextra", "-Werror", "main.cpp", "one/libone.a", "two/libtwo.a", cwd=tmp_path)
    run("./a.out", cwd=tmp_path)


def chain():
    return graph(
        [("x", (5, 6, 6))],
        [("y", conv(5, 6, 6, 9, 1), ("x",), Attrs(lo=0, hi=6)), ("z", conv(9, 6, 6, 4, 5, pad=2), ("y",), Attrs())],
        ["z"],
    )


def test_large_weights_become_a_binary_file_with_the_same_numbers(monkeypatch):
    as_text = plan(two_convolutions(), plain)
    monkeypatch.setattr("app.codegen.plan.C_TEXT_LIMIT_BYTES", 64)
    made = plan(two_convolutions(), plain)
    bundle = emit(made)
    assert bytes(bundle["net_weights.bin"]) == bytes(as_text.weights.data)
    assert "net_weights.c" not in bundle
    assert verify_bundle(pack(bundle, "net"), runs=1).max_rel_err < 1e-5


@pytest.mark.skipif(not shutil.which("clang"), reason="clang is not installed")
@pytest.mark.parametrize(
    "target", ["aarch64-linux-gnu", "armv7m-none-eabi", "x86_64-apple-darwin", "x86_64-w64-mingw32"]
)
def test_the_assembler_stub_fits_every_object_format(tmp_path, target, monkeypatch):
    monkeypatch.setattr("app.codegen.plan.C_TEXT_LIMIT_BYTES", 64)
    folder = unpacked(files(two_convolutions(), plain), tmp_path)
    run("clang", f"--target={target}", "-c", "net_weights.S", "-o", "out.o", cwd=folder)
    assert (folder / "out.o").stat().st_size > 1000


def test_a_big_endian_target_is_told_that_the_weights_are_not_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr("app.codegen.plan.C_TEXT_LIMIT_BYTES", 64)
    folder = unpacked(files(two_convolutions(), plain), tmp_path)
    done = subprocess.run(
        ["gcc", "-U__BYTE_ORDER__", "-D__BYTE_ORDER__=__ORDER_BIG_ENDIAN__", "-E", "net_weights.S"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "little-endian" in done.stderr


def test_a_network_without_weights_or_arena_is_a_bundle_too():
    """One layout change from input to output: no arena, no weights, init takes NULL."""
    shape = Shape("convert", 3, 4, 5, 3, 4, 5)
    net = graph([("x", (3, 4, 5))], [("y", shape, ("x",), Attrs())], ["y"])
    to_hwc = registry.get("convert_copy_chw_hwc_f32")
    made = schedule(net, lambda _: to_hwc)
    call = replace(made.calls[0], output=Operand(Region.OUTPUT, 0, 0, 240))
    direct = replace(made, calls=(call,), buffers=(), arena_bytes=0)
    x = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    made = make_plan(
        net.name,
        {},
        direct,
        prefix="net",
        vectors=[((x,), (np.ascontiguousarray(x.transpose(1, 2, 0)),))],
        provenance=PROVENANCE,
    )
    bundle = emit(made)
    assert not [path for path in bundle if "weights" in path]
    for compiler in ("gcc", "clang"):
        assert verify_bundle(pack(bundle, "net"), compiler=compiler, runs=1).arena_bytes == 0


def test_outputs_that_name_one_tensor_twice_are_copied():
    net = two_convolutions()
    original = schedule(net, plain)
    size_bytes = original.calls[1].output.size_bytes
    twice = replace(
        original,
        outputs=(*original.outputs, replace(original.outputs[0], name="again"), original.inputs[0]),
        copies=(
            (Operand(Region.OUTPUT, 0, 0, size_bytes), Operand(Region.OUTPUT, 1, 0, size_bytes)),
            (Operand(Region.INPUT, 0, 0, 756), Operand(Region.OUTPUT, 2, 0, 756)),
        ),
    )
    cases = [(inputs, (outputs[0], outputs[0], inputs[0])) for inputs, outputs in vectors(net)]
    made = make_plan(net.name, net.constants, twice, prefix="net", vectors=cases, provenance=PROVENANCE)
    assert verify_bundle(pack(emit(made), "net"), runs=1).max_rel_err < 1e-5


def test_infinite_weights_survive_as_text():
    net = two_convolutions()
    constants = dict(net.constants)
    constants["scores.bias"] = constants["scores.bias"].copy()
    text = emit(plan(net, plain))["net_weights.c"]
    assert b"INFINITY" not in bytes(text)
    constants["scores.bias"][1] = -np.inf
    made = make_plan(
        net.name, constants, schedule(net, plain), prefix="net", vectors=vectors(net), provenance=PROVENANCE
    )
    assert b"-INFINITY," in bytes(emit(made)["net_weights.c"])


def test_half_a_gigabyte_of_weights_is_never_held_twice():
    """The blob handed out is the packed memory itself, not a copy of it."""
    made = plan(two_convolutions(), plain)
    large = replace(made, weights=replace(made.weights, data=memoryview(bytes(weights_module.C_TEXT_LIMIT_BYTES + 4))))
    assert emit(large)["net_weights.bin"] is large.weights.data


def layered(shape):
    """Blocked or channel-last primitives where there are any, so that conversions appear."""
    accepted, _ = registry.candidates(shape)
    return next((p for p in accepted if p.in_layout != "chw" and p.out_layout != "chw"), None) or first_chw(shape)


def branches():
    """Two convolutions of one input, joined along the channels: operands of a call in several places."""
    left, right = conv(3, 5, 6, 8, 1), conv(3, 5, 6, 16)
    joined = Shape("concat", 8, 5, 6, 24, 5, 6, axis=0, parts=(8, 16))
    return graph(
        [("x", (3, 5, 6))],
        [("a", left, ("x",), Attrs(lo=0)), ("b", right, ("x",), Attrs()), ("y", joined, ("a", "b"), Attrs())],
        ["y"],
    )


@pytest.mark.parametrize(
    ("net", "compiler"), [(two_convolutions(), "clang"), (branches(), "gcc")], ids=["chain", "join"]
)
def test_layouts_and_conversions_meet(net, compiler, objects):
    made = plan(net, layered)
    assert [call.shape.op for call in made.schedule.calls].count("convert") >= 2
    checked = verify_bundle(pack(emit(made), "net"), compiler=compiler, sanitize=True, runs=1, cache=objects)
    assert checked.max_rel_err < 1e-5
