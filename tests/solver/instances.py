"""Synthetic problems shaped like real networks, with reproducible random costs, and small random ones."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from hypothesis import strategies as st

from solver.problem import Conversion, Edge, Node, Option, Problem

LAYOUTS = ("chw", "hwc", "chw8c", "chw16c")


def tensor_bytes(layout: str, c: int, hw: int) -> int:
    block = {"chw8c": 8, "chw16c": 16}.get(layout, 1)
    return 4 * -(-c // block) * block * hw


@dataclass
class Network:
    """Grows a problem node by node. Tensors are (channels, pixels)."""

    rng: random.Random
    layouts: tuple[str, ...] = LAYOUTS
    options_per_conv: int = 40
    nodes: list[Node] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    dims: list[tuple[int, int]] = field(default_factory=list)

    def add(self, name: str, inputs: list[int], c: int, hw: int, options: list[Option], **kwargs) -> int:
        out_bytes = {layout: tensor_bytes(layout, c, hw) for layout in self.layouts}
        self.nodes.append(Node(name, tuple(options), out_bytes, **kwargs))
        self.dims.append((c, hw))
        for port, src in enumerate(inputs):
            self.edges.append(Edge(src, len(self.nodes) - 1, port, self.conversions(src)))
        return len(self.nodes) - 1

    def conversions(self, src: int) -> dict[tuple[str, str], Conversion]:
        c, hw = self.dims[src]
        found = {}
        for a in self.layouts:
            for b in self.layouts:
                if a == b:
                    found[a, b] = Conversion(0, 0, copies=False)
                else:
                    size_bytes = tensor_bytes(b, c, hw)
                    found[a, b] = Conversion(int(size_bytes * self.rng.uniform(0.2, 0.6)) + 1, size_bytes)
        return found

    def source(self, c: int, hw: int) -> int:
        node = Node("input", (Option("input", 0, (), "chw"),), dict.fromkeys(self.layouts, 0))
        self.nodes.append(node)
        self.dims.append((c, hw))
        return len(self.nodes) - 1

    def conv(self, name: str, src: int, m: int, k: int, stride: int = 1) -> int:
        c, hw = self.dims[src]
        out_hw = max(1, hw // stride**2)
        macs = m * out_hw * c * k * k
        weights = 4 * m * c * k * k
        options = []
        for i in range(self.options_per_conv):
            lin, lout = self.rng.choice(self.layouts), self.rng.choice(self.layouts)
            part = self.rng.choice([0, 0, 1, 0.5, 0.25, 0.125])
            patches = int(4 * out_hw * c * k * k * part) if k > 1 else int(4 * out_hw * c * part)
            speed = self.rng.lognormvariate(0, 0.5) * (1 + 2 * part)
            factor = self.rng.choice([1, 1, 16 / 9, 4]) if k == 3 else 1
            options.append(
                Option(f"p{i}", int(macs / (4 * speed * factor**0.4)) + 1, (lin,), lout, patches, int(weights * factor))
            )
        options.extend(Option(f"direct_{layout}", macs, (layout,), layout, 0, weights) for layout in self.layouts)
        return self.add(name, [src], m, out_hw, options)

    def same(self, name: str, inputs: list[int], c: int, hw: int, *, in_place: bool = False, **kwargs) -> int:
        """Pool, concat, add: one layout in and out, any layout; `in_place` offers that as well."""
        options = []
        for layout in self.layouts:
            time_ns = int(tensor_bytes(layout, c, hw) * self.rng.uniform(0.1, 0.3)) + 1
            options.append(Option(f"{name}_{layout}", time_ns, (layout,) * len(inputs), layout))
            if in_place:
                same = (layout,) * len(inputs)
                options.append(Option(f"{name}_{layout}_in_place", time_ns, same, layout, in_place=0))
        return self.add(name, inputs, c, hw, options, **kwargs)

    def problem(self) -> Problem:
        return Problem(tuple(self.nodes), tuple(self.edges))


def googlenet(seed: int = 0, options_per_conv: int = 40, layouts: tuple[str, ...] = LAYOUTS) -> Problem:
    """85 nodes: the stem, nine inception modules, the classifier; convolutions with fused ReLU."""
    net = Network(random.Random(seed), layouts, options_per_conv)
    x = net.source(3, 224 * 224)
    x = net.conv("conv1", x, 64, 7, 2)
    x = net.same("pool1", [x], 64, 56 * 56)
    x = net.same("lrn1", [x], 64, 56 * 56)
    x = net.conv("conv2r", x, 64, 1)
    x = net.conv("conv2", x, 192, 3)
    x = net.same("lrn2", [x], 192, 56 * 56)
    x = net.same("pool2", [x], 192, 28 * 28)
    modules = [
        ("3a", 64, 96, 128, 16, 32, 32), ("3b", 128, 128, 192, 32, 96, 64), ("4a", 192, 96, 208, 16, 48, 64),
        ("4b", 160, 112, 224, 24, 64, 64), ("4c", 128, 128, 256, 24, 64, 64), ("4d", 112, 144, 288, 32, 64, 64),
        ("4e", 256, 160, 320, 32, 128, 128), ("5a", 256, 160, 320, 32, 128, 128), ("5b", 384, 192, 384, 48, 128, 128),
    ]  # fmt: skip
    for name, c1, r3, c3, r5, c5, pp in modules:
        c, hw = net.dims[x]
        branches = [
            net.conv(f"{name}/1", x, c1, 1),
            net.conv(f"{name}/3", net.conv(f"{name}/3r", x, r3, 1), c3, 3),
            net.conv(f"{name}/5", net.conv(f"{name}/5r", x, r5, 1), c5, 5),
            net.conv(f"{name}/pp", net.same(f"{name}/pool", [x], c, hw), pp, 1),
        ]
        x = net.same(f"{name}/concat", branches, c1 + c3 + c5 + pp, hw)
        if name in ("3b", "4e"):
            x = net.same(f"{name}/down", [x], net.dims[x][0], net.dims[x][1] // 4)
    x = net.same("average", [x], net.dims[x][0], 1)
    x = net.conv("dense", x, 1000, 1)
    net.same("softmax", [x], 1000, 1, in_place=True, stays_live=True)
    return net.problem()


def residual(seed: int = 0, blocks: int = 8, options_per_conv: int = 30) -> Problem:
    """A ResNet: two 3x3 convolutions per block, an addition that may work in place, strided projections."""
    net = Network(random.Random(seed), LAYOUTS, options_per_conv)
    x = net.source(3, 112 * 112)
    x = net.conv("stem", x, 64, 7, 2)
    c = 64
    for b in range(blocks):
        stride = 2 if b and b % 2 == 0 else 1
        c *= stride
        y = net.conv(f"{b}/a", x, c, 3, stride)
        y = net.conv(f"{b}/b", y, c, 3)
        skip = net.conv(f"{b}/p", x, c, 1, stride) if stride == 2 else x
        x = net.same(f"{b}/add", [y, skip], c, net.dims[y][1], in_place=True)
    net.same("average", [x], c, 1, stays_live=True)
    return net.problem()


def random_problem(seed: int, max_nodes: int = 5) -> Problem:
    """A small DAG with every feature: branches, joins, one tensor on two ports, free and missing pairs, copies and
    tensors outside the arena, conversion workspace, in-place options, tensors that stay live, sizes by layout.

    From a seed rather than from draws: features then meet at the rates chosen here, not at those of a search for
    simple cases, and a wrong freeing or an illegal overwrite decides the peak of some example in every run.
    """
    rng = random.Random(seed)
    layouts = ("a", "b", "c")[: rng.choice([1, 2, 2, 2, 3])]
    align_bytes = rng.choice([1, 64])
    steady = rng.random() < 0.5  # all tensors of one size: in-place options are mostly legal

    def size(zero: float = 0.1) -> int:
        if rng.random() < zero:
            return 0
        return max(1, rng.choice([2, 2, 3, 5, 8]) * align_bytes - rng.choice([0, 0, 1]))

    usual = size(0)
    nodes: list[Node] = []
    edges: list[Edge] = []
    for v in range(rng.randint(1, max_nodes)):
        inputs = [max(0, v - rng.choice([1, 1, 1, 2, 3])) for _ in range(rng.choice([1, 1, 1, 2, 2, 3]))] if v else []
        regular = usual if steady else size()
        out_bytes = {layout: regular if rng.random() < 0.8 else size() for layout in layouts}
        workspaces = sorted((size(0.4) for _ in range(rng.randint(1, 3))), reverse=True)
        options = tuple(
            Option(
                f"o{i}",
                rng.randint(0, 6) + 4 * i,  # less workspace mostly costs time, so fronts have several points
                tuple(rng.choice(layouts) for _ in inputs),
                rng.choice(layouts),
                workspace_bytes,
                rng.randrange(5) * 4,
                rng.randrange(len(inputs)) if inputs and rng.random() < 0.35 else None,
            )
            for i, workspace_bytes in enumerate(workspaces)
        )
        nodes.append(Node(f"n{v}", options, out_bytes, stays_live=rng.random() < 0.15))
        for port, src in enumerate(inputs):
            conversions = {}
            for pair in [(a, b) for a in layouts for b in layouts]:
                free, missing = (0.8, 0.0) if pair[0] == pair[1] else (0.1, 0.1)
                kind = rng.random()
                if kind < free:
                    conversions[pair] = Conversion(0, 0, copies=False)
                elif kind >= free + missing:
                    copy_bytes = nodes[src].out_bytes[pair[1]] if rng.random() < 0.7 else size()
                    conversions[pair] = Conversion(rng.randint(0, 6), copy_bytes, True, size(0.7))
            edges.append(Edge(src, v, port, conversions))
    return Problem(tuple(nodes), tuple(edges), align_bytes)


def problems(max_nodes: int = 5) -> st.SearchStrategy[Problem]:
    return st.integers(0, 2**32 - 1).map(lambda seed: random_problem(seed, max_nodes))
