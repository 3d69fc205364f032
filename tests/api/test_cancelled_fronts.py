"""What a cancelled trace leaves behind: its points, marked as not all, and no claim below them."""

import pytest

from app.costs import Cost
from app.errors import Cancelled, UserError
from app.jobs.progress import Silent
from app.selection.limits import Limits
from app.services import frontiers, measurements, models
from app.services.context import Context
from app.settings import Settings
from kernels import registry
from tests.api.tiny import tiny_network


class Impatient(Silent):
    """Asks to stop once so many points are there."""

    def __init__(self, most_points):
        self.most_points, self.points = most_points, 0

    def advance(self, completed, _total):
        self.points = completed

    def should_cancel(self):
        return self.points >= self.most_points


@pytest.fixture
def site(tmp_path):
    with Context(Settings(data=tmp_path / "data", example="")) as context:
        model, _ = models.add(context, tiny_network(), name="tiny", file_name="tiny.onnx")
        device = context.device("host")
        context.costs.register(device.id, device.name, {})
        keys = measurements.needed(context, model)
        context.costs.put(device.id, [Cost(key, (t,), t, t, t) for key in keys for t in [faster_with_memory(key)]])
        yield context


def faster_with_memory(key):
    """A time that falls with the workspace, so that fronts have many points."""
    return 10_000 - min(9_000, registry.get(key.primitive).workspace_bytes(key.parsed_shape))


def trace(site, progress, limits=None):
    model, device = models.find(site, "tiny"), site.device("host")
    return frontiers.trace(site, model, device, "workspace", progress, limits=limits or Limits())


def newest(site):
    return frontiers.newest(site, models.find(site, "tiny"), site.device("host"), "workspace")


def test_a_cancelled_trace_keeps_its_points_and_says_why_there_are_no_more(site):
    with pytest.raises(Cancelled):
        trace(site, Impatient(1))
    part = frontiers.load(site, newest(site))
    assert not part.complete
    assert part.incomplete_because == "cancelled"
    assert part.smallest_bytes is None
    whole = frontiers.load(site, trace(site, Silent()))
    assert whole.complete
    assert 1 <= len(part.points) < len(whole.points)
    assert [p.id for p in part.points] == [p.id for p in whole.points[-len(part.points) :]]
    assert all(p.proven for p in part.points)

    least_bytes = part.points[0].workspace_bytes
    assert frontiers.best(part, budget_bytes=least_bytes).id == part.points[0].id
    with pytest.raises(UserError) as error:
        frontiers.best(part, budget_bytes=least_bytes - 1)
    assert error.value.code == "frontier-incomplete"
    assert "cancelled" in str(error.value)


def test_a_cancelled_trace_does_not_take_the_place_of_a_whole_one(site):
    whole = trace(site, Silent())
    with pytest.raises(Cancelled):
        trace(site, Impatient(1))
    assert newest(site).id == whole.id


def test_a_trace_cancelled_before_its_first_point_leaves_nothing(site):
    with pytest.raises(Cancelled):
        trace(site, Impatient(0))
    assert newest(site) is None
