"""The parent's side of a process that is timed: one request line in, one line of JSON back.

    load                              load the network and run it once; write its outputs
    run WARM_UP_NS BURST_NS LEAST MOST
                                      untimed runs for WARM_UP_NS (at least one), then timed ones until BURST_NS have
                                      passed, at least LEAST and at most MOST of them; write the last one's outputs

An answer is `{"error": TEXT}` or the fields of Loaded or Burst. A contender is stopped by signal whenever it is not its
turn, so that spinning worker threads of one runtime never disturb another.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

LOAD_TIMEOUT_S = 600.0
RUN_TIMEOUT_S = 300.0
_SAID_LINES = 4


class ContenderError(Exception):
    """A contender crashed, hung or answered an error; the text is the reason."""


@dataclass(frozen=True)
class Loaded:
    """Memory around loading the network and running it once, of the contender's whole process.

    `rss_before_bytes`: resident before the network is read, the runtime's code loaded. `rss_bytes`: resident after the
    first run. `load_peak_bytes`: most resident in between, None where the system cannot reset its mark.
    `session_bytes`: what the runtime itself says it holds, if it says anything.
    """

    rss_before_bytes: int
    rss_bytes: int
    load_peak_bytes: int | None
    session_bytes: int | None


@dataclass(frozen=True)
class Burst:
    """Timed runs of one turn, in order, and the most resident memory during them."""

    samples_ns: tuple[int, ...]
    run_peak_bytes: int | None


@dataclass(frozen=True)
class Turn:
    """How long one turn is: see the `run` request."""

    warm_up_ns: int = 100_000_000
    burst_ns: int = 500_000_000
    least_runs: int = 5
    most_runs: int = 10_000


@contextlib.contextmanager
def on_cores(cpus: Collection[int]) -> Iterator[None]:
    """Processes started inside inherit these cores from this thread, so none of their threads ever runs elsewhere."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


class Contender:
    """A running process that answers the protocol, pinned to `cpus`. Close it, or use it as a context manager."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        cpus: Collection[int],
        outputs_file: Path,
        *,
        environment: Mapping[str, str] | None = None,
    ):
        self.name = name
        self._outputs_file = outputs_file
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        try:
            # A process group of its own keeps Ctrl-C away. When we die, that group is orphaned with a stopped member,
            # and the kernel wakes it to find its standard input closed.
            with on_cores(cpus):
                self._child = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._stderr,
                    env={**os.environ, **(environment or {})},
                    process_group=0,
                )
        except OSError as error:
            self._stderr.close()
            raise ContenderError(f"{command[0]} does not start: {error.strerror}") from error
        self._stop()

    def __enter__(self) -> Contender:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._child.kill()
        self._child.wait()
        for stream in (self._child.stdin, self._child.stdout, self._stderr):
            if stream is not None and not stream.closed:
                with contextlib.suppress(BrokenPipeError):  # a request that was never read
                    stream.close()

    @property
    def process_id(self) -> int:
        """Of the running process."""
        return self._child.pid

    def load(self, *, timeout_s: float = LOAD_TIMEOUT_S) -> Loaded:
        """Load the network and run it once; raises ContenderError."""
        loaded: Loaded = self._fields(Loaded, self._ask("load", timeout_s))
        return loaded

    def run(self, turn: Turn, *, timeout_s: float = RUN_TIMEOUT_S) -> Burst:
        """One turn; raises ContenderError."""
        request = f"run {turn.warm_up_ns} {turn.burst_ns} {turn.least_runs} {turn.most_runs}"
        answer = self._ask(request, timeout_s + (turn.warm_up_ns + turn.burst_ns) * 1e-9)
        burst: Burst = self._fields(Burst, answer | {"samples_ns": tuple(answer.get("samples_ns", ()))})
        if not turn.least_runs <= len(burst.samples_ns) <= turn.most_runs:
            raise ContenderError(f"it reports {len(burst.samples_ns)} runs of a turn")
        return burst

    def outputs(self, sizes: Sequence[int]) -> tuple[FloatArray, ...]:
        """The outputs of the newest run, of `sizes` numbers each; raises ContenderError."""
        try:
            numbers = np.fromfile(self._outputs_file, "<f4")
        except OSError as error:
            raise ContenderError(f"it wrote no outputs ({error.strerror})") from error
        if numbers.size != sum(sizes):
            raise ContenderError(f"its outputs are {numbers.size} numbers, not {sum(sizes)}")
        return tuple(np.split(numbers, np.cumsum(sizes)[:-1]))

    @staticmethod
    def _fields(kind: Any, answer: dict[str, Any]) -> Any:
        try:
            return kind(**answer)
        except TypeError as error:
            raise ContenderError(f"it answers nonsense: {error}") from error

    def _ask(self, request: str, timeout_s: float) -> dict[str, Any]:
        assert self._child.stdin is not None
        self._outputs_file.unlink(missing_ok=True)  # what is read afterwards is of this request
        try:
            self._child.send_signal(signal.SIGCONT)
            self._child.stdin.write(f"{request}\n".encode())
            self._child.stdin.flush()
            line = self._line(time.monotonic() + timeout_s)
            self._stop()
        except TimeoutError:
            raise ContenderError(f"no answer within {timeout_s:.0f} s") from None
        except (BrokenPipeError, EOFError):
            raise ContenderError(self._post_mortem()) from None
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            raise ContenderError(f"it answers nonsense: {line[:80]!r}") from None
        if "error" in answer:
            raise ContenderError(str(answer["error"]))
        return answer

    def _stop(self) -> None:
        """Stop all its threads and return when they have stopped. A process that has ended is found out when asked."""
        self._child.send_signal(signal.SIGSTOP)
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, self._child.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def _line(self, deadline_s: float) -> bytes:
        assert self._child.stdout is not None
        received = bytearray()
        while not received.endswith(b"\n"):
            ready, _, _ = select.select([self._child.stdout], [], [], max(0.0, deadline_s - time.monotonic()))
            if not ready:
                raise TimeoutError
            chunk = os.read(self._child.stdout.fileno(), 1 << 16)
            if not chunk:
                raise EOFError
            received += chunk
        return bytes(received)

    def _post_mortem(self) -> str:
        """Why the process ended: its exit status and the last lines it said."""
        status = self._child.wait()
        self._stderr.seek(0)
        said = [line.strip() for line in self._stderr.read().decode(errors="replace").splitlines() if line.strip()]
        ended = f"its process ended by signal {-status}" if status < 0 else f"its process ended with status {status}"
        return "; ".join([ended, *said[-_SAID_LINES:]])
