/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * kvshmd: owns one store: makes it (or goes on with one whose owner is gone), recovers dead clients every 50 ms, hands
 * out GPU memory to who attaches, tells of pins that are held for long, and destroys it on SIGTERM, SIGINT or SIGHUP.
 * It is not on anyone's data path: a store whose kvshmd was killed goes on.
 *
 * Signals are blocked before the store exists and read from a descriptor afterwards, so that none can end the program
 * with a store left behind.
 */
#include "config.h"

#include "kvshmd.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "kvshmd_net.h"
#include "notify.h"
#include "tool.h"

enum {
	RECOVERY_PERIOD_MS = 50,
	PINS_PERIOD_MS = 1000,	/* at the least; and a tenth of what pins may last, but not more than: */
	PINS_PERIOD_MAX_MS = 10000,
	QUIET_MS = 1000,	/* a store that is made faster is made in silence */
	STATUS_PERIOD_MS = 500, /* of what the service manager is told of a store that is being made */
	LINE_PERIOD_MS = 5000,	/* of lines about it on stderr */
	EXTENSION_US = 30000000, /* how much longer the manager is to wait for the next status, or for readiness */
};

/* ---- Getting the store ----------------------------------------------------------------------------------- */

struct progress {
	int signals;
	int64_t next_status, next_line;
};

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Begins to tell once making the store has lasted, and says so now and then. A signal calls it off. */
static int tell_progress(enum kvshm_phase phase, uint64_t done, uint64_t total, void *arg)
{
	static const char *const phases[] = { [KVSHM_RESERVING] = "reserving", [KVSHM_POPULATING] = "populating" };
	struct progress *progress = arg;
	struct pollfd ends = { .fd = progress->signals, .events = POLLIN };
	int64_t now = now_ms();
	const double gib = 1 << 30;

	if (now >= progress->next_status) {
		progress->next_status = now + STATUS_PERIOD_MS;
		notify("EXTEND_TIMEOUT_USEC=%d\nSTATUS=%s memory: %.1f of %.1f GiB", EXTENSION_US, phases[phase],
		       (double)done / gib, (double)total / gib);
	}
	if (now >= progress->next_line) {
		progress->next_line = now + LINE_PERIOD_MS;
		tool_say("%s memory: %.1f of %.1f GiB", phases[phase], (double)done / gib, (double)total / gib);
	}
	return poll(&ends, 1, 0) > 0;
}

static int create(const struct settings *settings, int signals, kvshm_owner **owner)
{
	struct progress progress = {
		.signals = signals, .next_status = now_ms() + QUIET_MS, .next_line = now_ms() + QUIET_MS
	};
	struct kvshm_create_options options;
	int rc;

	settings_apply(settings, &options);
	options.progress = tell_progress;
	options.progress_arg = &progress;
	rc = kvshm_create(settings->store, &options, owner);
	if (rc == -EOWNERDEAD)
		tool_say("a store '%s' is in %s, but no living process owns it: --adopt goes on with it as it is, "
			 "--replace-dead makes a new one (its clients get -ESTALE)", settings->store,
			 tool_dir(settings->dir));
	else if (rc == -ECANCELED)
		tool_say("a signal came while the store was being made: nothing of it is left");
	else if (rc == -EOPNOTSUPP && !settings->fence && strstr(kvshm_error(), "membarrier"))
		tool_say("%s (--fence makes a store that needs no membarrier)", kvshm_error());
	else if (rc)
		tool_say("%s", kvshm_error());
	return rc;
}

static int adopt(const struct settings *settings, kvshm_owner **owner)
{
	int rc = kvshm_adopt(settings->store, settings->dir, owner);

	if ((rc == -EUCLEAN || rc == -ESTALE) && !strstr(kvshm_error(), "--replace-dead"))
		tool_say("%s (--replace-dead makes a new store)", kvshm_error());
	else if (rc)
		tool_say("%s", kvshm_error());
	return rc;
}

/* ---- Owning it ------------------------------------------------------------------------------------------- */

