"""Every way a bundle can be wrong is refused, by name. Each test spoils one thing in a bundle that is right."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable

import numpy as np
import pytest

from app.codegen.bundle import pack
from app.codegen.emit import emit
from app.codegen.plan import make_plan
from app.errors import UserError
from app.verify import Verification, verify_bundle
from kernels.spec import Attrs
from tests.tiny_bundles import PROVENANCE, conv, files, graph, plain, schedule, two_convolutions, vectors

Files = dict[str, bytes]


@pytest.fixture(scope="module")
def right() -> Files:
    return {path: bytes(data) for path, data in files(two_convolutions(), plain).items()}


def rehashed(bundle: Files) -> bytes:
    """The zip, its manifest agreeing with its files: a defect of the generator, not of the transport."""
    manifest = json.loads(bundle["manifest.json"])
    manifest["files"] = {p: hashlib.sha256(data).hexdigest() for p, data in bundle.items() if p != "manifest.json"}
    return pack(bundle | {"manifest.json": json.dumps(manifest).encode()}, "net")


def edited(bundle: Files, path: str, pattern: str, replacement: str) -> Files:
    text, count = re.subn(pattern, replacement, bundle[path].decode(), count=1, flags=re.DOTALL)
    assert count == 1, f"{pattern} is not in {path}"
    return bundle | {path: text.encode()}


def ending_with(bundle: Files, statement: str) -> Files:
    """The bundle with a statement of C before net_run returns."""
    return edited(bundle, "net.c", "    return NET_OK;\n}\n$", f"    {statement}\n    return NET_OK;\n}}\n")


def refusal(data: bytes, **options) -> UserError:
    with pytest.raises(UserError) as caught:
        verify_bundle(data, **({"runs": 1} | options))
    return caught.value


# A self-test that lies: it computes nothing and claims everything.
LIAR = b"""#include <stdio.h>
int main(void) {
    puts("max_rel_err=0 argmax=ok arena_used_bytes=2048 arena_bytes=2048 median_ns=1 runs=1 class=0,0");
    return 0;
}
"""


def test_a_right_bundle_is_proven(right):
    proof = verify_bundle(rehashed(right), runs=7)
    assert isinstance(proof, Verification)
    assert 0 < proof.max_rel_err < 1e-6
    assert proof.arena_used_bytes == proof.arena_bytes == 2048
    assert proof.runs == 7
    assert proof.median_ns > 0
    assert 200 < proof.code_bytes < 100_000
    assert "gcc" in proof.compiler
    assert proof.flags[:5] == ("-std=c11", "-Wall", "-Wextra", "-Werror", "-O3")
    expected = [int(outputs[0].argmax()) for _, outputs in vectors(two_convolutions())]
    assert list(proof.classes) == expected
    assert json.loads(json.dumps(proof.to_json()))["argmax"] == "ok"


def test_kernels_are_compiled_once_per_text_compiler_and_flags(right, tmp_path):
    cache = tmp_path / "objects"
    kernels = sum(path.startswith("kernels/") and path.endswith(".c") for path in right)

    def objects(bundle, **options):
        proof = verify_bundle(rehashed(bundle), runs=1, cache=cache, **options)
        assert proof.max_rel_err < 1e-6
        return {path.name: path.stat().st_mtime_ns for path in cache.iterdir()}

    first = objects(right)
    assert len(first) == kernels > 0
    assert objects(right) == first
    path = next(path for path in right if path.startswith("kernels/") and path.endswith(".c"))
    commented = right | {path: right[path] + b"/* says the same */\n"}
    assert objects(commented) == first
    assert len(objects(right | {path: right[path] + b"extern int ts_unused;\n"})) == kernels + 1
    assert len(objects(right, extra_flags=("-fno-inline",))) == 2 * kernels + 1
    broken = right | {path: right[path] + b"static int unused_function(void) { return 1; }\n"}
    assert refusal(rehashed(broken), cache=cache).code == "bundle-does-not-compile"


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_a_right_bundle_is_clean_under_sanitizers(right, compiler):
    assert verify_bundle(rehashed(right), compiler=compiler, sanitize=True, runs=1).sanitized


def test_a_folder_verifies_like_its_zip_and_stays_untouched(right, tmp_path):
    for path, data in right.items():
        (tmp_path / "net" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "net" / path).write_bytes(data)
    before = sorted(tmp_path.rglob("*"))
    assert verify_bundle(tmp_path / "net", runs=1).arena_bytes == 2048
    assert sorted(tmp_path.rglob("*")) == before


def altered_weight(bundle: Files) -> Files:
    return edited(bundle, "net_weights.c", r"= \{\n(.*?)\n    [-0-9.e]+f,", r"= {\n\1\n    0.75f,")


def weights_of_the_neighbour(bundle: Files) -> Files:
    return edited(bundle, "net.c", r"w \+ 0, w \+ 216", "w + 8, w + 216")


def wrong_offset(bundle: Files) -> Files:
    return edited(bundle, "net.c", r"\{a \+ 0\}", "{a + 1}")


def swapped_layout(bundle: Files) -> Files:
    """The second convolution believes its input is transposed: same bytes, other order."""
    return edited(bundle, "net.c", r"\.c = 8, \.h = 9, \.w = 7", ".c = 8, .h = 7, .w = 9")


def forgotten_relu(bundle: Files) -> Files:
    return edited(bundle, "net.c", r"\.lo = 0\.0f", ".lo = -INFINITY")


def skipped_call(bundle: Files) -> Files:
    return edited(bundle, "net.c", r"net_conv_direct_plain_chw_chw_f32\(&s, x, w \+ 224[^;]*;", "(void)s; (void)x;")


WRONG_NUMBERS = [weights_of_the_neighbour, wrong_offset, swapped_layout, forgotten_relu, altered_weight, skipped_call]


@pytest.mark.parametrize("spoil", WRONG_NUMBERS)
@pytest.mark.parametrize("selftest", ["honest", "lying"])
def test_wrong_numbers_are_refused_even_if_the_self_test_lies(right, spoil: Callable[[Files], Files], selftest):
    spoiled = spoil(right)
    if selftest == "lying":
        spoiled |= {"test/test_main.c": LIAR}
    error = refusal(rehashed(spoiled))
    assert error.code == "bundle-mismatch"
    assert "scores" in error.message
    assert error.facts["output"].startswith("output scores of vector")
    assert error.facts["max_rel_err"] > error.facts["tolerance"] == 1e-3


@pytest.mark.parametrize("spoil", [wrong_offset, forgotten_relu])
def test_the_self_test_alone_refuses_wrong_numbers(right, spoil, tmp_path):
    """A user has no other check: make test must fail by itself."""
    import subprocess

    for path, data in spoil(right).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    done = subprocess.run(["make", "-s", "test"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "differs from the original model" in done.stderr


def test_an_arena_one_line_too_small_is_refused(right):
    error = refusal(rehashed(edited(right, "net.h", "2048u", "1984u")))
    assert error.code == "bundle-arena-mismatch"


def test_an_arena_one_line_too_large_is_refused(right):
    error = refusal(rehashed(edited(right, "net.h", "2048u", "2112u")))
    assert error.code == "bundle-arena-mismatch"


@pytest.mark.parametrize("size", ["1984u", "2112u"])
def test_a_wrong_arena_is_refused_even_if_the_self_test_lies(right, size):
    spoiled = edited(right, "net.h", "2048u", size) | {"test/test_main.c": LIAR}
    assert refusal(rehashed(spoiled)).code == "bundle-arena-mismatch"


def test_a_manifest_that_states_another_arena_is_refused(right):
    manifest = json.loads(right["manifest.json"])
    manifest["memory"]["arena_bytes"] -= 64
    error = refusal(rehashed(right | {"manifest.json": json.dumps(manifest).encode()}))
    assert error.code == "bundle-arena-mismatch"
    assert error.facts["manifest.json"] == 1984


@pytest.mark.parametrize(
    "statement",
    [
        "a[-1] = 1.0f;",
        "a[512] = 1.0f;",
        "scores[-1] = 1.0f;",
        "scores[100] = 1.0f;",
        "((float *)(size_t)image)[-1] = 1.0f;",
        "((float *)(size_t)image)[189] = 1.0f;",
    ],
)
@pytest.mark.parametrize("selftest", ["honest", "lying"])
def test_a_write_outside_any_buffer_is_refused(right, statement, selftest):
    spoiled = ending_with(right, statement)
    if selftest == "lying":
        spoiled |= {"test/test_main.c": LIAR}
    assert refusal(rehashed(spoiled), extra_flags=["-Wno-array-bounds"]).code == "bundle-arena-mismatch"


def test_a_read_past_the_input_is_refused(right):
    statement = "volatile float beyond = image[189]; (void)beyond;"
    spoiled = ending_with(right, statement)
    assert refusal(rehashed(spoiled)).code == "bundle-arena-mismatch"


@pytest.mark.parametrize("selftest", ["honest", "lying"])
def test_outputs_that_depend_on_old_arena_contents_are_refused(right, selftest):
    """The last float of the arena is padding that nothing writes; the error it causes is far within the tolerance."""
    spoiled = ending_with(right, "scores[0] = a[511] == a[511] ? scores[0] : scores[0] * 1.0001f;")
    if selftest == "lying":
        spoiled |= {"test/test_main.c": LIAR}
    error = refusal(rehashed(spoiled))
    assert error.code == "bundle-arena-mismatch"
    assert "held before" in str(error)


def test_the_expected_answers_of_the_caller_outrank_those_in_the_bundle(right):
    net = two_convolutions()
    other = vectors(net, 3, seed=99)
    assert verify_bundle(rehashed(right), expected=other, runs=1).max_rel_err < 1e-6
    inputs, outputs = other[2]
    wrong = [*other[:2], (inputs, (outputs[0] * 1.01,))]
    error = refusal(rehashed(right), expected=wrong)
    assert error.code == "bundle-mismatch"
    assert error.facts["output"] == "output scores of vector 2"


def test_an_output_of_nan_is_a_mismatch(right):
    spoiled = ending_with(right, "scores[3] = NAN;")
    assert refusal(rehashed(spoiled | {"test/test_main.c": LIAR})).code == "bundle-mismatch"
    assert refusal(rehashed(spoiled)).code == "bundle-mismatch"


def test_nearly_equal_largest_values_may_swap_but_others_may_not():
    """Two outputs closer than the tolerance: either is a right arg-max."""
    net = graph([("x", (1, 2, 2))], [("y", conv(1, 2, 2, 1, 1), ("x",), Attrs())], ["y"])
    net.constants["y.weights"][:] = 1
    net.constants["y.bias"][:] = 0
    x = np.array([[[1.0, 1.0002], [0.0, 0.0]]], np.float32)
    swapped = np.array([[[1.0002, 1.0], [0.0, 0.0]]], np.float32)
    made = make_plan(
        net.name, net.constants, schedule(net, plain), prefix="net", vectors=[((x,), (swapped,))], provenance=PROVENANCE
    )
    data = pack(emit(made), "net")
    assert verify_bundle(data, runs=1).max_rel_err == pytest.approx(2e-4, rel=0.01)
    apart = np.array([[[1.0021, 1.0], [0.0, 0.0]]], np.float32)
    error = refusal(data, expected=[((x,), (apart,))])
    assert error.code == "bundle-mismatch"
    assert "another arg-max" in error.message


def test_code_that_warns_is_refused(right):
    error = refusal(rehashed(ending_with(right, "int idle;")))
    assert error.code == "bundle-does-not-compile"
    assert any("idle" in item.detail for item in error.items)
    assert not any("tradespace-verify" in item.detail for item in error.items)


def test_a_missing_compiler_is_named(right):
    error = refusal(rehashed(right), compiler="no-such-cc")
    assert error.code == "compiler-missing"
    assert "no-such-cc" in error.message


def test_a_bundle_that_never_answers_is_given_up(right):
    spoiled = ending_with(right, "for (volatile int i = 1; i;) { }")
    assert refusal(rehashed(spoiled), timeout_s=3.0).code == "bundle-timeout"


def test_a_file_that_differs_from_the_manifest_is_named(right):
    changed = right | {"net.c": right["net.c"] + b"\n", "extra.c": b""}
    del changed["LICENSE"]
    error = refusal(pack(changed, "net"))
    assert error.code == "bundle-altered"
    assert [(item.pointer, item.detail) for item in error.items] == [
        ("LICENSE", "missing"),
        ("extra.c", "not in the manifest"),
        ("net.c", "changed"),
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no zip",
        pack({"x": b""}, "net"),
        pack({"manifest.json": b"[]"}, "net"),
        pack({"manifest.json": b"{"}, "n"),
    ],
)
def test_what_is_not_a_bundle_is_refused(data):
    assert refusal(data).code == "bad-bundle"


def test_every_field_of_a_proof_is_reported():
    names = {f.name for f in dataclasses.fields(Verification)}
    proof = Verification("gcc", (), False, 0.0, True, 0, 0, 1, 1, 1, (0,))
    assert set(proof.to_json()) == names - {"argmax_ok"} | {"argmax"}
