/* SPDX-License-Identifier: MIT-0
 *
 * Single calls timed with cold weights and a warm arena, and what one core can do at best.
 */
#ifndef HARNESS_TIME_H
#define HARNESS_TIME_H

#include <sys/mman.h>
#include <time.h>

#include "harness_request.h"

enum { LEVEL_2_BYTES = 1 << 20, LONG_CALL_NS = 5000000 };

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_RAW, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* What two readings of the clock cost with nothing in between: the median of many pairs. */
static int64_t timer_overhead_ns(void)
{
    enum { PAIRS = 2001, LONGEST_NS = 2000 };
    static int32_t count[LONGEST_NS];
    static int64_t known = -1;
    if (known < 0) {
        for (int i = 0; i < PAIRS; i++) {
            int64_t start = now_ns(), ns = now_ns() - start;
            count[ns < LONGEST_NS ? ns : LONGEST_NS - 1]++;
        }
        int32_t below = 0;
        for (known = 0; below + count[known] <= PAIRS / 2; known++)
            below += count[known];
    }
    return known;
}

/* Memory kept between requests and only ever grown, so that every page is present before anything is timed. */
struct pool {
    float *data;
    size_t elems;
};

/* At least `elems` floats in [0.25, 0.75): no denormals, no zeros, nothing a routine could shortcut. Small pages only:
 * a bundle's weights are constant data mapped from a file, and 2 MiB pages read a quarter faster (kernels.md, 5). */
