/* SPDX-License-Identifier: MIT-0
 *
 * A request of the harness: the table of primitives, and the words of a line.
 */
#ifndef HARNESS_REQUEST_H
#define HARNESS_REQUEST_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define TS_THREADS 64 /* MOST_THREADS of kernels/split.py */
#include "ts_pool.h"
#include "ts_vec.h"

#define TS_PRIMITIVE(name) TS_ROUTINE(name);
#include "primitives.inc"
#undef TS_PRIMITIVE

static const struct primitive {
    const char *name;
    ts_routine *run;
} PRIMITIVES[] = {
#define TS_PRIMITIVE(name) {#name, TS_SYMBOL(name)},
#include "primitives.inc"
#undef TS_PRIMITIVE
    {NULL, NULL},
};

enum { MAX_INPUTS = 256, MAX_LINE = 1 << 16 };

/* A part of a tensor: `count` runs of `run` floats, `step` apart, from float `at`. */
struct span {
    int64_t at, run, step, count;
};

/* What a thread of a shared call has in its caches: what it wrote or will write. */
struct share {
    struct span x[2], y;
    size_t workspace_elems;
};

struct request {
    ts_routine *run;
    struct ts_shape shape;
    int32_t parts[MAX_INPUTS];
    size_t x_elems[MAX_INPUTS];
    int32_t n_x;
    size_t weights_elems, bias_elems, y_elems, workspace_bytes;
    int32_t in_place; /* the input that y overwrites; -1 for none */
    int64_t samples, evict_bytes, dram_weights, max_ns;
    int32_t n_parts; /* 0: the call is not shared */
    struct ts_part part[TS_THREADS];
    struct share share[TS_THREADS];
};

static void fail(const char *what, const char *word)
{
    fprintf(stderr, "harness: %s: %s\n", what, word);
    exit(2);
}

/* Parse "1,2,3" into at most `room` numbers; returns how many. */
static int32_t parse_list(const char *text, int64_t *out, int32_t room)
{
    int32_t n = 0;
    for (char *end; *text; text = *end == ',' ? end + 1 : end) {
        if (n == room)
            fail("too many numbers", text);
        out[n++] = strtoll(text, &end, 10);
        if (end == text)
            fail("not a number", text);
    }
    return n;
}

/* A word of a part; false when it is a field of its shape. */
static bool set_part_field(struct ts_part *part, struct share *share, const char *key, const int64_t *list, int32_t n)
{
    const struct {
        const char *key;
        size_t *field;
    } offsets[] = {
        {"x0_at", &part->x[0]},
        {"x1_at", &part->x[1]},
        {"weights_at", &part->weights},
        {"bias_at", &part->bias},
        {"y_at", &part->y},
        {"workspace_at", &part->workspace},
        {"scratch_elems", &share->workspace_elems},
    };
    const struct {
        const char *key;
        struct span *field;
    } spans[] = {{"x0_span", &share->x[0]}, {"x1_span", &share->x[1]}, {"y_span", &share->y}};
    for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++)
        if (strcmp(key, offsets[i].key) == 0) {
            *offsets[i].field = (size_t)list[0];
            return true;
        }
    for (size_t i = 0; i < sizeof spans / sizeof *spans; i++)
        if (strcmp(key, spans[i].key) == 0 && n == 4) {
            *spans[i].field = (struct span){list[0], list[1], list[2], list[3]};
            return true;
        }
    return false;
}

