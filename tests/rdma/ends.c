/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * ends.c: both ends of a link. See ends.h.
 */
#include "config.h"

#include "ends.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "bytes.h"
#include "fault.h"
#include "url.h"

size_t ends_plane = ENDS_PLANE;
struct kvr_loop ends_loop;
struct end ends_a, ends_b;
struct kvr_port *ends_port;
bool ends_port_is_safe = true;
int ends_port_reason;
char ends_port_text[1024];
struct kvr_endpoint ends_at;
struct kvr_link_options ends_options = {
	.gid_index = -1, .traffic_class = -1, .numa_node = -1, .timeout = UINT64_C(20000000000)};

static const char *address;
static const struct kvr_transport *transport;

void ends_expect(int rc, int wanted, const char *call, int line)
{
	if (rc != wanted)
		ck_abort_msg("line %d: %s gives %d, not %d: %s", line, call, rc, wanted, rc ? kvs_fault_text() : "");
}

static uint64_t now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

uint64_t ends_deadline(void)
{
	return now() + ENDS_SOON * 1000000;
}

void ends_poll(uint64_t deadline, const char *what, int line)
{
	uint64_t soon = now() + 1000000;

	(void)kvr_loop_run(&ends_loop, soon);
	if (now() >= deadline)
		ends_run(0, what, line);
}

static void tell(const char *name, const struct end *end)
{
	(void)fprintf(stderr, "%s: up %u, down %u (%d: %s), received %llu, sent %llu, withdrawn %u, room %u\n", name,
		      end->ups, end->downs, end->reason, end->text, (unsigned long long)end->received,
		      (unsigned long long)end->sent, end->withdrawn, end->rooms);
}

void ends_run(uint64_t deadline, const char *what, int line)
{
	(void)kvr_loop_run(&ends_loop, deadline);
	if (now() < deadline)
		return;
	tell("a", &ends_a);
	tell("b", &ends_b);
	ck_abort_msg("line %d: %s does not come about", line, what);
}

/* ---- What ends are told ---- */

static void close_end(struct end *end)
{
	end->closed = true;
	transport->close(end->link);
	end->link = NULL;
}

static void up(void *arg)
{
	struct end *end = arg;

	end->ups++;
}

static void message(void *arg, const uint8_t *bytes, size_t size)
{
	struct end *end = arg;
	uint64_t number = kvr_get64(bytes + KVR_HEADER_SIZE);

	ck_assert(!end->closed && !end->downs);
	ck_assert_uint_ge(size, 16);
	if (size > 16) /* all of it is there */
		ck_assert_uint_eq(bytes[size - 1], (uint8_t)number);
	if (number != end->last + 1)
		end->mixed_up = true;
	end->last = number;
	end->received++;
	if (end->on_message)
		end->on_message(end, number);
	if (end->close_on_message)
		close_end(end);
}

static void room(void *arg)
{
	struct end *end = arg;

	end->rooms++;
}

static void sent(void *arg, uint64_t cookie)
{
	struct end *end = arg;

	ck_assert(!end->closed && !end->downs);
	ck_assert_uint_gt(cookie, end->sent);
	end->sent = cookie;
}

static void withdrawn(void *arg, struct kvr_window *window)
{
	struct end *end = arg;

	ck_assert(!end->closed && !end->downs);
	ck_assert_ptr_eq(window->user, end);
	end->withdrawn++;
}

static void down(void *arg, int reason)
{
	struct end *end = arg;

	ck_assert(!end->closed);
	end->downs++;
	end->reason = reason;
	(void)snprintf(end->text, sizeof(end->text), "%s", kvs_fault_text());
	if (end->close_on_down)
		close_end(end);
}

static const struct kvr_link_user user = {
	.up = up, .message = message, .room = room, .sent = sent, .withdrawn = withdrawn, .down = down};

static bool accept_link(void *arg, struct kvr_link *link, const struct kvr_link_user **link_user, void **link_arg)
{
	struct end *end = arg;

	if (end->link)
		return false;
	end->link = link;
	*link_user = &user;
	*link_arg = end;
	return true;
}

static void failed(void *arg, int reason)
{
	(void)arg;
	if (ends_port_is_safe)
		ck_abort_msg("the port failed: %d: %s", reason, kvs_fault_text());
	ends_port_reason = reason;
	(void)snprintf(ends_port_text, sizeof(ends_port_text), "%s", kvs_fault_text());
}

static const struct kvr_port_user port_user = {.accept = accept_link, .failed = failed};

/* ---- Beginning and end ---- */

