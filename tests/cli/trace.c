/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * trace.c: makes traces in Mooncake's format, and tells the hit rate that exact LRU has on one. It shares no code with
 * kvshm-replay: what both say of a trace must agree all the same.
 *
 *     trace make SHAPE SEED	writes a trace to standard output
 *     trace shapes		lists the shapes
 *     trace lru CAPACITY	reads a trace from standard input; prints the number of ids, of hits, and the hit rate
 */
#include "config.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REQUESTS = 2000, LONGEST = 200 };

/* ---- Making ---------------------------------------------------------------------------------------------- */

struct request {
	size_t count;
	uint64_t ids[LONGEST];
};

static uint64_t random_state;
static uint64_t next_id; /* ids below it are in use */

/* xorshift64* */
static uint64_t below(uint64_t limit)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return (random_state * UINT64_C(0x2545f4914f6cdd1d) >> 16) % limit;
}

/* A few of the numbers come often, most of them seldom. */
static uint64_t skewed_below(uint64_t limit)
{
	return below(1 + below(1 + below(limit)));
}

static void append(struct request *request, uint64_t count)
{
	while (count-- && request->count < LONGEST)
		request->ids[request->count++] = next_id++;
}

static void write_request(const struct request *request)
{
	printf("{\"timestamp\": 0, \"input_length\": %zu, \"output_length\": 1, \"hash_ids\": [", 512 * request->count);
	for (size_t i = 0; i < request->count; i++)
		printf("%s%" PRIu64, i ? ", " : "", request->ids[i]);
	printf("]}\n");
}

/* Sessions, any of which may go on next with more blocks than before, or begin anew. */
static void sessions(unsigned open, uint64_t turn, size_t longest)
{
	struct request *all = calloc(open, sizeof(*all));

	for (unsigned n = 0; all && n < REQUESTS; n++) {
		struct request *session = &all[below(open)];

		if (session->count + turn > longest)
			session->count = 0;
		append(session, 1 + below(turn));
		write_request(session);
	}
	free(all);
}

static void make_chats(void)
{
	sessions(300, 12, 80);
}

/* A few that return at once and grow long. */
static void make_agents(void)
{
	sessions(8, 20, LONGEST);
}

/* Shared prefixes, a few of them popular, and an end that nobody asks for again. */
static void make_prompts(void)
{
	enum { PROMPTS = 400 };
	struct request *prompts = calloc(PROMPTS, sizeof(*prompts));

	for (unsigned i = 0; prompts && i < PROMPTS; i++)
		append(&prompts[i], 1 + below(40));
	for (unsigned n = 0; prompts && n < REQUESTS; n++) {
		struct request request = prompts[skewed_below(PROMPTS)];

		append(&request, 1 + below(20));
		write_request(&request);
	}
	free(prompts);
}

/* Popular documents, and from time to time a run of long ones that are read once. */
static void make_scans(void)
{
	enum { DOCUMENTS = 100 };
	struct request *documents = calloc(DOCUMENTS, sizeof(*documents));

	for (unsigned i = 0; documents && i < DOCUMENTS; i++)
		append(&documents[i], 10 + below(30));
	for (unsigned n = 0; documents && n < REQUESTS; n++) {
		struct request once = { 0 };

		if (n % 300 < 40) {
			append(&once, 50 + below(50));
			write_request(&once);
		} else {
			write_request(&documents[skewed_below(DOCUMENTS)]);
		}
	}
	free(documents);
}

/* Documents that come into use and go out of it. */
static void make_shifts(void)
{
	enum { DOCUMENTS = 1200, IN_USE = 60 };
	struct request *documents = calloc(DOCUMENTS, sizeof(*documents));

	for (unsigned i = 0; documents && i < DOCUMENTS; i++)
		append(&documents[i], 1 + below(50));
	for (unsigned n = 0; documents && n < REQUESTS; n++)
		write_request(&documents[(uint64_t)n * (DOCUMENTS - IN_USE) / REQUESTS + below(IN_USE)]);
	free(documents);
}

/* The same documents in the same order, round and round: the worst case of LRU. */
static void make_loop(void)
{
	enum { DOCUMENTS = 100 };
	struct request *documents = calloc(DOCUMENTS, sizeof(*documents));

	for (unsigned i = 0; documents && i < DOCUMENTS; i++)
		append(&documents[i], 1 + below(50));
	for (unsigned n = 0; documents && n < REQUESTS; n++)
		write_request(&documents[n % DOCUMENTS]);
	free(documents);
}