static void set_field(struct request *r, const char *key, const char *text)
{
    struct ts_shape *s = r->n_parts > 0 ? &r->part[r->n_parts - 1].shape : &r->shape;
    const struct {
        const char *key;
        int32_t *field;
    } ints[] = {
        {"c", &s->c},
        {"h", &s->h},
        {"w", &s->w},
        {"m", &s->m},
        {"oh", &s->oh},
        {"ow", &s->ow},
        {"kh", &s->kh},
        {"kw", &s->kw},
        {"stride_h", &s->stride_h},
        {"stride_w", &s->stride_w},
        {"pad_t", &s->pad_t},
        {"pad_l", &s->pad_l},
        {"pad_b", &s->pad_b},
        {"pad_r", &s->pad_r},
        {"dilation_h", &s->dilation_h},
        {"dilation_w", &s->dilation_w},
        {"group", &s->group},
        {"axis", &s->axis},
        {"count_include_pad", &s->count_include_pad},
        {"x_pitch", &s->x_pitch},
        {"y_pitch", &s->y_pitch},
    };
    const struct {
        const char *key;
        float *field;
    } floats[] = {{"lo", &s->lo}, {"hi", &s->hi}, {"alpha", &s->alpha}, {"beta", &s->beta}, {"gamma", &s->gamma}};
    const struct {
        const char *key;
        int32_t *field;
    } triples[] = {{"start", s->start}, {"step", s->step}, {"perm", s->perm}};
    const struct {
        const char *key;
        size_t *field;
    } sizes[] = {
        {"weights_elems", &r->weights_elems},
        {"bias_elems", &r->bias_elems},
        {"y_elems", &r->y_elems},
        {"workspace_bytes", &r->workspace_bytes},
    };
    const struct {
        const char *key;
        int64_t *field;
    } options[] = {{"samples", &r->samples},
                   {"evict_bytes", &r->evict_bytes},
                   {"dram_weights", &r->dram_weights},
                   {"max_ns", &r->max_ns}};
    int64_t list[MAX_INPUTS];

    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
        if (strcmp(key, floats[i].key) == 0) {
            *floats[i].field = strtof(text, NULL);
            return;
        }
    int32_t n = parse_list(text, list, MAX_INPUTS);
    if (r->n_parts > 0 && set_part_field(&r->part[r->n_parts - 1], &r->share[r->n_parts - 1], key, list, n))
        return;
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++)
        if (strcmp(key, ints[i].key) == 0) {
            *ints[i].field = (int32_t)list[0];
            return;
        }
    for (size_t i = 0; i < sizeof triples / sizeof *triples; i++)
        if (strcmp(key, triples[i].key) == 0 && n == 3) {
            for (int32_t k = 0; k < 3; k++)
                triples[i].field[k] = (int32_t)list[k];
            return;
        }
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (strcmp(key, sizes[i].key) == 0) {
            *sizes[i].field = (size_t)list[0];
            return;
        }
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (strcmp(key, options[i].key) == 0) {
            *options[i].field = list[0];
            return;
        }
    if (strcmp(key, "parts") == 0) {
        for (int32_t i = 0; i < n; i++)
            r->parts[i] = (int32_t)list[i];
        s->parts = r->parts;
    } else if (strcmp(key, "x_elems") == 0) {
        for (int32_t i = 0; i < n; i++)
            r->x_elems[i] = (size_t)list[i];
        s->n_in = r->n_x = n;
    } else if (strcmp(key, "in_place") == 0) {
        r->in_place = (int32_t)list[0];
    } else {
        fail("unknown field", key);
    }
}

/* Words after the command. The defaults are those of kernels/spec.py (Shape, Attrs). */
static void parse_request(struct request *r, char *words)
{
    *r = (struct request){
        .shape = {.kh = 1,
                  .kw = 1,
                  .stride_h = 1,
                  .stride_w = 1,
                  .dilation_h = 1,
                  .dilation_w = 1,
                  .group = 1,
                  .step = {1, 1, 1},
                  .perm = {0, 1, 2},
                  .lo = -1.0f / 0.0f,
                  .hi = 1.0f / 0.0f},
        .in_place = -1,
        .samples = 1,
        .max_ns = INT64_MAX,
    };
    char *rest = words;
    const char *name = strtok_r(rest, " \n", &rest);
    if (name == NULL)
        fail("no primitive named", "request");
    for (const struct primitive *p = PRIMITIVES; p->name != NULL; p++)
        if (strcmp(p->name, name) == 0)
            r->run = p->run;
    if (r->run == NULL)
        fail("no such primitive", name);
    for (char *word; (word = strtok_r(rest, " \n", &rest)) != NULL;) {
        if (strcmp(word, "part") ==
            0) { /* the words that follow are of one more part: where it differs from the call */
            if (r->n_parts == TS_THREADS)
                fail("too many parts", name);
            r->part[r->n_parts++].shape = r->shape;
            continue;
        }
        char *equals = strchr(word, '=');
        if (equals == NULL)
            fail("not key=value", word);
        *equals = '\0';
        set_field(r, word, equals + 1);
    }
}

/* Each thread on a processor of its own, if this process has been given as many: what a scheduler does with threads
 * that spin, but from the first call on and whatever else runs. */
static void pin(struct ts_pool *pool)
{
#ifdef __linux__
    static cpu_set_t given; /* before the caller itself was pinned */
    if (CPU_COUNT(&given) == 0 && sched_getaffinity(0, sizeof given, &given) != 0)
        return;
    if (CPU_COUNT(&given) <= pool->workers)
        return;
    int cpu = CPU_SETSIZE;
    for (int32_t i = -1; i < pool->workers; i++) {
        cpu_set_t one;
        while (!CPU_ISSET(--cpu, &given)) {
        }
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        pthread_setaffinity_np(i < 0 ? pthread_self() : pool->worker[i].thread, sizeof one, &one);
    }
#else
    (void)pool;
#endif
}

/* The threads of shared calls, started when a request first needs that many. */
static struct ts_pool *threads_of(int32_t parts)
{
    static struct ts_pool pool;
    if (pool.workers < parts - 1) {
        if (pool.workers > 0)
            ts_pool_close(&pool);
        if (ts_pool_open(&pool, parts) != 0)
            fail("cannot start", "threads");
        pin(&pool);
    }
    return &pool;
}

static void call(const struct request *r, const float *const *x, const float *weights, const float *bias, float *y,
                 float *workspace)
{
    if (r->n_parts == 0) {
        r->run(&r->shape, x, weights, bias, y, workspace);
    } else {
        const struct ts_call shared = {r->run, r->part, x, weights, bias, y, workspace};
        ts_pool_run(threads_of(r->n_parts), r->n_parts, &shared);
    }
}

#endif
