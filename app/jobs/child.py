"""The process of one job: runs the work of its kind, reports into the jobs table, dies with its parent.

Started as `python -m app.jobs.child`; which work there is is named on the command line, so this module knows none.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from app.db.database import Database
from app.db.jobs import JobStore
from app.db.records import JobState
from app.errors import Cancelled, UserError
from app.jobs.progress import JobProgress, Progress
from app.problems import problem, problem_of
from app.settings import Settings

Work = Callable[[Settings, dict[str, Any], Progress], str | None]
"""Does a job given its parameters; returns the URL of the result. Raises Cancelled, UserError, or anything (a bug)."""

log = logging.getLogger("tradespace.job")


def perform(work: Mapping[str, Work], settings: Settings, store: JobStore, job_id: str, owner: str) -> JobState | None:
    """Run a claimed job to its final state, which is returned; None when the job was taken away meanwhile."""
    job = store.get(job_id)
    if job is None or job.owner != owner:
        return None
    progress = JobProgress(store, job_id, owner)
    state, result_url, error = JobState.SUCCEEDED, None, None
    try:
        result_url = work[job.kind](settings, job.params, progress)
    except Cancelled:
        state = JobState.CANCELLED
    except UserError as found:
        state, error = JobState.FAILED, problem_of(found)
    except Exception as found:
        log.exception("job %s failed", job_id)
        detail = f"{type(found).__name__}: {found}"
        state, error = JobState.FAILED, problem("internal", 500, detail, hint="this is a fault of the program")
    return state if store.finish(job_id, owner, state, result_url=result_url, error=error) else None


def load_work(name: str) -> Mapping[str, Work]:
    """The table of work at `module:attribute`."""
    module, _, attribute = name.partition(":")
    table: Mapping[str, Work] = getattr(importlib.import_module(module), attribute)
    return table


def _die_with_parent(life_line: int) -> None:
    """When the other end of the pipe closes, the parent is gone: kill this process and all it has started."""

    def watch() -> None:
        while os.read(life_line, 1):
            pass
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="life-line").start()


def main(arguments: list[str] | None = None) -> int:
    """Entry point of the child process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--job", required=True)
    parser.add_argument("--owner", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--life-line", type=int, required=True)
    options = parser.parse_args(arguments)
    _die_with_parent(options.life_line)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    settings = Settings()
    database = Database(settings.url)
    try:
        state = perform(load_work(options.work), settings, JobStore(database), options.job, options.owner)
    finally:
        database.close()
    log.info("job %s: %s", options.job, state or "no longer ours")
    return 0


if __name__ == "__main__":
    sys.exit(main())
