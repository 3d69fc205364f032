"""States of jobs: claims, leases, cancelling and what the events say, against the real database."""

import threading
import time

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from app.db.records import JobState

ALLOWED = {
    ("queued", "running"),
    ("queued", "cancelled"),
    ("queued", "lost"),
    ("running", "running"),
    ("running", "cancelling"),
    ("running", "succeeded"),
    ("running", "failed"),
    ("running", "cancelled"),
    ("running", "queued"),
    ("running", "lost"),
    ("cancelling", "cancelling"),
    ("cancelling", "cancelled"),
    ("cancelling", "succeeded"),
    ("cancelling", "failed"),
}


def claim(store, owner="me", machine="here", slots=9, **options):
    return store.claim(owner, machine=machine, slots=slots, lease_s=options.pop("lease_s", 60), **options)


def test_the_same_work_is_one_job_until_it_is_finished(store):
    first, new = store.create("count", {"to": 1})
    again, new_again = store.create("count", {"to": 1})
    assert (new, new_again) == (True, False)
    assert again.id == first.id
    claim(store)
    store.finish(first.id, "me", JobState.SUCCEEDED)
    assert store.create("count", {"to": 1})[0].id != first.id


def test_jobs_are_claimed_in_order_and_only_once(store):
    ids = [store.create("count", {"to": n})[0].id for n in range(3)]
    assert [claim(store, f"owner {n}").id for n in range(3)] == ids
    assert claim(store) is None


def test_two_claims_at_the_same_moment_never_get_the_same_job(store):
    for n in range(12):
        store.create("count", {"to": n})
    got, barrier = [], threading.Barrier(4)

    def worker(name):
        barrier.wait()
        while (job := claim(store, name, slots=99)) is not None:
            got.append(job.id)

    threads = [threading.Thread(target=worker, args=(f"w{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == len(set(got)) == 12


def test_a_device_is_held_by_one_job_on_any_machine(store):
    store.create("measure", {"n": 1}, device="board:1")
    store.create("measure", {"n": 2}, device="board:1")
    first = claim(store, machine="a")
    assert claim(store, machine="b") is None
    store.finish(first.id, "me", JobState.SUCCEEDED)
    assert claim(store, machine="b") is not None


def test_a_quiet_job_has_its_machine_for_itself(store):
    busy = store.create("frontier", {"n": 1})[0]
    assert claim(store, "a").id == busy.id
    quiet = store.create("measure", {"n": 2}, device="host:1", quiet=True)[0]
    later = store.create("frontier", {"n": 3})[0]
    assert claim(store, "b") is None, "quiet waits for the busy one, and the later one may not overtake it"
    store.finish(busy.id, "a", JobState.SUCCEEDED)
    assert claim(store, "b").id == quiet.id
    assert claim(store, "c") is None, "nothing starts beside a quiet job"
    store.finish(quiet.id, "b", JobState.SUCCEEDED)
    assert claim(store, "c").id == later.id


def test_slots_limit_jobs_per_machine(store):
    for n in range(3):
        store.create("frontier", {"n": n})
    assert claim(store, "a", slots=1)
    assert claim(store, "b", slots=1) is None
    assert claim(store, "b", machine="there", slots=1)


def test_a_reserved_job_is_claimed_by_its_owner_only(store):
    job, _ = store.create("measure", {}, reserved_for="terminal", lease_s=60)
    assert claim(store, "service") is None
    assert claim(store, "terminal").id == job.id


def test_a_reservation_nobody_keeps_is_lost(store):
    job, _ = store.create("measure", {}, reserved_for="terminal", lease_s=0.01)
    time.sleep(0.03)
    store.reap({})
    assert store.get(job.id).state is JobState.LOST


def test_a_lapsed_lease_returns_the_job_and_the_old_owner_cannot_change_it(store):
    job, _ = store.create("count", {"to": 1})
    claim(store, "old", lease_s=0.01)
    time.sleep(0.03)
    assert [j.state for j in store.reap({})] == [JobState.QUEUED]
    assert not store.finish(job.id, "old", JobState.SUCCEEDED)
    assert store.renew(job.id, "old", 60) is None
    assert claim(store, "new").attempt == 2
    assert not store.progress(job.id, "old", stage="x", completed=1, total=1, unit="", eta_s=None)
    assert store.is_cancelled(job.id, "old"), "the old owner learns that it must stop"
    assert not store.is_cancelled(job.id, "new")


def test_a_job_that_keeps_losing_its_worker_is_lost_with_the_reason(store):
    job, _ = store.create("count", {"to": 1}, max_attempts=2)
    for owner in ("a", "b"):
        claim(store, owner)
        store.give_back(job.id, owner, {"detail": f"{owner} died"})
    found = store.get(job.id)
    assert found.state is JobState.LOST
    assert found.error == {"detail": "b died"}


def test_stopping_the_machine_does_not_count_as_an_attempt(store):
    job, _ = store.create("count", {"to": 1}, max_attempts=1)
    claim(store, "a")
    store.give_back(job.id, "a", {}, counts=False)
    assert store.get(job.id).state is JobState.QUEUED
    assert claim(store, "b").attempt == 1


def test_cancelling_is_idempotent_and_final_jobs_stay_as_they_are(store):
    job, _ = store.create("count", {"to": 1})
    claim(store)
    assert store.request_cancel(job.id).state is JobState.CANCELLING
    assert store.request_cancel(job.id).state is JobState.CANCELLING
    store.finish(job.id, "me", JobState.CANCELLED)
    before = store.last_event()
    assert store.request_cancel(job.id).state is JobState.CANCELLED
    assert store.last_event() == before
    assert store.request_cancel("job_none") is None


def test_a_cancelled_job_whose_worker_dies_is_cancelled_not_repeated(store):
    job, _ = store.create("count", {"to": 1})
    claim(store)
    store.request_cancel(job.id)
    store.give_back(job.id, "me", {})
    assert store.get(job.id).state is JobState.CANCELLED


def test_only_final_states_finish(store):
    job, _ = store.create("count", {"to": 1})
    claim(store)
    with pytest.raises(ValueError, match="not final"):
        store.finish(job.id, "me", JobState.QUEUED)


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["claim", "finish", "fail", "cancel", "give_back", "stop", "progress", "renew", "reap"]),
        st.sampled_from(["a", "b"]),
        st.integers(0, 2),
    ),
    max_size=25,
)


