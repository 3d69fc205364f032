"""How the solver scales: fronts of synthetic networks through the Pyomo model, time by phase and peak memory.

    python -m bench.solver_scale chain1000 skip300 branch300

Each instance runs in a process of its own, so that the peak memory is its own. Costs are invented (a rate with noise
per option, workspaces from the geometry); what is measured is the solver.
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable

from solver import flow as flows
from solver.frontier import trace
from solver.highs import FlowSolver
from solver.model import build_model, compile_model
from solver.problem import Conversion, Edge, MemoryAxis, Node, Option, Problem

LAYOUTS = ("chw", "hwc", "chw8c", "chw16c")
PRIMITIVES = 50
MOST_POINTS = 400
"""The cap of the application: no screen tells more points apart."""
LIMIT_S = 30.0
"""For one point, as in the application."""


class _Grower:
    """Grows a network of convolutions and concats, tensors of (channels, pixels)."""

    def __init__(self, seed: int):
        self.rng = random.Random(seed)
        self.nodes: list[Node] = [Node("input", (Option("input", 0, (), "chw"),), dict.fromkeys(LAYOUTS, 0))]
        self.edges: list[Edge] = []
        self.dims = [(3, 224 * 224)]

    def conv(self, source: int, channels: int, kernel: int, shrink: int = 1) -> int:
        """A convolution with PRIMITIVES options of random layouts; more workspace mostly is faster."""
        inputs, pixels = self.dims[source]
        out_pixels = max(1, pixels // shrink)
        macs = channels * out_pixels * inputs * kernel**2
        options = []
        for number in range(PRIMITIVES):
            share = self.rng.choice((0, 0, 1, 0.5, 0.25, 0.125, 0.0625))
            gflops = 20 + 90 * share**0.3 * self.rng.lognormvariate(0, 0.3)
            workspace_bytes = int(4 * out_pixels * inputs * kernel**2 * share * self.rng.uniform(0.8, 1.0))
            options.append(
                Option(
                    f"p{number}",
                    int(2 * macs / gflops) + 300,
                    (self.rng.choice(LAYOUTS),),
                    self.rng.choice(LAYOUTS),
                    workspace_bytes,
                    4 * channels * inputs * kernel**2,
                )
            )
        for layout in LAYOUTS:  # so that every layout can be read and written without workspace
            options[LAYOUTS.index(layout)] = Option(
                f"direct_{layout}", int(2 * macs / 15) + 300, (layout,), layout, 0, 4 * channels * inputs * kernel**2
            )
        return self._add(f"conv{len(self.nodes)}", [source], channels, out_pixels, options)

    def join(self, sources: list[int]) -> int:
        """A concat or an addition: one layout in, the same out."""
        channels = self.dims[sources[0]][0]
        size_bytes = 4 * channels * self.dims[sources[0]][1]
        options = [
            Option(
                f"join_{layout}", int(0.12 * size_bytes * self.rng.uniform(0.9, 1.3)), (layout,) * len(sources), layout
            )
            for layout in LAYOUTS
        ]
        return self._add(f"join{len(self.nodes)}", sources, channels, self.dims[sources[0]][1], options)

    def _add(self, name: str, sources: list[int], channels: int, pixels: int, options: list[Option]) -> int:
        out_bytes = {}
        for layout in LAYOUTS:
            block = {"chw8c": 8, "chw16c": 16}.get(layout, 1)
            out_bytes[layout] = 4 * -(-channels // block) * block * pixels
        for port, source in enumerate(sources):
            self.edges.append(Edge(source, len(self.nodes), port, self._conversions(source)))
        self.nodes.append(Node(name, tuple(options), out_bytes))
        self.dims.append((channels, pixels))
        return len(self.nodes) - 1

    def _conversions(self, source: int) -> dict[tuple[str, str], Conversion]:
        channels, pixels = self.dims[source]
        size_bytes = 4 * channels * pixels
        return {
            (have, want): Conversion(0, 0, copies=False)
            if have == want
            else Conversion(int(0.1 * size_bytes * self.rng.uniform(0.8, 1.5)) + 200, size_bytes)
            for have in LAYOUTS
            for want in LAYOUTS
        }

    def problem(self) -> Problem:
        last = self.nodes[-1]
        self.nodes[-1] = Node(last.name, last.options, last.out_bytes, stays_live=True)
        return Problem(tuple(self.nodes), tuple(self.edges))


def _geometry(number: int, count: int) -> tuple[int, int]:
    """Channels and pixels of stage after stage: as in a VGG, wider and smaller towards the end."""
    stage = min(4, 5 * number // count)
    return 32 << min(stage, 3), (112 >> stage) ** 2


def chain(count: int, seed: int = 0) -> Problem:
    """`count` convolutions one after the other."""
    grower = _Grower(seed)
    at = 0
    for number in range(count):
        channels, pixels = _geometry(number, count)
        at = grower.conv(at, channels, grower.rng.choice((1, 3, 3, 5)), max(1, grower.dims[at][1] // pixels))
    return grower.problem()


def branch(count: int, seed: int = 0) -> Problem:
    """Modules of four branches that meet in a join, as in an inception network."""
    grower = _Grower(seed)
    at = 0
    while len(grower.nodes) <= count:
        channels, pixels = _geometry(len(grower.nodes), count + 1)
        shrink = max(1, grower.dims[at][1] // pixels)
        ends = [
            grower.conv(grower.conv(at, max(8, channels // 2), 1, shrink), channels, kernel) for kernel in (1, 3, 5, 3)
        ]
        at = grower.join(ends)
    return grower.problem()


def skip(count: int, seed: int = 0) -> Problem:
    """A chain in which every third layer adds an earlier output, from up to ten layers back, of its own stage."""
    grower = _Grower(seed)
    at = 0
    recent: list[int] = []
    while len(grower.nodes) <= count:
        channels, pixels = _geometry(len(grower.nodes), count + 1)
        at = grower.conv(at, channels, grower.rng.choice((1, 3)), max(1, grower.dims[at][1] // pixels))
        recent = [u for u in recent[-10:] if grower.dims[u] == grower.dims[at]]
        if recent and grower.rng.random() < 0.33:
            at = grower.join([at, grower.rng.choice(recent)])
        recent.append(at)
    return grower.problem()


INSTANCES: dict[str, Callable[[], Problem]] = {
    f"{make.__name__}{count}": lambda make=make, count=count: make(count)  # type: ignore[misc]
    for make, counts in ((chain, (100, 300, 1000)), (branch, (100, 300)), (skip, (100, 300)))
    for count in counts
}


def measure(name: str, axis: MemoryAxis, most_points: int) -> str:
    """One row of the table: an instance built, solved once without a budget, and traced."""
    problem = INSTANCES[name]()
    started = time.perf_counter()
    flow = flows.build(problem, axis, weights_matter=False)
    matrix = compile_model(build_model(flow))
    built_s = time.perf_counter() - started
    size = f"{len(matrix.cost)} x {len(matrix.row_lower)}"
    solver = FlowSolver(flow, matrix)
    started = time.perf_counter()
    solver.set_budget(None)
    first = solver.solve(LIMIT_S)
    first_s = time.perf_counter() - started
    del solver, flow, matrix
    started, busy = time.perf_counter(), time.process_time()
    front = trace(problem, axis, time_limit_s_per_point=LIMIT_S, max_points=most_points)
    total_s, busy_s = time.perf_counter() - started, time.process_time() - busy
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    proven = sum(point.proven for point in front.points)
    why = front.incomplete_because or front.uncertified_because
    return (
        f"| {name} | {axis} | {size} | {built_s:.2f} | {first_s:.2f} ({first.method}) | {len(front.points)} ({proven}) "
        f"| {total_s:.1f} | {busy_s:.1f} | {peak_mib:.0f} | {front.certified_by} | {why} |"
    )


def main() -> None:
    """Print a row per instance and axis."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("instances", nargs="*", default=list(INSTANCES), help=f"of {', '.join(INSTANCES)}")
    parser.add_argument("--memory", nargs="*", default=["arena", "workspace"], choices=["arena", "workspace"])
    parser.add_argument("--max-points", type=int, default=MOST_POINTS)
    parser.add_argument("--row", action="store_true", help="measure the one instance in this process, print its row")
    asked = parser.parse_args()
    if asked.row:
        print(measure(asked.instances[0], MemoryAxis(asked.memory[0]), asked.max_points), flush=True)
        return
    print("| instance | axis | columns x rows | build s | first solve s | points (proven) ", end="")
    print("| total s | of it CPU s | peak MiB | by | notes |")
    print("|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for name in asked.instances:
        for memory in asked.memory:
            command = [sys.executable, "-m", "bench.solver_scale", name, "--memory", memory, "--row"]
            subprocess.run([*command, "--max-points", str(asked.max_points)], check=True)


if __name__ == "__main__":
    main()
