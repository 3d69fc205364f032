"""What an emitted net.c really does: its C, compiled with routines that only write down how they were called."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

from app.codegen.emit import emit
from app.codegen.plan import Plan
from app.schedule import Call, Operand, Region
from kernels.spec import F32_BYTES, Attrs, Primitive, Shape
from kernels.split import Part

_INTS = (
    *("c", "h", "w", "m", "oh", "ow", "kh", "kw", "stride_h", "stride_w", "pad_t", "pad_l", "pad_b", "pad_r"),
    *("dilation_h", "dilation_w", "group", "axis", "count_include_pad", "n_in", "x_pitch", "y_pitch"),
)
_FLOATS = ("lo", "hi", "alpha", "beta", "gamma")
_TRIPLES = {"slice": ("start", "step"), "pad": ("start",), "permute": ("perm",)}

_PROGRAM = r"""
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include "net.h"
#include "kernels/ts.h"
static _Alignas(NET_ARENA_ALIGN) float arena[NET_ARENA_BYTES / sizeof(float) + 1];
const float net_weights[NET_WEIGHTS_BYTES / sizeof(float) + 1];
@BUFFERS@
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static const struct { const char *name; const float *first; size_t elems; } memory[] = {
    { "arena", arena, NET_ARENA_BYTES / sizeof(float) },
    { "weights", net_weights, NET_WEIGHTS_BYTES / sizeof(float) },
@MEMORY@
};
static void pointer(const float *p)
{
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++)
        if (p >= memory[i].first && p < memory[i].first + memory[i].elems) {
            printf(" %s:%zu", memory[i].name, (size_t)(p - memory[i].first));
            return;
        }
    printf(p == NULL ? " none" : " nowhere");
}
static void log_call(const char *name, const struct ts_shape *s, const float *const *x, const float *weights,
                     const float *bias, float *y, float *workspace)
{
    pthread_mutex_lock(&mutex);
    printf("%s", name);
    const int32_t ints[] = { @INTS@ };
    for (size_t i = 0; i < sizeof ints / sizeof ints[0]; i++)
        printf(" %d", (int)ints[i]);
    const float floats[] = { @FLOATS@ };
    for (size_t i = 0; i < sizeof floats / sizeof floats[0]; i++)
        printf(" %.9g", (double)floats[i]);
    for (int i = 0; i < 3; i++)
        printf(" %d %d %d", (int)s->start[i], (int)s->step[i], (int)s->perm[i]);
    for (int i = 0; i < s->n_in; i++)
        pointer(x[i]);
    pointer(weights), pointer(bias), pointer(y), pointer(workspace);
    printf("\n");
    pthread_mutex_unlock(&mutex);
}
@ROUTINES@
int main(void)
{
    struct net n;
    return net_init(&n, NET_ARENA_BYTES ? arena : NULL, NET_ARENA_BYTES) || net_run(&n, @ARGUMENTS@);
}
"""


def executed(plan: Plan, folder: Path) -> list[str]:
    """A line per routine called, in order; of a call that threads share, a line per part in any order."""
    for path, data in emit(plan).items():
        if path.endswith((".h", "net.c")):
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_bytes(data)
    names = [*plan.input_names, *plan.output_names]
    elems = [f"NET_INPUT_{i}_ELEMS" for i in range(len(plan.input_names))]
    elems += [f"NET_OUTPUT_{o}_ELEMS" for o in range(len(plan.output_names))]
    places = [_name(Region.INPUT, i) for i in range(len(plan.input_names))]
    places += [_name(Region.OUTPUT, o) for o in range(len(plan.output_names))]
    program = _PROGRAM
    for mark, text in {
        "BUFFERS": "\n".join(f"static float b{i}[{count}];" for i, count in enumerate(elems)),
        "MEMORY": "\n".join(f'    {{ "{place}", b{i}, {elems[i]} }},' for i, place in enumerate(places)),
        "INTS": ", ".join(f"s->{name}" for name in _INTS),
        "FLOATS": ", ".join(f"s->{name}" for name in _FLOATS),
        "ROUTINES": "\n".join(
            f'TS_ROUTINE({name}) {{ log_call("{name}", s, x, weights, bias, y, workspace); }}'
            for name in sorted({primitive.name for primitive in plan.primitives})
        ),
        "ARGUMENTS": ", ".join(f"b{i}" for i in range(len(names))),
    }.items():
        program = program.replace(f"@{mark}@", text)
    (folder / "main.c").write_text(program)
    command = ["gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "net.c", "main.c", "-o", "main", "-pthread"]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return subprocess.run([folder / "main"], capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()


def planned(plan: Plan) -> Iterator[list[str]]:
    """The lines each call of the schedule should leave: one, or one per part."""
    for call, primitive, parts, constants in zip(
        plan.schedule.calls, plan.primitives, plan.parts, plan.weights.places, strict=True
    ):
        yield [_line(primitive, part, call, constants) for part in parts]


def _line(primitive: Primitive, part: Part, call: Call, constants: tuple[int | None, int | None]) -> str:
    words = [primitive.name, *_geometry(primitive, part.shape, call.attrs)]
    words += [_at(operand, skip) for operand, skip in zip(call.inputs, part.x, strict=True)]
    for offset, skip in zip(constants, (part.weights, part.bias), strict=True):
        words.append("none" if offset is None else f"weights:{offset // F32_BYTES + skip}")
    words.append(_at(call.output, part.y))
    words.append("none" if call.workspace is None else _at(call.workspace, part.workspace))
    return " ".join(words)


def _geometry(primitive: Primitive, s: Shape, attrs: Attrs) -> Iterator[str]:
    pitches = dict(zip(("x_pitch", "y_pitch"), primitive.pitches(s), strict=True))
    for name in _INTS:
        yield str(int(pitches.get(name, getattr(s, name))))
    for name in _FLOATS:
        yield f"{getattr(attrs, name):.9g}"
    triples = [getattr(s, n) if n in _TRIPLES.get(s.op, ()) else (0, 0, 0) for n in ("start", "step", "perm")]
    for i in range(3):
        yield from (str(triple[i]) for triple in triples)


def _at(operand: Operand, skip: int) -> str:
    return f"{_name(operand.region, operand.index)}:{operand.offset_bytes // F32_BYTES + skip}"


def _name(region: Region, index: int) -> str:
    return "arena" if region is Region.ARENA else f"{region}{index}"
