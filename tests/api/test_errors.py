"""The shape of every error, the guards at the door and the headers of every answer."""

import json
import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.api.application import create_app
from app.api.middleware import CSP, is_local_name
from app.api.openapi import description
from app.api.schemas import Problem
from app.errors import UserError
from app.services.context import Context

MEDIA_TYPE = "application/problem+json"


@pytest.fixture
def context(settings):
    with Context(settings) as opened:
        yield opened


@pytest.fixture
def client(context):
    with TestClient(create_app(context), base_url="http://localhost", raise_server_exceptions=False) as made:
        yield made


def is_problem(answer, status=None):
    """The answer's problem document, after checking its shape."""
    assert answer.headers["content-type"] == MEDIA_TYPE, answer.text[:300]
    document = answer.json()
    Problem.model_validate(document)
    assert set(document) == set(Problem.model_fields)
    assert document["status"] == answer.status_code
    assert document["request_id"] == answer.headers["x-request-id"]
    assert document["type"].startswith("/problems/")
    assert document["detail"]
    if status is not None:
        assert answer.status_code == status
    return document


def routes(client):
    description = client.get("/openapi.json").json()
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_every_route_answers_an_unknown_id_or_a_wrong_body_with_a_problem(client):
    tried = 0
    for method, path, operation in routes(client):
        if path.endswith("/events") and "{" not in path:
            continue  # an endless stream
        address = re.sub(r"\{\w+\}", "none_such", path)
        bodies = [None]
        if "requestBody" in operation:
            bodies = ["{", json.dumps({"no": "such field"}), json.dumps([1])]
        elif "{" not in path and not any(p.get("required") for p in operation.get("parameters", [])):
            continue  # cannot fail
        for body in bodies:
            answer = client.request(method, address, content=body, headers={"Content-Type": "application/json"})
            assert 400 <= answer.status_code < 500, (method, path, answer.status_code, answer.text[:200])
            document = is_problem(answer)
            assert client.get(document["type"]).status_code == 200, document["type"]
            tried += 1
    assert tried > 25


def test_wrong_queries_name_the_parameter(client):
    for address, pointer in (
        ("/api/v1/models?limit=0", "query/limit"),
        ("/api/v1/jobs?state=flying", "query/state"),
        ("/api/v1/costs", "query/model"),
        ("/api/v1/frontiers?memory=disk", "query/memory"),
    ):
        document = is_problem(client.get(address), 422)
        assert document["type"] == "/problems/validation"
        assert [error["pointer"] for error in document["errors"]] == [pointer]


def test_unknown_addresses_and_methods_are_problems_too(client):
    assert is_problem(client.get("/api/v1/nothing"), 404)["type"] == "/problems/not-found"
    assert is_problem(client.get("/nothing.js"), 404)
    assert is_problem(client.get("/api"), 404)
    answer = client.patch("/api/v1/models")
    assert is_problem(answer, 405)["type"] == "/problems/method-not-allowed"


@pytest.mark.parametrize(
    "path", ["/../pyproject.toml", "/%2e%2e/pyproject.toml", "/..%2fpyproject.toml", "/a/../../x.py"]
)
def test_files_outside_the_page_are_not_served(client, path):
    is_problem(client.get(path), 404)


def test_a_fault_of_the_program_tells_nothing_but_its_request_id(context):
    app = create_app(context)

    def broken():
        raise ZeroDivisionError("secret detail")

    app.router.routes.insert(0, type(app.router.routes[-1])("/broken", broken))
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        answer = client.get("/broken")
    document = is_problem(answer, 500)
    assert document["type"] == "/problems/internal"
    assert "secret" not in answer.text


def test_an_upload_over_the_limit_is_refused(settings):
    small = settings.model_copy(update={"upload_limit_bytes": 1000})
    with (
        Context(small) as context,
        TestClient(create_app(context), base_url="http://localhost", raise_server_exceptions=False) as client,
    ):
        announced = client.post("/api/v1/models", files={"file": ("a.onnx", b"x" * 5000)})

        def chunks():
            for _ in range(50):
                yield b"x" * 100

        streamed = client.post(
            "/api/v1/models", content=chunks(), headers={"Content-Type": "multipart/form-data; boundary=b"}
        )
        for answer in (announced, streamed):
            document = is_problem(answer, 413)
            assert document["facts"] == {"limit_bytes": 1000}
            assert document["type"] == "/problems/upload-too-large"


