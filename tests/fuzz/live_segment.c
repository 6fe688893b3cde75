/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * live_segment.c: any bytes in a segment that is in use lead to an error code and a counter; never to a crash, an
 * access outside of the mapping, or a call that does not come back (F1).
 *
 * Round for round kvshmd makes a small store. Processes make every call on it, one of them is killed now and then, and
 * two look at it, by views and by the tools, while this one damages its segment (mutate.h). Then all let go, and kvshmd
 * is ended; or killed, and its store adopted, removed or replaced. The next round has another one. What must hold:
 *
 * - No process ends but by being told to, or killed by this one. The mappings lie between inaccessible pages of 64 KiB
 *   (shm/map.c), and a small segment has little behind which a wild number leads but these, or nothing: an access
 *   outside of the mapping is a SIGSEGV. Outside of the heap it is seen in the build with AddressSanitizer.
 * - No call takes more than LATE of its process's own time, or LONG_LATE of anyone's. (Those that have a deadline have
 *   one of 3 ms at most; room is waited for 10 ms at least.)
 * - Each -EUCLEAN that a call returned is in the counter `nonsense`, in those rounds in which counters, and whose they
 *   are, are left alone; and kvshm-stat's way of reading it shows the same.
 *
 * KVSHM_TEST_SEED repeats the damage, and what each process does, but not how they meet.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "files.h"
#include "live.h"
#include "mutate.h"

#define MUTATIONS UINT64_C(100000)
#define PACE UINT64_C(150000) /* ns from one to the next */
#define LATE (2 * BASE_SECOND)
#define LONG_LATE (30 * BASE_SECOND)
#define VICTIM 0U /* the worker that is killed */

/* What is seen of a process from outside, since it began with its present call. */
struct watch {
	pid_t pid;
	uint64_t begun, since, cpu;
	struct live_process process;
};

static struct live_stage *stage;
static struct watch watches[LIVE_PROCESSES];
static struct mutator mutator;
static uint64_t random_stream, kill_stream; /* how often it is killed depends on time */
static uint64_t kills, rounds, adopted, counted_rounds, detected_then, counted_then, check_found;
static struct base_histogram *call_times; /* the longest that were seen */

static struct {
	pid_t pid;
	int log;
} owner;

/* ---- Children --------------------------------------------------------------------------------------------- */

static void start(unsigned i)
{
	static uint64_t streams = 100;
	struct watch *w = &watches[i];

	w->process = (struct live_process){
		.stage = stage, .note = &stage->note[i], .number = i, .random = base_stream(streams++)
	};
	atomic_store(&w->process.note->call, LIVE_none);
	w->begun = UINT64_MAX;
	if (i < LIVE_WORKERS)
		w->pid = base_fork(live_work, &w->process);
	else
		w->pid = base_fork(i == LIVE_WORKERS ? live_view : live_run_tools, &w->process);
}

static const char *call_of(unsigned i)
{
	return live_names[atomic_load(&stage->note[i].call)];
}

static void show_log(void)
{
	char text[1024];
	off_t size = lseek(owner.log, 0, SEEK_END);
	ssize_t got = pread(owner.log, text, sizeof(text) - 1, size > 1000 ? size - 1000 : 0);

	(void)printf("kvshmd said: %.*s\n", (int)(got < 0 ? 0 : got), text);
}

static void look_for_deaths(void)
{
	int status;

	for (unsigned i = 0; i < LIVE_PROCESSES; i++)
		if (waitpid(watches[i].pid, &status, WNOHANG) == watches[i].pid)
			base_fail("process %u ended in %s with status %#x, in round %" PRIu64, i, call_of(i),
				  (unsigned)status, rounds);
	if (owner.pid && waitpid(owner.pid, &status, WNOHANG) == owner.pid) {
		show_log();
		base_fail("kvshmd ended with status %#x, in round %" PRIu64, (unsigned)status, rounds);
	}
}

static uint64_t cpu_of(pid_t pid)
{
	struct timespec used;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &used))
		return 0;
	return (uint64_t)used.tv_sec * BASE_SECOND + (uint64_t)used.tv_nsec;
}

