/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * mutate.c: see mutate.h.
 *
 * A field is where it is, how wide it is, and what kind of word lives there: noise alone hardly ever makes a link to
 * another block, an entry of the right life, or a state that exists.
 */
#include "config.h"

#include "mutate.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "requests.h"
#include "room.h"

const char *const mutate_names[MUTATE_SECTIONS] = {
	[MUTATE_FROZEN] = "frozen head", [MUTATE_GEOMETRY] = "geometry", [MUTATE_STATE] = "state",
	[MUTATE_HEAD] = "words of the head", [MUTATE_CLIENTS] = "client slots", [MUTATE_READERS] = "reader slots",
	[MUTATE_COUNTERS] = "counters", [MUTATE_LINE] = "words of the line", [MUTATE_REQUESTS] = "requests",
	[MUTATE_IDS] = "ids of requests", [MUTATE_PLACES] = "places", [MUTATE_HINTS] = "hints",
	[MUTATE_PEERS] = "peers",
	[MUTATE_BUCKETS] = "buckets", [MUTATE_BLOCKS] = "blocks", [MUTATE_KEYS] = "keys", [MUTATE_INFOS] = "infos",
	[MUTATE_ROWS] = "rows", [MUTATE_NOTES] = "notes of pins", [MUTATE_ANYWHERE] = "anywhere",
};

/* How often each is chosen, and how often (of 100) it is taken back. Where one wrong byte ends all work at once, it is
 * rarely damaged, and always taken back. */
static const struct {
	unsigned weight, back;
} sections[MUTATE_SECTIONS] = {
	[MUTATE_FROZEN] = { 1, 95 },   [MUTATE_GEOMETRY] = { 2, 95 },  [MUTATE_STATE] = { 1, 100 },
	[MUTATE_HEAD] = { 24, 75 },    [MUTATE_CLIENTS] = { 16, 80 },  [MUTATE_READERS] = { 16, 85 },
	[MUTATE_COUNTERS] = { 3, 0 },  [MUTATE_LINE] = { 12, 50 },     [MUTATE_REQUESTS] = { 36, 75 },
	[MUTATE_IDS] = { 10, 50 },     [MUTATE_PLACES] = { 24, 75 },   [MUTATE_HINTS] = { 8, 50 },
	[MUTATE_PEERS] = { 8, 50 },
	[MUTATE_BUCKETS] = { 24, 85 }, [MUTATE_BLOCKS] = { 56, 75 },   [MUTATE_KEYS] = { 8, 50 },
	[MUTATE_INFOS] = { 16, 75 },   [MUTATE_ROWS] = { 28, 75 },     [MUTATE_NOTES] = { 4, 50 },
	[MUTATE_ANYWHERE] = { 12, 75 },
};

enum kind { PLAIN, WORD, LIFE, LINK, LENGTH, ENTRY, SLOT, OWNER, REQUEST, PLACE, TIME };

struct field {
	uint64_t at;
	unsigned width;
	enum kind kind;
	uint64_t first, stride, count; /* where there are several of it: the first one, and how far apart they are */
};

#define FIELD(type, member, kind) { offsetof(struct type, member), sizeof(((struct type *)0)->member), kind, 0, 0, 0 }

static unsigned below(struct mutator *m, uint64_t limit)
{
	return (unsigned)(base_random(&m->random) % limit);
}

static uint64_t load(const struct mutator *m, uint64_t at, unsigned width)
{
	const void *where = m->base + at;

	switch (width) {
	case 1:
		return atomic_load_explicit((const _Atomic uint8_t *)where, memory_order_relaxed);
	case 2:
		return atomic_load_explicit((const _Atomic uint16_t *)where, memory_order_relaxed);
	case 4:
		return atomic_load_explicit((const _Atomic uint32_t *)where, memory_order_relaxed);
	default:
		return atomic_load_explicit((const _Atomic uint64_t *)where, memory_order_relaxed);
	}
}

/* ---- Where ------------------------------------------------------------------------------------------------ */