/* Walks from the root of a tree: the id of a node is its number, three children to each. */
static void make_tree(void)
{
	for (unsigned n = 0; n < REQUESTS; n++) {
		struct request request = { 0 };
		uint64_t node = 0, depth = 5 + below(25);

		while (request.count < depth) {
			request.ids[request.count++] = node;
			node = 3 * node + 1 + skewed_below(3);
		}
		write_request(&request);
	}
}

static const struct shape {
	const char *name;
	void (*make)(void);
} shapes[] = {
	{ "chats", make_chats }, { "agents", make_agents }, { "prompts", make_prompts }, { "scans", make_scans },
	{ "shifts", make_shifts }, { "loop", make_loop }, { "tree", make_tree },
};

enum { SHAPES = sizeof(shapes) / sizeof(*shapes) };

static bool make(const char *name, uint64_t seed)
{
	for (size_t i = 0; i < SHAPES; i++) {
		if (strcmp(shapes[i].name, name) != 0)
			continue;
		random_state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
		shapes[i].make();
		return !fflush(stdout);
	}
	return false;
}

/* ---- Exact LRU ------------------------------------------------------------------------------------------- */

/* Entries are linked in a ring by use; the head's next was used last, its previous least recently. */
struct entry {
	struct entry *next, *previous, *chain;
	uint64_t id;
};

struct lru {
	struct entry head;
	struct entry *entries;
	struct entry **buckets;
	size_t capacity, used, bucket_count;
	uint64_t refs, hits;
};

static struct entry **bucket_of(struct lru *lru, uint64_t id)
{
	return &lru->buckets[id * UINT64_C(0x9e3779b97f4a7c15) % lru->bucket_count];
}

static void take_out(struct entry *entry)
{
	entry->previous->next = entry->next;
	entry->next->previous = entry->previous;
}

static void put_first(struct lru *lru, struct entry *entry)
{
	entry->next = lru->head.next;
	entry->previous = &lru->head;
	entry->next->previous = entry;
	lru->head.next = entry;
}

/* An entry for a new id: an unused one, or the least recently used. */
static struct entry *make_entry(struct lru *lru)
{
	struct entry *entry = lru->head.previous;
	struct entry **link;

	if (lru->used < lru->capacity)
		return &lru->entries[lru->used++];
	for (link = bucket_of(lru, entry->id); *link != entry; link = &(*link)->chain)
		;
	*link = entry->chain;
	take_out(entry);
	return entry;
}

static void use(struct lru *lru, uint64_t id)
{
	struct entry *entry = *bucket_of(lru, id);

	while (entry && entry->id != id)
		entry = entry->chain;
	lru->refs++;
	if (entry) {
		lru->hits++;
		take_out(entry);
	} else {
		entry = make_entry(lru);
		entry->id = id;
		entry->chain = *bucket_of(lru, id);
		*bucket_of(lru, id) = entry;
	}
	put_first(lru, entry);
}

/* Uses the ids of a line. False: it has none. */
static bool use_line(struct lru *lru, char *line)
{
	char *ids = strstr(line, "\"hash_ids\"");

	ids = ids ? strchr(ids, '[') : NULL;
	if (!ids)
		return false;
	for (char *end, *next = ids + 1;; next = end + strspn(end, ", ")) {
		uint64_t id = strtoull(next, &end, 10);

		if (end == next)
			return true;
		use(lru, id);
	}
}

static bool print_lru(size_t capacity)
{
	struct lru lru = { .capacity = capacity, .bucket_count = 2 * capacity + 1 };
	size_t room = 0;
	char *line = NULL;
	bool good;

	lru.head.next = lru.head.previous = &lru.head;
	lru.entries = calloc(capacity, sizeof(*lru.entries));
	lru.buckets = calloc(lru.bucket_count, sizeof(struct entry *));
	good = capacity && lru.entries && lru.buckets;
	while (good && getline(&line, &room, stdin) > 0)
		good = use_line(&lru, line);
	if (good && lru.refs)
		printf("%" PRIu64 " %" PRIu64 " %.6f\n", lru.refs, lru.hits, (double)lru.hits / (double)lru.refs);
	free(line);
	free(lru.entries);
	free(lru.buckets);
	return good && lru.refs && !fflush(stdout);
}

int main(int argc, char **argv)
{
	bool good = false;

	if (argc == 4 && !strcmp(argv[1], "make"))
		good = make(argv[2], strtoull(argv[3], NULL, 10));
	else if (argc == 3 && !strcmp(argv[1], "lru"))
		good = print_lru(strtoull(argv[2], NULL, 10));
	else if (argc == 2 && !strcmp(argv[1], "shapes"))
		for (size_t i = 0; i < SHAPES; i++)
			good = puts(shapes[i].name) >= 0;
	if (!good)
		fprintf(stderr, "trace: bad use, or a trace without ids\n");
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
