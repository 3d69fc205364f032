"""Talks to the harness binary in a child process: checks one call of a primitive, or times it.

Knows the wire format of harness.c; a crash of one routine is an error of that primitive and shape, not of the caller.
"""

from __future__ import annotations

import dataclasses
import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from kernels.spec import F32_BYTES, Array, Attrs, Layout, Primitive, Shape
from kernels.split import Part, parts_workspace_bytes, split

DEFAULT_TIMEOUT_S = 120.0


class HarnessError(Exception):
    """A call crashed, hung or answered nonsense; `primitive` and `shape` name it ("" for the host measurement)."""

    def __init__(self, primitive: str, shape: str, reason: str) -> None:
        super().__init__(f"{primitive} on {shape}: {reason}" if primitive else reason)
        self.primitive = primitive
        self.shape = shape
        self.reason = reason


@dataclass(frozen=True)
class CheckResult:
    """What one call did. `y` is [m][oh][ow].

    `guards_ok`: no byte beside y and workspace changed. `high_water_bytes`: last workspace byte written, plus one.
    `deterministic`: different bytes in y and workspace beforehand gave the same y. `padding_zero`: the padding
    channels of a blocked out-layout are zero. `gaps_ok`: what lies between the parts of a pitched output is unchanged.
    """

    y: Array
    guards_ok: bool
    inputs_unmodified: bool
    deterministic: bool
    padding_zero: bool
    gaps_ok: bool
    high_water_bytes: int


@dataclass(frozen=True)
class HostSpeed:
    """One core of this machine: FMA rate in GFLOP/s with vectors of `vector_floats`, read GB/s by buffer bytes."""

    vector_floats: int
    fma_gflops: float
    read_gb_per_s: dict[int, float]
    timer_overhead_ns: int


class Harness:
    """The harness binary in a child process, on `cpus` only if any are given; restarted after a crash.

    `runner` is what starts the binary (Toolchain.runner). Use as a context manager, from one thread at a time.
    """

    def __init__(
        self,
        binary: Path,
        cpus: Collection[int] = (),
        *,
        runner: Sequence[str] = (),
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        self._command = (*runner, str(binary))
        self._cpus = frozenset(cpus)
        self._timeout_s = timeout_s
        self._child: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None

    def __enter__(self) -> Harness:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child process, if any."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None
        if self._stderr is not None:
            self._stderr.close()
            self._stderr = None

    def check(
        self,
        primitive: Primitive,
        shape: Shape,
        attrs: Attrs,
        inputs: Sequence[Array],
        weights: Array | None = None,
        bias: Array | None = None,
        *,
        in_place: int | None = None,
        parts: Sequence[Part] = (),
    ) -> CheckResult:
        """Run `primitive` twice with exactly its declared workspace and report the output and everything it touched.

        `inputs` are [c][h][w] float32, one per activation input; `weights` and `bias` are in the operator's own order
        (spec.OPS) and packed here. `in_place` lets y and that input be the same memory. Several `parts` of the call run
        at the same time, the workspace then being theirs.
        """
        stored = [
            _spread(
                primitive.port_layout(port).store(np.asarray(x, np.float32)),
                _parts(primitive, shape, port),
            )
            for port, x in enumerate(inputs)
        ]
        packed = _pack(primitive, shape, "weights", weights)
        packed_bias = _pack(primitive, shape, "bias", bias)
        port = -1 if in_place is None else in_place
        request = (
            f"check {_describe(primitive, shape, attrs, parts)} in_place={port}{_shares(primitive, shape, parts)}\n"
        )
        payload = b"".join([request.encode(), *(a.tobytes() for a in (*stored, packed, packed_bias))])
        y_bytes = F32_BYTES * primitive.output_elems(shape)
        answer, raw = self._ask(primitive.name, shape.key(), payload, y_bytes, self._timeout_s)
        flat, gaps_ok = _gather(raw, _parts(primitive, shape, None))
        y = primitive.out_layout.load(flat, *shape.output_dims)
        # Storing the loaded tensor again writes zeros into the padding channels.
        padding_zero = bool(np.array_equal(primitive.out_layout.store(y), flat, equal_nan=True))
        return CheckResult(y=np.array(y), padding_zero=padding_zero, gaps_ok=gaps_ok, **answer)

    def time(
        self,
        primitive: Primitive,
        shape: Shape,
        attrs: Attrs | None = None,
        *,
        samples: int,
        evict_bytes: int,
        dram_weights: bool = False,
        max_ns: int,
        threads: int = 1,
    ) -> tuple[int, ...]:
        """Nanoseconds of single calls on `threads` threads, in the order taken; at least one, at most `samples`.

        Before each call a buffer of `evict_bytes` is streamed, so that weights come from beyond the caches that are
        smaller, then output, workspace and inputs are touched. No further sample starts after `max_ns` in all.
        """
        request = time_request(
            primitive,
            shape,
            attrs,
            samples=samples,
            evict_bytes=evict_bytes,
            dram_weights=dram_weights,
            max_ns=max_ns,
            threads=threads,
        ).encode()
        # The last call may start just before max_ns; the default time-out is its allowance.
        timeout_s = self._timeout_s + max_ns * 1e-9
        answer, _ = self._ask(primitive.name, shape.key(), request, 0, timeout_s)
        return tuple(answer["samples_ns"])

    def measure_host(self) -> HostSpeed:
        """FMA rate and read bandwidth of the pinned core, to explain results with; takes about a second."""
        answer, _ = self._ask("", "", b"host\n", 0, self._timeout_s)
        bandwidth = {int(size): rate for size, rate in answer.pop("read_gb_per_s").items()}
        return HostSpeed(read_gb_per_s=bandwidth, **answer)

    def _ask(
        self, primitive: str, shape: str, request: bytes, extra_bytes: int, timeout_s: float
    ) -> tuple[dict[str, Any], bytes]:
        """One request, its JSON answer and the `extra_bytes` that follow it."""
        child = self._running()
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(request)
            child.stdin.flush()
            raw = self._read(child.stdout, extra_bytes, timeout_s)
        except TimeoutError:
            self.close()
            raise HarnessError(primitive, shape, f"no answer within {timeout_s:.0f} s") from None
        except (BrokenPipeError, EOFError):
            reason = self._post_mortem(child)
            self.close()
            raise HarnessError(primitive, shape, reason) from None
        line, _, extra = raw.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer, extra

    def _read(self, stdout: IO[bytes], extra_bytes: int, timeout_s: float) -> bytes:
        deadline_s = time.monotonic() + timeout_s
        received = bytearray()
        wanted: int | None = None
        while wanted is None or len(received) < wanted:
            ready, _, _ = select.select([stdout], [], [], max(0.0, deadline_s - time.monotonic()))
            if not ready:
                raise TimeoutError
            chunk = os.read(stdout.fileno(), 1 << 20)
            if not chunk:
                raise EOFError
            received += chunk
            if wanted is None and (end := received.find(b"\n")) >= 0:
                wanted = end + 1 + extra_bytes
        return bytes(received)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is not None:
            self.close()
        if self._child is None:
            self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
            # Leak checking needs ptrace, which containers often forbid; routines do not allocate.
            environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"}
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env=environment,
            )
            if self._cpus:
                os.sched_setaffinity(self._child.pid, self._cpus)
        return self._child

    def _post_mortem(self, child: subprocess.Popen[bytes]) -> str:
        """Why the child ended: its exit status and what it said."""
        status = child.wait()
        assert self._stderr is not None
        self._stderr.seek(0)
        said = [line for line in self._stderr.read().decode(errors="replace").splitlines() if line.strip("= ")]
        ended = f"ended by signal {-status}" if status < 0 else f"ended with status {status}"
        return f"the routine's process {ended}" + ("".join(f"\n  {line}" for line in said[:12]))


