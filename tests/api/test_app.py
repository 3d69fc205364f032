"""The service end to end over HTTP on a real data folder: models, costs, fronts, bundles, jobs, errors."""

import io
import re
import zipfile
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.api.application import create_app
from app.api.routes.models import parse_dims
from app.costs import Cost
from app.problems import PROBLEM_TYPES
from app.services import measurements, models
from app.services.context import Context
from app.services.jobs import make_executor
from tests.api.tiny import tiny_network
from tests.api.waiting import wait_for

MEDIA_TYPE = "application/problem+json"


@pytest.fixture
def context(settings):
    with Context(settings) as opened:
        yield opened


@pytest.fixture
def client(context):
    """The service without an executor: what needs no job is quick."""
    with TestClient(create_app(context), base_url="http://localhost") as made:
        yield made


@pytest.fixture
def working(context):
    """The service with worker processes."""
    with TestClient(create_app(context, executor=make_executor(context)), base_url="http://localhost") as made:
        yield made


def upload(client, data=None, file_name="tiny.onnx", **form):
    return client.post("/api/v1/models", files={"file": (file_name, data or tiny_network())}, data=form)


def give_costs(context, model_id):
    """Costs as if measured: slower with more workspace-free loops, the same at every run."""
    model, device = models.find(context, model_id), context.device("host")
    keys = measurements.needed(context, model)
    context.costs.register(device.id, device.name, {})
    context.costs.put(
        device.id,
        [
            Cost(key, (t - 1, t, t + 1), t, t - 1, t + 1)
            for number, key in enumerate(keys)
            for t in [1000 + 137 * (number * 7919 % 101)]
        ],
    )


def finished(client, job):
    def look():
        found = client.get(f"/api/v1/jobs/{job['id']}").json()
        return found if found["state"] in ("succeeded", "failed", "cancelled", "lost") else None

    return wait_for(look, 120)


def test_the_whole_way_from_upload_to_a_verified_download(working, context):
    model = upload(working).json()
    give_costs(context, model["id"])
    answer = working.post("/api/v1/frontiers", json={"model": model["id"], "device": "host", "memory": "arena"})
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/api/v1/jobs/{answer.json()['id']}"
    job = finished(working, answer.json())
    assert job["state"] == "succeeded", job
    front = working.get(job["result_url"]).json()
    assert front["model"] == model["id"]
    assert not front["stale"]
    latencies = [point["latency_ns"] for point in front["points"]]
    assert latencies == sorted(latencies, reverse=True)
    arenas = [point["arena_bytes"] for point in front["points"]]
    assert arenas == sorted(arenas)

    listed = working.get("/api/v1/frontiers", params={"model": model["id"], "device": "host"}).json()["items"]
    assert [(row["id"], row["points"]) for row in listed] == [(front["id"], len(front["points"]))]
    point = front["points"][-1]
    full = working.get(f"/api/v1/frontiers/{front['id']}/points/{point['id']}").json()
    assert full["latency_ns"] == point["latency_ns"]
    assert [layer["op"] for layer in full["layers"]] == ["conv", "conv", "avg_pool"]
    figure = working.get(f"/api/v1/frontiers/{front['id']}/figure").json()
    assert len(figure["data"][0]["x"]) == len(front["points"])
    picture = working.get(f"/api/v1/frontiers/{front['id']}/points/{point['id']}/figure").json()
    assert sum(len(trace["x"]) for trace in picture["data"]) == len(full["buffers"])

    best = working.get(f"/api/v1/models/{model['id']}/best", params={"budget": str(arenas[-1])}).json()
    assert best["point"]["id"] == point["id"]
    least = front["smallest_bytes"]
    refusal = working.get(f"/api/v1/models/{model['id']}/best", params={"budget": str(least - 1)})
    assert refusal.status_code == 404
    assert refusal.json()["type"] == "/problems/budget-infeasible"
    facts = refusal.json()["facts"]
    assert facts == {
        "smallest_bytes": least,
        "available_bytes": least - 1,
        "excess_bytes": 1,
        "smallest_step": front["smallest_step"],
    }
    slow = working.get(f"/api/v1/models/{model['id']}/best", params={"max_latency": "1ns"})
    assert slow.json()["type"] == "/problems/latency-infeasible"

    answer = working.post("/api/v1/bundles", json={"frontier": front["id"], "point": point["id"], "prefix": "tiny"})
    job = finished(working, answer.json())
    assert job["state"] == "succeeded", job
    bundle = working.get(job["result_url"]).json()
    assert bundle["verified"]["argmax"] == "ok"
    assert bundle["verified"]["arena_used_bytes"] == point["arena_bytes"]
    download = working.get(job["result_url"] + "/download")
    assert download.headers["content-type"] == "application/zip"
    assert "immutable" in download.headers["cache-control"]
    with zipfile.ZipFile(io.BytesIO(download.content)) as archive:
        assert "tiny/tiny.h" in archive.namelist()
    again = working.get(job["result_url"] + "/download", headers={"If-None-Match": download.headers["etag"]})
    assert again.status_code == 304
    shown = working.get(f"/api/v1/frontiers/{front['id']}").json()["points"][-1]
    assert (shown["bundle_id"], shown["measured_ns"]) == (bundle["id"], bundle["verified"]["median_ns"])

    assert working.delete(f"/api/v1/models/{model['id']}").status_code == 204
    assert working.get(f"/api/v1/bundles/{bundle['id']}").status_code == 404
    assert list((context.settings.data / "bundles").iterdir()) == []
    assert list((context.settings.data / "models").iterdir()) == []
    assert list((context.settings.data / "vectors").iterdir()) == []