static float *pool_get(struct pool *p, size_t elems)
{
    if (elems > p->elems) {
        if (p->data != NULL)
            munmap(p->data, p->elems * sizeof(float));
        elems += elems / 4;
        void *memory = mmap(NULL, elems * sizeof(float), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            fail("out of memory", "time");
        madvise(memory, elems * sizeof(float), MADV_NOHUGEPAGE);
        p->data = memory;
        p->elems = elems;
        uint32_t state = 12345;
        for (size_t i = 0; i < elems; i++) {
            state = state * 1664525u + 1013904223u;
            p->data[i] = 0.25f + (float)(state >> 9) * (0.5f / 8388608.0f);
        }
    }
    return p->data;
}

/* Write one float of every cache line, leaving its value: the line is then in the nearest cache, and dirty. */
static void touch(float *data, size_t elems)
{
    for (size_t i = 0; i < elems; i += 16)
        ((volatile float *)data)[i] = ((volatile float *)data)[i];
}

/* Put the lines of `data` back into DRAM, out of every cache. Where the processor has no instruction for that, a
 * buffer larger than any cache is streamed instead, which takes longer and does the same. */
static void to_dram(const float *data, size_t elems)
{
#if defined(__SSE2__)
    for (size_t i = 0; i < elems; i += 16)
        __builtin_ia32_clflush(data + i);
    __builtin_ia32_mfence();
#else
    enum { STREAM_ELEMS = 24 << 20 };
    static struct pool stream_pool;
    if (data != NULL && elems > 0)
        touch(pool_get(&stream_pool, STREAM_ELEMS), STREAM_ELEMS);
#endif
}

/* What threads do to their caches before a call: buffers of `evict_elems` to stream, one for each. */
struct warming {
    const struct request *r;
    float *evicted;
    size_t evict_elems;
    float *x[2], *y, *workspace;
};

static void touch_span(float *data, struct span s)
{
    for (int64_t i = 0; i < s.count; i++)
        touch(data + s.at + i * s.step, (size_t)s.run);
}

static void warm(const void *data, int32_t part)
{
    const struct warming *const w = data;
    const struct share *const share = &w->r->share[part];
    touch(w->evicted + (size_t)part * w->evict_elems, w->evict_elems);
    if (w->y != NULL)
        touch_span(w->y, share->y);
    touch(w->workspace + w->r->part[part].workspace, share->workspace_elems);
    for (int32_t i = 0; i < w->r->n_x; i++)
        touch_span(w->x[i], share->x[i]);
}

/* Before each call the caches hold what they hold in a running network. A streamed buffer pushes the weights out of
 * the second-level cache; with dram_weights they leave all caches, as in a network too large for them, and so does an
 * output larger than the second-level cache, whose place in the arena was last used an inference ago. Smaller outputs
 * and workspaces lie where other routines have just been; the inputs have just been written. In a shared call
 * every thread has its own share of them in its own caches, as when it has computed the same share before. */
static void time_calls(const struct request *r)
{
    static struct pool x_pool, weights_pool, bias_pool, y_pool, workspace_pool, evict_pool;
    const float *x[MAX_INPUTS];
    size_t x_total = 0, offset = 0;
    size_t evict_elems = (size_t)r->evict_bytes / sizeof(float);
    size_t workspace_elems = r->workspace_bytes / sizeof(float);

    for (int32_t i = 0; i < r->n_x; i++)
        x_total += (r->x_elems[i] + 15) / 16 * 16;
    float *x_base = pool_get(&x_pool, x_total);
    for (int32_t i = 0; i < r->n_x; i++) {
        x[i] = x_base + offset;
        offset += (r->x_elems[i] + 15) / 16 * 16;
    }
    const float *weights = r->weights_elems > 0 ? pool_get(&weights_pool, r->weights_elems) : NULL;
    const float *bias = r->bias_elems > 0 ? pool_get(&bias_pool, r->bias_elems) : NULL;
    float *y = pool_get(&y_pool, r->y_elems);
    float *workspace = workspace_elems > 0 ? pool_get(&workspace_pool, workspace_elems) : NULL;
    bool large_output = r->y_elems * sizeof(float) > LEVEL_2_BYTES;
    const size_t streams = r->n_parts > 0 ? (size_t)r->n_parts : 1;
    float *evicted = evict_elems > 0 ? pool_get(&evict_pool, evict_elems * streams) : NULL;
    const struct warming shares = {
        .r = r,
        .evicted = evicted,
        .evict_elems = evict_elems,
        .x = {x_base, r->n_x > 1 ? x_base + (r->x_elems[0] + 15) / 16 * 16 : NULL},
        .y = large_output ? NULL : y,
        .workspace = workspace,
    };

    int64_t overhead_ns = timer_overhead_ns();
    int64_t *samples = malloc((size_t)r->samples * sizeof *samples);
    int64_t taken = 0, begin_ns = now_ns();
    if (samples == NULL)
        fail("out of memory", "samples");
    /* The first call also loads the code, so it is dropped, unless it alone spends half of the allowed time or is so
     * long that loading code is nothing. */
    for (bool first = true; taken < r->samples; first = false) {
        if (r->dram_weights && large_output)
            to_dram(y, r->y_elems);
        if (r->dram_weights)
            to_dram(weights, r->weights_elems);
        if (r->n_parts > 0) {
            ts_pool_share(threads_of(r->n_parts), r->n_parts, warm, &shares);
        } else {
            touch(evicted, evict_elems);
            if (!large_output)
                touch(y, r->y_elems);
            touch(workspace, workspace_elems);
            touch(x_base, x_total);
        }
        int64_t start_ns = now_ns();
        call(r, x, weights, bias, y, workspace);
        int64_t end_ns = now_ns(), ns = end_ns - start_ns - overhead_ns;
        if (!first || ns > r->max_ns / 2 || ns > LONG_CALL_NS)
            samples[taken++] = ns > 1 ? ns : 1;
        if (taken > 0 && end_ns - begin_ns >= r->max_ns)
            break;
    }
    printf("{\"samples_ns\": [");
    for (int64_t i = 0; i < taken; i++)
        printf("%s%lld", i > 0 ? ", " : "", (long long)samples[i]);
    printf("], \"timer_overhead_ns\": %lld}\n", (long long)overhead_ns);
    free(samples);
}

static volatile float sink;

/* Twelve chains keep two pipes of latency 4 busy with room to spare, and fit 16 registers with their operands. */
static double fma_gflops(void)
{
    enum { CHAINS = 12, ROUNDS = 2000000, REPEATS = 5 };
    double best = 0.0;
    for (int k = 0; k < REPEATS; k++) {
        ts_vec acc[CHAINS], a = ts_splat(0.999f + sink * 0.0f), b = ts_splat(0.001f);
        for (int i = 0; i < CHAINS; i++)
            acc[i] = ts_splat((float)i);
        int64_t start = now_ns();
        for (int round = 0; round < ROUNDS; round++)
            for (int i = 0; i < CHAINS; i++)
                acc[i] = ts_fma(acc[i], a, b);
        double ns = (double)(now_ns() - start);
        float lanes[TS_VL];
        for (int i = 1; i < CHAINS; i++)
            acc[0] = acc[0] + acc[i];
        ts_store(lanes, acc[0]);
        sink = lanes[0];
        double rate = 2.0 * TS_VL * CHAINS * (double)ROUNDS / ns;
        best = rate > best ? rate : best;
    }
    return best;
}

static double read_gb_per_s(size_t bytes)
{
    static struct pool pool;
    const float *data = pool_get(&pool, bytes / sizeof(float));
    size_t elems = bytes / sizeof(float) / (8 * TS_VL) * (8 * TS_VL);
    int64_t total = (int64_t)1 << 30, rounds = total / (int64_t)bytes + 1;
    double best = 0.0;
    for (int k = 0; k < 3; k++) {
        ts_vec acc[8];
        for (int i = 0; i < 8; i++)
            acc[i] = ts_zero();
        int64_t start = now_ns();
        for (int64_t round = 0; round < rounds; round++)
            for (size_t at = 0; at < elems; at += 8 * TS_VL)
                for (int i = 0; i < 8; i++)
                    acc[i] = acc[i] + ts_load(data + at + i * TS_VL);
        double ns = (double)(now_ns() - start);
        float lanes[TS_VL];
        for (int i = 1; i < 8; i++)
            acc[0] = acc[0] + acc[i];
        ts_store(lanes, acc[0]);
        sink = lanes[0] * 0.0f;
        double rate = (double)elems * sizeof(float) * (double)rounds / ns;
        best = rate > best ? rate : best;
    }
    return best;
}

static void measure_host(void)
{
    const size_t sizes_bytes[] = {16u << 10, 512u << 10, 4u << 20, 256u << 20};
    printf("{\"vector_floats\": %d, \"fma_gflops\": %.1f, \"read_gb_per_s\": {", TS_VL, fma_gflops());
    for (size_t i = 0; i < sizeof sizes_bytes / sizeof *sizes_bytes; i++)
        printf("%s\"%zu\": %.1f", i > 0 ? ", " : "", sizes_bytes[i], read_gb_per_s(sizes_bytes[i]));
    printf("}, \"timer_overhead_ns\": %lld}\n", (long long)timer_overhead_ns());
}

#endif
