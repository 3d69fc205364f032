"""A small server with the contract of app/api and invented data, so that the page can be tested by itself.

`python tests/frontend/fake_server.py [--seeding]` serves it on port 8765 for work on the page.
"""

from __future__ import annotations

import importlib.resources
import io
import json
import mimetypes
import re
import sys
import threading
import time
import zipfile
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import fake_answers  # noqa: E402
import fake_data  # noqa: E402

FRONTEND = ROOT / "frontend"
PAGES = ("/", "/w", "/models", "/jobs")
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
FRONT_MODEL = "mdl_5f0c9a7d21be4e68"
MARKS = [
    {
        "runtime": runtime, "version": "1", "network": "ResNet-26", "arena_bytes": size, "counts": "what it plans",
        "measured_on": "another machine, not on this device",
    }
    for runtime, size in (("IREE", 560_000), ("TVM", 9_000_000))
]  # fmt: skip
NOW = "2026-11-21T10:00:00Z"
EXAMPLES = {
    "alexnet": ("AlexNet", 243_860_896),
    "googlenet": ("GoogLeNet", 27_994_208),
    "vgg19": ("VGG-19", 574_670_240),
    "resnet50": ("ResNet-50", 102_120_736),
    "squeezenet": ("SqueezeNet 1.1", 4_989_856),
}
UNSUPPORTED = [("/graph/node/41", "NonMaxSuppression (detect/nms)"), ("/graph/node/17", "GridSample (warp/sample)")]


@lru_cache
def fronts() -> dict[str, tuple[list[Any], dict[str, Any]]]:
    """The invented fronts of the three memory axes, computed once."""
    return {axis: fake_data.front(axis) for axis in ("arena", "total", "workspace")}


def model(sha: str, name: str, weights_bytes: int, *, example: bool = True, nodes: int = 35) -> dict[str, Any]:
    return {
        "id": f"mdl_{sha}", "name": name, "sha256": sha * 4, "size_bytes": weights_bytes + 8123, "created_at": NOW,
        "example": example, "nodes": nodes, "macs": 43_711_488, "weights_bytes": weights_bytes,
        "inputs": [{"name": "image", "dims": [1, 3, 48, 48]}], "outputs": [{"name": "probabilities", "dims": [1, 10]}],
    }  # fmt: skip