/* Sees each call that lasts from one look to the next. */
static void look_for_late_calls(void)
{
	uint64_t now = base_now();

	for (unsigned i = 0; i < LIVE_PROCESSES; i++) {
		struct watch *w = &watches[i];
		uint64_t begun = atomic_load(&w->process.note->begun);
		bool in_a_call = atomic_load(&w->process.note->call) != LIVE_none;

		if (begun != w->begun || !in_a_call) {
			w->begun = begun;
			w->since = now;
			w->cpu = cpu_of(w->pid);
			continue;
		}
		base_histogram_add(call_times, now - w->since);
		if (cpu_of(w->pid) - w->cpu < LATE && now - w->since < LONG_LATE)
			continue;
		base_fail("process %u is in %s for %.1f s, %.1f s of its own, in round %" PRIu64, i, call_of(i),
			  (double)(now - w->since) / 1e9, (double)(cpu_of(w->pid) - w->cpu) / 1e9, rounds);
	}
}

static void watch(void)
{
	look_for_deaths();
	look_for_late_calls();
}

static void kill_victim(void)
{
	base_signal(watches[VICTIM].pid, SIGKILL);
	(void)base_reap(watches[VICTIM].pid);
	start(VICTIM);
	kills++;
}

/* ---- The owner -------------------------------------------------------------------------------------------- */

/* A store of some shape. */
static void shape(char *text[], char numbers[][32], bool fence)
{
	static const unsigned requests[] = { 24, 12, 100, 3 };
	static const unsigned blocks[] = { 96, 130, 200, 64, 7 }, keys[] = { 64, 32, 256, 33 };
	unsigned at = 0;

	(void)snprintf(numbers[0], 32, "%u", blocks[base_below(&random_stream, 5)] * 512);
	(void)snprintf(numbers[1], 32, "%u", keys[base_below(&random_stream, 4)]);
	(void)snprintf(numbers[2], 32, "%u", 1 + base_below(&random_stream, 3));
	(void)snprintf(numbers[3], 32, "%u", base_below(&random_stream, 8) ? 8 + base_below(&random_stream, 3) : 70);
	(void)snprintf(numbers[4], 32, "%u", requests[base_below(&random_stream, 4)]);
	text[at++] = (char *)"kvshmd";
	text[at++] = (char *)"--store";
	text[at++] = stage->name;
	text[at++] = (char *)"--block-size";
	text[at++] = (char *)"512";
	text[at++] = (char *)"--size";
	text[at++] = numbers[0];
	text[at++] = (char *)"--key-max";
	text[at++] = numbers[1];
	text[at++] = (char *)"--planes";
	text[at++] = numbers[2];
	text[at++] = (char *)"--clients";
	text[at++] = numbers[3];
	text[at++] = (char *)"--requests";
	text[at++] = numbers[4];
	text[at++] = (char *)"--retain";
	text[at++] = (char *)(base_below(&random_stream, 3) ? "keep" : "drop");
	text[at++] = (char *)"--populate=0";
	text[at++] = (char *)"--replace-dead";
	if (fence)
		text[at++] = (char *)"--fence";
	text[at] = NULL;
}

/* Runs kvshmd; returns when its store is there. */
static void start_owner(char *argv[])
{
	struct pollfd ready;
	char word[8] = "";
	int ends[2];

	base_check(pipe2(ends, O_CLOEXEC) == 0 && ftruncate(owner.log, 0) == 0 && !lseek(owner.log, 0, SEEK_SET));
	owner.pid = live_start_tool(argv, ends[1], owner.log);
	(void)close(ends[1]);
	ready = (struct pollfd){ .fd = ends[0], .events = POLLIN };
	if (poll(&ready, 1, 20000) != 1 || read(ends[0], word, 6) != 6 || strcmp(word, "ready\n") != 0) {
		show_log();
		base_fail("kvshmd is not ready in round %" PRIu64, rounds);
	}
	(void)close(ends[0]);
}

