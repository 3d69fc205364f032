"""Jobs delivered through a real Dask scheduler; needs the extra `dask`."""

import pytest

from app.db.records import JobState
from app.errors import UserError
from tests.api.waiting import wait_for


def test_without_the_extra_the_reason_is_clear(settings, store, monkeypatch):
    import builtins

    from app.jobs.dask import DaskExecutor

    real = builtins.__import__

    def without_distributed(name, *arguments, **options):
        if name == "distributed":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_distributed)
    with pytest.raises(UserError) as refused:
        DaskExecutor(settings, store, "tests.api.fake_work:WORK")
    assert refused.value.code == "scheduler-unavailable"
    assert "dask" in refused.value.hint


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_jobs_run_once_on_a_worker_that_has_the_device_and_again_when_their_process_dies(
    settings, store, tmp_path, monkeypatch
):
    distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    from app.jobs.dask import DaskExecutor

    monkeypatch.setenv("TRADESPACE_DATA", str(settings.data))
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, resources={"device:host": 1}
    ) as cluster:
        executor = DaskExecutor(
            settings.model_copy(update={"scheduler": cluster.scheduler_address}), store, "tests.api.fake_work:WORK"
        )
        jobs = [
            store.create("count", {"to": 5})[0],
            store.create("count", {"to": 6}, device="host:1", quiet=True)[0],
            store.create("die_once", {"marker": str(tmp_path / "marker")})[0],
        ]
        executor.start()
        try:
            wait_for(lambda: all(store.get(job.id).state.final for job in jobs), 60)
            assert executor.alive
        finally:
            executor.stop()
    assert [store.get(job.id).state for job in jobs] == [JobState.SUCCEEDED] * 3
    assert [store.get(job.id).attempt for job in jobs] == [1, 1, 2]