/* What the library tells the log. An error is the store's, not a call's: it stays in the service manager's status. */
static void log_line(enum kvshm_log_level level, const char *text, void *arg)
{
	tool_log(level, text, arg);
	if (level == KVSHM_LOG_ERROR)
		notify("STATUS=%s", text);
}

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

/* Looks at pins, which are read from every client's row: so not as often as recovery does. */
static int look_at_pins(kvshm_owner *owner, uint64_t timeout, int64_t *next)
{
	int64_t now = now_ms(), period = (int64_t)timeout * 1000 / 10;

	if (!timeout || now < *next)
		return 0;
	if (period < PINS_PERIOD_MS)
		period = PINS_PERIOD_MS;
	*next = now + (period < PINS_PERIOD_MAX_MS ? period : PINS_PERIOD_MAX_MS);
	return kvshm_owner_look_at_pins(owner, timeout * 1000000000, NULL);
}

/* Recovers until a signal comes, and as soon as somebody waits for GPU memory, which goes with that. False: the store
 * is no longer ours to look after. */
static bool serve(kvshm_owner *owner, struct net *net, uint64_t pin_timeout, int signals, int timer)
{
	struct pollfd ready[] = { { .fd = signals, .events = POLLIN }, { .fd = timer, .events = POLLIN },
				  { .events = POLLIN } };
	int rc, last = 0; /* an error that stays is said once, not twenty times a second */
	int64_t next_pins = 0;
	uint64_t expirations;

	if (kvshm_owner_fd(owner, &ready[2].fd)) {
		tool_say("%s", kvshm_error());
		return false;
	}
	for (;;) {
		if (poll(ready, 3, -1) < 0 && errno != EINTR) {
			tool_say("poll: %s", strerror(errno));
			return false;
		}
		if (ready[0].revents)
			return true;
		if (read(timer, &expirations, sizeof(expirations)) < 0 && !ready[2].revents)
			continue;
		rc = kvshm_owner_recover(owner, NULL);
		net_tend(net);
		if (!rc)
			rc = look_at_pins(owner, pin_timeout, &next_pins);
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

/* Other nodes are let in before engines are told that the store is ready. False, with a message. */
static bool get_ready(struct settings *settings, kvshm_view *view, struct net **net)
{
	if (settings->adopt && !settings_same(settings, view))
		return false;
	if (settings->listen) {
		*net = net_open(settings);
		if (!*net)
			return false;
	}
	puts("ready");
	if (!tool_flush())
		return false;
	if (*net)
		notify("READY=1\nSTATUS=store '%s' is ready, listening at %s", settings->store, net_url(*net));
	else
		notify("READY=1\nSTATUS=store '%s' is ready", settings->store);
	return true;
}

/* The view is opened while the store has its name, and shows this one whatever becomes of the name. */
static bool own(struct settings *settings, kvshm_owner *owner, int signals, int timer)
{
	struct net *net = NULL;
	kvshm_view *view;
	bool good;

	if (kvshm_view_open(settings->store, settings->dir, &view)) {
		tool_say("%s", kvshm_error());
		goto let_go;
	}
	if (!get_ready(settings, view, &net))
		goto close_view;
	good = serve(owner, net, settings->pin_timeout, signals, timer);
	notify("STOPPING=1\nSTATUS=destroying store '%s'", settings->store);
	net_close(net);
	good = finish(owner, view) && good;
	kvshm_view_close(view);
	return good;

close_view:
	net_close(net);
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
	struct settings settings;
	kvshm_owner *owner;
	int signals, timer, rc;

	settings_read(argc, argv, &settings);
	kvshm_set_log(log_line, NULL);
	signals = open_signals();
	timer = open_timer();
	if (signals < 0 || timer < 0) {
		tool_say("can't wait for signals and time: %s", strerror(errno));
		return EXIT_FAILURE;
	}
	rc = settings.adopt ? adopt(&settings, &owner) : create(&settings, signals, &owner);
	if (rc)
		return rc == -ECANCELED ? EXIT_SUCCESS : EXIT_FAILURE;
	return own(&settings, owner, signals, timer) ? EXIT_SUCCESS : EXIT_FAILURE;
}
