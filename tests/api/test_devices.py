"""Devices over HTTP: one that this process cannot run on hides none of the others."""

from fastapi.testclient import TestClient

from app.api.application import create_app
from app.services.context import Context


def test_threads_without_processors_stay_readable_and_are_not_measurable(settings):
    many = "host@64"  # costs from when this process was allowed more processors
    with Context(settings) as context, TestClient(create_app(context), base_url="http://127.0.0.1") as client:
        context.costs.register("host@64:then", many, {"threads": 64, "compiler": "gcc 12", "flags": "-O3"})
        answer = client.get("/api/v1/devices")
        assert answer.status_code == 200
        devices = {device["name"]: device for device in answer.json()["items"]}
        assert devices["host"]["measurable"]
        assert (devices[many]["measurable"], devices[many]["threads"]) == (False, 64)
        assert client.get(f"/api/v1/devices/{many}").json()["id"] == "host@64:then"
        assert client.get("/api/v1/devices/host@63").status_code == 422