static struct field one_of(struct mutator *m, uint64_t section, size_t size, uint64_t count, const struct field *fields,
			   unsigned n)
{
	struct field field = fields[below(m, n)];

	field.first = section + field.at;
	field.at = field.first + below(m, count) * size;
	field.stride = size;
	field.count = count;
	return field;
}

/* Words of an array that is nothing else. */
static struct field in_array(struct mutator *m, uint64_t at, unsigned width, uint64_t count, enum kind kind)
{
	const struct field field = { 0, width, kind, 0, 0, 0 };

	return one_of(m, at, width, count, &field, 1);
}

static struct field in_head(struct mutator *m)
{
	static const struct field fields[] = {
		FIELD(kvs_head, readers_top, PLAIN), FIELD(kvs_head, epoch, PLAIN), FIELD(kvs_head, floor, LIFE),
		FIELD(kvs_head, generation, PLAIN), FIELD(kvs_head, owner_pid, PLAIN),
		FIELD(kvs_head, free_hand, PLAIN), FIELD(kvs_head, evict_hand, PLAIN), FIELD(kvs_head, ticks, PLAIN),
		FIELD(kvs_head, idle, PLAIN), FIELD(kvs_head, pressure, PLAIN),
	};

	return fields[below(m, sizeof(fields) / sizeof(fields[0]))];
}

static struct field in_clients(struct mutator *m)
{
	static const struct field fields[] = {
		FIELD(kvs_client, word, SLOT), FIELD(kvs_client, word, SLOT), FIELD(kvs_client, pid, PLAIN),
		FIELD(kvs_client, attached, PLAIN), FIELD(kvs_client, listens, PLAIN),
		FIELD(kvs_client, dma, PLAIN), FIELD(kvs_client, started, PLAIN), FIELD(kvs_client, home, PLAIN),
		{ offsetof(struct kvs_client, name), 8, PLAIN, 0, 0, 0 },
		{ offsetof(struct kvs_client, name) + KVS_CLIENT_NAME_SIZE - 8, 8, PLAIN, 0, 0, 0 },
	};

	return one_of(m, m->g.clients_at, sizeof(struct kvs_client), m->g.clients, fields,
		      sizeof(fields) / sizeof(fields[0]));
}

static struct field in_readers(struct mutator *m)
{
	static const struct field fields[] = { FIELD(kvs_reader, epoch, PLAIN), FIELD(kvs_reader, owner, OWNER) };
	uint32_t some = m->g.readers < 32 ? m->g.readers : 32; /* the first ones are those in use */

	return one_of(m, m->g.readers_at, sizeof(struct kvs_reader), some, fields,
		      m->counters ? sizeof(fields) / sizeof(fields[0]) : 1);
}

static struct field in_counters(struct mutator *m)
{
	static const struct field fields[] = { FIELD(kvs_reader, counters[0], PLAIN) };
	struct field field = one_of(m, m->g.readers_at, sizeof(struct kvs_reader), m->g.readers, fields, 1);
	uint64_t cells = (sizeof(struct kvs_reader) - offsetof(struct kvs_reader, counters)) / sizeof(uint64_t);

	field.at += below(m, cells) * sizeof(uint64_t);
	return field;
}

static struct field in_line(struct mutator *m)
{
	static const struct field fields[] = {
		FIELD(kvs_head, line, PLAIN), FIELD(kvs_head, line_next, PLAIN), FIELD(kvs_head, room_bell, PLAIN),
		FIELD(kvs_head, listening, PLAIN), FIELD(kvs_head, request_hand, PLAIN),
		FIELD(kvs_head, pins_overdue, PLAIN),
	};

	return fields[below(m, sizeof(fields) / sizeof(fields[0]))];
}

/* A request slot: mostly one that is in use, of which there may be few. */
static uint32_t some_request(struct mutator *m)
{
	uint32_t slot = below(m, m->g.requests);

	for (uint32_t i = 0; i < m->g.requests && below(m, 4096); i++) {
		uint32_t at = (slot + i) % m->g.requests;

		if (kvs_request_live(load(m, m->g.requests_at + at * sizeof(struct kvs_request), 8)))
			return at;
	}
	return slot;
}