def test_every_answer_has_an_id_and_the_headers_of_a_page_that_trusts_only_itself(client):
    for address in ("/", "/api/v1/meta", "/api/v1/none", "/problems", "/docs", "/healthz"):
        answer = client.get(address)
        assert answer.headers["content-security-policy"] == CSP
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])
    assert client.get("/healthz", headers={"X-Request-ID": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert client.get("/healthz", headers={"X-Request-ID": "x" * 99}).headers["x-request-id"] != "x" * 99


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("localhost:8000", True),
        ("127.0.0.1:8000", True),
        ("127.8.0.1", True),
        ("[::1]:8000", True),
        ("app.localhost", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("10.0.0.1:8000", False),
        ("", False),
    ],
)
def test_local_names(host, local):
    assert is_local_name(host) is local


def test_a_page_of_another_site_can_neither_rebind_a_name_nor_change_anything(client):
    rebound = client.get("/api/v1/models", headers={"Host": "evil.example"})
    assert is_problem(rebound, 403)["type"] == "/problems/host-refused"
    crossed = client.post("/api/v1/models/examples/squeezenet", headers={"Origin": "http://evil.example"})
    assert is_problem(crossed, 403)["type"] == "/problems/cross-origin"
    own = client.delete("/api/v1/jobs/none", headers={"Origin": "http://localhost"})
    assert is_problem(own, 404)


def test_listening_beyond_this_machine_without_a_token_is_refused(settings):
    with Context(settings.model_copy(update={"host": "0.0.0.0"})) as context, pytest.raises(UserError) as refused:
        create_app(context)
    assert refused.value.code == "unsafe-bind"


def test_with_a_token_only_its_bearer_gets_in(settings):
    with Context(settings.model_copy(update={"host": "0.0.0.0"})) as context:
        token, secret = context.tokens.add("ci")
        with TestClient(create_app(context), base_url="http://board.example") as client:
            document = is_problem(client.get("/api/v1/models"), 401)
            assert document["type"] == "/problems/token-needed"
            assert is_problem(client.get("/"), 401)
            assert client.get("/healthz").status_code == 200
            assert client.get("/api/v1/models", headers={"Authorization": "Bearer ts_wrong"}).status_code == 401
            good = {"Authorization": f"Bearer {secret}"}
            assert client.get("/api/v1/models", headers=good).status_code == 200
            listed = client.get("/api/v1/tokens", headers=good).json()["items"]
            assert [(row["id"], row["name"]) for row in listed] == [(token.id, "ci")]
            assert listed[0]["last_used_at"]
            assert secret not in client.get("/api/v1/tokens", headers=good).text
            entered = client.get(f"/?token={secret}&a=1", follow_redirects=False)
            assert (entered.status_code, entered.headers["location"]) == (303, "/?a=1")
            assert "httponly" in entered.headers["set-cookie"].lower()
            assert "samesite=strict" in entered.headers["set-cookie"].lower()
            assert client.get("/api/v1/models").status_code == 200, "the cookie is enough now"
            context.tokens.remove(token.id)
            assert client.get("/api/v1/models").status_code == 401


def test_the_documentation_and_the_page_come_from_here(client):
    docs = client.get("/docs").text
    addresses = re.findall(r'(?:src|href)="([^"]+)"', docs)
    assert addresses
    for address in addresses:
        assert address.startswith("/")
        assert client.get(address).status_code == 200
    assert "http" not in docs.replace("https://www.w3.org", "")


def test_plotly_comes_from_its_wheel_compressed_once_and_kept_for_ever(client, settings):
    location = client.get("/static/vendor/plotly.json").json()["url"]
    assert re.fullmatch(r"/static/vendor/plotly-[0-9a-f]{8}\.min\.js", location)
    packed = client.get(location)
    assert packed.headers["content-encoding"] == "gzip"
    plain = client.get(location, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == packed.content
    assert "immutable" in packed.headers["cache-control"]
    assert len(list((settings.data / "vendor").iterdir())) == 1
    index = client.get("/")
    assert f'<meta name="plotly-url" content="{location}">' in index.text
    assert client.get("/a/deep/link").text == index.text


def test_the_committed_description_of_the_api_is_current():
    committed = Path(__file__).parents[2] / "docs" / "openapi.json"
    assert committed.read_text() == description(), "run `make regen` and read the difference"


def test_ready_says_what_is_not_right(client, context):
    assert client.get("/readyz").json() == {
        "status": "ok",
        "checks": {"database": True, "disk": True, "jobs": True},
    }
    with context.database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num='0000'")
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["checks"]["database"]) == (503, False)
