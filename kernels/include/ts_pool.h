/* SPDX-License-Identifier: MIT-0
 *
 * A pool of threads that run the parts of one call: static shares, one barrier per call, no allocation.
 *
 *   ts_pool_open     starts threads - 1 workers; 0, or the error number of the thread library
 *   ts_pool_run      runs the parts of a call, part 0 on the caller; returns when all are done
 *   ts_pool_close    ends the workers
 *
 * A pool belongs to one thread at a time and stays where it was opened. Workers that wait first spin, because the
 * next call usually comes within microseconds, then let others run, then sleep. Each has a ticket of its own, so it
 * reads what the caller published only between `asked` and `done`. Needs POSIX threads and C11 atomics.
 */
#ifndef TS_POOL_H
#define TS_POOL_H

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

#include "ts.h"

/* TS_THREADS: the most threads of a pool, the caller included; defined by the build. */

/* One thread's share of a call (kernels/split.py): the routine on `shape`, operands so many floats into the call's. */
struct ts_part {
    struct ts_shape shape;
    size_t x[2], weights, bias, y, workspace;
};

/* A call as it would be made on one thread. */
struct ts_call {
    ts_routine *run;
    const struct ts_part *parts;
    const float *const *x;
    const float *weights, *bias;
    float *y, *workspace;
};

typedef void ts_job(const void *data, int32_t part);

enum { TS_APART = 128 /* bytes; lines are fetched in pairs */, TS_SPINS = 4096, TS_YIELDS = 256 };

struct ts_worker {
    atomic_uint asked, done; /* tickets */
    struct ts_pool *pool;
    pthread_t thread;
    int32_t part;
    char apart[TS_APART];
};

struct ts_pool {
    ts_job *job; /* NULL: end */
    const void *data;
    int32_t workers;
    pthread_mutex_t mutex;
    pthread_cond_t asked, done;
    char apart[TS_APART];
    atomic_int sleepers, caller_sleeps; /* written before the ticket is read again, so a wake-up is never lost */
    char apart_too[TS_APART];
    struct ts_worker worker[TS_THREADS - 1];
};

static inline void ts_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__ARM_ARCH_7A__)
    __asm__ volatile("yield");
#endif
}

/* Whether `word` became `ticket` before it was time to sleep. */
static inline int ts_pool_spin(atomic_uint *word, unsigned ticket)
{
    for (int i = 0; i < TS_SPINS; i++) {
        if (atomic_load_explicit(word, memory_order_acquire) == ticket)
            return 1;
        ts_relax();
    }
    for (int i = 0; i < TS_YIELDS; i++) {
        if (atomic_load_explicit(word, memory_order_acquire) == ticket)
            return 1;
        sched_yield();
    }
    return 0;
}

/* Sleep until `word` is `ticket`; who sets it looks at `sleepers` afterwards. */
static inline void ts_pool_sleep(struct ts_pool *p, pthread_cond_t *changed, atomic_int *sleepers, atomic_uint *word,
                                 unsigned ticket)
{
    pthread_mutex_lock(&p->mutex);
    atomic_fetch_add(sleepers, 1);
    while (atomic_load(word) != ticket)
        pthread_cond_wait(changed, &p->mutex);
    atomic_fetch_sub(sleepers, 1);
    pthread_mutex_unlock(&p->mutex);
}

static inline void ts_pool_wake(struct ts_pool *p, pthread_cond_t *changed, atomic_int *sleepers)
{
    if (atomic_load(sleepers) == 0)
        return;
    pthread_mutex_lock(&p->mutex); /* whoever counted itself is waiting by now, or sees the new ticket */
    pthread_cond_broadcast(changed);
    pthread_mutex_unlock(&p->mutex);
}

static void *ts_pool_work(void *argument)
{
    struct ts_worker *const w = argument;
    struct ts_pool *const p = w->pool;
    for (unsigned ticket = 1;; ticket++) {
        if (!ts_pool_spin(&w->asked, ticket))
            ts_pool_sleep(p, &p->asked, &p->sleepers, &w->asked, ticket);
        if (p->job == NULL)
            return NULL;
        p->job(p->data, w->part);
        atomic_store(&w->done, ticket);
        ts_pool_wake(p, &p->done, &p->caller_sleeps);
    }
}

/* Run job(data, part) for parts 0 .. parts - 1, at most the threads of the pool. */
static inline void ts_pool_share(struct ts_pool *p, int32_t parts, ts_job *job, const void *data)
{
    p->job = job;
    p->data = data;
    for (int32_t i = 0; i < parts - 1; i++)
        atomic_store(&p->worker[i].asked, atomic_load_explicit(&p->worker[i].done, memory_order_relaxed) + 1);
    ts_pool_wake(p, &p->asked, &p->sleepers);
    job(data, 0);
    for (int32_t i = 0; i < parts - 1; i++) {
        const unsigned ticket = atomic_load_explicit(&p->worker[i].asked, memory_order_relaxed);
        if (!ts_pool_spin(&p->worker[i].done, ticket))
            ts_pool_sleep(p, &p->done, &p->caller_sleeps, &p->worker[i].done, ticket);
    }
}

static inline void ts_pool_part(const void *data, int32_t part)
{
    const struct ts_call *const call = data;
    const struct ts_part *const p = &call->parts[part];
    const float *const x[2] = {call->x[0] + p->x[0], p->shape.n_in == 2 ? call->x[1] + p->x[1] : NULL};
    call->run(&p->shape, x, call->weights == NULL ? NULL : call->weights + p->weights,
              call->bias == NULL ? NULL : call->bias + p->bias, call->y + p->y,
              call->workspace == NULL ? NULL : call->workspace + p->workspace);
}

static inline void ts_pool_run(struct ts_pool *p, int32_t parts, const struct ts_call *call)
{
    ts_pool_share(p, parts, ts_pool_part, call);
}

static inline void ts_pool_close(struct ts_pool *p)
{
    p->job = NULL;
    for (int32_t i = 0; i < p->workers; i++)
        atomic_store(&p->worker[i].asked, atomic_load_explicit(&p->worker[i].done, memory_order_relaxed) + 1);
    ts_pool_wake(p, &p->asked, &p->sleepers);
    for (int32_t i = 0; i < p->workers; i++)
        pthread_join(p->worker[i].thread, NULL);
    p->workers = 0;
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->asked);
    pthread_mutex_destroy(&p->mutex);
}

static inline int ts_pool_open(struct ts_pool *p, int32_t threads)
{
    sigset_t all, before;
    int error = pthread_mutex_init(&p->mutex, NULL);
    if (error != 0)
        return error;
    if ((error = pthread_cond_init(&p->asked, NULL)) != 0) {
        pthread_mutex_destroy(&p->mutex);
        return error;
    }
    if ((error = pthread_cond_init(&p->done, NULL)) != 0) {
        pthread_cond_destroy(&p->asked);
        pthread_mutex_destroy(&p->mutex);
        return error;
    }
    atomic_init(&p->sleepers, 0);
    atomic_init(&p->caller_sleeps, 0);
    p->workers = 0;
    sigfillset(&all); /* the program's signals stay with the program's threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (error == 0 && p->workers < threads - 1) {
        struct ts_worker *const w = &p->worker[p->workers];
        atomic_init(&w->asked, 0);
        atomic_init(&w->done, 0);
        w->pool = p;
        w->part = p->workers + 1;
        error = pthread_create(&w->thread, NULL, ts_pool_work, w);
        p->workers += error == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        ts_pool_close(p);
    return error;
}

#endif