static void open_end(struct end *end)
{
	*end = (struct end){.link = NULL};
	end->plane = mmap(NULL, ends_plane, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(end->plane, MAP_FAILED);
	ends_rc(kvr_memory_open(&end->memory), 0);
	ends_rc(kvr_memory_add(end->memory, end->plane, ends_plane, true), 0);
}

static void no_alarm(void *arg)
{
	(void)arg;
}

void ends_use(const char *url)
{
	address = url;
}

struct kvr_endpoint ends_where(void)
{
	struct kvr_endpoint there;

	ends_rc(kvr_url_read(address, &transport, &there), 0);
	return there;
}

void ends_open_both(void)
{
	ends_rc(kvr_loop_open(&ends_loop, no_alarm, NULL), 0);
	open_end(&ends_a);
	open_end(&ends_b);
	ends_rc(kvr_url_read(address, &transport, &ends_at), 0);
}

int ends_listen(void)
{
	return transport->listen(&ends_loop, &ends_at, &ends_options, ends_b.memory, &port_user, &ends_b, &ends_port);
}

void ends_open(void)
{
	ends_open_both();
	ends_rc(ends_listen(), 0);
}

void ends_open_one(struct end *end)
{
	ends_rc(kvr_loop_open(&ends_loop, no_alarm, NULL), 0);
	open_end(end);
	ends_rc(kvr_url_read(address, &transport, &ends_at), 0);
}

void ends_connect(void)
{
	ends_open();
	ends_rc(ends_begin(&ends_a, &ends_at), 0);
	ends_until(ends_a.ups && ends_b.link);
	ck_assert_uint_eq(ends_b.ups, 0);
}

/* All that was told of the first is forgotten. */
static void renew(struct end *end)
{
	*end = (struct end){.memory = end->memory, .plane = end->plane};
}

void ends_again(void)
{
	renew(&ends_a);
	renew(&ends_b);
	ends_rc(ends_begin(&ends_a, &ends_at), 0);
	ends_until(ends_a.ups && ends_b.link);
}

int ends_begin(struct end *end, const struct kvr_endpoint *to)
{
	return transport->connect(&ends_loop, to, &ends_options, end->memory, &user, end, &end->link);
}

void ends_end(struct end *end)
{
	close_end(end);
}

void ends_close(void)
{
	if (ends_a.link)
		close_end(&ends_a);
	if (ends_b.link)
		close_end(&ends_b);
	if (ends_port)
		transport->close_port(ends_port);
	ends_port = NULL;
	kvr_memory_close(ends_a.memory);
	kvr_memory_close(ends_b.memory);
	(void)munmap(ends_a.plane, ends_plane);
	(void)munmap(ends_b.plane, ends_plane);
	kvr_loop_close(&ends_loop);
}

/* ---- Messages, windows, writes ---- */

int ends_send_type(struct end *end, enum kvr_type type, uint64_t number, size_t size, uint64_t cookie)
{
	uint8_t bytes[KVR_MESSAGE_MAX];

	ck_assert(size >= 16 && size <= sizeof(bytes));
	memset(bytes, (uint8_t)number, size);
	kvr_put32(bytes, (uint32_t)size);
	kvr_put16(bytes + 4, type);
	kvr_put16(bytes + 6, 0);
	kvr_put64(bytes + 8, number);
	return transport->send(end->link, bytes, size, cookie);
}

int ends_send(struct end *end, uint64_t number, size_t size, uint64_t cookie)
{
	return ends_send_type(end, KVR_WANT, number, size, cookie);
}

void ends_must_send(struct end *end, uint64_t number)
{
	ends_rc(ends_send(end, number, 64, 0), 0);
}

void ends_tell(struct end *end)
{
	const struct end *other = end == &ends_a ? &ends_b : &ends_a;
	uint64_t number = ++end->told;

	ends_must_send(end, number);
	ends_until(other->downs || other->last == number);
}

struct kvr_window *ends_expose_at(struct end *end, void *at, size_t size)
{
	struct kvr_window *window = NULL;

	ends_rc(transport->expose(end->link, at, size, end, &window), 0);
	return window;
}

struct kvr_window *ends_expose_quietly(struct end *end, size_t offset, size_t size)
{
	return ends_expose_at(end, end->plane + offset, size);
}

int ends_try_to_expose(struct end *end, size_t offset, size_t size)
{
	struct kvr_window *window;

	return transport->expose(end->link, end->plane + offset, size, end, &window);
}

struct kvr_window *ends_expose(struct end *end, size_t offset, size_t size)
{
	struct kvr_window *window = ends_expose_quietly(end, offset, size);

	ends_tell(end);
	return window;
}

void ends_withdraw(struct end *end, struct kvr_window *window)
{
	transport->withdraw(end->link, window);
}

int ends_write_to(struct end *from, size_t offset, uint64_t to, uint32_t rkey, size_t size)
{
	const struct kvr_write write = {.from = from->plane + offset, .to = to, .length = size, .rkey = rkey};

	int rc = transport->write(from->link, &write);

	if (transport->flush)
		transport->flush(from->link);
	return rc;
}

int ends_write(struct end *from, size_t offset, const struct kvr_window *window, size_t at, size_t size)
{
	return ends_write_to(from, offset, window->address + at, window->rkey, size);
}

/* Not by ck_assert(), each of which tells libcheck's other process. */
void ends_is_all(const char *bytes, size_t size, int value)
{
	for (size_t i = 0; i < size; i++)
		if (bytes[i] != (char)value)
			ck_abort_msg("byte %zu is %d, not %d", i, bytes[i], value);
}

struct kvr_link_info ends_info(const struct end *end)
{
	struct kvr_link_info info;

	transport->describe(end->link, &info);
	return info;
}

int ends_main(const char *name, const TTest *const tests[], size_t count, int argc, char **argv)
{
	Suite *suite = suite_create(name);
	TCase *tcase = tcase_create(name);
	SRunner *runner;
	int failures;

	if (argc < 2) {
		(void)fprintf(stderr, "usage: %s URL [TEST...]\n", argv[0]);
		return 2;
	}
	address = argv[1];
	for (size_t i = 0; i < count; i++) {
		bool wanted = argc == 2;

		for (int k = 2; k < argc; k++)
			wanted = wanted || strcmp(argv[k], tests[i]->name) == 0;
		if (wanted)
			tcase_add_test(tcase, tests[i]);
	}
	tcase_set_timeout(tcase, 60);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_VERBOSE);
	failures = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failures ? 1 : 0;
}
