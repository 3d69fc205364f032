/* SPDX-License-Identifier: MIT-0
 *
 * The driver of the primitives: checks one call, times calls, or measures the processor.
 *
 * A request is one line on standard input: a command, for check and time a primitive, then key=value words (the
 * fields of struct ts_shape, and the options below). An answer is one line of JSON on standard output.
 *
 *   check NAME shape... attrs... x_elems=N[,N] weights_elems=N bias_elems=N y_elems=N workspace_bytes=N in_place=0|1
 *         followed by the raw floats of every input, the weights and the bias; the answer is followed by y.
 *         The call runs twice, with different poison in y and workspace, between guard bytes.
 *   time  NAME shape... attrs... (sizes as above) samples=N evict_bytes=N max_ns=N
 *   host  FMA rate of one core and read bandwidth by buffer size
 */
#define _GNU_SOURCE
#include "ts_vec.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

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

struct request {
    ts_routine *run;
    struct ts_shape shape;
    int32_t parts[MAX_INPUTS];
    size_t x_elems[MAX_INPUTS];
    int32_t n_x;
    size_t weights_elems, bias_elems, y_elems, workspace_bytes;
    bool in_place;
    int64_t samples, evict_bytes, max_ns;
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

static void set_field(struct request *r, const char *key, const char *text)
{
    struct ts_shape *s = &r->shape;
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
    } options[] = {{"samples", &r->samples}, {"evict_bytes", &r->evict_bytes}, {"max_ns", &r->max_ns}};
    int64_t list[MAX_INPUTS];

    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
        if (strcmp(key, floats[i].key) == 0) {
            *floats[i].field = strtof(text, NULL);
            return;
        }
    int32_t n = parse_list(text, list, MAX_INPUTS);
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
        r->in_place = list[0] != 0;
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
        char *equals = strchr(word, '=');
        if (equals == NULL)
            fail("not key=value", word);
        *equals = '\0';
        set_field(r, word, equals + 1);
    }
}

/* ---- check ---- */

#if defined(__SANITIZE_ADDRESS__)
#define TS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TS_ASAN 1
#endif
#endif

/* Front guard: 4 bytes past a 64-byte boundary, so that routines meet the float alignment they must accept and no
 * better. Under the address sanitizer nothing follows the payload: the first byte past it is a reported fault. */
enum { FRONT_GUARD_BYTES = 64 + 4 };
#ifdef TS_ASAN
enum { BACK_GUARD_BYTES = 0 };
#else
enum { BACK_GUARD_BYTES = 4096 };
#endif
enum { GUARD_BYTE = 0x5C };

struct zone {
    unsigned char *base;
    unsigned char *data;
    size_t bytes;
};

static struct zone zone_new(size_t bytes)
{
    size_t total = FRONT_GUARD_BYTES + bytes + BACK_GUARD_BYTES;
    void *base = NULL;
    if (posix_memalign(&base, 64, total) != 0)
        fail("out of memory", "check");
    memset(base, GUARD_BYTE, total);
    return (struct zone){base, (unsigned char *)base + FRONT_GUARD_BYTES, bytes};
}

static bool zone_intact(const struct zone *z)
{
    bool intact = true;
    const unsigned char *back = z->data + z->bytes;
    for (const unsigned char *p = z->base; p != z->data; p++)
        intact = intact && *p == GUARD_BYTE;
    for (const unsigned char *p = back; p != back + BACK_GUARD_BYTES; p++)
        intact = intact && *p == GUARD_BYTE;
    return intact;
}

/* Two NaN patterns, little endian, that differ in every byte: what leaves one as it was cannot leave the other. */
static const unsigned char POISONS[2][4] = {{0xA1, 0xB2, 0xC3, 0x7F}, {0x5E, 0x4D, 0xE4, 0xFF}};

static void poison(unsigned char *data, size_t bytes, const unsigned char pattern[4])
{
    for (size_t i = 0; i < bytes; i++)
        data[i] = pattern[i % 4];
}

static size_t high_water_bytes(const unsigned char *data, size_t bytes, const unsigned char pattern[4])
{
    while (bytes > 0 && data[bytes - 1] == pattern[(bytes - 1) % 4])
        bytes--;
    return bytes;
}

static void read_exactly(void *out, size_t bytes)
{
    if (bytes > 0 && fread(out, 1, bytes, stdin) != bytes)
        fail("truncated payload", "check");
}

/* A guarded copy of the next `elems` floats of standard input; no memory at all for none. */
static struct zone read_zone(size_t elems)
{
    struct zone z = {0};
    if (elems > 0) {
        z = zone_new(elems * sizeof(float));
        read_exactly(z.data, z.bytes);
    }
    return z;
}

static uint64_t checksum(const struct zone *z)
{
    uint64_t hash = 1469598103934665603u; /* FNV-1a */
    for (size_t i = 0; i < z->bytes; i++)
        hash = (hash ^ z->data[i]) * 1099511628211u;
    return hash;
}