static struct field in_requests(struct mutator *m)
{
	static const struct field fields[] = {
		FIELD(kvs_request, word, REQUEST), FIELD(kvs_request, word, REQUEST),
		FIELD(kvs_request, word, REQUEST), FIELD(kvs_request, word, REQUEST),
		FIELD(kvs_request, deadline, TIME), FIELD(kvs_request, wanted, PLAIN),
		FIELD(kvs_request, attempt, PLAIN), FIELD(kvs_request, expected, PLAIN),
		FIELD(kvs_request, held, PLAIN), FIELD(kvs_request, fills, PLAIN), FIELD(kvs_request, room, PLAIN),
		FIELD(kvs_request, claims, PLAIN), FIELD(kvs_request, bell, PLAIN), FIELD(kvs_request, opened, TIME),
		FIELD(kvs_request, completed, TIME), FIELD(kvs_request, held_since, TIME),
	};
	struct field field = one_of(m, m->g.requests_at, sizeof(struct kvs_request), m->g.requests, fields,
				    sizeof(fields) / sizeof(fields[0]));

	field.at = field.first + some_request(m) * field.stride;
	return field;
}

static struct field in_ids(struct mutator *m)
{
	static const struct field fields[] = {
		FIELD(kvs_request, id_length, PLAIN), FIELD(kvs_request, id[0], PLAIN),
		FIELD(kvs_request, id[KVS_REQUEST_ID_WORDS - 1], PLAIN),
	};
	static const struct field hash = { 0, 8, PLAIN, 0, 0, 0 };
	bool hashes = below(m, 2);
	struct field field = one_of(m, hashes ? m->g.ids_at : m->g.requests_at,
				    hashes ? sizeof(uint64_t) : sizeof(struct kvs_request), m->g.requests,
				    hashes ? &hash : fields, hashes ? 1 : sizeof(fields) / sizeof(fields[0]));

	field.at = field.first + some_request(m) * field.stride;
	return field;
}

static struct field in_places(struct mutator *m)
{
	struct field field = in_array(m, m->g.places_at, sizeof(uint64_t), m->g.requests, PLACE);

	field.at = field.first + some_request(m) * field.stride;
	return field;
}

static struct field in_blocks(struct mutator *m)
{
	static const struct field fields[] = {
		FIELD(kvs_block, word, WORD), FIELD(kvs_block, word, WORD), FIELD(kvs_block, word, WORD),
		FIELD(kvs_block, life, LIFE), FIELD(kvs_block, holders, PLAIN), FIELD(kvs_block, next, LINK),
		FIELD(kvs_block, next, LINK), FIELD(kvs_block, key_length, LENGTH), FIELD(kvs_block, stamp, PLAIN),
	};

	return one_of(m, m->g.blocks_at, sizeof(struct kvs_block), m->g.blocks, fields,
		      sizeof(fields) / sizeof(fields[0]));
}

/* The head of a key, or its tail. */
static struct field in_keys(struct mutator *m)
{
	static const struct field head = { offsetof(struct kvs_block, key), 1, PLAIN, 0, 0, 0 };
	static const struct field tail = { 0, 1, PLAIN, 0, 0, 0 };
	bool in_tail = m->g.tail && below(m, 2);
	uint64_t size = in_tail ? m->g.tail : sizeof(struct kvs_block);
	struct field field = one_of(m, in_tail ? m->g.tails_at : m->g.blocks_at, size, m->g.blocks,
				    in_tail ? &tail : &head, 1);

	field.at += below(m, in_tail ? m->g.tail : KVS_KEY_HEAD);
	return field;
}

