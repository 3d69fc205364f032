"""Reference marks over HTTP."""

import pytest
from fastapi.testclient import TestClient

from app.api.application import create_app
from app.graph import zoo
from app.services import models
from app.services.context import Context
from tests.api.tiny import tiny_network


@pytest.fixture
def client(settings):
    with Context(settings) as context, TestClient(create_app(context), base_url="http://127.0.0.1") as found:
        models.add(context, tiny_network(), name="tiny", file_name="tiny.onnx")
        models.add(context, zoo.materialise("squeezenet"), name="mine", file_name="mine.onnx")
        yield found


def test_a_known_network_has_marks_under_any_name_and_an_unknown_one_none(client):
    marks = client.get("/api/v1/models/mine/marks").json()["items"]
    assert [mark["runtime"] for mark in marks] == ["IREE", "TVM", "onnx2c", "MNN"]
    assert marks[0] | {"counts": "", "measured_on": ""} == {
        "runtime": "IREE",
        "version": "3.13.0",
        "network": "SqueezeNet 1.1",
        "arena_bytes": 3_932_160,
        "counts": "",
        "measured_on": "",
    }
    assert all("not on this device" in mark["measured_on"] and mark["counts"] for mark in marks)
    assert client.get("/api/v1/models/tiny/marks").json() == {"items": [], "next_cursor": None}
    assert client.get("/api/v1/models/nobody/marks").status_code == 404
