/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * base.h: what the torture and crash programs share: seed, time, failing, children that die with their parent, stores
 * that are removed whatever happens, histograms, and the final judgement of a store.
 *
 * A program ends with 0 (passed), 77 (skipped, the reason on standard output), or anything else. It prints its seed;
 * KVSHM_TEST_SEED repeats it. KVSHM_TEST_LONG=1 makes the phases ten times as long. KVSHM_TEST_PREFIX begins the names
 * of its stores.
 */
#ifndef BASE_H
#define BASE_H

#include <kvshm.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define BASE_MS UINT64_C(1000000)
#define BASE_SECOND UINT64_C(1000000000)

/* Called first, by the main process. */
void base_begin(void);

/* Called last: says so, and returns the exit status. */
int base_pass(void);

/* Both remove the stores and end the program, from its main process or from a child. */
_Noreturn void base_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void base_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Fails unless a call of the library came to what was expected. */
#define base_expect(call, result) base_expect_at(__FILE__, __LINE__, #call, (call), (result))
void base_expect_at(const char *file, int line, const char *what, int got, int expected);
#define base_check(condition) ((condition) ? (void)0 : base_fail("%s:%d: not true: %s", __FILE__, __LINE__, #condition))

/* Random numbers. Each stream has its number; a child that is started anew takes a new one. */
uint64_t base_stream(uint64_t number);
uint64_t base_random(uint64_t *stream);
unsigned base_below(uint64_t *stream, unsigned limit);

/* Is this a long run? */
bool base_long(void);

/* CLOCK_MONOTONIC in ns; the end of a phase that lasts so many ms, in long runs ten times as many. */
uint64_t base_now(void);
uint64_t base_phase(unsigned ms);

/* Burns time without giving up the processor; and the opposite. */
void base_burn(uint64_t ns);
void base_rest(uint64_t ns);

/* The name of a store of this program's, which is removed at the end. */
const char *base_store(const char *what);

/* How many files a store of that name has in its directory; and removes them. */
unsigned base_files(const char *name);

/* Zeroed memory that children share. */
void *base_shared(size_t size);

/* Runs body in a child, which dies with this process. */
pid_t base_fork(void (*body)(void *), void *arg);

/* Waits for the end of a child; 0, or the signal that killed it. A child that failed fails the program. */
int base_reap(pid_t pid);
void base_signal(pid_t pid, int signal);

/* Powers of two of ns. late: those of a second or more. */
#define BASE_BINS 40
struct base_histogram {
	_Atomic uint64_t bin[BASE_BINS];
	_Atomic uint64_t max, count, late;
};

void base_histogram_add(struct base_histogram *histogram, uint64_t ns);
void base_histogram_print(struct base_histogram *histogram, const char *what);

/* Prints, and fails unless all was done within a second, as far as that is the library's doing: a busy machine may let
 * anyone stand still, so one time may be longer, and one more of each hundred. None comes near to what is never. */
#define BASE_NEVER (20 * BASE_SECOND)
void base_histogram_judge(struct base_histogram *histogram, const char *what);

/* A store's blocks by state, as a view sees them. */
void base_usage(const char *name, struct kvshm_usage *usage);

/* A counter's value. */
uint64_t base_counter(const char *name, const char *counter);

/* Is nobody dead, no request open, every block free, ready (and not from before a clear) or in its grace period
 * and held by nobody, no reader slot left by anyone, for clients of one thread each? If not, why tells. */
bool base_at_rest(const char *name, unsigned blocks, char why[256]);

/* The last judgement of a store on which nobody works, whoever is attached: fails unless it is sound, at rest, and
 * nothing is leaked or left to recover. */
void base_judge(const char *name, unsigned blocks);

#endif