static struct field in_infos(struct mutator *m)
{
	static const struct field fields[] = {
		FIELD(kvs_block_info, length, PLAIN), FIELD(kvs_block_info, depth, PLAIN),
		FIELD(kvs_block_info, claimed, PLAIN), FIELD(kvs_block_info, written, PLAIN),
		FIELD(kvs_block_info, written, PLAIN), FIELD(kvs_block_info, since, PLAIN),
		{ offsetof(struct kvs_block_info, opaque), 8, PLAIN, 0, 0, 0 },
	};

	return one_of(m, m->g.infos_at, sizeof(struct kvs_block_info), m->g.blocks, fields,
		      sizeof(fields) / sizeof(fields[0]));
}

/* Of a client's row: its entries, or the notes behind them. */
static struct field in_rows(struct mutator *m, bool notes)
{
	uint64_t row = m->g.rows_at + below(m, m->g.clients) * m->g.row_size;

	return in_array(m, notes ? row + m->g.blocks * sizeof(uint64_t) : row, sizeof(uint64_t), m->g.blocks,
			notes ? TIME : ENTRY);
}

/* Any bytes; of the rows, which are most of the segment, no more than of the rest. */
static struct field anywhere(struct mutator *m)
{
	static const unsigned widths[] = { 1, 2, 4, 8 };
	struct field field = { 0, widths[below(m, 4)], PLAIN, 0, 0, 0 };

	do
		field.at = below(m, 2) ? below(m, m->g.rows_at) : below(m, m->g.size);
	while ((!m->counters && field.at + 8 > m->g.readers_at && field.at < m->g.requests_at) ||
	       (field.at + 8 > offsetof(struct kvs_head, state) && field.at < offsetof(struct kvs_head, readers_top)));
	field.at &= ~(uint64_t)(field.width - 1);
	return field;
}

static struct field choose(struct mutator *m, enum mutate_section section)
{
	static const struct field state = FIELD(kvs_head, state, PLAIN);

	switch (section) {
	case MUTATE_FROZEN:
		return in_array(m, 0, 4, KVS_FROZEN / 4, PLAIN);
	case MUTATE_GEOMETRY:
		return in_array(m, KVS_FROZEN, 4, (offsetof(struct kvs_head, state) - KVS_FROZEN) / 4, PLAIN);
	case MUTATE_STATE:
		return state;
	case MUTATE_HEAD:
		return in_head(m);
	case MUTATE_CLIENTS:
		return in_clients(m);
	case MUTATE_READERS:
		return in_readers(m);
	case MUTATE_COUNTERS:
		return in_counters(m);
	case MUTATE_LINE:
		return in_line(m);
	case MUTATE_REQUESTS:
		return in_requests(m);
	case MUTATE_IDS:
		return in_ids(m);
	case MUTATE_PLACES:
		return in_places(m);
	case MUTATE_PEERS:
		return in_array(m, m->g.peers_at, 8, KVS_PEERS * sizeof(struct kvs_peer) / 8, PLAIN);
	case MUTATE_HINTS:
		return in_array(m, m->g.hints_at, 8, (m->g.blocks + UINT64_C(63)) / 64, PLAIN);
	case MUTATE_BUCKETS:
		return in_array(m, m->g.buckets_at, 4, m->g.buckets, LINK);
	case MUTATE_BLOCKS:
		return in_blocks(m);
	case MUTATE_KEYS:
		return in_keys(m);
	case MUTATE_INFOS:
		return in_infos(m);
	case MUTATE_ROWS:
		return in_rows(m, false);
	case MUTATE_NOTES:
		return in_rows(m, true);
	default:
		return anywhere(m);
	}
}

/* ---- What ------------------------------------------------------------------------------------------------- */

static void store(struct mutator *m, uint64_t at, unsigned width, uint64_t value)
{
	void *where = m->base + at;

	switch (width) {
	case 1:
		atomic_store_explicit((_Atomic uint8_t *)where, (uint8_t)value, memory_order_relaxed);
		break;
	case 2:
		atomic_store_explicit((_Atomic uint16_t *)where, (uint16_t)value, memory_order_relaxed);
		break;
	case 4:
		atomic_store_explicit((_Atomic uint32_t *)where, (uint32_t)value, memory_order_relaxed);
		break;
	default:
		atomic_store_explicit((_Atomic uint64_t *)where, value, memory_order_relaxed);
	}
}