def test_changed_costs_make_a_front_stale(working, context):
    model = upload(working).json()
    give_costs(context, model["id"])
    body = {"model": model["id"]}
    front = finished(working, working.post("/api/v1/frontiers", json=body).json())["result_url"]
    assert working.get(front).json()["stale"] is False
    record, device = models.find(context, model["id"]), context.device("host")
    key = measurements.needed(context, record)[0]
    context.costs.put(device.id, [Cost(key, (5,), 5, 5, 5)])
    assert working.get(front).json()["stale"] is True


def test_a_front_without_costs_fails_with_a_problem_that_says_so(working):
    model = upload(working).json()
    job = finished(working, working.post("/api/v1/frontiers", json={"model": model["id"]}).json())
    assert job["state"] == "failed"
    assert job["error"]["type"] == "/problems/cost-missing"


def test_the_same_bytes_are_the_same_model(client):
    first, second = upload(client), upload(client, file_name="other.onnx")
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert first.headers["location"] == f"/api/v1/models/{first.json()['id']}"
    assert first.json()["id"] == f"mdl_{first.json()['sha256'][:16]}"
    assert client.get("/api/v1/models").json()["items"] == [first.json()]


def test_two_files_of_one_name_get_two_names_but_a_chosen_name_is_refused(client):
    names = [upload(client, tiny_network(seed)).json()["name"] for seed in (1, 2)]
    assert names == ["tiny", "tiny-2"]
    refused = upload(client, tiny_network(3), name="tiny")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/model-name-taken")


def test_models_are_found_by_name_id_and_beginning(client):
    model = upload(client).json()
    for text in ("tiny", model["id"], model["id"][:8], "ti", model["sha256"][:10]):
        assert client.get(f"/api/v1/models/{text}").json()["id"] == model["id"]
    upload(client, tiny_network(2))
    ambiguous = client.get("/api/v1/models/t")
    assert (ambiguous.status_code, len(ambiguous.json()["errors"])) == (409, 2)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x89PNG not a network", "model-invalid"),
        (b"\x00", "model-invalid"),
        (tiny_network()[:300], "model-invalid"),
        (tiny_network(batch="N"), "dynamic-shape"),
        (tiny_network(op="Erf"), "unsupported-operator"),
    ],
)
def test_a_file_that_is_no_usable_network_is_refused_and_nothing_is_stored(client, context, data, code):
    refused = upload(client, data)
    assert refused.headers["content-type"] == MEDIA_TYPE
    assert refused.json()["type"] == f"/problems/{code}", refused.json()
    assert refused.json()["detail"]
    assert client.get("/api/v1/models").json()["items"] == []
    assert not (context.settings.data / "models").exists()


def test_an_empty_file_is_refused(client):
    refused = client.post("/api/v1/models", files={"file": ("a.onnx", b"")})
    assert refused.json()["type"] == "/problems/model-invalid"


def test_symbolic_dimensions_get_values_and_make_another_model(client):
    data = tiny_network(batch="N")
    model = upload(client, data, dims="N=1")
    assert model.status_code == 201, model.json()
    assert model.json()["inputs"] == [{"name": "x", "dims": [1, 3, 8, 8]}]
    assert model.json()["id"] != f"mdl_{model.json()['sha256'][:16]}"


@pytest.mark.parametrize("text", ["N", "N=", "=1", "N=-1", "N=0", "N=1.5", "N=x"])
def test_malformed_dims_are_refused(text):
    with pytest.raises(Exception, match="NAME=NUMBER"):
        parse_dims(text)


def test_layers_say_what_can_and_cannot_run_them(client):
    upload(client)
    items = client.get("/api/v1/models/tiny/layers").json()["items"]
    assert [item["op"] for item in items] == ["conv", "conv", "avg_pool"]
    assert items[0]["sources"][0] == "first"
    assert items[0]["candidates"] > 1
    assert all(reason for reason in items[1]["refused"].values())


def test_costs_are_counted_and_shown_as_json_and_csv(client, context):
    model = upload(client).json()
    empty = client.get("/api/v1/costs", params={"model": model["id"], "device": "host"}).json()
    assert (empty["measured"], empty["missing"], empty["items"]) == (0, empty["needed"], [])
    give_costs(context, model["id"])
    full = client.get("/api/v1/costs", params={"model": model["id"]}).json()
    assert (full["measured"], full["missing"], len(full["items"])) == (full["needed"], 0, full["needed"])
    for answer in (
        client.get("/api/v1/costs.csv", params={"model": model["id"]}),
        client.get("/api/v1/costs", params={"model": model["id"]}, headers={"Accept": "text/csv"}),
    ):
        lines = answer.text.splitlines()
        assert lines[0] == "primitive,shape,median_ns,p10_ns,p90_ns,samples"
        assert len(lines) == full["needed"] + 1