/* Waits for the end of the owner, which was told to end. */
static int end_owner(int signal)
{
	uint64_t end = base_now() + LONG_LATE;
	int status;

	base_signal(owner.pid, signal);
	while (waitpid(owner.pid, &status, WNOHANG) != owner.pid) {
		if (base_now() > end)
			base_fail("kvshmd does not end in round %" PRIu64, rounds);
		base_rest(500000);
	}
	owner.pid = 0;
	return status;
}

/* ---- A round ---------------------------------------------------------------------------------------------- */

static void begin_round(void)
{
	static const unsigned lasting[] = { 0, 10, 100 };
	char numbers[5][32], path[KVS_PATH_SIZE], *argv[26];

	rounds++;
	shape(argv, numbers, base_below(&random_stream, 4) == 0);
	start_owner(argv);
	base_expect(kvs_files_path(path, kvs_files_dir(NULL), stage->name, -1), 0);
	mutate_open(&mutator, path);
	mutator.counters = base_below(&random_stream, 4) == 0;
	mutator.lasting = lasting[base_below(&random_stream, 3)];
	atomic_store(&stage->round, (uint32_t)rounds);
}

/* At a rate that does not follow how busy the machine is: who comes late does several at once. */
static void damage(uint64_t mutations)
{
	uint64_t begin = base_now(), next_kill = begin, next_look = 0;

	for (uint64_t i = 0; i < mutations;) {
		uint64_t now = base_now();

		for (uint64_t due = (now - begin) / PACE; i < mutations && i <= due; i++)
			mutate(&mutator);
		if (now > next_look) {
			watch();
			next_look = now + 5 * BASE_MS;
		}
		if (now > next_kill) {
			kill_victim();
			next_kill = now + (5 + base_below(&kill_stream, 60)) * BASE_MS;
		}
		base_rest(PACE);
	}
}

static uint64_t detected(void)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < LIVE_PROCESSES; i++)
		sum += atomic_load(&stage->note[i].detected);
	return sum;
}

/* All let go of the store. */
static void rest(void)
{
	atomic_store(&stage->round, 0);
	for (unsigned i = 0; i < LIVE_PROCESSES; i++)
		while (!atomic_load(&stage->note[i].idle)) {
			watch();
			base_rest(BASE_MS / 2);
		}
}

/* What was detected is counted, and to be seen from outside. */
static void compare_counts(uint64_t found)
{
	uint64_t counted = mutate_counted(&mutator, KVS_COUNT_nonsense);

	if (mutator.counters)
		return;
	counted_rounds++;
	detected_then += found;
	counted_then += counted;
	if (counted < found)
		base_fail("%" PRIu64 " calls returned -EUCLEAN in round %" PRIu64 ", and %" PRIu64 " were counted",
			  found, rounds, counted);
	if (rounds % 2) { /* else the end, too, finds what is there */
		mutate_mend_head(&mutator);
		base_check(base_counter(stage->name, "nonsense") == counted);
	}
}

/* A dead store, whose head is damaged perhaps: it is adopted or refused, removed, or left to the next kvshmd, which
 * replaces it. */
static void bury(void)
{
	kvshm_owner *heir;
	int rc;

	switch (base_below(&random_stream, 3)) {
	case 0:
		rc = kvshm_adopt(stage->name, NULL, &heir);
		if (rc != 0 && rc != -EUCLEAN && rc != -EPROTO && rc != -ESTALE && rc != -ENODEV)
			base_fail("adopt returned %d: %s", rc, kvshm_error());
		adopted += rc == 0;
		if (rc == 0) {
			(void)kvshm_owner_recover(heir, NULL);
			(void)kvshm_owner_look_at_pins(heir, 0, NULL);
			base_expect(kvshm_destroy(heir), 0);
			base_check(base_files(stage->name) == 0);
		}
		break;
	case 1:
		base_expect(kvshm_unlink(stage->name, NULL), 0);
		base_check(base_files(stage->name) == 0);
		break;
	default:
		break;
	}
}

