/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * base.c: see base.h.
 */
#include "config.h"

#include "base.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "files.h"

#define STORES 8
#define FILES 5 /* a segment and as many planes as any store here has */

static uint64_t seed;
static unsigned stretch = 1;
static pid_t main_process;

/* Paths are made beforehand, since a signal handler removes them. */
static struct {
	char name[KVSHM_NAME_MAX + 1];
	char path[FILES][128];
} stores[STORES];
static unsigned store_count;

static void remove_stores(void)
{
	for (unsigned i = 0; i < store_count; i++)
		for (unsigned j = 0; j < FILES; j++)
			(void)unlink(stores[i].path[j]);
}

static void on_signal(int signal)
{
	(void)signal;
	if (getpid() == main_process)
		remove_stores();
	_exit(1);
}

bool base_long(void)
{
	const char *text = getenv("KVSHM_TEST_LONG");

	return text && strcmp(text, "1") == 0;
}

void base_begin(void)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
	const char *text = getenv("KVSHM_TEST_SEED");

	main_process = getpid();
	seed = text ? strtoull(text, NULL, 0) : base_now() ^ (uint64_t)main_process << 32;
	stretch = base_long() ? 10 : 1;
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	(void)printf("KVSHM_TEST_SEED=%" PRIu64 "\n", seed);
	for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		(void)signal(signals[i], on_signal);
}

/* The children die with the main process. A child that fails ends it: others may wait for that child for ever. */
static void leave(int status)
{
	(void)fflush(stdout);
	if (getpid() == main_process)
		remove_stores();
	else if (getppid() == main_process)
		(void)kill(main_process, SIGTERM);
	_exit(status);
}

int base_pass(void)
{
	remove_stores();
	(void)printf("passed\n");
	return 0;
}

static void __attribute__((format(printf, 2, 0))) say(const char *what, const char *format, va_list args)
{
	char text[1024];

	(void)vsnprintf(text, sizeof(text), format, args);
	(void)printf("%s%s\n", what, text);
}

void base_fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say("FAILED: ", format, args);
	va_end(args);
	leave(1);
	abort();
}

void base_skip(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say("skipped: ", format, args);
	va_end(args);
	leave(77);
	abort();
}

void base_expect_at(const char *file, int line, const char *what, int got, int expected)
{
	if (got != expected)
		base_fail("%s:%d: %s: %d (%s), not %d; the last error's text: %s", file, line, what, got,
			  strerror(got < 0 ? -got : 0), expected, kvshm_error());
}

/* splitmix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014). */
uint64_t base_random(uint64_t *stream)
{
	uint64_t z = *stream += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

uint64_t base_stream(uint64_t number)
{
	uint64_t stream = seed + number * UINT64_C(0xd1342543de82ef95);

	return base_random(&stream);
}

unsigned base_below(uint64_t *stream, unsigned limit)
{
	return (unsigned)(base_random(stream) >> 32) % limit;
}

uint64_t base_now(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * BASE_SECOND + (uint64_t)now.tv_nsec;
}

uint64_t base_phase(unsigned ms)
{
	return base_now() + ms * BASE_MS * stretch;
}

void base_burn(uint64_t ns)
{
	uint64_t end = base_now() + ns;

	while (base_now() < end)
		;
}

void base_rest(uint64_t ns)
{
	const struct timespec time = { .tv_sec = (time_t)(ns / BASE_SECOND), .tv_nsec = (long)(ns % BASE_SECOND) };

	(void)nanosleep(&time, NULL);
}

const char *base_store(const char *what)
{
	const char *prefix = getenv("KVSHM_TEST_PREFIX");
	char *name = stores[store_count].name;

	base_check(store_count < STORES);
	if (prefix)
		(void)snprintf(name, sizeof(stores[0].name), "%s%s", prefix, what);
	else
		(void)snprintf(name, sizeof(stores[0].name), "t-%d-%s", (int)main_process, what);
	for (int i = 0; i < FILES; i++) {
		char path[KVS_PATH_SIZE];

		base_expect(kvs_files_path(path, kvs_files_dir(NULL), name, i - 1), 0);
		base_check(strlen(path) < sizeof(stores[0].path[0]));
		memcpy(stores[store_count].path[i], path, strlen(path) + 1);
	}
	store_count++;
	return name;
}

unsigned base_files(const char *name)
{
	unsigned files = 0;

	for (unsigned i = 0; i < store_count; i++)
		for (unsigned j = 0; j < FILES && strcmp(name, stores[i].name) == 0; j++)
			files += access(stores[i].path[j], F_OK) == 0;
	return files;
}

void *base_shared(size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		base_fail("no %zu bytes of shared memory: %s", size, strerror(errno));
	return at;
}

pid_t base_fork(void (*body)(void *), void *arg)
{
	pid_t parent = getpid();
	pid_t pid;

	(void)fflush(stdout);
	pid = fork();
	if (pid < 0)
		base_fail("fork: %s", strerror(errno));
	if (pid)
		return pid;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)
		_exit(1);
	body(arg);
	(void)fflush(stdout);
	_exit(0);
}

int base_reap(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) != pid)
		if (errno != EINTR)
			base_fail("waitpid: %s", strerror(errno));
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return SIGKILL;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		base_fail("a child ended with status %#x", (unsigned)status);
	return 0;
}

void base_signal(pid_t pid, int signal)
{
	if (kill(pid, signal))
		base_fail("kill: %s", strerror(errno));
}

void base_histogram_add(struct base_histogram *histogram, uint64_t ns)
{
	unsigned bin = ns ? 63 - (unsigned)__builtin_clzll(ns) : 0;
	uint64_t max = atomic_load_explicit(&histogram->max, memory_order_relaxed);

	atomic_fetch_add_explicit(&histogram->bin[bin < BASE_BINS ? bin : BASE_BINS - 1], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&histogram->count, 1, memory_order_relaxed);
	if (ns >= BASE_SECOND)
		atomic_fetch_add_explicit(&histogram->late, 1, memory_order_relaxed);
	while (max < ns && !atomic_compare_exchange_weak_explicit(&histogram->max, &max, ns, memory_order_relaxed,
								  memory_order_relaxed))
		;
}

void base_histogram_print(struct base_histogram *histogram, const char *what)
{
	(void)printf("%s: %" PRIu64 ", the longest %.3f ms\n", what, histogram->count, (double)histogram->max / 1e6);
	for (unsigned i = 0; i < BASE_BINS; i++)
		if (histogram->bin[i])
			(void)printf("    below %12.3f us %10" PRIu64 "\n", (double)(UINT64_C(2) << i) / 1e3,
				     histogram->bin[i]);
}

void base_histogram_judge(struct base_histogram *histogram, const char *what)
{
	base_histogram_print(histogram, what);
	if (histogram->late > 1 + histogram->count / 100 || histogram->max >= BASE_NEVER)
		base_fail("%s: %" PRIu64 " of %" PRIu64 " took a second or more", what, histogram->late,
			  histogram->count);
}
