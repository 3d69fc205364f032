"""format.js, state.js, front.js and ticks.js, run where they run: in the browser."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="module")
def modules(server: Any, cache: Any) -> Any:
    """Calls an exported function of a module of the page."""
    server.reset()
    page = cache.new_page()
    page.goto(f"{server.url}/jobs")

    def call(module: str, name: str, *arguments: Any) -> Any:
        script = "async ([module, name, args]) => (await import(`/${module}.js`))[name](...args)"
        return page.evaluate(script, [module, name, list(arguments)])

    call.page = page  # type: ignore[attr-defined]
    yield call
    page.close()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("98304", 98304), ("96k", 98304), ("96K", 98304), ("96 KiB", 98304), ("96kb", 96000), ("0.1MiB", 104857),
        ("98,304", 98304), ("1.5 MB", 1_500_000), (".5k", 512), ("2g", 2**31), ("1b", 1),
        ("", None), ("k", None), ("12 parsecs", None), ("-5", None), ("1e3", None), ("9" * 20, None), ("1.2.3", None),
    ],
)  # fmt: skip
def test_a_size_is_read_as_people_write_it(modules: Any, text: str, expected: int | None) -> None:
    assert modules("format", "parseBytes", text) == expected


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("bytes", [98304, "kib"], "96 KiB"), ("bytes", [98304, "b"], "98,304 B"),
        ("bytes", [355_712, "kib"], "347.4 KiB"),
        ("bytes", [1_572_864, "kib"], "1.5 MiB"), ("bytes", [0, "kib"], "0 B"), ("bytes", [-2048, "kib"], "−2 KiB"),
        ("columnBytes", [355_712, "kib"], "347.4 KiB"), ("columnBytes", [98304, "kib"], "96.0 KiB"),
        ("exactBytes", [98304], "98,304 B (96 KiB)"), ("exactTime", [12_420_113], "12,420,113 ns"),
        ("time", [12_420_113], "12.42 ms"), ("time", [842_100], "842.1 µs"), ("time", [900], "900 ns"),
        ("time", [2.5e9], "2.5 s"), ("milliseconds", [12_420_113], "12.420"),
        ("milliseconds", [-1_234_567_890], "−1,234.568"),
        ("percent", [0.0123], "1.2 %"), ("integer", [-0.0], "0"), ("eta", [70], "1 m 10 s"), ("eta", [None], ""),
        ("signed", ["5 B", 5], "+5 B"), ("signed", ["−5 B", -5], "−5 B"), ("count", [1, "layer"], "1 layer"),
    ],
)  # fmt: skip
def test_numbers_read_well(modules: Any, name: str, arguments: list[Any], expected: str) -> None:
    assert modules("format", name, *arguments) == expected


def test_csv_keeps_integers_whole_and_quotes_what_needs_it(modules: Any) -> None:
    rows = [{"id": 'a"b', "n": 12345678, "families": {"mec": 1}}, {"id": "x,y", "n": None, "families": {}}]
    text = modules("format", "csv", ["id", "n", "families"], rows)
    assert text == 'id,n,families\r\n"a""b",12345678,"{""mec"":1}"\r\n"x,y",,{}\r\n'


def test_address_and_state_are_inverse(modules: Any) -> None:
    state = {
        "view": "workbench", "model": "mdl_1", "device": "host", "memory": "total", "frontier": "frt_1", "a": "pt_1",
        "ask": '{"pins":{"a/b":"p"}}',
        "b": "pt_2", "budget": 98304, "units": "b", "scale": "xy", "theme": "dark", "tab": "diff", "layer": "a/b&c=d?",
        "marks": "peers, 512 KiB board",
    }  # fmt: skip
    address = modules("state", "serialise", state)
    assert modules("state", "parse", f"http://host{address}") == state
    assert len(address) < 2000


def test_a_plain_address_means_the_defaults_and_leaves_them_out(modules: Any) -> None:
    state = modules("state", "parse", "http://host/")
    assert (state["memory"], state["units"], state["scale"], state["budget"]) == ("auto", "kib", "auto", None)
    assert modules("state", "serialise", state) == "/w"


@pytest.mark.parametrize("query", ["memory=stack", "budget=-3", "budget=1e400", "theme=<script>", "tab=__proto__"])
def test_nonsense_in_the_address_becomes_a_default(modules: Any, query: str) -> None:
    assert modules("state", "serialise", modules("state", "parse", f"http://host/w?{query}")) == "/w"


def some_points(pairs: list[tuple[int, int]]) -> list[dict[str, int]]:
    return [{"arena_bytes": size, "latency_ns": time} for size, time in pairs]


def test_best_is_the_fastest_that_fits_and_nothing_below_the_smallest(modules: Any) -> None:
    points = some_points([(100, 50), (200, 30), (400, 20)])
    assert modules("front", "best", points, "arena", 399) == points[1]
    assert modules("front", "best", points, "arena", 400) == points[2]
    assert modules("front", "best", points, "arena", 99) is None


def test_the_knee_is_where_the_front_bends(modules: Any) -> None:
    points = some_points([(100, 1000), (110, 300), (120, 110), (500, 105), (1000, 100)])
    assert modules("front", "knee", points, "arena") == points[2]
    assert modules("front", "knee", points[:2], "arena") is None
    assert modules("front", "withinOfFastest", points, 0.05) == points[3]


def test_the_price_of_memory_is_what_the_front_says(modules: Any) -> None:
    points = some_points([(100, 50), (200, 30), (400, 20)])
    assert modules("front", "buys", points, "arena", points[0], 150) == {
        "point": points[1], "saved_ns": 20, "used_bytes": 100,
    }  # fmt: skip
    assert modules("front", "buys", points, "arena", points[0], 99) is None
    assert modules("front", "costs", points, "arena", points[2], 1)["lost_ns"] == 10


@pytest.mark.parametrize(("low", "high", "log"), [(250_000, 1_000_000, False), (70_000, 9e6, True), (0, 900, False)])
def test_ticks_lie_inside_and_are_few(modules: Any, low: float, high: float, log: bool) -> None:
    for name, unit in (("byteTicks", 1), ("timeTicks", 1e6)):
        ticks = modules("ticks", name, max(low, 1) / unit, high / unit, 6, log)
        assert 2 <= len(ticks) <= 16
        assert ticks == sorted(set(ticks))
        assert all(low / unit <= tick <= high / unit * (1 + 1e-9) for tick in ticks)


def test_modules_are_small_and_ask_nobody_else() -> None:
    from fake_server import FRONTEND

    for file in FRONTEND.rglob("*.*"):
        text = file.read_text(encoding="utf-8")
        assert text.count("\n") < 400, file
        if file.name != "plot.js":
            assert "Plotly." not in text, f"{file}: plot.js alone draws"
        if file.name != "api.js":
            assert "fetch(" not in text.replace("fetch()", ""), f"{file}: api.js alone asks the server"
        for word in ("innerHTML", "eval(", "document.write", "//cdn", "https://"):
            assert word not in text, f"{file}: {word}"


def test_names_of_layers_lose_what_they_say_twice_and_stay_different(modules: Any) -> None:
    def short(*layers: tuple[str, str]) -> dict[str, str]:
        script = "async (layers) => [...(await import('/names.js')).shortNames(layers)]"
        return dict(modules.page.evaluate(script, [{"node": node, "op": op} for node, op in layers]))

    torch = [
        ("/features/features.0/features.0.0/Conv", "conv"),
        ("/features/features.1/conv/conv.0/conv.0.0/Conv", "conv"),
        ("/features/features.3/Add", "add"),
        ("/classifier/classifier.1/Gemm", "dense"),
    ]
    assert short(*torch) == dict(
        zip(
            [n for n, _ in torch],
            ["features.0.0", "features.1/conv.0.0", "features.3", "classifier.1/Gemm"],
            strict=True,
        )
    )
    fused = ("model/activation_1/Relu;model/conv2d_1/BiasAdd", "conv"), ("model/dense/BiasAdd", "dense")
    assert short(*fused) == {fused[0][0]: "activation_1/Relu", fused[1][0]: "dense/BiasAdd"}
    caffe = ("conv1_Conv", "conv"), ("pool1_MaxPool", "max_pool"), ("fire2_concat_Concat", "concat"), ("Conv_7", "conv")
    assert list(short(*caffe).values()) == ["conv1", "pool1", "fire2_concat"]
    assert short(("n0", "conv"), ("stage1/block3/conv2", "conv")) == {}
    assert short(("/a/a.1/Conv", "conv"), ("/a.1/Conv", "conv"), ("b", "add")) == {}


def test_sentences_are_made_short_name_by_name(modules: Any) -> None:
    script = """async () => {
      const { shortener } = await import('/names.js');
      const short = shortener(new Map([['/a/a.1/Conv', 'a.1'], ['/a/a.1/Conv_1', 'a.1/Conv_1']]));
      return ['/a/a.1/Conv', '/a/a.1/Conv_1 (copy for /a/a.1/Conv:0 64 B)', 'x/a/a.1/Conv'].map(short);
    }"""
    assert modules.page.evaluate(script) == ["a.1", "a.1/Conv_1 (copy for a.1:0 64 B)", "x/a/a.1/Conv"]


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(0.0004, "0.04 %"), (0.0006, "0.1 %"), (-0.0003, "−0.03 %"), (0.00001, "< 0.01 %"), (0, "0.0 %")],
)  # fmt: skip
def test_a_share_that_is_not_nothing_is_not_called_nothing(modules: Any, ratio: float, text: str) -> None:
    assert modules("format", "percent", ratio) == text


def test_a_point_that_needs_nothing_keeps_the_memory_axis_linear(modules: Any) -> None:
    points = [{"workspace_bytes": 0, "latency_ns": 90}, {"workspace_bytes": 4096, "latency_ns": 10}]
    assert modules("front", "logAxes", "auto", points, "workspace") == "y"
    assert modules("front", "logAxes", "xy", points, "workspace") == "y"
    assert modules("front", "logAxes", "x", points, "workspace") == ""
    assert not modules("front", "canLog", points, "workspace")
    assert modules("front", "canLog", points[1:], "workspace")


def test_fronts_of_microseconds_are_told_apart(modules: Any) -> None:
    assert modules("format", "timeUnit", [{"latency_ns": 94_700}, {"latency_ns": 2_000_000}]) == "µs"
    assert modules("format", "timeUnit", [{"latency_ns": 1_000_000}]) == "ms"
    assert modules("format", "columnTime", 95_940, "µs") == "95.940"
    assert modules("format", "columnTime", 12_420_113, "ms") == "12.420"
