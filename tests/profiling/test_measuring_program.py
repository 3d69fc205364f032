"""Measuring compiles the sources its costs need, once, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.costs import Cost, CostKey
from app.profiling.device import host_device
from app.profiling.run import measure
from kernels import registry
from kernels.harness import Harness, HarnessError
from kernels.spec import Shape


def _key(name: str, shape: Shape) -> CostKey:
    return CostKey(name, shape.key(), registry.source_hash(name))


CLAMP = _key("clamp_elementwise_chw_chw_f32", Shape("clamp", 2, 3, 5, 2, 3, 5))
SUM = _key("add_elementwise_chw_chw_f32", Shape("add", 2, 3, 5, 2, 3, 5))


def _measured(keys: list[CostKey], data_dir: Path) -> list[Cost]:
    costs: list[Cost] = []
    report = measure(host_device(), keys, data_dir=data_dir, on_cost=costs.append)
    assert report.measured == len(costs)
    return costs


def _objects(data_dir: Path) -> dict[str, int]:
    """Sources that were compiled -> time stamp of the object; the driver, which has the table of routines, aside."""
    objects = (data_dir / "harness" / "objects").glob("*.o")
    stamps = {path.stem.rpartition("-")[0]: path.stat().st_mtime_ns for path in objects}
    assert stamps.pop("harness")
    return stamps


def test_only_the_sources_of_the_costs_are_compiled_and_later_costs_add_theirs(tmp_path: Path) -> None:
    assert [cost.key for cost in _measured([CLAMP], tmp_path)] == [CLAMP]
    first = _objects(tmp_path)
    assert first.keys() == {Path(registry.get(CLAMP.primitive).source).stem}

    assert [cost.key for cost in _measured([CLAMP, SUM], tmp_path)] == [CLAMP, SUM]
    second = _objects(tmp_path)
    assert second.keys() == {Path(registry.get(key.primitive).source).stem for key in (CLAMP, SUM)}
    assert first.items() <= second.items()


def test_costs_from_the_same_sources_share_a_program_that_refuses_what_it_lacks(tmp_path: Path) -> None:
    _measured([CLAMP], tmp_path)
    _measured([_key("clamp_elementwise_hwc_hwc_f32", CLAMP.parsed_shape)], tmp_path)
    (program,) = (tmp_path / "harness").glob("harness-*")
    with Harness(program) as harness, pytest.raises(HarnessError, match="no such primitive") as caught:
        harness.time(registry.get(SUM.primitive), SUM.parsed_shape, samples=1, evict_bytes=0, max_ns=1)
    assert caught.value.primitive == SUM.primitive
