"""Limits of fronts, what-if, explanations and robustness over HTTP, on a real data folder."""

import dataclasses
import json

import pytest
from fastapi.testclient import TestClient

from app import candidates
from app.api.application import create_app
from app.costs import Cost
from app.db import migrate
from app.db.database import Database
from app.errors import UserError
from app.jobs.progress import Silent
from app.selection.limits import NO_LIMITS, Limits
from app.selection.schedule import make_schedule
from app.services import frontiers, measurements, models, questions
from app.services.context import Context
from app.services.skeletons import skeleton
from tests import nets
from tests.api.tiny import tiny_network


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A data folder with a network, invented costs with spread, and its fronts."""
    from app.settings import Settings

    settings = Settings(data=tmp_path_factory.mktemp("questions") / "data", example="")
    with Context(settings) as context:
        model, _ = models.add(context, tiny_network(), name="tiny", file_name="tiny.onnx")
        put_costs(context, model)
        for memory in ("arena", "workspace", "total", "weights"):
            frontiers.trace(context, model, context.device("host"), memory, Silent())
        yield context


def put_costs(context, model, factor=1):
    device = context.device("host")
    keys = measurements.needed(context, model)
    context.costs.register(device.id, device.name, {})
    context.costs.put(
        device.id,
        [
            Cost(key, (t - 40, t - 9, t, t + 13, t + 60), t, t - 40, t + 60)
            for number, key in enumerate(keys)
            for t in [factor * (1000 + 137 * (number * 7919 % 101))]
        ],
    )


@pytest.fixture(scope="module")
def client(site):
    with TestClient(create_app(site), base_url="http://localhost") as made:
        yield made


def front_of(site, memory="arena", limits=NO_LIMITS):
    return frontiers.newest(site, models.find(site, "tiny"), site.device("host"), memory, limits)


def ask(client, record, **question):
    answer = client.post(f"/api/v1/frontiers/{record.id}/what-if", json=question)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_fronts_own_question_is_read_from_the_front(client, site):
    record = front_of(site)
    points = client.get(f"/api/v1/frontiers/{record.id}").json()["points"]
    for point in points:
        found = ask(client, record, budget_bytes=point["arena_bytes"])
        assert found["answered_from"] == "front"
        assert found["point"]["id"] == point["id"]
        assert found["on_front"]
        assert found["differences"]["latency_ns"] == 0
        assert found["differences"]["layers"] == []


def test_a_pin_is_obeyed_compared_and_priced(client, site):
    record = front_of(site)
    fastest = frontiers.load(site, record).points[-1]
    layer = next(layer for layer in fastest.layers if layer.op == "conv")
    options = client.get(f"/api/v1/frontiers/{record.id}/options", params={"node": layer.node}).json()
    times = [option["time_ns"] for option in options["options"]]
    assert times == sorted(times)
    other = next(o["primitive"] for o in options["options"] if o["primitive"] != layer.primitive)
    limits = {"pins": {layer.node: other}}
    found = ask(client, record, limits=limits, point=fastest.id)
    assert found["answered_from"] == "model"
    assert found["against"]["id"] == fastest.id
    assert found["differences"]["latency_ns"] == found["point"]["latency_ns"] - fastest.latency_ns >= 0
    assert {c["node"]: c["after"] for c in found["differences"]["layers"]}[layer.node] == other
    assert all(c["changes"] for c in found["differences"]["layers"])
    assert "primitive" in {c["node"]: c["changes"] for c in found["differences"]["layers"]}[layer.node]
    assert found["point"]["proven"]
    prices = client.post(f"/api/v1/frontiers/{record.id}/pin-prices", json={"limits": limits}).json()
    assert [(p["layer"], p["primitive"], p["instead"]) for p in prices] == [(layer.node, other, layer.primitive)]
    assert prices[0]["latency_ns"] == found["differences"]["latency_ns"]
    traced = frontiers.trace(
        site, models.find(site, "tiny"), site.device("host"), "arena", Silent(), limits=Limits.from_json(limits)
    )
    assert found["point"]["latency_ns"] == frontiers.load(site, traced).points[-1].latency_ns


@pytest.mark.parametrize(
    ("limits", "status", "kind"),
    [
        ({"forbid": ["wingrad"]}, 422, "limits-invalid"),
        ({"pins": {"nowhere": "p"}}, 422, "limits-invalid"),
        ({"only": ["winograd"]}, 422, "limits-impossible"),
        ({"max_arena_bytes": 5}, 422, "limits-invalid"),
        ({"max_weights_bytes": 5}, 404, "budget-infeasible"),
        ({"max_eror": 1}, 422, "validation"),
    ],
)
def test_questions_and_fronts_that_cannot_be_say_why(client, site, limits, status, kind):
    record = front_of(site)
    answer = client.post(f"/api/v1/frontiers/{record.id}/what-if", json={"limits": limits})
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{kind}")
    assert answer.json()["errors"] or answer.json()["facts"]
    if status == 422:
        body = {"model": "tiny", "limits": limits}
        assert client.post("/api/v1/frontiers", json=body).json()["type"] == f"/problems/{kind}"


def test_a_budget_nothing_fits_says_how_much_is_lacking(client, site):
    record = front_of(site)
    model, device = models.find(site, "tiny"), site.device("host")
    for limits in (None, {"forbid": ["fft"]}):
        within = NO_LIMITS if limits is None else Limits.from_json(limits)
        alone = frontiers.trace(site, model, device, "arena", Silent(), limits=within)
        least = frontiers.load(site, alone).smallest_bytes
        answer = client.post(
            f"/api/v1/frontiers/{record.id}/what-if", json={"limits": limits, "budget_bytes": least - 1}
        )
        assert answer.status_code == 404
        assert answer.json()["facts"]["smallest_bytes"] == least
        assert answer.json()["facts"]["smallest_step"]


def test_fronts_of_other_limits_live_side_by_side(client, site):
    model, device = models.find(site, "tiny"), site.device("host")
    for limits in (Limits(forbid=("winograd",)), Limits(objective="p90"), Limits(max_error=1e-5)):
        made = frontiers.trace(site, model, device, "arena", Silent(), limits=limits)
        assert front_of(site, "arena", limits).id == made.id
        assert client.get(f"/api/v1/frontiers/{made.id}").json()["limits"]["objective"] == limits.objective
    assert front_of(site).id not in {front_of(site, "arena", Limits(forbid=("winograd",))).id}
    texts = [json.dumps(row["limits"]) for row in client.get("/api/v1/frontiers").json()["items"]]
    assert len(set(texts)) >= 4


def test_explanation_and_robustness_of_every_point(client, site):
    for memory in ("arena", "workspace", "total", "weights"):
        record = front_of(site, memory)
        points = frontiers.load(site, record).points
        for i, point in enumerate(points):
            found = client.get(f"/api/v1/frontiers/{record.id}/points/{point.id}/explanation").json()
            assert (found["next_larger"] is None) == (i == len(points) - 1)
            assert (found["next_smaller"] is None) == (i == 0)
            if found["next_larger"]:
                assert found["next_larger"]["saved_ns"] == point.latency_ns - points[i + 1].latency_ns
        answer = client.get(f"/api/v1/frontiers/{record.id}/points/{points[-1].id}/robustness")
        assert answer.status_code == 200, answer.text
        noise = answer.json()
        assert set(noise["kept"]) == {layer.node for layer in points[-1].layers}
        assert 0 <= noise["regret_mean"] <= noise["regret_worst"]
        assert noise["draws"] == 100


def test_warm_models_are_kept_and_few(site, monkeypatch):
    built = []
    real = questions.WarmModel
    monkeypatch.setattr(questions, "WarmModel", lambda *given: built.append(given) or real(*given))
    warm = questions.WarmModels()
    model, device = models.find(site, "tiny"), site.device("host")
    assert warm.get(site, model, device, "p50", ()) is warm.get(site, model, device, "p50", ())
    assert len(built) == 1
    for name in range(questions.MOST_WARM):
        warm.get(site, model, dataclasses.replace(device, id=device.id), ("p90", "p50")[name % 2], ())
    assert len(built) == 2


def test_changed_costs_say_so_and_the_same_costs_again_do_not(settings):
    with Context(settings) as context:
        model, _ = models.add(context, tiny_network(), name="tiny", file_name="tiny.onnx")
        put_costs(context, model)
        device = context.device("host")
        free = frontiers.trace(context, model, device, "arena", Silent())
        without = frontiers.trace(context, model, device, "arena", Silent(), limits=Limits(forbid=("winograd",)))
        put_costs(context, model)
        assert frontiers.stale_because(context, free) == ""
        changed = next(key for key in measurements.needed(context, model) if "winograd" in key.primitive)
        context.costs.put(device.id, [Cost(changed, (5,), 5, 5, 5)])
        assert "other results" in frontiers.stale_because(context, free)
        assert frontiers.stale_because(context, without) == ""
        ids = [point.id for point in frontiers.load(context, without).points]
        put_costs(context, model, factor=3)
        assert "other results" in frontiers.stale_because(context, without)
        again = frontiers.trace(context, model, device, "arena", Silent(), limits=Limits(forbid=("winograd",)))
        assert [point.id for point in frontiers.load(context, again).points] == ids
        answer = questions.what_if(context, free)
        assert answer["stale"]
        assert answer["answered_from"] == "model"


def test_a_front_whose_points_are_no_longer_offered_is_stale_though_every_cost_is_known(settings, monkeypatch):
    with Context(settings) as context:
        model, _ = models.add(context, nets.residual(), name="residual", file_name="residual.onnx")
        put_costs(context, model)
        record = frontiers.trace(context, model, context.device("host"), "arena", Silent())
        front = frontiers.load(context, record)
        assert frontiers.stale_because(context, record) == ""
        graph = skeleton(context, model)
        stale = next(p for p in front.points if any(layer.in_place is not None for layer in p.layers))

    def without_reuse(shape, families, threads=1, *, original=candidates.offered):
        options, refused = original(shape, families, threads)
        return tuple(option for option in options if option.in_place is None), refused

    monkeypatch.setattr(candidates, "offered", without_reuse)
    with pytest.raises(UserError, match="no longer offered"):
        make_schedule(graph, stale)
    with Context(settings) as context:  # another process, after the kernels changed
        assert measurements.missing(context, model, context.device("host")) == []
        assert "offer" in frontiers.stale_because(context, record)


def test_the_bound_on_weights_of_an_older_database_becomes_a_limit(settings, monkeypatch):
    """Fronts and their bundles survive the migration."""
    head = migrate.command.upgrade
    database = Database(settings.url)
    monkeypatch.setattr(migrate.command, "upgrade", lambda config, _revision: head(config, "0001"))
    migrate.upgrade(database)
    monkeypatch.undo()
    with database.write() as connection:
        run = connection.exec_driver_sql
        run("INSERT INTO devices (id, name, created_at, environment) VALUES ('d:1', 'd', 't', '{}')")
        run(
            "INSERT INTO models (id, name, sha256, dims, size_bytes, created_at, example, nodes, macs, weights_bytes, "
            "inputs, outputs, graph, vectors) VALUES ('m', 'm', 's', '{}', 1, 't', '', 1, 1, 1, '[]', '[]', '{}', '[]')"
        )
        for name, bound in (("f1", "NULL"), ("f2", "4096")):
            run(
                "INSERT INTO frontiers (id, model, device, device_name, memory, max_weights_bytes, created_at, points, "
                f"solve_s, costs_digest, document) VALUES ('{name}', 'm', 'd:1', 'd', 'arena', {bound}, 't', 1, 0.1, "
                "'x', '{}')"
            )
        run(
            "INSERT INTO bundles (id, frontier, point, prefix, created_at, sha256, size_bytes, verified) "
            "VALUES ('b', 'f2', 'p', 'net', 't', 's', 1, '{}')"
        )
    migrate.upgrade(database)
    with database.read() as connection:
        rows = connection.exec_driver_sql("SELECT id, limits FROM frontiers ORDER BY id").fetchall()
        assert [tuple(row) for row in rows] == [("f1", "{}"), ("f2", '{"max_weights_bytes":4096}')]
        assert connection.exec_driver_sql("SELECT id FROM bundles").scalar() == "b"
    assert Limits.from_json(json.loads(rows[1][1])).canonical() == rows[1][1]
    database.close()


def test_the_budget_query_asks_the_front_of_its_limits(site, client):
    model, device = models.find(site, "tiny"), site.device("host")
    layer = next(node.name for node in skeleton(site, model).nodes if node.op == "conv")
    free = frontiers.load(site, front_of(site)).points[-1]
    primitive = next(choice.primitive for choice in free.layers if choice.node == layer)
    asked = {"forbid": ["winograd", "fft"], "bans": [f"{layer}={primitive}"], "max_error": "1e-4"}
    path = "/api/v1/models/tiny/best"

    missing = client.get(path, params=asked)
    assert (missing.status_code, missing.json()["type"]) == (404, "/problems/frontier-missing")
    post = missing.json()["facts"]["post"]
    assert post["limits"] == {"forbid": ["fft", "winograd"], "bans": {layer: [primitive]}, "max_error": 1e-4}
    assert f"--ban '{layer}={primitive}'" in missing.json()["hint"]

    limits = Limits.from_json(post["limits"])
    record = frontiers.trace(site, model, device, "arena", Silent(), limits=limits)
    found = client.get(path, params=asked).json()
    assert found["frontier_id"] == record.id
    assert found["point"]["id"] == frontiers.load(site, record).points[-1].id != free.id
    assert client.get(path).json()["point"]["id"] == free.id


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"forbid": "winogard"}, "limits-invalid"),
        ({"pins": "nowhere=conv_direct"}, "limits-invalid"),
        ({"pins": "no-equals-sign"}, "limits-invalid"),
        ({"max_arena_bytes": 1}, "limits-invalid"),
        ({"max_error": 0}, "limits-impossible"),
        ({"max_weights_bytes": -1}, "validation"),
    ],
)
def test_a_budget_query_with_limits_nothing_can_meet_says_which(client, asked, code):
    refused = client.get("/api/v1/models/tiny/best", params=asked)
    assert (refused.status_code, refused.json()["type"]) == (422, f"/problems/{code}")