/* Numbers at the edge of what there is. */
static uint64_t edge(struct mutator *m)
{
	const uint64_t near[] = { m->g.blocks, m->g.buckets, m->g.clients, m->g.readers, m->g.planes, m->g.key_max,
				  m->g.tail, m->g.block_size, m->g.size, m->g.row_size, m->g.requests,
				  UINT64_C(1) << below(m, 64), KVS_NONE, UINT64_MAX };

	return near[below(m, sizeof(near) / sizeof(near[0]))] + below(m, 3) - 1;
}

static uint64_t life_of(struct mutator *m, uint64_t block)
{
	return load(m, m->g.blocks_at + block * sizeof(struct kvs_block) + offsetof(struct kvs_block, life), 8);
}

/* A block's owner; also one that there is not. Of blocks in ROOM it is a place. */
static uint64_t owner(struct mutator *m)
{
	uint32_t count = below(m, 2) ? m->g.clients : m->g.requests;

	return below(m, 2) ? below(m, count + (below(m, 2) ? 2U : 64U)) : base_random(&m->random);
}

/* A request's word: another state, owner, number; the number stays near, so that somebody takes it for theirs. */
static uint64_t request_word(struct mutator *m, uint64_t before)
{
	unsigned states = below(m, 4) ? KVS_REQUEST_STATES : 16;
	uint64_t word = kvs_request_next(before, (enum kvs_request_state)below(m, states));

	if (below(m, 4) == 0)
		word = (word & ((UINT64_C(1) << KVS_OWNER_SHIFT) - 1)) |
		       (uint64_t)below(m, m->g.clients + 2) << KVS_OWNER_SHIFT;
	if (below(m, 4) == 0)
		word += (below(m, 3) - UINT64_C(1)) << KVS_REQUEST_NUMBER_SHIFT;
	return below(m, 8) ? word : word ^ KVS_REQUEST_COMPLETED;
}

static uint64_t place_word(struct mutator *m, uint64_t before)
{
	uint64_t number = below(m, 4) ? before / KVS_PLACE_ONE + below(m, 5) - 2 : below(m, 64);

	return number * KVS_PLACE_ONE | below(m, below(m, 4) ? KVS_PLACE_EXPIRED + 1 : 8);
}

/* What makes most sense there without being true. */
static uint64_t forge(struct mutator *m, const struct field *field, uint64_t before)
{
	uint64_t some = below(m, 16);

	switch (field->kind) {
	case WORD: /* also a fill, say, of a client that there is not */
		return kvs_word_next(below(m, 4) ? before : base_random(&m->random),
				     below(m, 2) ? kvs_word_state(before) : (enum kvs_state)some,
				     owner(m));
	case LIFE:
		return below(m, 2) ? before + some - 8 : before + (some - 8) * KVS_CLEARS_ONE;
	case LINK:
		return kvs_link_to(below(m, m->g.blocks + 2)) | (below(m, 4) == 0);
	case LENGTH:
		return below(m, m->g.key_max + 2);
	case ENTRY:
		return life_of(m, below(m, 8) ? (field->at - m->g.rows_at) % m->g.row_size / 8
					      : below(m, m->g.blocks)) << 32 |
		       below(m, 3) << 16 | below(m, 3) << 4 | below(m, 3);
	case SLOT:
		return below(m, 5);
	case REQUEST:
		return request_word(m, before);
	case PLACE:
		return place_word(m, before);
	case TIME: /* from a while ago to some while hence, and for ever */
		return below(m, 8) ? base_now() + below(m, 100000000) - 50000000 : UINT64_MAX;
	case OWNER:
		return below(m, m->g.clients + 2) | (below(m, 2) ? KVS_READER_RECOVERER : 0);
	default:
		return before + some - 8;
	}
}

