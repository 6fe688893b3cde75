/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * kvshmd: owns one store: makes it (or goes on with one whose owner is gone), recovers dead clients every 50 ms, and
 * destroys it on SIGTERM, SIGINT or SIGHUP. It is not on anyone's data path: a store whose kvshmd was killed goes on.
 *
 * Signals are blocked before the store exists and read from a descriptor afterwards, so that none can end the program
 * with a store left behind.
 */
#include "config.h"

#include "tool.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { RECOVERY_PERIOD_MS = 50 };

static const char *const pools[] = { "host", NULL };
static const char *const retains[] = { [KVSHM_KEEP] = "keep", [KVSHM_DROP] = "drop", NULL };

/* What the command line said; what it did not say is 0, NULL or -1, which no option accepts. */
struct settings {
	const char *store, *dir, *label;
	uint64_t size, block_size, planes, key_max, clients, mode;
	int retain, pool;
	bool fence, adopt, replace_dead;
};

static void check_settings(const struct settings *settings)
{
	if (settings->adopt && settings->replace_dead)
		tool_bad_use("--adopt goes on with the store that is there and --replace-dead makes a new one: "
			     "leave one out");
	if (settings->adopt && settings->mode)
		tool_bad_use("--mode is for a new store, and --adopt goes on with one that is there: leave one out");
	if (!settings->adopt && !settings->size)
		tool_bad_use("--size BYTES is missing");
	if (!settings->adopt && !settings->block_size)
		tool_bad_use("--block-size BYTES is missing");
}

static void read_settings(int argc, char **argv, struct settings *settings)
{
	const struct tool_option options[] = {
		{ .name = "store", .argument = "NAME", .kind = TOOL_TEXT, .to.text = &settings->store,
		  .required = true, .help = "the store's name: 1 to 64 of A-Z a-z 0-9 . _ - (required)" },
		{ .name = "size", .argument = "BYTES", .kind = TOOL_SIZE, .to.number = &settings->size, .min = 1,
		  .help = "size of each plane, rounded down to whole blocks; required for a new store" },
		{ .name = "block-size", .argument = "BYTES", .kind = TOOL_SIZE, .to.number = &settings->block_size,
		  .min = KVSHM_BLOCK_UNIT,
		  .help = "size of a block in each plane, a multiple of 512; required for a new store" },
		{ .name = "pool", .argument = "host", .kind = TOOL_CHOICE, .to.choice = &settings->pool,
		  .choices = pools, .help = "the kind of memory of the planes; host unless told" },
		{ .name = "planes", .argument = "N", .kind = TOOL_NUMBER, .to.number = &settings->planes, .min = 1,
		  .max = KVSHM_PLANES_MAX, .help = "planes of the pool; 1 unless told" },
		{ .name = "key-max", .argument = "N", .kind = TOOL_NUMBER, .to.number = &settings->key_max, .min = 1,
		  .max = KVSHM_KEY_MAX, .help = "bytes of the longest key; 64 unless told" },
		{ .name = "label", .argument = "TEXT", .kind = TOOL_TEXT, .to.text = &settings->label,
		  .may_be_empty = true, .help = "what engines must agree on (model, dtype, layout)" },
		{ .name = "retain", .argument = "keep|drop", .kind = TOOL_CHOICE, .to.choice = &settings->retain,
		  .choices = retains,
		  .help = "what the last release does: keep a block until its room is needed, or free it" },
		{ .name = "clients", .argument = "N", .kind = TOOL_NUMBER, .to.number = &settings->clients, .min = 1,
		  .max = KVSHM_CLIENTS_MAX, .help = "processes that can be attached at once; 64 unless told" },
		{ .name = "mode", .argument = "OCTAL", .kind = TOOL_OCTAL, .to.number = &settings->mode, .min = 1,
		  .max = 0777, .help = "permission bits of the store's files; 0600 unless told" },
		{ .name = "fence", .kind = TOOL_FLAG, .to.flag = &settings->fence,
		  .help = "readers use memory fences instead of membarrier(2): slower, for kernels without it" },
		{ .name = "adopt", .kind = TOOL_FLAG, .to.flag = &settings->adopt,
		  .help = "go on with a store that has no living owner, as it is" },
		{ .name = "replace-dead", .kind = TOOL_FLAG, .to.flag = &settings->replace_dead,
		  .help = "make a new store where there is one without a living owner" },
		{ .name = NULL },
	};
	const struct tool_program program = {
		.name = "kvshmd",
		.summary = "Owns a kvshm store: makes it, recovers its dead clients, destroys it on SIGTERM",
		.options = options,
	};

	tool_options(&program, argc, argv, &settings->dir);
	check_settings(settings);
}

