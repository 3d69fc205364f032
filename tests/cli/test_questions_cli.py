"""Limits, `what-if` and `explain` on the command line, on invented costs."""

import contextlib
import io
import json

import pytest

from app.cli.program import run
from app.costs import Cost
from app.services import measurements, models
from app.services.context import Context
from app.settings import Settings
from tests.api.tiny import tiny_network


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("questions")
    with Context(Settings(data=made, example="")) as context:
        model, _ = models.add(context, tiny_network(), name="tiny", file_name="tiny.onnx")
        put_costs(context, model)
    return made


def put_costs(context, model, factor=1):
    device = context.device("host")
    context.costs.register(device.id, device.name, {})
    found = []
    for number, key in enumerate(measurements.needed(context, model)):
        t = factor * (1000 + 137 * (number * 7919 % 101))
        found.append(Cost(key, (t - 40, t, t + 60), t, t - 40, t + 60))
    context.costs.put(device.id, found)


@pytest.fixture
def program(folder, monkeypatch):
    monkeypatch.setenv("TRADESPACE_DATA", str(folder))

    def call(*arguments, status=0):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run([str(argument) for argument in arguments])
        assert code == status, f"exit {code}\n{out.getvalue()}\n{err.getvalue()}"
        return out.getvalue() + ("" if "--json" in arguments else err.getvalue())

    return call


def test_fronts_of_other_limits_are_traced_kept_and_asked_by_the_same_options(program):
    free = json.loads(program("frontier", "tiny", "--json"))
    limited = json.loads(program("frontier", "tiny", "--forbid", "winograd,fft", "--objective", "p90", "--json"))
    assert limited["limits"] == {"forbid": ["fft", "winograd"], "objective": "p90"}
    assert limited["id"] != free["id"]
    again = json.loads(
        program("frontier", "tiny", "--objective", "p90", "--forbid", "fft", "--forbid", "winograd", "--json")
    )
    assert again["id"] == limited["id"]
    asked = json.loads(program("query", "tiny", "--forbid", "winograd,fft", "--objective", "p90", "--json"))
    assert asked["frontier_id"] == limited["id"]
    assert json.loads(program("query", "tiny", "--json"))["frontier_id"] == free["id"]
    words = program("query", "tiny", "--only", "direct", status=2)
    assert "--only direct" in words


def test_the_weights_axis_takes_an_arena(program):
    front = json.loads(program("frontier", "tiny", "--memory", "weights", "--arena", "4KiB", "--json"))
    assert all(point["arena_bytes"] <= 4096 for point in front["points"])
    weights = [point["weights_bytes"] for point in front["points"]]
    assert weights == sorted(weights)
    assert "belongs to the weights axis" in program("frontier", "tiny", "--arena", "4KiB", status=2)
    assert "the smallest needs" in program("frontier", "tiny", "--memory", "weights", "--arena", "64", status=1)


def test_limits_that_cannot_be_name_the_layer(program):
    words = program("frontier", "tiny", "--only", "winograd", status=2)
    assert "second" in words
    assert "add pointwise to the families asked for" in words
    assert "did you mean first" in program("frontier", "tiny", "--pin", "frist=conv_x", status=2)
    assert "not LAYER=PRIMITIVE" in program("frontier", "tiny", "--ban", "conv", status=2)


def test_what_if_shows_the_answer_the_differences_and_the_price_of_the_pin(program):
    program("frontier", "tiny")
    found = json.loads(program("what-if", "tiny", "--json"))
    assert found["answered_from"] == "front"
    layer = found["point"]["layers"][0]
    options = json.loads(program("explain", "tiny", "--layer", layer["node"], "--json"))["layer"]["options"]
    other = next(option["primitive"] for option in options if option["primitive"] != layer["primitive"])
    assert other in program("explain", "tiny", "--layer", layer["node"])
    arguments = ("what-if", "tiny", "--pin", f"{layer['node']}={other}")
    answer = json.loads(program(*arguments, "--json"))
    assert answer["pin_prices"][0]["latency_ns"] == answer["differences"]["latency_ns"] >= 0
    words = program(*arguments)
    assert f"the pin of {layer['node']} costs" in words
    changed = next(line for line in words.splitlines() if line.startswith(layer["node"]))
    assert changed.index(layer["primitive"]) < changed.index(other)
    assert "nothing changes" in program("what-if", "tiny")
    assert "proven optimal" in words


def test_explain_names_the_binding_step_the_prices_and_the_noise(program):
    program("frontier", "tiny")
    point = json.loads(program("query", "tiny", "--json"))["point"]
    found = json.loads(program("explain", "tiny", "--point", point["id"], "--robustness", "--json"))
    assert found["binding"]
    assert found["robustness"]["draws"] == 100
    words = program("explain", "tiny", "--robustness")
    assert "bound by" in words
    assert "draws of the costs" in words


def test_costs_measured_since_are_said(program, folder):
    program("frontier", "tiny")
    with Context(Settings(data=folder, example="")) as context:
        put_costs(context, models.find(context, "tiny"), factor=2)
    assert "stale: costs have been measured since" in program("query", "tiny")
    assert json.loads(program("explain", "tiny", "--json"))["stale"]


@pytest.mark.parametrize("command", ["frontier", "query", "export", "run", "what-if", "explain"])
def test_every_command_about_a_front_has_the_same_options_of_its_place_and_limits(command):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        run([command, "--help"])
    for option in ("--device", "--threads", "--memory", "--forbid", "--pin", "--order", "--residency"):
        assert option in out.getvalue()