static void end_round(uint64_t before)
{
	struct kvshm_check_result result;
	kvshm_view *view;
	int status;

	rest();
	compare_counts(detected() - before);
	if (kvshm_view_open(stage->name, NULL, &view) == 0) {
		check_found += kvshm_view_check(view, NULL, NULL, &result) == 0 && result.unsound + result.leaked;
		kvshm_view_close(view);
	}
	if (rounds % 2 == 0)
		mutate_fixed(&mutator, 16); /* who ends or buries the store can't believe its head */
	if (rounds % 3 == 0) {
		(void)end_owner(SIGKILL);
		memcpy(mutator.base, KVS_MAGIC, strlen(KVS_MAGIC)); /* else it is no store, and nobody's to remove */
		bury();
	} else {
		status = end_owner(SIGTERM);
		if (status) {
			show_log();
			base_fail("kvshmd ended with status %#x", (unsigned)status);
		}
		if (base_files(stage->name))
			base_fail("kvshmd left files behind in round %" PRIu64, rounds);
	}
	live_check_text(owner.log, "kvshmd");
	mutate_close(&mutator);
}

/* ---- The report ------------------------------------------------------------------------------------------- */

static uint64_t sum_of(unsigned call, unsigned error)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < LIVE_PROCESSES; i++)
		sum += atomic_load(&stage->note[i].result[call][error]);
	return sum;
}

static void report(double seconds)
{
	uint64_t all = 0, good = 0;

	(void)printf("| %" PRIu64 " mutations (%" PRIu64 " taken back) in %" PRIu64 " stores, %.1f s; %" PRIu64
		     " kills\n", mutator.count, mutator.undone, rounds, seconds, kills);
	for (unsigned s = 0; s < MUTATE_SECTIONS; s++)
		(void)printf("|     %-18s %8" PRIu64 "\n", mutate_names[s], mutator.by_section[s]);
	for (unsigned c = 1; c < LIVE_CALLS; c++) {
		uint64_t calls = 0;

		for (unsigned e = 0; e < LIVE_ERRNOS; e++)
			calls += sum_of(c, e);
		if (!calls)
			continue;
		(void)printf("| %-26s %9" PRIu64 " results, %5.1f %% good", live_names[c], calls,
			     100.0 * (double)sum_of(c, 0) / (double)calls);
		for (unsigned e = 1; e < LIVE_ERRNOS; e++)
			if (sum_of(c, e))
				(void)printf("  %s %" PRIu64, strerrorname_np((int)e), sum_of(c, e));
		(void)printf("\n");
		all += c < LIVE_counted ? calls : 0;
		good += c < LIVE_counted ? sum_of(c, 0) : 0;
	}
	(void)printf("| %" PRIu64 " results of calls on the store, %.1f %% good; %" PRIu64 " -EUCLEAN\n", all,
		     100.0 * (double)good / (double)all, detected());
	(void)printf("| with counters left alone: %" PRIu64 " rounds, %" PRIu64 " -EUCLEAN, %" PRIu64 " counted\n",
		     counted_rounds, detected_then, counted_then);
	(void)printf("| %" PRIu64 " stores found unsound by a check at the end; %" PRIu64 " adopted\n", check_found,
		     adopted);
	base_histogram_print(call_times, "looks at calls that had lasted");
}

int main(void)
{
	uint64_t mutations = MUTATIONS * (base_long() ? 20 : 1);
	uint64_t begin = base_now();

	base_begin();
	stage = base_shared(sizeof(*stage));
	call_times = base_shared(sizeof(*call_times));
	memcpy(stage->name, base_store("live"), sizeof(stage->name));
	random_stream = base_stream(1);
	kill_stream = base_stream(3);
	mutator.random = base_stream(2);
	owner.log = memfd_create("kvshmd", MFD_CLOEXEC);
	base_check(owner.log >= 0);
	for (unsigned i = 0; i < LIVE_PROCESSES; i++)
		start(i);
	while (mutator.count < mutations) {
		uint64_t before = detected();

		begin_round();
		damage(100 + base_below(&random_stream, 2500));
		end_round(before);
	}
	atomic_store(&stage->stop, true);
	for (unsigned i = 0; i < LIVE_PROCESSES; i++)
		base_check(base_reap(watches[i].pid) == 0);
	report((double)(base_now() - begin) / 1e9);
	return base_pass();
}