static uint64_t invent(struct mutator *m, const struct field *field, uint64_t before)
{
	switch (below(m, 8)) {
	case 0:
		return before ^ UINT64_C(1) << below(m, field->width * UINT64_C(8));
	case 1:
		return base_random(&m->random);
	case 2:
		return below(m, 2) ? 0 : UINT64_MAX;
	case 3:
		return edge(m);
	case 4:
		if (!field->count)
			return edge(m);
		return load(m, field->first + below(m, field->count) * field->stride, field->width);
	default:
		return forge(m, field, before);
	}
}

/* ---- Doing, and undoing ----------------------------------------------------------------------------------- */

/* From exactly what the mutation made of it: what was written there since stays. */
static void take_back(struct mutator *m, const struct mutate_undo *undo)
{
	if (load(m, undo->at, undo->width) != undo->after)
		return;
	store(m, undo->at, undo->width, undo->before);
	m->undone++;
}

static void take_back_due(struct mutator *m, uint64_t due)
{
	unsigned left = 0;

	for (unsigned i = 0; i < m->waiting; i++)
		if (m->undo[i].due <= due)
			take_back(m, &m->undo[i]);
		else
			m->undo[left++] = m->undo[i];
	m->waiting = left;
}

static enum mutate_section choose_section(struct mutator *m)
{
	unsigned all = 0, at, i = 0;

	for (unsigned s = 0; s < MUTATE_SECTIONS; s++)
		all += sections[s].weight;
	at = below(m, all);
	while (at >= sections[i].weight)
		at -= sections[i++].weight;
	return (enum mutate_section)i;
}

void mutate(struct mutator *m)
{
	enum mutate_section section = choose_section(m);
	struct mutate_undo undo = { .due = m->count + 1 + below(m, 40) };
	struct field field;

	if (section == MUTATE_COUNTERS && !m->counters)
		section = MUTATE_ANYWHERE;
	field = choose(m, section);
	undo.at = field.at;
	undo.width = field.width;
	undo.before = load(m, field.at, field.width);
	store(m, field.at, field.width, invent(m, &field, undo.before));
	undo.after = load(m, field.at, field.width);
	m->count++;
	m->by_section[section]++;
	if ((below(m, 100) < sections[section].back || below(m, 100) >= m->lasting) && m->waiting < MUTATE_UNDONE)
		m->undo[m->waiting++] = undo;
	take_back_due(m, m->count);
}

void mutate_fixed(struct mutator *m, unsigned mutations)
{
	while (mutations--) {
		struct field field = choose(m, MUTATE_GEOMETRY);

		store(m, field.at, field.width, invent(m, &field, load(m, field.at, field.width)));
		m->count++;
		m->by_section[MUTATE_GEOMETRY]++;
	}
}

void mutate_mend_head(struct mutator *m)
{
	take_back_due(m, UINT64_MAX);
	memcpy(m->base, &m->head, offsetof(struct kvs_head, state));
	store(m, offsetof(struct kvs_head, state), 4, atomic_load(&m->head.state));
}

uint64_t mutate_counted(const struct mutator *m, enum kvs_counter counter)
{
	const struct kvs_reader *readers = (const void *)(m->base + m->g.readers_at);
	uint64_t sum = 0;

	for (uint32_t i = 0; i < m->g.readers; i++)
		sum += atomic_load_explicit(&readers[i].counters[counter], memory_order_relaxed);
	return sum;
}

void mutate_open(struct mutator *m, const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	void *at = MAP_FAILED;

	m->waiting = 0;
	if (fd < 0 || pread(fd, &m->head, sizeof(m->head), 0) != (ssize_t)sizeof(m->head))
		base_fail("cannot read %s: %s", path, strerror(errno));
	m->g = m->head.geometry;
	at = mmap(NULL, m->g.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		base_fail("cannot map %s: %s", path, strerror(errno));
	(void)close(fd);
	m->base = at;
}

void mutate_close(struct mutator *m)
{
	(void)munmap(m->base, m->g.size);
}