def test_devices_and_primitives_are_listed(client):
    host = client.get("/api/v1/devices").json()["items"][0]
    assert host["name"] == "host"
    assert host["compiler"]
    assert client.get("/api/v1/devices/host").json()["id"] == host["id"]
    unknown = client.get("/api/v1/devices/toaster")
    assert (unknown.status_code, unknown.json()["facts"]["known"]) == (404, ["host"])
    primitives = client.get("/api/v1/primitives").json()["items"]
    assert {"name", "op", "family", "variant", "in_layout", "out_layout", "cite", "max_rel_err"} == set(primitives[0])


def test_pages_of_a_list_stay_what_they_are_while_models_are_added(client):
    first = [upload(client, tiny_network(seed)).json()["id"] for seed in range(3)]
    seen, cursor = [], None
    while True:
        params = {"limit": 1} | ({"cursor": cursor} if cursor else {})
        page = client.get("/api/v1/models", params=params).json()
        seen += [model["id"] for model in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        upload(client, tiny_network(100 + len(seen)))
    assert seen == first[::-1]
    refused = client.get("/api/v1/models", params={"cursor": "nonsense!"})
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/query-invalid")


def test_an_unchanged_answer_is_304(client):
    upload(client)
    first = client.get("/api/v1/models/tiny")
    again = client.get("/api/v1/models/tiny", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/api/v1/models", headers={"If-None-Match": first.headers["etag"]}).status_code == 200


def test_a_request_with_an_idempotency_key_happens_once(client):
    model = upload(client).json()
    body, headers = {"model": model["id"], "device": "host"}, {"Idempotency-Key": "k1"}
    first = client.post("/api/v1/measurements", json=body, headers=headers)
    assert first.status_code == 202
    client.delete(first.headers["location"])
    again = client.post("/api/v1/measurements", json=body, headers=headers)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    other = client.post("/api/v1/measurements", json=body | {"only_missing": False}, headers=headers)
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-mismatch")
    failed = client.post("/api/v1/measurements", json=body | {"model": "none"}, headers={"Idempotency-Key": "k2"})
    assert failed.status_code == 404
    retried = client.post("/api/v1/measurements", json=body, headers={"Idempotency-Key": "k2"})
    assert retried.status_code == 202, "a failed request frees its key"


def test_the_same_work_is_one_job(client):
    body = {"model": upload(client).json()["id"]}
    jobs = [client.post("/api/v1/frontiers", json=body).json()["id"] for _ in range(2)]
    assert jobs[0] == jobs[1]


def test_a_queued_job_is_cancelled_at_once_and_can_be_tried_again(client):
    job = client.post("/api/v1/frontiers", json={"model": upload(client).json()["id"]}).json()
    assert (job["state"], job["kind"], job["stage"]) == ("queued", "frontier", "queued")
    early = client.post(f"/api/v1/jobs/{job['id']}/retry")
    assert (early.status_code, early.json()["type"]) == (409, "/problems/job-final")
    for _ in range(2):
        cancelled = client.delete(f"/api/v1/jobs/{job['id']}")
        assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelled")
    retried = client.post(f"/api/v1/jobs/{job['id']}/retry").json()
    assert retried["params"] == job["params"]
    assert retried["id"] != job["id"]
    assert [row["id"] for row in client.get("/api/v1/jobs", params={"state": "queued"}).json()["items"]] == [
        retried["id"]
    ]


def test_a_model_in_use_cannot_be_deleted(client):
    model = upload(client).json()
    client.post("/api/v1/frontiers", json={"model": model["id"]})
    refused = client.delete(f"/api/v1/models/{model['id']}")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/model-in-use")


def test_examples_are_listed_with_their_sizes(client):
    items = client.get("/api/v1/models/examples").json()["items"]
    assert {item["name"] for item in items} == set(models.example_names())
    assert not any(item["imported"] for item in items)
    assert client.post("/api/v1/models/examples/lenet").json()["type"] == "/problems/example-unknown"


def test_every_problem_type_used_in_the_code_has_a_page(client):
    root = Path(__file__).parents[2]
    used = set()
    for file in [*root.glob("app/**/*.py"), *root.glob("solver/**/*.py"), *root.glob("kernels/**/*.py")]:
        used |= set(re.findall(r"UserError\(\s*\"([a-z-]+)\"", file.read_text()))
    assert len(used) > 30
    assert used <= set(PROBLEM_TYPES)
    for code in PROBLEM_TYPES:
        page = client.get(f"/problems/{code}")
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        assert f"/problems/{code}" in client.get("/problems").text