def time_request(
    primitive: Primitive,
    shape: Shape,
    attrs: Attrs | None = None,
    *,
    samples: int,
    evict_bytes: int,
    max_ns: int,
    dram_weights: bool = False,
    threads: int = 1,
) -> str:
    """The line, its end included, that asks the driver to time calls; the answer is one line of JSON.

    A call that `threads` threads do not share is timed as on one.
    """
    parts = split(primitive, shape, threads)
    words = _describe(primitive, shape, attrs or _usual_attrs(shape), parts)
    options = f"samples={samples} evict_bytes={evict_bytes} dram_weights={int(dram_weights)} max_ns={max_ns}"
    return f"time {words} {options}{_shares(primitive, shape, parts)}\n"


def _usual_attrs(shape: Shape) -> Attrs:
    """Attributes to time a call with that no network gave: they do not change what a call of this shape costs."""
    if shape.op == "lrn":
        return Attrs(alpha=1e-4, beta=shape.quarters / 4 or 0.6, gamma=1.0)
    return Attrs()


def _pack(primitive: Primitive, shape: Shape, which: str, values: Array | None) -> Array:
    """`values` as the primitive wants them; HarnessError when the packed size is not the declared one."""
    packing = primitive.packing if which == "weights" else primitive.bias_packing
    raw = np.zeros(0, np.float32) if values is None else np.asarray(values, np.float32)
    if raw.size == 0 and packing.elems(shape) == 0:
        return np.zeros(0, np.float32)
    packed = packing.pack(shape, raw)
    if packed.ndim != 1 or packed.dtype != np.float32 or packed.size != packing.elems(shape):
        reason = f"packed {which} are {packed.dtype}{list(packed.shape)}, declared {packing.elems(shape)} floats"
        raise HarnessError(primitive.name, shape.key(), reason)
    return packed


_POISON = bytes([0xA1, 0xB2, 0xC3, 0x7F])
"""A NaN, little endian: what the driver writes into y beforehand (harness_check.h), and what fills an input's gaps."""


