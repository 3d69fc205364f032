"""The judgement: what a compiled bundle answers, against what the original model answered."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from app.errors import Item, UserError
from app.verify.build import OPTIMISED_FLAGS, RACE_FLAGS, Built, build
from app.verify.opened import Cases, FloatArray, OpenedBundle, opened
from kernels.build import SANITIZE_FLAGS

MAX_REL_ERR = 1e-3
"""Allowed error of a whole network, relative to the largest absolute expected value of the output."""

_SELFTEST_LINE = re.compile(
    r"max_rel_err=(?P<max_rel_err>\S+) argmax=(?P<argmax>ok|bad) arena_used_bytes=(?P<used>\d+) "
    r"arena_bytes=(?P<arena>\d+) median_ns=(?P<median_ns>\d+) runs=(?P<runs>\d+) class=(?P<classes>\d+(,\d+)*)"
    r"( start_ns=(?P<start_ns>\d+))?"
)
_PROBE_LINE = re.compile(
    r"used_bytes=(?P<used>\d+) arena_bytes=(?P<arena>\d+) align_bytes=(?P<align>\d+) fences=(?P<fences>[01]) "
    r"stable=(?P<stable>[01])"
)
_SELFTEST_MEMORY_STATUS = 2
_MOST_LINES = 8


@dataclass(frozen=True)
class Verification:
    """The proof that goes into the manifest. `max_rel_err` is our own comparison, over all outputs and cases."""

    compiler: str
    flags: tuple[str, ...]
    sanitized: bool
    max_rel_err: float
    argmax_ok: bool
    arena_used_bytes: int
    arena_bytes: int
    median_ns: int
    runs: int
    code_bytes: int
    classes: tuple[int, ...]  # arg-max of the first output, per vector of the bundle
    start_ns: int = 0  # of the initialisation, where it packs weights

    def to_json(self) -> dict[str, Any]:
        """The `verified` block of a manifest and of the API."""
        return {
            "compiler": self.compiler,
            "flags": list(self.flags),
            "sanitized": self.sanitized,
            "max_rel_err": self.max_rel_err,
            "argmax": "ok" if self.argmax_ok else "bad",
            "arena_used_bytes": self.arena_used_bytes,
            "arena_bytes": self.arena_bytes,
            "median_ns": self.median_ns,
            "runs": self.runs,
            "code_bytes": self.code_bytes,
            "classes": list(self.classes),
            "start_ns": self.start_ns,
        }


def verify_bundle(
    bundle: bytes | Path | IO[bytes],
    *,
    compiler: str = "gcc",
    extra_flags: Sequence[str] = (),
    runs: int | None = None,
    expected: Sequence[tuple[Sequence[npt.ArrayLike], Sequence[npt.ArrayLike]]] | None = None,
    sanitize: bool = False,
    runner: Sequence[str] = (),
    timeout_s: float = 900.0,
    cache: Path | None = None,
    keep_selftest: Path | None = None,
) -> Verification:
    """Compile `bundle` (zip bytes, zip file, stream or folder) with `-std=c11 -Wall -Wextra -Werror -O3`, run, compare.

    `expected` are (inputs, outputs) of the original model in port order; without it the bundle's own vectors are used.
    Both its self-test and a driver of ours must agree with them. `sanitize` builds with ASan and UBSan instead of -O3,
    and a bundle with threads once more with TSan, of whose run only the verdict counts.
    `runner` goes before each program, for example an emulator. `timeout_s` bounds each compilation and each run.
    `cache` keeps compiled kernels for the next bundle of the same ones (app.verify.build.build); `keep_selftest` is
    where the self-test's program stays, to be run again, when all is well.
    Raises UserError `bad-bundle`, `bundle-altered`, `compiler-missing`, `bundle-does-not-compile`, `bundle-mismatch`,
    `bundle-arena-mismatch` or `bundle-timeout`.
    """
    with opened(bundle) as found:
        cases = found.cases() if expected is None else _cases(found, expected)
        if sanitize and found.threads > 1:
            racing = build(found, compiler, extra_flags, mode=RACE_FLAGS, timeout_s=timeout_s, cache=cache)
            _probe(found, racing, cases, runner, timeout_s)
            run_selftest(racing.selftest, runs, runner, timeout_s)
        mode = SANITIZE_FLAGS if sanitize else OPTIMISED_FLAGS
        built = build(found, compiler, extra_flags, mode=mode, timeout_s=timeout_s, cache=cache)
        probe_figures, outputs = _probe(found, built, cases, runner, timeout_s)
        max_rel_err = _compare(found, cases, outputs)
        selftest = run_selftest(built.selftest, runs, runner, timeout_s)
        used, arena = _arena(found, probe_figures, selftest)
        if keep_selftest is not None:
            shutil.copy2(built.selftest, keep_selftest)
        return Verification(
            compiler=built.compiler,
            flags=built.flags,
            sanitized=sanitize,
            max_rel_err=max_rel_err,
            argmax_ok=True,
            arena_used_bytes=used,
            arena_bytes=arena,
            median_ns=int(selftest["median_ns"]),
            runs=int(selftest["runs"]),
            code_bytes=built.code_bytes,
            classes=tuple(int(word) for word in selftest["classes"].split(",")),
            start_ns=int(selftest["start_ns"] or 0),
        )


def _cases(bundle: OpenedBundle, expected: Sequence[tuple[Sequence[Any], Sequence[Any]]]) -> Cases:
    if not expected:
        raise ValueError("nothing to compare with: `expected` is empty")

    def flat(tensors: Sequence[Any], sizes: Sequence[int]) -> tuple[FloatArray, ...]:
        arrays = tuple(np.ascontiguousarray(t, np.float32).reshape(-1) for t in tensors)
        if [a.size for a in arrays] != list(sizes):
            raise ValueError(f"expected tensors of {list(sizes)} numbers, got {[a.size for a in arrays]}")
        return arrays

    ins, outs = [t.elems for t in bundle.inputs], [t.elems for t in bundle.outputs]
    return [(flat(inputs, ins), flat(outputs, outs)) for inputs, outputs in expected]


def _probe(
    bundle: OpenedBundle, built: Built, cases: Cases, runner: Sequence[str], timeout_s: float
) -> tuple[dict[str, int], list[tuple[FloatArray, ...]]]:
    """Our driver on every case: what it says of the arena, and the raw outputs."""
    inputs, outputs = built.probe.with_suffix(".in"), built.probe.with_suffix(".out")
    with inputs.open("wb") as file:
        for tensors, _ in cases:
            for tensor in tensors:
                file.write(tensor.astype("<f4").tobytes())
    done = _run([*runner, str(built.probe), str(inputs), str(outputs), str(len(cases))], timeout_s)
    line = _PROBE_LINE.search(done.stdout)
    if done.returncode < 0:
        raise _arena_error(f"it reads or writes outside its buffers (signal {-done.returncode})", done.stderr)
    if done.returncode != 0 or line is None:
        raise _mismatch(f"it fails with status {done.returncode}", done.stderr)
    numbers = np.fromfile(outputs, "<f4")
    sizes = [t.elems for t in bundle.outputs]
    rows = numbers.reshape(len(cases), sum(sizes))
    ends = np.cumsum(sizes)[:-1]
    return {k: int(v) for k, v in line.groupdict().items()}, [tuple(np.split(row, ends)) for row in rows]


def _compare(bundle: OpenedBundle, cases: Cases, answers: list[tuple[FloatArray, ...]]) -> float:
    """Largest relative error over all outputs; raises `bundle-mismatch` naming the worst one."""
    worst, worst_error, other_argmax = "", -1.0, ""
    for number, ((_, expected), actual) in enumerate(zip(cases, answers, strict=True)):
        for tensor, want, got in zip(bundle.outputs, expected, actual, strict=True):
            where = f"output {tensor.name} of vector {number}"
            wanted, given = want.astype(np.float64), got.astype(np.float64)
            scale = float(np.abs(wanted).max())
            with np.errstate(invalid="ignore", over="ignore"):
                error = float(np.abs(given - wanted).max()) / (scale or 1.0)
            error = error if np.isfinite(error) else np.inf
            if error > worst_error:
                worst, worst_error = where, error
            if wanted.max() - wanted[int(given.argmax())] > MAX_REL_ERR * scale:
                other_argmax = other_argmax or where
    if worst_error > MAX_REL_ERR or other_argmax:
        reason = f"error {worst_error:.3g} in {worst}, allowed is {MAX_REL_ERR:g} of the largest expected value"
        if other_argmax:
            reason += f"; another arg-max in {other_argmax}"
        facts = {"output": worst, "max_rel_err": min(worst_error, 1e300), "tolerance": MAX_REL_ERR}
        raise _mismatch(reason, facts=facts)
    return worst_error


def run_selftest(program: Path, runs: int | None, runner: Sequence[str], timeout_s: float) -> dict[str, str]:
    """The bundle's own test: its figures; raises when it reports a failure."""
    done = _run([*runner, str(program), *([str(runs)] if runs else [])], timeout_s)
    line = _SELFTEST_LINE.fullmatch(done.stdout.strip())
    if done.returncode < 0 or done.returncode == _SELFTEST_MEMORY_STATUS:
        raise _arena_error("its self-test finds a broken promise about memory", done.stderr)
    if done.returncode != 0 or line is None or line["argmax"] != "ok" or not float(line["max_rel_err"]) <= MAX_REL_ERR:
        raise _mismatch(f"its self-test fails with status {done.returncode}", done.stderr or done.stdout)
    return line.groupdict()