/* ---- Getting the store ----------------------------------------------------------------------------------- */

static int create(const struct settings *settings, kvshm_owner **owner)
{
	struct kvshm_create_options options;
	int rc;

	kvshm_create_defaults(&options);
	options.dir = settings->dir;
	options.label = settings->label;
	options.size = settings->size;
	options.block_size = settings->block_size;
	if (settings->planes)
		options.planes = (uint32_t)settings->planes;
	if (settings->key_max)
		options.key_max = (uint32_t)settings->key_max;
	if (settings->clients)
		options.clients = (uint32_t)settings->clients;
	if (settings->mode)
		options.mode = (uint32_t)settings->mode;
	if (settings->retain >= 0)
		options.retain = (enum kvshm_retain)settings->retain;
	options.fence = settings->fence;
	options.replace_dead = settings->replace_dead;
	rc = kvshm_create(settings->store, &options, owner);
	if (rc == -EOWNERDEAD)
		tool_say("a store '%s' is in %s, but no living process owns it: --adopt goes on with it as it is, "
			 "--replace-dead makes a new one (its clients get -ESTALE)", settings->store,
			 tool_dir(settings->dir));
	else if (rc == -EOPNOTSUPP && !settings->fence)
		tool_say("%s (--fence makes a store that needs no membarrier)", kvshm_error());
	else if (rc)
		tool_say("%s", kvshm_error());
	return rc;
}

static int adopt(const struct settings *settings, kvshm_owner **owner)
{
	int rc = kvshm_adopt(settings->store, settings->dir, owner);

	if (rc == -EUCLEAN || rc == -ESTALE)
		tool_say("%s (--replace-dead makes a new store)", kvshm_error());
	else if (rc)
		tool_say("%s", kvshm_error());
	return rc;
}

/* given NULL: not asked for. */
static bool same_text(const char *option, const char *given, const char *is)
{
	if (!given || !strcmp(given, is))
		return true;
	tool_say("--%s: '%s' is asked for, the store has '%s'; leave the option out, or make a new store with "
		 "--replace-dead", option, given, is);
	return false;
}

/* given 0: not asked for. */
static bool same_number(const char *option, uint64_t given, uint64_t is)
{
	char given_text[24], is_text[24];

	snprintf(given_text, sizeof(given_text), "%" PRIu64, given);
	snprintf(is_text, sizeof(is_text), "%" PRIu64, is);
	return same_text(option, given ? given_text : NULL, is_text);
}

/* A size is a ceiling: any that is rounded down to the store's blocks is the store's. */
static bool same_size(uint64_t given, const struct kvshm_geometry *geometry)
{
	uint64_t is = geometry->blocks * geometry->block_size;

	return given / geometry->block_size == geometry->blocks || same_number("size", given, is);
}

/* An adopted store is what it is: what the command line asks for beside that must be the same. */
static bool same_as_asked(const struct settings *settings, kvshm_view *view)
{
	const char *retain = settings->retain < 0 ? NULL : retains[settings->retain];
	struct kvshm_store_info info;
	const struct kvshm_geometry *geometry = &info.geometry;

	if (kvshm_view_store(view, &info)) {
		tool_say("%s", kvshm_error());
		return false;
	}
	return same_size(settings->size, geometry) &&
	       same_number("block-size", settings->block_size, geometry->block_size) &&
	       same_number("planes", settings->planes, geometry->planes) &&
	       same_number("key-max", settings->key_max, geometry->key_max) &&
	       same_number("clients", settings->clients, geometry->clients) &&
	       same_text("label", settings->label, info.label) &&
	       same_text("retain", retain, geometry->retain == KVSHM_KEEP ? "keep" : "drop") &&
	       same_text("fence", settings->fence ? "on" : NULL, info.fence ? "on" : "off");
}