def _parts(primitive: Primitive, shape: Shape, port: int | None) -> tuple[int, int, int]:
    """(parts, floats of a part, floats from one to the next) of an input, or of the output (None)."""
    x_pitch, y_pitch = primitive.pitches(shape)
    if port is None or (primitive.op == "conv" and port == 1):
        layout, (c, h, w), pitch = primitive.out_layout, shape.output_dims, y_pitch
    else:
        layout, (c, h, w) = primitive.in_layout, shape.input_dims(port)
        pitch = x_pitch if port == 0 else layout.pitch(c, h, w)
    if layout is Layout.HWC:
        return h * w, c, pitch
    return -(-c // layout.block), h * w * layout.block, pitch * layout.block


def _spread(dense: Array, parts: tuple[int, int, int]) -> Array:
    """A dense tensor with its parts moved apart; the gaps are NaN."""
    count, length, step = parts
    spread = np.frombuffer(_POISON * (count * step), np.float32).reshape(count, step).copy()
    spread[:, :length] = dense.reshape(count, length)
    return spread.reshape(-1)[: (count - 1) * step + length]


def _gather(raw: bytes, parts: tuple[int, int, int]) -> tuple[Array, bool]:
    """Inverse of `_spread`, and whether the gaps still are what they were."""
    count, length, step = parts
    tail = _POISON * (step - length)
    rows = np.frombuffer(raw + tail, np.float32).reshape(count, step)
    return np.ascontiguousarray(rows[:, :length]).reshape(-1), rows[:, length:].tobytes() == tail * count


def _describe(primitive: Primitive, shape: Shape, attrs: Attrs, parts: Sequence[Part] = ()) -> str:
    """The words of a request that say what to call and how large everything is."""
    numbers = [f"{f.name}={float(np.float32(getattr(attrs, f.name))).hex()}" for f in dataclasses.fields(Attrs)]
    x_elems = [primitive.input_elems(shape, port) for port in range(shape.n_in)]
    x_pitch, y_pitch = primitive.pitches(shape)
    sizes = (
        f"x_elems={','.join(map(str, x_elems))}",
        f"weights_elems={primitive.packing.elems(shape)}",
        f"bias_elems={primitive.bias_packing.elems(shape)}",
        f"y_elems={primitive.output_elems(shape)}",
        f"workspace_bytes={parts_workspace_bytes(primitive, parts) if parts else primitive.workspace_bytes(shape)}",
    )
    own = dataclasses.replace(shape, residual=0, x_pitch=0, y_pitch=0, quarters=0)  # x_elems, below, attributes
    _, *geometry = own.key().split()
    pitches = (f"x_pitch={x_pitch}", f"y_pitch={y_pitch}")
    return " ".join([primitive.name, *geometry, *pitches, *numbers, *sizes])


def _shares(primitive: Primitive, shape: Shape, parts: Sequence[Part]) -> str:
    """The words of a shared call's parts: where each differs from the call; "" when there is only one."""
    if len(parts) < 2:
        return ""
    words = []
    for number, part in enumerate(parts):
        words += ["part", *_differences(primitive, shape, part.shape)]
        words += [f"x{port}_at={at}" for port, at in enumerate(part.x)]
        words += [f"{name}_at={getattr(part, name)}" for name in ("weights", "bias", "y", "workspace")]
        words.append(f"scratch_elems={primitive.workspace_elems(part.shape)}")
        for port, at in enumerate(part.x):
            if part.x == parts[number - 1].x and primitive.input_elems(part.shape, port) == primitive.input_elems(
                shape, port
            ):
                words.append(f"x{port}_span={_share_of(primitive.input_elems(shape, port), number, len(parts))}")
            else:
                words.append(f"x{port}_span={_span(at, _parts(primitive, part.shape, port))}")
        words.append(f"y_span={_span(part.y, _parts(primitive, part.shape, None))}")
    return " " + " ".join(words)


_SAID_ELSEWHERE = ("residual", "quarters")  # by the inputs and by the attributes; the C struct has no such fields


def _differences(primitive: Primitive, shape: Shape, part: Shape) -> list[str]:
    """The fields of the C struct that a part has of its own."""

    def fields(s: Shape) -> dict[str, int]:
        numbers = {
            f.name: getattr(s, f.name)
            for f in dataclasses.fields(s)
            if f.type == "int" and f.name not in _SAID_ELSEWHERE
        }
        x_pitch, y_pitch = primitive.pitches(s)
        return numbers | {"x_pitch": x_pitch, "y_pitch": y_pitch}

    whole = fields(shape)
    return [f"{name}={value}" for name, value in fields(part).items() if value != whole[name]]


def _span(at: int, parts: tuple[int, int, int]) -> str:
    """A part of a tensor as the driver walks it: first float, floats of a run, from one to the next, how many."""
    count, length, step = parts
    return f"{at},{count * length},0,1" if step == length else f"{at},{length},{step},{count}"


def _share_of(elems: int, number: int, of: int) -> str:
    """An equal share of a tensor that every part reads whole."""
    first, end = elems * number // of, elems * (number + 1) // of
    return f"{first},{end - first},0,1"
