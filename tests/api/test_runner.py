"""The job runner with real processes: results, errors, cancelling with rising force, and killed workers."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.db.records import JobState
from app.jobs.local import LocalExecutor
from tests.api.waiting import wait_for


def running(pid):
    """Whether the process exists and is not just waiting to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def finished(store, job):
    return wait_for(lambda: (found := store.get(job.id)).state.final and found)


@pytest.mark.usefixtures("executor")
def test_a_job_runs_to_its_result_and_its_events_tell_the_progress(store):
    start = store.last_event()
    job, _ = store.create("count", {"to": 30})
    done = finished(store, job)
    assert (done.state, done.result_url) == (JobState.SUCCEEDED, "/api/v1/counted")
    assert (done.completed, done.total, done.unit) == (30, 30, "steps")
    states = [event.data["state"] for event in store.events(start)]
    assert states[0] == "queued"
    assert states[-1] == "succeeded"
    counts = [event.data["progress"]["completed"] for event in store.events(start)][2:]
    assert counts == sorted(counts)


@pytest.mark.usefixtures("executor")
def test_an_error_the_user_can_act_on_becomes_the_jobs_problem(store):
    done = finished(store, store.create("refuse", {})[0])
    assert done.state is JobState.FAILED
    assert done.error["type"] == "/problems/model-invalid"
    assert done.error["facts"] == {"bytes": 3}


@pytest.mark.usefixtures("executor")
def test_a_bug_becomes_an_internal_problem_and_is_not_tried_again(store, settings):
    job, _ = store.create("break_down", {})
    done = finished(store, job)
    assert (done.state, done.attempt) == (JobState.FAILED, 1)
    assert done.error["type"] == "/problems/internal"
    assert "ZeroDivisionError" in (settings.data / "logs" / f"{job.id}.log").read_text()


@pytest.mark.usefixtures("executor")
def test_cancelling_a_running_job_stops_it_where_it_is(store):
    job, _ = store.create("count", {"to": 100_000})
    wait_for(lambda: store.get(job.id).completed > 0)
    store.request_cancel(job.id)
    done = finished(store, job)
    assert done.state is JobState.CANCELLED
    assert done.completed < 100_000


@pytest.mark.usefixtures("executor")
def test_a_job_that_does_not_listen_is_killed(store, tmp_path):
    started = tmp_path / "pid"
    job, _ = store.create("deaf", {"started": str(started)})
    pid = int(wait_for(lambda: started.exists() and started.read_text()))
    store.request_cancel(job.id)
    assert finished(store, job).state is JobState.CANCELLED
    wait_for(lambda: not running(pid))


@pytest.mark.usefixtures("executor")
def test_a_killed_worker_process_puts_its_job_back_and_it_runs_again(store, tmp_path):
    job, _ = store.create("die_once", {"marker": str(tmp_path / "marker")})
    done = finished(store, job)
    assert (done.state, done.attempt) == (JobState.SUCCEEDED, 2)


@pytest.mark.usefixtures("executor")
def test_kill_9_from_outside_puts_the_job_back_too_and_kills_what_it_had_started(store, tmp_path):
    started = tmp_path / "pids"
    job, _ = store.create("breed", {"started": str(started)})
    pid, grandchild = map(int, wait_for(lambda: started.exists() and started.read_text()).split())
    started.unlink()
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: started.exists() and started.read_text())
    assert store.get(job.id).attempt == 2
    wait_for(lambda: not running(grandchild))
    store.request_cancel(job.id)
    finished(store, job)


@pytest.mark.usefixtures("executor")
def test_a_job_that_always_kills_its_worker_is_lost_with_its_last_words(store):
    done = finished(store, store.create("die_always", {})[0])
    assert (done.state, done.attempt) == (JobState.LOST, 3)
    assert "SIGKILL" in done.error["detail"]
    assert "my last words" in done.error["detail"]


def test_stopping_the_executor_returns_its_job_to_the_queue_unharmed(store, executor):
    job, _ = store.create("count", {"to": 100_000})
    wait_for(lambda: store.get(job.id).completed > 0)
    executor.stop()
    left = store.get(job.id)
    assert (left.state, left.attempt) == (JobState.QUEUED, 0)


SERVICE = """
import sys, time
from pathlib import Path
from app.db.database import Database
from app.db.jobs import JobStore
from app.jobs.local import LocalExecutor
from app.settings import Settings
settings = Settings(data=Path(sys.argv[1]), lease_s=1.0, workers=1)
LocalExecutor(settings, JobStore(Database(settings.url)), "tests.api.fake_work:WORK").start()
time.sleep(600)
"""


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_kill_9_of_the_service_kills_its_workers_and_the_next_service_goes_on(store, settings, tmp_path):
    started = tmp_path / "pids"
    job, _ = store.create("breed", {"started": str(started)})
    service = subprocess.Popen([sys.executable, "-c", SERVICE, str(settings.data)])
    pids = list(map(int, wait_for(lambda: started.exists() and started.read_text()).split()))
    service.kill()
    service.wait()
    wait_for(lambda: not any(map(running, pids)))
    started.unlink()
    successor = LocalExecutor(settings, store, "tests.api.fake_work:WORK", poll_s=0.02)
    successor.start()
    try:
        wait_for(lambda: started.exists() and started.read_text())
        assert store.get(job.id).attempt == 2
        store.request_cancel(job.id)
        finished(store, job)
    finally:
        successor.stop()


@pytest.mark.usefixtures("executor")
def test_quiet_jobs_never_overlap_anything_on_the_machine(store, tmp_path):
    log = tmp_path / "log"
    jobs = [
        store.create(
            "interval",
            {"name": f"{'quiet' if quiet else 'busy'}{n}", "log": str(log), "pause_s": 0.1},
            device="host:1" if quiet else None,
            quiet=quiet,
        )[0]
        for n, quiet in enumerate([False, True, False, True, False])
    ]
    for job in jobs:
        assert finished(store, job).state is JobState.SUCCEEDED
    open_now = set()
    for line in log.read_text().splitlines():
        what, name, _ = line.split()
        (open_now.add if what == "begin" else open_now.discard)(name)
        assert len(open_now) == 1 or not any(found.startswith("quiet") for found in open_now), line


@pytest.mark.usefixtures("executor")
def test_a_lost_lease_makes_the_old_worker_stop(store):
    job, _ = store.create("count", {"to": 100_000})
    owner = wait_for(lambda: (found := store.get(job.id)).completed > 0 and found.owner)
    store.give_back(job.id, owner, {})
    wait_for(lambda: store.get(job.id).attempt == 2 and store.get(job.id).completed > 0)
    assert store.get(job.id).owner != owner
    time.sleep(0.3)
    store.request_cancel(job.id)
    assert finished(store, job).state is JobState.CANCELLED
