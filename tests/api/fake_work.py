"""Work for tests of the job runner only: each kind behaves, or misbehaves, in one way."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from app.errors import Cancelled, UserError


def count(_settings, params, progress):
    """Counts to params["to"], noting each step in a file, and stops when asked to."""
    progress.stage("counting", unit="steps", total=params["to"])
    for step in range(params["to"]):
        if progress.should_cancel():
            raise Cancelled
        time.sleep(params.get("pause_s", 0.01))
        progress.advance(step + 1, params["to"])
    return "/api/v1/counted"


def deaf(_settings, params, _progress):
    """Never looks at the cancel flag and ignores SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(params["started"]).write_text(str(os.getpid()))
    time.sleep(600)


def breed(_settings, params, _progress):
    """Starts a child of its own and waits for ever."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(params["started"]).write_text(f"{os.getpid()} {child.pid}")
    time.sleep(600)


def die_once(_settings, params, _progress):
    """Kills itself the first time."""
    marker = Path(params["marker"])
    if not marker.exists():
        marker.write_text("died")
        os.kill(os.getpid(), signal.SIGKILL)
    return "/api/v1/second"


def die_always(_settings, _params, _progress):
    print("my last words", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(_settings, _params, _progress):
    raise UserError("model-invalid", "this is no network", hint="give another file", facts={"bytes": 3})


def break_down(_settings, _params, _progress):
    raise ZeroDivisionError("a bug")


def interval(_settings, params, _progress):
    """Notes when it began and ended."""
    with Path(params["log"]).open("a") as log:
        log.write(f"begin {params['name']} {time.monotonic()}\n")
    time.sleep(params["pause_s"])
    with Path(params["log"]).open("a") as log:
        log.write(f"end {params['name']} {time.monotonic()}\n")


WORK = {
    function.__name__: function for function in (count, deaf, breed, die_once, die_always, refuse, break_down, interval)
}
