"""The process of one peer: `python -m app.benchmark.peers.worker TASK.json`, answering the protocol of `contender`.

Times single calls of the runtime through its Python interface; that call's own overhead is part of its times.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from app.benchmark.task import Task

FloatArray = npt.NDArray[np.float32]


class Peer(Protocol):
    """A runtime with one network loaded; `load` of its module makes it."""

    def feed(self) -> None:
        """Make the inputs given to `load` ready for the next run; not timed."""

    def run(self) -> None:
        """One inference; timed."""

    def outputs(self) -> list[FloatArray]:
        """The outputs of the newest run, in the order of the task."""

    def session_bytes(self) -> int | None:
        """Memory the runtime itself says it holds; None when it does not say."""


def main(arguments: list[str]) -> None:
    """Answer requests until standard input ends."""
    # Runtimes print greetings; what they print goes to standard error, answers to where standard output was.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    task = Task.read(Path(arguments[0]))
    inputs = _read_inputs(task)
    peer: Peer | None = None
    answer: dict[str, Any]
    for line in sys.stdin:
        request, *numbers = line.split()
        try:
            if request == "load":
                module = importlib.import_module(f"app.benchmark.peers.{task.runtime}_peer")
                peer, answer = _load(module, task, inputs)
            elif request == "run" and peer is not None:
                answer = _run(peer, *(int(number) for number in numbers))
            else:
                raise ValueError(f"unknown request {line!r}")
            _write_outputs(peer, task)
        except Exception as error:  # whatever a runtime raises is the answer, and the tables show it
            answer = {"error": f"{type(error).__name__}: {error}".strip()}
        print(json.dumps(answer), file=answers, flush=True)


def _load(module: Any, task: Task, inputs: list[FloatArray]) -> tuple[Peer, dict[str, Any]]:
    gc.collect()
    rss_before_bytes = _status_bytes("VmRSS")
    can_reset = _reset_peak()
    peer: Peer = module.load(task, inputs)
    peer.feed()
    peer.run()
    answer = {
        "rss_before_bytes": rss_before_bytes,
        "rss_bytes": _status_bytes("VmRSS"),
        "load_peak_bytes": _status_bytes("VmHWM") if can_reset else None,
        "session_bytes": peer.session_bytes(),
    }
    return peer, answer


def _run(peer: Peer, warm_up_ns: int, burst_ns: int, least_runs: int, most_runs: int) -> dict[str, Any]:
    can_reset = _reset_peak()
    clock, feed, run = time.perf_counter_ns, peer.feed, peer.run
    samples_ns: list[int] = []
    gc.collect()
    gc.disable()
    try:
        started = clock()
        feed()
        run()
        while clock() - started < warm_up_ns:
            feed()
            run()
        started = before = clock()
        while len(samples_ns) < most_runs and (len(samples_ns) < least_runs or before - started < burst_ns):
            feed()
            before = clock()
            run()
            after = clock()
            samples_ns.append(after - before)
            before = after
    finally:
        gc.enable()
    return {"samples_ns": samples_ns, "run_peak_bytes": _status_bytes("VmHWM") if can_reset else None}


def _read_inputs(task: Task) -> list[FloatArray]:
    numbers = np.fromfile(task.inputs_file, np.float32)
    parts = np.split(numbers, np.cumsum([tensor.elems for tensor in task.inputs])[:-1])
    return [np.array(part).reshape(tensor.dims) for part, tensor in zip(parts, task.inputs, strict=True)]


def _write_outputs(peer: Peer, task: Task) -> None:
    with task.outputs_file.open("wb") as file:
        for array in peer.outputs():
            file.write(np.ascontiguousarray(array, np.float32).tobytes())


def _status_bytes(field: str) -> int:
    """A figure of /proc/self/status, which counts in KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {field}")


def _reset_peak() -> bool:
    """Let VmHWM begin anew; False where the system does not offer that."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main(sys.argv[1:])
