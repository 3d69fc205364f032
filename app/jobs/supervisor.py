"""One claimed job and its process: heartbeat, cancel with rising force, and what to do when the process dies."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

from app.db.jobs import JobStore
from app.db.records import JobRecord, JobState
from app.problems import problem
from app.settings import Settings

POLL_S = 0.1
_LOG_TAIL_BYTES = 2000


def machine() -> str:
    """The name of this machine, by which jobs that must not disturb each other find out that they share one."""
    return socket.gethostname()


def new_owner() -> str:
    """A word unique to one claim."""
    return f"{machine()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"


class Supervisor:
    """Runs a claimed job in a process group of its own. Call `step()` until it returns False, or `stop()`."""

    def __init__(self, settings: Settings, store: JobStore, job: JobRecord, work: str):
        assert job.owner is not None
        self.job = job
        self._owner = job.owner
        self._settings = settings
        self._store = store
        self._renew_every_s = min(settings.lease_s / 4, 1.0)
        self._renewed = time.monotonic()
        self._cancel_seen: float | None = None
        self._signals = [signal.SIGTERM, signal.SIGKILL]
        self.log_path = settings.data / "logs" / f"{job.id}.log"
        self.log_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        life_line, self._life_line = os.pipe()
        try:
            with self.log_path.open("ab") as log:
                self._process = subprocess.Popen(
                    [
                        *(sys.executable, "-m", "app.jobs.child", "--job", job.id, "--owner", self._owner),
                        *("--work", work, "--life-line", str(life_line)),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    pass_fds=(life_line,),
                    env=_child_environment(settings),
                )
        finally:
            os.close(life_line)

    @property
    def pid(self) -> int:
        """Process id of the child, which is also its process group."""
        return self._process.pid

    def step(self) -> bool:
        """Look after the job once; False when it is over."""
        if self._process.poll() is not None:
            self._close()
            self._settle()
            return False
        moment = time.monotonic()
        if moment - self._renewed >= self._renew_every_s:
            self._renewed = moment
            current = self._store.renew(self.job.id, self._owner, self._settings.lease_s)
            if current is None:  # finished by the child a moment ago, or taken away: nothing it does counts any more
                if self._cancel_seen is None:
                    self._cancel_seen = moment
            elif current.cancel_requested and self._cancel_seen is None:
                self._cancel_seen = moment
        if self._cancel_seen is not None and self._signals and moment - self._cancel_seen >= self._settings.grace_s:
            self._cancel_seen = moment
            self._signal(self._signals.pop(0))
        return True

    def run(self) -> None:
        """Look after the job until it is over."""
        while self.step():
            time.sleep(POLL_S)

    def stop(self) -> None:
        """End the process now and put the job back into the queue: this machine stops, not the job."""
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(self._settings.grace_s)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()
        self._close()
        self._store.give_back(self.job.id, self._owner, self._lost("the worker was stopped"), counts=False)

    def _settle(self) -> None:
        """The process has ended. If the job is still held it ended without a word."""
        code = self._process.returncode
        how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
        current = self._store.get(self.job.id)
        if current is not None and current.cancel_requested:
            self._store.finish(self.job.id, self._owner, JobState.CANCELLED)
        else:
            self._store.give_back(self.job.id, self._owner, self._lost(f"the worker process {how}"))

    def _lost(self, detail: str) -> dict[str, object]:
        with self.log_path.open("rb") as log:
            log.seek(max(0, self.log_path.stat().st_size - _LOG_TAIL_BYTES))
            tail = log.read().decode(errors="replace").strip()
        last = tail.splitlines()[-1] if tail else ""
        return problem("job-lost", 500, detail + (f"; its last words: {last}" if last else ""), hint="retry the job")

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):  # it ended by itself in this moment
            os.killpg(self._process.pid, number)

    def _close(self) -> None:
        if self._life_line >= 0:
            os.close(self._life_line)
            self._life_line = -1
        # Whatever the child started must not outlive it (a compiler, a measuring program).
        self._signal(signal.SIGKILL)


def _child_environment(settings: Settings) -> dict[str, str]:
    inherited = dict(os.environ)
    inherited.pop("TRADESPACE_TOKEN", None)  # a job has no use for the service's secret
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(part for part in (root, inherited.get("PYTHONPATH", "")) if part)
    own = {name: value for name, value in settings.environment().items() if name != "TRADESPACE_TOKEN"}
    return inherited | own | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
