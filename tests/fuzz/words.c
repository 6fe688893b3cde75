/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * words: how libFuzzer changes a command line: by words. One is left out, doubled, put in, given another argument, or
 * changed in its bytes; the others stay as they are, so that what was right about the line stays right. (What changes
 * bytes anywhere is refused for the first wrong word, nearly always.) Only for builds with libFuzzer.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "target.h"

enum { WORD_ROOM = 64 };

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);

/* Arguments, at the edges of what options take. */
static const char *const arguments[] = {
	"", "0", "1", "2", "8", "32", "33", "256", "257", "511", "512", "777", "1000", "0777", "1023", "1024", "1025",
	"4096", "4097", "4294967295", "4294967296", "18446744073709551615", "18446744073709551616", "1K", "64M", "1T",
	"18014398509481984K", "0.001", "0.0009", "86400", "86400.1", "keep", "drop", "host", "cuda:0",
	"cuda:0,cuda:1", "fd", "ipc", "trace", "-", "--", "pid",
	"store,pid", "name,", "nothing",
};

/* The word at a place in the line: from *begin to *end. */
static void find_word(const uint8_t *data, size_t size, size_t at, size_t *begin, size_t *end)
{
	for (*begin = at; *begin && data[*begin - 1] != '\n'; --*begin)
		;
	for (*end = at; *end < size && data[*end] != '\n'; ++*end)
		;
}

/* Puts length bytes where from to to are now. The size, which is as before if there is no room. */
static size_t put(uint8_t *data, size_t size, size_t most, size_t from, size_t to, const void *bytes, size_t length)
{
	if (size - (to - from) + length > most)
		return size;
	memmove(data + from + length, data + to, size - to);
	memcpy(data + from, bytes, length);
	return size - (to - from) + length;
}

/* Where a word's argument begins: behind '=', or the letter of an option; else it is all argument. */
static size_t find_argument(const uint8_t *data, size_t begin, size_t end)
{
	const uint8_t *equals = memchr(data + begin, '=', end - begin);

	if (equals)
		return (size_t)(equals - data) + 1;
	return begin < end && data[begin] >= 'A' && data[begin] <= 'Z' ? begin + 1 : begin;
}

static size_t mutate_bytes(uint8_t *data, size_t size, size_t most, size_t begin, size_t end)
{
	size_t room = end - begin + WORD_ROOM, length = end - begin;
	uint8_t *word = malloc(room);

	target_must(word);
	memcpy(word, data + begin, length);
	length = LLVMFuzzerMutate(word, length, room);
	size = put(data, size, most, begin, end, word, length);
	free(word);
	return size;
}

/* The word once more, as a line of its own or behind a comma. */
static size_t double_word(uint8_t *data, size_t size, size_t most, size_t begin, size_t end, char between)
{
	size_t from = between == ',' ? find_argument(data, begin, end) : begin, length = end - from;
	char *copy = malloc(length + 1);

	target_must(copy);
	*copy = between;
	memcpy(copy + 1, data + from, length);
	size = put(data, size, most, end, end, copy, length + 1);
	free(copy);
	return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
	const char *argument = arguments[(seed >> 8) % (sizeof(arguments) / sizeof(arguments[0]))];
	char option[WORD_ROOM];
	size_t begin, end;

	find_word(data, size, size ? (seed >> 14) % size : 0, &begin, &end);
	switch (seed % 8) {
	case 0:
		return LLVMFuzzerMutate(data, size, most);
	case 1:
		return put(data, size, most, begin, end + (end < size), "", 0);
	case 2:
		return double_word(data, size, most, begin, end, '\n');
	case 3:
		return double_word(data, size, most, begin, end, ',');
	case 4:
	case 5:
		(void)snprintf(option, sizeof(option), "\n%c%s", 'A' + (int)((seed >> 3) % 26), argument);
		return put(data, size, most, end, end, option, strlen(option));
	case 6:
		return put(data, size, most, find_argument(data, begin, end), end, argument, strlen(argument));
	default:
		return mutate_bytes(data, size, most, find_argument(data, begin, end), end);
	}
}