class World:
    """Everything the fake server knows, behind one lock; jobs advance in threads of their own."""

    def __init__(self, *, seeding: bool = False, tick_s: float = 0.03):
        self.lock = threading.Condition()
        self.tick_s = tick_s
        self.jobs: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.bundles: dict[str, dict[str, Any]] = {}
        self.stale_because = ""
        self.missing = 34  # costs
        self.questions: list[dict[str, Any]] = []  # bodies of what-if requests, in order
        self.hold = threading.Event()  # cleared: running jobs stand still
        self.hold.set()
        self.models = {} if seeding else {m["id"]: m for m in self.seed_models()}
        self.fronts = [] if seeding else ["arena", "total", "workspace"]
        if seeding:
            self.start("seed", {"model": "resnet26"}, None, [("importing", 1), ("measuring", 40), ("tracing", 4)])

    @staticmethod
    def seed_models() -> list[dict[str, Any]]:
        first = model("5f0c9a7d21be4e68", "resnet26", 1_683_240)
        return [first, model("c41d88e09b7a3f12", "keyword-spotting", 92_416, example=False, nodes=13)]

    def start(self, kind: str, params: dict[str, Any], result_url: str | None, stages: list[tuple[str, int]]) -> Any:
        with self.lock:
            job_id = f"job_{len(self.jobs) + 1:04d}"
            total = sum(n for _, n in stages)
            self.jobs[job_id] = job = {
                "id": job_id, "kind": kind, "state": "queued", "stage": stages[0][0], "eta_s": None,
                "progress": {"completed": 0, "total": total, "unit": "steps"}, "created_at": NOW, "started_at": None,
                "finished_at": None, "params": params, "result_url": None, "error": None,
            }  # fmt: skip
            self.publish(job)
        threading.Thread(target=self.run, args=(job, stages, result_url), daemon=True).start()
        return job

    def run(self, job: dict[str, Any], stages: list[tuple[str, int]], result_url: str | None) -> None:
        done = 0
        total = job["progress"]["total"]
        for stage, count in stages:
            for _ in range(count):
                time.sleep(self.tick_s)
                self.hold.wait(timeout=30)
                with self.lock:
                    if job["state"] == "cancelling":
                        job.update(state="cancelled", finished_at=NOW, eta_s=None)
                        return self.publish(job)
                    done += 1
                    job["progress"]["completed"] = done
                    job.update(state="running", stage=stage, started_at=NOW, eta_s=(total - done) * self.tick_s)
                    self.publish(job)
        with self.lock:
            if job["kind"] == "seed":
                self.models = {m["id"]: m for m in self.seed_models()}
                self.fronts = ["arena", "total", "workspace"]
            if job["kind"] == "bundle":
                self.bundles[result_url.rsplit("/", 1)[1]] = self.verified(job["params"])
            job.update(state="succeeded", finished_at=NOW, eta_s=None, result_url=result_url)
            self.publish(job)
        return None

    def verified(self, params: dict[str, Any]) -> dict[str, Any]:
        point = self.find(params["frontier"].removeprefix("frt_"), params["point"])
        return {
            "id": f"bdl_{params['point'][3:]}", "frontier": params["frontier"], "point": params["point"],
            "prefix": params["prefix"], "created_at": NOW, "sha256": "ab" * 32, "size_bytes": 6_214_400,
            "verified": {
                "compiler": "gcc 12.2.0", "flags": "-std=c11 -Wall -Wextra -Werror -O3", "max_rel_err": 2.4e-6,
                "argmax": "ok", "arena_used_bytes": point.arena_bytes, "arena_bytes": point.arena_bytes,
                "median_ns": int(point.latency_ns * 1.031), "runs": 50,
            },
        }  # fmt: skip

    def publish(self, job: dict[str, Any]) -> None:
        self.events.append(json.loads(json.dumps(job)))
        self.lock.notify_all()

    def find(self, axis: str, point_id: str) -> Any:
        points, baselines = fronts()[axis]
        return next((p for p in (*points, *(b for _, b in baselines.values())) if p.id == point_id), None)

    def extra(self, point: Any) -> dict[str, Any]:
        bundle = self.bundles.get(f"bdl_{point.id[3:]}")
        return {
            "measured_ns": bundle["verified"]["median_ns"] if bundle else None,
            "bundle_id": bundle["id"] if bundle else None,
        }

    def frontier(self, axis: str, *, full: bool = True) -> dict[str, Any]:
        points, baselines = fronts()[axis]
        head = {
            "id": f"frt_{axis}", "model": FRONT_MODEL, "device": "host", "memory": axis, "created_at": NOW,
            "stale": bool(self.stale_because), "stale_because": self.stale_because, "solve_s": 0.41, "limits": {},
        }  # fmt: skip
        if not full:
            return head | {"points": len(points)}
        named = [
            {"name": name, "explanation": text, "point": p.summary() | self.extra(p)}
            for name, (text, p) in baselines.items()
        ]
        return head | {
            "certified_by": "highs-lp+dp", "uncertified_because": "", "complete": True, "incomplete_because": "",
            "smallest_bytes": getattr(points[0], f"{axis}_bytes"),
            "smallest_step": "stage1/block3/conv2", "io_bytes": 27_688,
            "points": [p.summary() | self.extra(p) for p in points], "baselines": named,
        }  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    """The routes of the contract; everything else is a file of the page."""

    protocol_version = "HTTP/1.1"
    world: ClassVar[World]
    timeout = 60

    def log_message(self, *_: Any) -> None:
        """Silence."""

    def answer(self, status: int, body: Any, kind: str = "application/json", headers: tuple[Any, ...] = ()) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (("Content-Type", kind), ("Content-Length", len(data)), *headers):
            self.send_header(name, str(value))
        self.send_header("Content-Security-Policy", CSP)
        self.end_headers()
        self.wfile.write(data)

    def problem(self, status: int, slug: str, detail: str, hint: str = "", errors: Any = (), **facts: Any) -> None:
        body = {
            "type": f"/problems/{slug}", "title": slug.replace("-", " "), "status": status, "detail": detail,
            "hint": hint, "errors": [{"pointer": p, "detail": d} for p, d in errors], "facts": facts,
            "request_id": "req_fake",
        }  # fmt: skip
        self.answer(status, body, "application/problem+json")

    def items(self, items: list[Any]) -> None:
        self.answer(200, {"items": items, "next_cursor": None})

    def accepted(self, job: dict[str, Any]) -> None:
        self.answer(202, job, headers=(("Location", f"/api/v1/jobs/{job['id']}"),))

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if not url.path.startswith("/api/v1/"):
            return self.page_file(url.path)
        path, world = url.path.removeprefix("/api/v1"), self.world
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if path == "/events":
            return self.stream()
        with world.lock:
            if match := re.fullmatch(r"/frontiers/frt_(\w+)(?:/points/(\w+))?", path):
                return self.frontier(*match.groups())
            if match := re.fullmatch(r"/frontiers/frt_(\w+)/points/(\w+)/(explanation|robustness)", path):
                axis, point_id, what = match.groups()
                answer = {"explanation": fake_answers.explanation, "robustness": fake_answers.robustness}[what]
                return self.answer(200, answer(fronts()[axis][0], world.find(axis, point_id), axis))
            if match := re.fullmatch(r"/frontiers/frt_(\w+)/options", path):
                return self.answer(200, fake_answers.layer_options(query["node"]))
            if match := re.fullmatch(r"/bundles/(bdl_\w+)(/download)?", path):
                bundle = world.bundles[match[1]]
                return self.answer(200, archive(), "application/zip") if match[2] else self.answer(200, bundle)
            if match := re.fullmatch(r"/models/(mdl_\w+)/marks", path):
                return self.items(MARKS if match[1] == FRONT_MODEL else [])
            if match := re.fullmatch(r"/models/(mdl_\w+)/layers", path):
                return self.items([])
            names = {m["name"] for m in world.models.values()}
            traced = query.get("model", FRONT_MODEL) == FRONT_MODEL
            lists = {
                "/meta": lambda: {
                    "version": "0.1.0", "api": "v1", "limits": {"upload_bytes": 2**28}, "host_device": "host",
                },
                "/models": lambda: list(world.models.values()),
                "/models/examples": lambda: [
                    {"name": n, "title": t, "weights_bytes": b, "imported": n in names}
                    for n, (t, b) in EXAMPLES.items()
                ],
                "/devices": lambda: [{
                    "name": "host", "description": "this machine", "compiler": "gcc 12.2.0", "threads": 1,
                    "flags": "-O3 -march=native", "environment": {"cpu": "Xeon", "governor": "performance"},
                }],
                "/frontiers": lambda: [world.frontier(axis, full=False) for axis in world.fronts if traced],
                "/jobs": lambda: list(world.jobs.values())[::-1],
                "/costs": lambda: {
                    "needed": 210, "measured": 210 - world.missing, "missing": world.missing, "items": [],
                },
            }  # fmt: skip
            if path not in lists:
                return self.problem(404, "not-found", f"no such resource: {path}")
            found = lists[path]()
            return self.items(found) if isinstance(found, list) else self.answer(200, found)

    def frontier(self, axis: str, point_id: str | None) -> None:
        if axis not in self.world.fronts:
            return self.problem(404, "not-found", f"no frontier frt_{axis}")
        if point_id is None:
            return self.answer(200, self.world.frontier(axis))
        point = self.world.find(axis, point_id)
        if point is None:
            return self.problem(404, "not-found", f"no point {point_id}")
        return self.answer(200, point.to_json() | self.world.extra(point))

    def do_POST(self) -> None:
        path, world, body = urlsplit(self.path).path.removeprefix("/api/v1"), self.world, self.body()
        if path == "/models":
            if b"unsupported" in body:
                return self.problem(
                    422, "unsupported-operator", "2 operators are not supported; nothing was imported",
                    "remove the post-processing nodes from the exported network and try again", UNSUPPORTED,
                )  # fmt: skip
            added = model("77aa01c2d3e4f506", "uploaded", len(body), example=False)
            world.models[added["id"]] = added
            return self.answer(201, added)
        if match := re.fullmatch(r"/models/examples/(\w+)", path):
            added = model(f"{match[1]:0<16}", match[1], EXAMPLES[match[1]][1])
            world.models[added["id"]] = added
            return self.answer(201, added)
        if match := re.fullmatch(r"/jobs/(\w+)/retry", path):
            return self.accepted(world.start(world.jobs[match[1]]["kind"], {}, None, [("measuring", 5)]))
        params = json.loads(body)
        if path == "/measurements":
            return self.accepted(world.start("measure", params, None, [("measuring", 34)]))
        if path == "/frontiers":
            return self.accepted(
                world.start("frontier", params, f"/api/v1/frontiers/frt_{params['memory']}", [("tracing", 8)])
            )
        if match := re.fullmatch(r"/frontiers/frt_(\w+)/(what-if|pin-prices)", path):
            point = world.find(match[1], params["point"])
            if match[2] == "pin-prices":
                return self.answer(200, fake_answers.pin_prices(point, params["limits"]))
            world.questions.append(params)
            if "direct" in params["limits"].get("forbid", []):
                return self.problem(
                    422, "limits-impossible", "the limits leave 1 layer of resnet26 without a primitive: stem",
                    "allow the family direct", [("stem", "24 options, none allowed")], layers=["stem"],
                )  # fmt: skip
            found = fake_answers.what_if(point, params["limits"])
            return self.answer(200, found | {
                "frontier_id": f"frt_{match[1]}", "memory": match[1], "budget_bytes": params["budget_bytes"],
                "point": found["point"] | world.extra(point) | {"bundle_id": None, "measured_ns": None},
                "against": point.summary() | world.extra(point),
            })  # fmt: skip
        stages = [("generating", 2), ("compiling", 4), ("running", 4), ("zipping", 1)]
        return self.accepted(world.start("bundle", params, f"/api/v1/bundles/bdl_{params['point'][3:]}", stages))

    def do_DELETE(self) -> None:
        path, world = urlsplit(self.path).path.removeprefix("/api/v1"), self.world
        with world.lock:
            if match := re.fullmatch(r"/models/(\w+)", path):
                world.models.pop(match[1], None)
                return self.answer(204, b"")
            job = world.jobs[path.removeprefix("/jobs/")]
            if job["state"] in ("queued", "running"):
                job["state"] = "cancelling"
                world.publish(job)
            return self.answer(202, job)

    def stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-cache")
        self.end_headers()
        self.close_connection = True
        world = self.world
        seen = len(world.events)
        try:
            while world is self.world:
                with world.lock:
                    if len(world.events) == seen:
                        world.lock.wait(timeout=0.5)
                    fresh, seen = list(enumerate(world.events[seen:], start=seen)), len(world.events)
                for number, job in fresh:
                    self.wfile.write(f"id: {number}\nevent: job\ndata: {json.dumps(job)}\n\n".encode())
                self.wfile.write(b": ping\n\n")
                self.wfile.flush()
        except OSError:
            return

    def page_file(self, path: str) -> None:
        if path.startswith("/static/vendor/plotly"):
            data = (importlib.resources.files("plotly") / "package_data" / "plotly.min.js").read_bytes()
            cache = (("Cache-Control", "public, max-age=31536000, immutable"),)
            return self.answer(200, data, "text/javascript", cache)
        file = (FRONTEND / path.lstrip("/")).resolve()
        if path in PAGES or not file.is_relative_to(FRONTEND):
            file = FRONTEND / "index.html"
        if not file.is_file():
            return self.problem(404, "not-found", f"no such file: {path}")
        data = file.read_bytes().replace(b"{{plotly_url}}", b"/static/vendor/plotly-test.min.js")
        return self.answer(200, data, mimetypes.guess_type(file.name)[0] or "application/octet-stream")


def archive() -> bytes:
    """A zip with one file, for the download."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        bundle.writestr("net/net.h", "#define NET_ARENA_BYTES 98304\n")
    return buffer.getvalue()


class FakeServer:
    """The server on a free port; `reset()` gives it a new world."""

    def __init__(self, port: int = 0, **world: Any):
        self.handler = type("BoundHandler", (Handler,), {})
        self.reset(**world)
        self.server = ThreadingHTTPServer(("127.0.0.1", port), self.handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def world(self) -> World:
        return self.handler.world

    def reset(self, **world: Any) -> World:
        self.handler.world = World(**world)
        return self.handler.world

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


if __name__ == "__main__":
    running = FakeServer(8765, seeding="--seeding" in sys.argv, tick_s=0.4)
    print(running.url)
    threading.Event().wait()
