"""Small random problems with concats whose inputs may lie in the output: joins, nests, parts read on the way."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from math import prod

from hypothesis import strategies as st

from solver.problem import Conversion, Edge, Node, Option, Part, Problem

MOST_SELECTIONS = 800


@dataclass
class _Tensor:
    """One node's output while the network grows: bytes by layout, who reads it, and what it is concatenated from."""

    bytes_of: dict[str, int]
    inputs: list[int]
    concat: bool = False
    open: bool = True  # may still be read


def sliced_problem(seed: int) -> Problem:
    """The first problem from this seed on that has few enough selections to play them all."""
    rng = random.Random(seed)
    while True:
        problem = _Maker(rng).problem()
        if prod(len(node.options) for node in problem.nodes) <= MOST_SELECTIONS:
            return problem


def sliced_problems() -> st.SearchStrategy[Problem]:
    return st.integers(0, 2**32 - 1).map(sliced_problem)


class _Maker:
    def __init__(self, rng: random.Random):
        self.rng = rng
        self.align_bytes = rng.choice([1, 64])
        self.layouts = ("a", "b")[: rng.choice([1, 1, 2])]
        self.tensors: list[_Tensor] = []
        self.grow()
        self.parts: list[dict[str, Part]] = [{} for _ in self.tensors]
        self.made: list[dict[str, int]] = [{} for _ in self.tensors]  # out_bytes of part layouts
        self.copied: list[dict[str, str]] = [{} for _ in self.tensors]  # part layout -> layout of the options for it
        self.joins: list[list[Option]] = [[] for _ in self.tensors]
        for v, tensor in enumerate(self.tensors):
            for layout in self.layouts if tensor.concat else ():
                if rng.random() < 0.8:
                    self.offer(v, layout)

    def size(self) -> int:
        return self.rng.choice([1, 2, 3, 5]) * self.align_bytes - self.rng.choice([0, 0, 0, self.align_bytes // 3])

    def grow(self) -> None:
        rng = self.rng
        for _ in range(rng.randint(4, 8)):
            able = [u for u, tensor in enumerate(self.tensors) if tensor.open]
            if len(able) >= 2 and rng.random() < 0.7:
                inputs = rng.sample(able, rng.choice([2, 2, 3]) if len(able) > 2 else 2)
                for u in inputs:
                    self.tensors[u].open = False
                whole = {k: sum(self.tensors[u].bytes_of[k] for u in inputs) for k in self.layouts}
                self.tensors.append(_Tensor(whole, inputs, concat=True))
            else:
                inputs = [rng.choice(able) for _ in range(rng.choice([1, 1, 2]))] if able and rng.random() < 0.8 else []
                self.tensors.append(_Tensor({k: self.size() for k in self.layouts}, inputs))

    def offer(self, root: int, layout: str) -> None:
        """The buffer of `root` in `layout`, and at random those inputs that are concats themselves taken apart."""
        name = f"{layout}@{root}"
        inner: set[int] = set()

        def take_apart(v: int) -> None:
            for u in self.tensors[v].inputs:
                if self.tensors[u].concat and self.rng.random() < 0.7:
                    inner.add(u)
                    take_apart(u)

        take_apart(root)

        def start(v: int) -> int:
            return min(map(start, self.tensors[v].inputs)) if v in inner else v

        def lay(v: int, at: int, *, first: bool) -> None:
            inputs = self.tensors[v].inputs
            head = min(inputs, key=start)
            join = Option(
                f"join {name}",
                0,
                (name,) * len(inputs),
                layout if v == root else name,
                in_place=inputs.index(head) if first else None,
                joins=True,
            )
            self.joins[v].append(join)
            for u in inputs:
                carries = first and u == head
                self.parts[u][name] = Part(name, at, self.tensors[u].bytes_of[layout])
                self.made[u][name] = self.tensors[root].bytes_of[layout] if carries else 0
                if u in inner:
                    lay(u, at, first=carries)
                if not (u in inner and carries) and (u not in inner or self.rng.random() < 0.5):
                    self.copied[u][name] = layout
                at += self.tensors[u].bytes_of[layout]

        lay(root, 0, first=True)

    def options(self, v: int) -> list[Option]:
        rng, tensor = self.rng, self.tensors[v]
        found = []
        if tensor.concat:
            found = [
                Option(f"copy {k}", rng.randint(1, 6), (k,) * len(tensor.inputs), k)
                for k in self.layouts
                if rng.random() < 0.8
            ]
        else:
            for i in range(rng.choice([1, 1, 2])):
                place = rng.randrange(len(tensor.inputs)) if tensor.inputs and rng.random() < 0.3 else None
                found.append(
                    Option(
                        f"o{i}",
                        rng.randint(0, 6),
                        tuple(rng.choice(self.layouts) for _ in tensor.inputs),
                        rng.choice(self.layouts),
                        0 if rng.random() < 0.6 else self.size(),
                        rng.randrange(5) * 4,
                        place,
                    )
                )
        into = [
            replace(option, name=f"{option.name} into {name}", out_layout=name)
            for option in found
            for name, layout in self.copied[v].items()
            if option.in_place is None and option.out_layout == layout
        ]
        return [*found, *into, *self.joins[v]] or [Option("only", 1, (self.layouts[0],) * len(tensor.inputs), "a")]

    def conversions(self, u: int, v: int) -> dict[tuple[str, str], Conversion]:
        """A part is read like any tensor, but by its join only where it lies."""
        rng = self.rng
        found = {}
        for pair in [(a, b) for a in self.layouts for b in self.layouts]:
            if pair[0] == pair[1]:
                found[pair] = Conversion(0, 0, copies=False)
            elif rng.random() < 0.8:
                found[pair] = Conversion(
                    rng.randint(0, 4), self.tensors[u].bytes_of[pair[1]], True, rng.choice([0, 64])
                )
        for name in self.parts[u]:
            if self.tensors[v].concat:
                found[name, name] = Conversion(0, 0, copies=False)
            else:
                layout = name.partition("@")[0]
                found |= {(name, b): c for (a, b), c in list(found.items()) if a == layout and b in self.layouts}
        return found

    def problem(self) -> Problem:
        nodes, edges = [], []
        for v, tensor in enumerate(self.tensors):
            kept = tensor.open and self.rng.random() < 0.4
            nodes.append(
                Node(
                    f"n{v}",
                    tuple(self.options(v)),
                    tensor.bytes_of | self.made[v],
                    stays_live=kept,
                    parts=self.parts[v],
                )
            )
            edges += [Edge(u, v, port, self.conversions(u, v)) for port, u in enumerate(tensor.inputs)]
        return Problem(tuple(nodes), tuple(edges), self.align_bytes)