/* ---- Owning it ------------------------------------------------------------------------------------------- */

/* A descriptor that is readable once a signal asks for the end; from now on such a signal does nothing else. A reader
 * of stdout or stderr that goes away must not end the program either: the store would stay behind. */
static int open_signals(void)
{
	sigset_t ends;

	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &ends, NULL) || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		return -1;
	return signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int open_timer(void)
{
	const struct timespec period = { .tv_nsec = RECOVERY_PERIOD_MS * 1000000L };
	const struct itimerspec every = { .it_interval = period, .it_value = period };
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

	if (timer >= 0 && timerfd_settime(timer, 0, &every, NULL)) {
		close(timer);
		return -1;
	}
	return timer;
}

/* Recovers until a signal comes. False: the store is no longer ours to look after. */
static bool serve(kvshm_owner *owner, int signals, int timer)
{
	struct pollfd ready[] = { { .fd = signals, .events = POLLIN }, { .fd = timer, .events = POLLIN } };
	int rc, last = 0; /* an error that stays is said once, not twenty times a second */
	uint64_t expirations;

	for (;;) {
		if (poll(ready, 2, -1) < 0 && errno != EINTR) {
			tool_say("poll: %s", strerror(errno));
			return false;
		}
		if (ready[0].revents)
			return true;
		if (read(timer, &expirations, sizeof(expirations)) < 0)
			continue;
		rc = kvshm_owner_recover(owner, NULL);
		if (rc && rc != last)
			tool_say("%s", kvshm_error());
		if (rc == -ESTALE)
			return false;
		last = rc;
	}
}

static int say_client(const struct kvshm_client_info *client, void *arg)
{
	(void)arg;
	if (client->alive)
		tool_say("still attached: pid %" PRId32 " (%s), with %" PRIu64 " refs, %" PRIu64 " pins, %" PRIu64
			 " fills; its calls return -ESTALE from now on", client->pid, client->name, client->refs,
			 client->pins, client->fills);
	return 0;
}

static bool finish(kvshm_owner *owner, kvshm_view *view)
{
	if (kvshm_view_clients(view, say_client, NULL))
		tool_say("the clients that are still attached can't be listed: %s", kvshm_error());
	if (!kvshm_destroy(owner))
		return true;
	tool_say("%s", kvshm_error());
	return false;
}

/* The view is opened while the store has its name, and shows this one whatever becomes of the name. */
static bool own(const struct settings *settings, kvshm_owner *owner, int signals, int timer)
{
	kvshm_view *view;
	bool good;

	if (kvshm_view_open(settings->store, settings->dir, &view)) {
		tool_say("%s", kvshm_error());
		goto let_go;
	}
	if (settings->adopt && !same_as_asked(settings, view))
		goto close_view;
	puts("ready");
	if (!tool_flush())
		goto close_view;
	good = serve(owner, signals, timer);
	good = finish(owner, view) && good;
	kvshm_view_close(view);
	return good;

close_view:
	kvshm_view_close(view);
let_go:
	if (settings->adopt)
		kvshm_disown(owner);
	else
		kvshm_destroy(owner);
	return false;
}

int main(int argc, char **argv)
{
	struct settings settings = { .retain = -1 };
	kvshm_owner *owner;
	int signals, timer;

	read_settings(argc, argv, &settings);
	kvshm_set_log(tool_log, NULL);
	signals = open_signals();
	timer = open_timer();
	if (signals < 0 || timer < 0) {
		tool_say("can't wait for signals and time: %s", strerror(errno));
		return EXIT_FAILURE;
	}
	if (settings.adopt ? adopt(&settings, &owner) : create(&settings, &owner))
		return EXIT_FAILURE;
	return own(&settings, owner, signals, timer) ? EXIT_SUCCESS : EXIT_FAILURE;
}
