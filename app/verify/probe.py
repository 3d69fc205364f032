"""A driver of our own for a bundle, so that its self-test need not be believed.

Every buffer it hands over ends at an unmapped page and begins behind a canary: reading or writing past an input, an
output or the arena ends the program.
"""

from __future__ import annotations

from string import Template

from app.verify.opened import OpenedBundle

_SOURCE = Template(
    r"""/* probe INPUTS OUTPUTS CASES: reads raw float32 inputs, writes raw outputs, prints how the arena fared. */
#define _DEFAULT_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "${prefix}.h"

#define CANARY 0x3C
enum { N_IN = ${n_in}, N_OUT = ${n_out}, RESIDENT_BYTES = ${resident_bytes} };
static const size_t in_bytes[N_IN] = { ${in_bytes} };
static const size_t out_bytes[N_OUT] = { ${out_bytes} };

struct fenced {
    unsigned char *first; /* of the mapped pages, filled with the canary up to the data */
    unsigned char *data;  /* ends exactly where the unmapped page begins */
};

static struct fenced fence(size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t mapped = (bytes / page + 2) * page;
    unsigned char *base = mmap(NULL, mapped + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || mprotect(base + page, mapped, PROT_READ | PROT_WRITE) != 0)
        exit(4);
    struct fenced f = { base + page, base + page + mapped - bytes };
    memset(f.first, CANARY, (size_t)(f.data - f.first));
    return f;
}

static int intact(struct fenced f)
{
    for (const unsigned char *p = f.first; p < f.data; p++)
        if (*p != CANARY)
            return 0;
    return 1;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 3;
    FILE *from = fopen(argv[1], "rb"), *to = fopen(argv[2], "wb");
    const int cases = atoi(argv[3]);
    if (from == NULL || to == NULL)
        return 3;
    const size_t arena_bytes = ${P}_ARENA_BYTES;
    struct fenced arena = fence(arena_bytes), in[N_IN], out[N_OUT];
    for (int i = 0; i < N_IN; i++)
        in[i] = fence(in_bytes[i]);
    for (int o = 0; o < N_OUT; o++)
        out[o] = fence(out_bytes[o]);
    struct ${prefix} net;
    if (${prefix}_init(&net, arena.data, arena_bytes) != 0)
        return 5;

    size_t used_bytes = 0;
    int fences = 1, stable = 1;
    for (int c = 0; c < cases; c++) {
        unsigned char *kept[N_OUT];
        for (int i = 0; i < N_IN; i++)
            if (fread(in[i].data, 1, in_bytes[i], from) != in_bytes[i])
                return 3;
        for (int turn = 0; turn < 2; turn++) {
            const int poison = turn ? 0x7F : 0xFF; /* huge numbers, NaN */
            if (turn == 0 && RESIDENT_BYTES > 0) { /* packed again, into an arena of whatever it held */
                memset(arena.data, poison, arena_bytes);
                ${close}
                if (${prefix}_init(&net, arena.data, arena_bytes) != 0)
                    return 5;
            }
            memset(arena.data + RESIDENT_BYTES, poison, arena_bytes - RESIDENT_BYTES);
            for (int o = 0; o < N_OUT; o++)
                memset(out[o].data, 0xFF, out_bytes[o]);
            if (${prefix}_run(&net, ${arguments}) != 0)
                return 5;
            size_t top = arena_bytes;
            while (top > 0 && arena.data[top - 1] == poison)
                top--;
            used_bytes = top > used_bytes ? top : used_bytes;
            for (int o = 0; o < N_OUT; o++) {
                if (turn == 0) {
                    kept[o] = malloc(out_bytes[o]);
                    if (kept[o] == NULL)
                        return 4;
                    memcpy(kept[o], out[o].data, out_bytes[o]);
                } else {
                    stable = stable && memcmp(kept[o], out[o].data, out_bytes[o]) == 0;
                    free(kept[o]);
                    if (fwrite(out[o].data, 1, out_bytes[o], to) != out_bytes[o])
                        return 3;
                }
                fences = fences && intact(out[o]);
            }
            fences = fences && intact(arena);
            for (int i = 0; i < N_IN; i++)
                fences = fences && intact(in[i]);
        }
    }
    ${close}
    if (fclose(to) != 0)
        return 3;
    fclose(from);
    printf("used_bytes=%zu arena_bytes=%zu align_bytes=%zu fences=%d stable=%d\n", used_bytes, arena_bytes,
           (size_t)${P}_ARENA_ALIGN, fences, stable);
    return 0;
}
"""
)


def probe_source(bundle: OpenedBundle) -> str:
    """The C text of the driver for one bundle."""
    arguments = [f"(const float *)in[{i}].data" for i in range(len(bundle.inputs))]
    arguments += [f"(float *)out[{o}].data" for o in range(len(bundle.outputs))]
    return _SOURCE.substitute(
        prefix=bundle.prefix,
        P=bundle.prefix.upper(),
        n_in=len(bundle.inputs),
        n_out=len(bundle.outputs),
        resident_bytes=bundle.resident_bytes,
        in_bytes=", ".join(str(4 * t.elems) for t in bundle.inputs),
        out_bytes=", ".join(str(4 * t.elems) for t in bundle.outputs),
        arguments=", ".join(arguments),
        close=f"{bundle.prefix}_close(&net);" if bundle.threads > 1 else "",
    )
