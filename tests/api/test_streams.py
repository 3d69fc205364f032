"""Server-sent events of a live server, read by a client that knows nothing of its inside."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys

import httpx
import pytest

from app.db.database import Database
from app.db.jobs import JobStore
from app.db.records import JobState
from tests.api.waiting import wait_for


class Served:
    """The program serving a data folder, as a process of its own."""

    def __init__(self, data):
        self.data = data
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **os.environ,
            "TRADESPACE_DATA": str(data),
            "TRADESPACE_EXAMPLE": "",
            "TRADESPACE_STREAMS": "3",
        }
        self.command = [sys.executable, "-m", "app.cli", "serve", "--port", str(self.port)]
        self.process = subprocess.Popen(self.command, env=self.environment, stdout=subprocess.PIPE, text=True)
        assert self.url in self.process.stdout.readline()

    def end(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    served = Served(tmp_path_factory.mktemp("served"))
    yield served
    served.end()


@pytest.fixture
def jobs(server):
    """The jobs of the served data folder; none is left unfinished."""
    database = Database(f"sqlite:///{server.data}/tradespace.db")
    store = JobStore(database)
    yield store
    for job in store.active():
        store.finish(job.id, "test", JobState.CANCELLED)
    database.close()


def events(response):
    """(event, id, data) of a stream as they arrive."""
    fields = {}
    for line in response.iter_lines():
        if line.startswith(":"):
            continue
        if not line:
            if fields:
                yield fields.get("event"), int(fields["id"]), json.loads(fields["data"])
            fields = {}
            continue
        name, _, value = line.partition(": ")
        fields[name] = value


def held(jobs, number):
    """A job that only this test runs: the service may not claim it."""
    job, _ = jobs.create("count", {"n": number}, reserved_for="test", lease_s=600)
    jobs.claim("test", machine="elsewhere", slots=9, lease_s=600, job_id=job.id)
    return job


def test_a_job_is_followed_to_its_end_and_a_dropped_stream_goes_on_where_it_was(server, jobs):
    base = server.url
    job = held(jobs, 1)
    address = f"{base}/api/v1/jobs/{job.id}/events"
    with httpx.stream("GET", address, timeout=20) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert "no-cache" in response.headers["cache-control"]
        stream = events(response)
        kind, _, data = next(stream)
        assert (kind, data["state"]) == ("job", "running")
        jobs.progress(job.id, "test", stage="counting", completed=1, total=3, unit="x", eta_s=2.0)
        kind, last, data = next(stream)
        assert data["progress"] == {"completed": 1, "total": 3, "unit": "x"}
    jobs.progress(job.id, "test", stage="counting", completed=2, total=3, unit="x", eta_s=1.0)
    jobs.finish(job.id, "test", JobState.SUCCEEDED, result_url="/x")
    with httpx.stream("GET", address, headers={"Last-Event-ID": str(last)}, timeout=20) as response:
        seen = list(events(response))
    assert [(kind, data.get("state")) for kind, _, data in seen] == [
        ("job", "running"),
        ("job", "succeeded"),
        ("end", None),
    ]
    assert [number for _, number, _ in seen] == sorted(number for _, number, _ in seen)
    with httpx.stream("GET", address, timeout=20) as response:
        assert [kind for kind, _, _ in events(response)] == ["job", "end"], "a finished job ends at once"


def test_one_stream_tells_of_all_jobs(server, jobs):
    base = server.url
    before = held(jobs, 1)
    with httpx.stream("GET", f"{base}/api/v1/events", timeout=20) as response:
        stream = events(response)
        assert next(stream)[2]["id"] == before.id, "begins with what is not finished"
        after = held(jobs, 2)
        assert next(stream)[2]["id"] == after.id


def test_streams_are_limited_and_freed(server):
    base = server.url
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            response = stack.enter_context(httpx.stream("GET", f"{base}/api/v1/events", timeout=20))
            assert response.status_code == 200
        refused = httpx.get(f"{base}/api/v1/events", timeout=20)
        assert (refused.status_code, refused.json()["type"]) == (429, "/problems/too-many-streams")

    def free():
        with httpx.stream("GET", f"{base}/api/v1/events", timeout=20) as response:
            return response.status_code == 200

    wait_for(free)


def test_the_port_in_use_is_one_clear_line(server):
    second = subprocess.run(server.command, env=server.environment, capture_output=True, text=True, check=False)
    assert second.returncode == 2
    assert "cannot listen" in second.stderr
    assert httpx.get(f"{server.url}/readyz", timeout=20).status_code == 200


def test_a_server_with_open_streams_stops_when_asked_to(tmp_path):
    served = Served(tmp_path)
    try:
        with httpx.stream("GET", f"{served.url}/api/v1/events", timeout=20) as response:
            assert response.status_code == 200
            served.process.send_signal(signal.SIGINT)
            served.process.wait(20)
    finally:
        served.end()