static void check(const struct request *r)
{
    struct zone x[MAX_INPUTS], y[2];
    const float *x_data[MAX_INPUTS];
    uint64_t before[MAX_INPUTS + 2];
    bool guards_ok = true, inputs_ok = true;
    size_t high_water = 0;

    for (int32_t i = 0; i < r->n_x; i++) {
        x[i] = read_zone(r->x_elems[i]);
        x_data[i] = (const float *)(const void *)x[i].data;
        before[i] = checksum(&x[i]);
    }
    struct zone weights = read_zone(r->weights_elems), bias = read_zone(r->bias_elems);
    before[r->n_x] = checksum(&weights);
    before[r->n_x + 1] = checksum(&bias);

    for (int k = 0; k < 2; k++) {
        struct zone workspace = {0};
        y[k] = zone_new(r->y_elems * sizeof(float));
        poison(y[k].data, y[k].bytes, POISONS[k]);
        if (r->workspace_bytes > 0) {
            workspace = zone_new(r->workspace_bytes);
            poison(workspace.data, workspace.bytes, POISONS[k]);
        }
        if (r->in_place) {
            memcpy(y[k].data, x[0].data, x[0].bytes);
            x_data[0] = (const float *)(const void *)y[k].data;
        }
        r->run(&r->shape, x_data, (const float *)(const void *)weights.data, (const float *)(const void *)bias.data,
               (float *)(void *)y[k].data, (float *)(void *)workspace.data);
        guards_ok = guards_ok && zone_intact(&y[k]);
        if (workspace.base != NULL) {
            size_t touched = high_water_bytes(workspace.data, workspace.bytes, POISONS[k]);
            high_water = touched > high_water ? touched : high_water;
            guards_ok = guards_ok && zone_intact(&workspace);
            free(workspace.base);
        }
    }
    for (int32_t i = 0; i < r->n_x; i++)
        inputs_ok = inputs_ok && checksum(&x[i]) == before[i] && zone_intact(&x[i]);
    inputs_ok = inputs_ok && checksum(&weights) == before[r->n_x] && checksum(&bias) == before[r->n_x + 1];

    bool deterministic = memcmp(y[0].data, y[1].data, y[0].bytes) == 0;
    printf("{\"guards_ok\": %s, \"inputs_unmodified\": %s, \"deterministic\": %s, \"high_water_bytes\": %zu}\n",
           guards_ok ? "true" : "false", inputs_ok ? "true" : "false", deterministic ? "true" : "false", high_water);
    fwrite(y[0].data, 1, y[0].bytes, stdout);

    for (int32_t i = 0; i < r->n_x; i++)
        free(x[i].base);
    free(weights.base);
    free(bias.base);
    free(y[0].base);
    free(y[1].base);
}

/* ---- time ---- */

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

static volatile float sink;

/* Read one float of every cache line. */
static void touch(const float *data, size_t elems)
{
    float sum = 0.0f;
    for (size_t i = 0; i < elems; i += 16)
        sum += data[i];
    sink = sum;
}

/* Write a buffer of that size, so that what was in the caches is not. */
static void evict(float *data, size_t elems)
{
    for (size_t i = 0; i < elems; i += 16)
        data[i] += 1.0f;
}

/* Between samples the caches are emptied, then output, workspace and last the inputs are touched: in a network the
 * arena has just been used, and the previous routine has just written the inputs, while this routine's weights were
 * last read one whole inference ago. */
static void time_calls(const struct request *r)
{
    static struct pool x_pool, weights_pool, bias_pool, y_pool, workspace_pool, evict_pool;
    const float *x[MAX_INPUTS];
    size_t x_total = 0, offset = 0;
    size_t evict_elems = (size_t)r->evict_bytes / sizeof(float);
    size_t workspace_elems = r->workspace_bytes / sizeof(float);

    for (int32_t i = 0; i < r->n_x; i++)
        x_total += (r->x_elems[i] + 15) / 16 * 16;
    const float *x_base = pool_get(&x_pool, x_total);
    for (int32_t i = 0; i < r->n_x; i++) {
        x[i] = x_base + offset;
        offset += (r->x_elems[i] + 15) / 16 * 16;
    }
    const float *weights = r->weights_elems > 0 ? pool_get(&weights_pool, r->weights_elems) : NULL;
    const float *bias = r->bias_elems > 0 ? pool_get(&bias_pool, r->bias_elems) : NULL;
    float *y = pool_get(&y_pool, r->y_elems);
    float *workspace = workspace_elems > 0 ? pool_get(&workspace_pool, workspace_elems) : NULL;
    float *evicted = evict_elems > 0 ? pool_get(&evict_pool, evict_elems) : NULL;

    int64_t overhead_ns = timer_overhead_ns();
    int64_t *samples = malloc((size_t)r->samples * sizeof *samples);
    int64_t taken = 0, begin_ns = now_ns();
    if (samples == NULL)
        fail("out of memory", "samples");
    /* The first call also loads the code, so it is dropped, unless it alone spends half of the allowed time. */
    for (bool first = true; taken < r->samples; first = false) {
        evict(evicted, evict_elems);
        touch(y, r->y_elems);
        touch(workspace, workspace_elems);
        touch(x_base, x_total);
        int64_t start_ns = now_ns();
        r->run(&r->shape, x, weights, bias, y, workspace);
        int64_t end_ns = now_ns(), ns = end_ns - start_ns - overhead_ns;
        if (!first || ns > r->max_ns / 2)
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

/* ---- host ---- */

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

int main(void)
{
    static char line[MAX_LINE];
    static struct request request;
    while (fgets(line, sizeof line, stdin) != NULL) {
        if (strchr(line, '\n') == NULL)
            fail("request too long", "line");
        char *words = line;
        const char *command = strtok_r(words, " \n", &words);
        if (command == NULL)
            continue;
        if (strcmp(command, "host") == 0) {
            measure_host();
        } else if (strcmp(command, "check") == 0) {
            parse_request(&request, words);
            check(&request);
        } else if (strcmp(command, "time") == 0) {
            parse_request(&request, words);
            time_calls(&request);
        } else {
            fail("unknown command", command);
        }
        fflush(stdout);
    }
    return 0;
}