def _arena(bundle: OpenedBundle, probe: dict[str, int], selftest: dict[str, str]) -> tuple[int, int]:
    """(used, stated) bytes of the arena, after checking that all who state them agree."""
    align = probe["align"]
    used = -(-probe["used"] // align) * align
    if not probe["fences"]:
        raise _arena_error("it writes in front of a buffer")
    if not probe["stable"]:
        raise _arena_error("its outputs depend on what the arena held before")
    stated = {
        "bytes touched by our driver": used,
        "the header's macro": probe["arena"],
        "manifest.json": bundle.arena_bytes,
        "the self-test's macro": int(selftest["arena"]),
        "bytes touched in the self-test": int(selftest["used"]),
    }
    if len(set(stated.values())) != 1:
        raise _arena_error("; ".join(f"{who}: {size}" for who, size in stated.items()), facts=stated)
    return used, probe["arena"]


def _run(command: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise UserError(
            "bundle-timeout", f"the bundle did not answer within {timeout_s:.0f} s", hint="raise the time limit"
        ) from error


def _mismatch(reason: str, output: str = "", facts: dict[str, Any] | None = None) -> UserError:
    return UserError(
        "bundle-mismatch",
        f"the bundle does not compute what the model computes: {reason}",
        hint="this is a defect of the export; please report it with the model",
        items=_lines(output),
        facts=facts,
    )


def _arena_error(reason: str, output: str = "", facts: dict[str, Any] | None = None) -> UserError:
    return UserError(
        "bundle-arena-mismatch",
        f"the bundle does not use its memory as stated: {reason}",
        hint="this is a defect of the export; please report it with the model",
        items=_lines(output),
        facts=facts,
    )


def _lines(output: str) -> list[Item]:
    output = re.sub(r"\S*/tradespace-verify-[^/\s]*/", "", output)  # the scratch folder says nothing to a reader
    return [Item("output", line) for line in output.splitlines() if line.strip()][:_MOST_LINES]
