/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * tcp_windows.c: the windows of a link over TCP, by their keys.
 *
 * Guarantees: keys are the numbers 0, 1, 2, ... through a permutation of 32 bits that only this link has (a Feistel
 * network over SipHash, with a random secret): so none comes twice, and who knows some can't tell another. A window's
 * address says nothing of where its memory is.
 */
#include "config.h"

#include "tcp.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "bytes.h"
#include "fault.h"

#define ROUNDS 6
#define BUCKETS 64 /* to begin with */

_Static_assert(sizeof(((struct kvr_tcp_windows *)0)->secret) == crypto_shorthash_KEYBYTES, "the secret of SipHash");
_Static_assert(crypto_shorthash_BYTES == 8, "a hash is a number");

int kvr_tcp_windows_open(struct kvr_tcp_windows *windows)
{
	*windows = (struct kvr_tcp_windows){ .size = BUCKETS };
	if (getrandom(windows->secret, sizeof(windows->secret), 0) != sizeof(windows->secret))
		return kvs_fault(EIO, "the kernel gives no random bytes: %s", strerror(errno));
	windows->buckets = calloc(BUCKETS, sizeof(struct kvr_tcp_window *));
	return windows->buckets ? 0 : kvs_routine(ENOMEM, "no memory for the windows of a connection");
}

void kvr_tcp_windows_close(struct kvr_tcp_windows *windows)
{
	for (uint32_t i = 0; windows->buckets && i < windows->size; i++)
		while (windows->buckets[i]) {
			struct kvr_tcp_window *window = windows->buckets[i];

			windows->buckets[i] = window->next;
			free(window);
		}
	free(windows->buckets);
	windows->buckets = NULL;
	sodium_memzero(windows->secret, sizeof(windows->secret));
}

static uint32_t permuted(const struct kvr_tcp_windows *windows, uint32_t number)
{
	uint16_t left = (uint16_t)(number >> 16), right = (uint16_t)number;

	for (uint8_t i = 0; i < ROUNDS; i++) {
		uint8_t in[3] = { i }, hash[8];
		uint16_t next;

		kvr_put16(in + 1, right);
		(void)crypto_shorthash(hash, in, sizeof(in), windows->secret);
		next = (uint16_t)(left ^ kvr_get16(hash));
		left = right;
		right = next;
	}
	return (uint32_t)left << 16 | right;
}

static struct kvr_tcp_window **bucket(const struct kvr_tcp_windows *windows, uint32_t rkey)
{
	return &windows->buckets[rkey & (windows->size - 1)];
}

/* Without the memory for it chains become longer. */
static void grow(struct kvr_tcp_windows *windows)
{
	struct kvr_tcp_windows larger = *windows;

	larger.size *= 2;
	larger.buckets = calloc(larger.size, sizeof(struct kvr_tcp_window *));
	if (!larger.buckets)
		return;
	for (uint32_t i = 0; i < windows->size; i++)
		while (windows->buckets[i]) {
			struct kvr_tcp_window *window = windows->buckets[i];
			struct kvr_tcp_window **at = bucket(&larger, window->window.rkey);

			windows->buckets[i] = window->next;
			window->next = *at;
			*at = window;
		}
	free(windows->buckets);
	*windows = larger;
}

int kvr_tcp_windows_add(struct kvr_tcp_windows *windows, void *memory, uint64_t length, void *user,
			struct kvr_tcp_window **window)
{
	struct kvr_tcp_window *made, **at;

	if (windows->used > UINT32_MAX)
		return kvs_routine(ENOMEM, "this connection has used up all keys of windows: connect anew");
	made = malloc(sizeof(*made));
	if (!made)
		return kvs_routine(ENOMEM, "no memory for a window");
	if (windows->count >= windows->size)
		grow(windows);
	made->window.rkey = permuted(windows, (uint32_t)windows->used++);
	made->window.address = (uint64_t)made->window.rkey << 32;
	made->window.length = length;
	made->window.user = user;
	made->memory = memory;
	made->gpu = NULL;
	at = bucket(windows, made->window.rkey);
	made->next = *at;
	*at = made;
	windows->count++;
	*window = made;
	return 0;
}

void kvr_tcp_windows_remove(struct kvr_tcp_windows *windows, struct kvr_tcp_window *window)
{
	struct kvr_tcp_window **at = bucket(windows, window->window.rkey);

	while (*at != window)
		at = &(*at)->next;
	*at = window->next;
	windows->count--;
}

int kvr_tcp_windows_find(const struct kvr_tcp_windows *windows, const struct kvr_data *data,
			 struct kvr_tcp_window **window)
{
	struct kvr_tcp_window *at = *bucket(windows, data->rkey);
	uint64_t offset;

	while (at && at->window.rkey != data->rkey)
		at = at->next;
	if (!at)
		return kvs_fault(EACCES, "the other side wrote with key %#x, which is no window's (any more)",
				 data->rkey);
	offset = data->to - at->window.address;
	if (data->to < at->window.address || offset > at->window.length || data->length > at->window.length - offset)
		return kvs_fault(EACCES, "the other side wrote %llu bytes to %#llx, outside of its window",
				 (unsigned long long)data->length, (unsigned long long)data->to);
	*window = at;
	return 0;
}