@given(operations=OPERATIONS)
@profile(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_whatever_happens_states_change_only_as_allowed_and_final_ones_never(store, operations):
    marker = time.monotonic_ns()
    jobs = [
        store.create(
            "any", {"n": n, "run": marker}, device=f"d{marker}:{n % 2}" if n else None, quiet=n == 2, max_attempts=2
        )[0].id
        for n in range(3)
    ]
    start = store.last_event()
    seen = dict.fromkeys(jobs, "queued")
    for operation, owner, number in operations:
        job = jobs[number]
        owner = f"{owner} {marker}"
        match operation:
            case "claim":
                store.claim(owner, machine=f"m{marker}", slots=2, lease_s=60, job_id=job)
            case "finish":
                store.finish(job, owner, JobState.SUCCEEDED, result_url="/x")
            case "fail":
                store.finish(job, owner, JobState.FAILED, error={"title": "x"})
            case "cancel":
                store.request_cancel(job)
            case "give_back":
                store.give_back(job, owner, {})
            case "stop":
                store.give_back(job, owner, {}, counts=False)
            case "progress":
                store.progress(job, owner, stage="s", completed=1, total=2, unit="u", eta_s=1.0)
            case "renew":
                store.renew(job, owner, 60)
            case "reap":
                store.reap({})
        running = [store.get(j) for j in jobs]
        held = [j for j in running if j.state in ("running", "cancelling")]
        assert len({j.device for j in held if j.device}) == sum(1 for j in held if j.device)
        assert len(held) == 1 or not any(j.quiet for j in held)
    for event in store.events(start, limit=1000):
        if event.job in seen:
            change = (seen[event.job], event.data["state"])
            assert change in ALLOWED, change
            seen[event.job] = event.data["state"]
    for job in jobs:
        assert store.get(job).state == seen[job], "the last event tells the state"
        store.request_cancel(job)
        for name in ("a", "b"):
            store.finish(job, f"{name} {marker}", JobState.CANCELLED)
