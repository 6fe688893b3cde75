/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * rdma_verbs: links over RDMA, of which every call of libibverbs, librdmacm and the system fails in its turn: someone
 * is told what is wrong, in words, the link is down, nothing is left of it, and the loop, the port and the memory serve
 * the next link.
 */
#include "config.h"

#include "verbs_scene.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fault.h"

#define WINDOWS 3
#define BLOCK ((size_t)4096)
#define LONG ((size_t)3 << 16) /* three requests of the fake devices */
#define EXTRA ((size_t)1 << 16)

static char extra[EXTRA] __attribute__((aligned(4096)));

/* Why an exchange did not come about, as whoever called, or was told, heard it. */
static struct told {
	int reason;
	char text[1024];
} told;

static bool heard(int rc)
{
	if (rc == 0 || told.reason)
		return rc == 0;
	told.reason = rc;
	(void)snprintf(told.text, sizeof(told.text), "%s", kvs_fault_text());
	return false;
}

static bool lost(void)
{
	return ends_a.downs || ends_b.downs;
}

#define unless_lost(condition)                                             \
	do {                                                               \
		uint64_t unless_end = ends_deadline();                     \
		while (!(condition) && !lost())                            \
			ends_run(unless_end, #condition, __LINE__);        \
		if (lost())                                                \
			return false;                                      \
	} while (0)

static bool connect_both(void)
{
	if (!ends_port && !heard(ends_listen()))
		return false;
	if (!heard(ends_begin(&ends_a, &ends_at)))
		return false;
	unless_lost(ends_a.ups && ends_b.link);
	return true;
}

static bool expose(struct kvr_window **windows)
{
	size_t at = 0;

	for (unsigned i = 0; i < WINDOWS; i++) {
		size_t length = i ? BLOCK : LONG;
		int rc = kvr_verbs.expose(ends_b.link, ends_b.plane + at, length, &ends_b, &windows[i]);

		if (!heard(rc))
			return false;
		at += length;
	}
	return true;
}

/* Memory that is added while the link is up; windows; writes into all of them; messages both ways; the windows go. */
static bool exchange(void)
{
	struct kvr_window *windows[WINDOWS];

	if (!connect_both() || !heard(kvr_memory_add(ends_b.memory, extra, EXTRA, true)) || !expose(windows))
		return false;
	if (!heard(ends_send(&ends_b, 1, 64, 1)))
		return false;
	unless_lost(ends_a.received == 1 && ends_b.sent == 1);
	memset(ends_b.plane, 0, ends_plane);
	memset(ends_a.plane, 7, ends_plane);
	for (unsigned i = 0; i < WINDOWS; i++)
		if (!heard(ends_write(&ends_a, 0, windows[i], 0, windows[i]->length)))
			return false;
	if (!heard(ends_send(&ends_a, 1, 8000, 1)))
		return false;
	unless_lost(ends_b.received == 1 && ends_a.sent == 1);
	ends_is_all(ends_b.plane, LONG + 2 * BLOCK, 7);
	for (unsigned i = 0; i < WINDOWS; i++)
		ends_withdraw(&ends_b, windows[i]);
	unless_lost(ends_b.withdrawn == WINDOWS);
	return true;
}

static void end_both(void)
{
	scene_renew(&ends_a);
	scene_renew(&ends_b);
	(void)kvr_memory_remove(ends_b.memory, extra);
}

/* A failure of these means no more than that there was nothing to hear, or is made up for by another call. */
static bool may_be_survived(const char *call)
{
	return strcmp(call, "rdma_get_cm_event") == 0 || strcmp(call, "ibv_get_cq_event") == 0 ||
	       strcmp(call, "ibv_get_async_event") == 0;
}

static bool fails_in_words(unsigned n)
{
	bool done;

	told.reason = 0;
	told.text[0] = scene_log[0] = '\0';
	ends_open_both();
	scene_renew(&ends_a);
	scene_renew(&ends_b);
	fake.calls = 0;
	fake.failed = NULL;
	fake.fail_at = n;
	done = exchange();
	fake_calm();
	if (done)
		ck_assert_msg(!fake.failed || may_be_survived(fake.failed), "nobody minds: %s", fake.failed);
	else
		ck_assert_msg(scene_says(told.text) || scene_says(ends_a.text) || scene_says(ends_b.text) ||
				      scene_says(scene_log),
			      "nobody tells why: %s; they say: %s; %s; %s; %s", fake.failed, told.text, ends_a.text,
			      ends_b.text, scene_log);
	end_both();
	ck_assert_msg(exchange(), "%s: and what comes next fails: %d %s", fake.failed, told.reason, told.text);
	end_both();
	ends_close();
	ck_assert_msg(!fake.objects, "%s: %u objects are left", fake.failed, fake.objects);
	return fake.failed;
}

static const struct way {
	int error;
	enum fake_style style;
	bool no_windows, wide_windows;
} ways[] = {
	{.error = ENOMEM},
	{.error = EIO, .style = FAKE_NEGATIVE},
	{.error = EAGAIN, .style = FAKE_MINUS_ONE},
	{.error = ENOMEM, .no_windows = true},
	{.error = EPERM, .wide_windows = true},
};
#define WAYS ((int)(sizeof(ways) / sizeof(ways[0])))

START_TEST(every_call_that_fails_is_told_of_and_leaves_nothing)
{
	const struct way *way = &ways[_i];
	unsigned n = 1;

	scene_begin();
	fake.error = way->error;
	fake.style = way->style;
	fake.no_windows = way->no_windows;
	fake.wide_windows = way->wide_windows;
	while (fails_in_words(n))
		n++;
	ck_assert_uint_gt(n, 100);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {NULL};
	const struct unit_loop loops[] = {
		{every_call_that_fails_is_told_of_and_leaves_nothing, WAYS},
		{NULL, 0},
	};

	return unit_run_loops("rdma_verbs", tests, 0, loops);
}
