/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * streams.c: calls on streams, the contexts that these are in, and what is waited for in the end. See streams.h.
 *
 * What the driver is given is no address, but a number that stands for a call: a stream may come to its call when the
 * call is none any more (its context had failed, and the store was detached), and then finds nothing. The table of
 * these numbers is the process's, since nothing of an attachment may be looked at before it is known to be there.
 *
 * Locks: the table's is taken by threads of the driver's, so that nothing of the driver's is called under it, nor
 * anything that waits. Under an attachment's, contexts are found and added, and no more.
 */
#include "config.h"

#include "streams.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "copies.h"
#include "fault.h"

/* Streams that are the current context's: CUDA's legacy default stream is 0, too. */
#define STREAM_LEGACY 1
#define STREAM_OF_THREAD 2

/* ns: how long what is on streams is left alone before it is looked at again, at first and at last. */
#define LOOK_FIRST 100000L
#define LOOK_LAST 10000000L

/* A context that something was put on streams of. */
struct place {
	struct place *next;
	kvg_context context;
	kvg_device device;
	struct kvg_copies copies;
};

struct kvg_streams {
	pthread_mutex_t lock;
	struct place *places;
};

/* ---- Calls that are on streams ------------------------------------------------------------------------------- */

struct record {
	const struct kvg_streams *streams; /* whose it is; NULL: free */
	kvg_context context;
	struct kvg_call call;
	uint32_t turn; /* how often it was freed: so a number is never given twice */
	uint32_t next; /* of those that are free: its number + 1 */
	bool running;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t ended; /* a call has */
	struct record *records;
	uint32_t size, free;
} table = {.lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER};

_Static_assert(sizeof(void *) == 8, "a call's number and its turn fit in a pointer");

/* Locked: twice as many records. */
static int grow(void)
{
	uint32_t size = table.size ? table.size * 2 : 64;
	struct record *records = realloc(table.records, size * sizeof(*records));

	if (!records)
		return kvs_fault(ENOMEM, "no memory for another call on a stream");
	for (uint32_t i = table.size; i < size; i++)
		records[i] = (struct record){.next = i + 1 < size ? i + 2 : 0};
	table.free = table.size + 1;
	table.records = records;
	table.size = size;
	return 0;
}

static int add_record(const struct kvg_streams *streams, kvg_context context, const struct kvg_call *call,
		      void **number)
{
	int rc = 0;

	(void)pthread_mutex_lock(&table.lock);
	if (!table.free)
		rc = grow();
	if (rc == 0) {
		struct record *record = &table.records[table.free - 1];

		*number = (void *)((uintptr_t)record->turn << 32 | table.free); // NOLINT(performance-no-int-to-ptr)
		table.free = record->next;
		record->streams = streams;
		record->context = context;
		record->call = *call;
	}
	(void)pthread_mutex_unlock(&table.lock);
	return rc;
}

/* Locked. */
static void free_record(struct record *record)
{
	record->streams = NULL;
	record->running = false;
	record->turn++;
	record->next = table.free;
	table.free = (uint32_t)(record - table.records) + 1;
}

/* Locked: NULL: it was ended without. */
static struct record *find_record(void *number)
{
	uint32_t at = (uint32_t)(uintptr_t)number, turn = (uint32_t)((uintptr_t)number >> 32);
	struct record *record = at && at <= table.size ? &table.records[at - 1] : NULL;

	return record && record->streams && record->turn == turn ? record : NULL;
}

/* It could not be put on the stream. */
static void drop_record(void *number)
{
	struct record *record;

	(void)pthread_mutex_lock(&table.lock);
	record = find_record(number);
	if (record)
		free_record(record);
	(void)pthread_mutex_unlock(&table.lock);
}

/* The stream has got there: in a thread of the driver's. */
static void arrive(void *number)
{
	struct kvg_call call = {0};
	struct record *record;

	(void)pthread_mutex_lock(&table.lock);
	record = find_record(number);
	if (record) {
		call = record->call;
		record->running = true;
	}
	(void)pthread_mutex_unlock(&table.lock);
	if (!call.done)
		return;
	call.done(call.arg);
	(void)pthread_mutex_lock(&table.lock);
	record = find_record(number); /* the table may have grown */
	if (record)
		free_record(record);
	(void)pthread_cond_broadcast(&table.ended);
	(void)pthread_mutex_unlock(&table.lock);
}

/* Locked: how many calls of these streams are on those of a context (NULL: any). */
static unsigned count_records(const struct kvg_streams *streams, kvg_context context)
{
	unsigned count = 0;

	for (uint32_t i = 0; i < table.size; i++)
		count += table.records[i].streams == streams && (!context || table.records[i].context == context);
	return count;
}

static bool has_calls(const struct kvg_streams *streams, kvg_context context)
{
	unsigned count;

	(void)pthread_mutex_lock(&table.lock);
	count = count_records(streams, context);
	(void)pthread_mutex_unlock(&table.lock);
	return count;
}

/* All that has not taken effect never will: returns how many calls these were. One that is at it is waited for. */
static unsigned lose_records(const struct kvg_streams *streams)
{
	unsigned lost = 0;

	(void)pthread_mutex_lock(&table.lock);
	for (uint32_t i = 0; i < table.size; i++) {
		struct kvg_call call = table.records[i].call;

		while (table.records[i].streams == streams && table.records[i].running)
			(void)pthread_cond_wait(&table.ended, &table.lock);
		if (table.records[i].streams != streams)
			continue;
		free_record(&table.records[i]);
		call.lost(call.arg);
		lost++;
	}
	(void)pthread_mutex_unlock(&table.lock);
	return lost;
}

/* ---- Contexts ------------------------------------------------------------------------------------------------ */

static struct kvg_streams *new_streams(void)
{
	struct kvg_streams *streams = calloc(1, sizeof(*streams));

	if (streams)
		(void)pthread_mutex_init(&streams->lock, NULL);
	return streams;
}

static int get_streams(struct kvg_attached *attached, struct kvg_streams **streams)
{
	(void)pthread_mutex_lock(&attached->lock);
	if (!attached->streams)
		attached->streams = new_streams();
	*streams = attached->streams;
	(void)pthread_mutex_unlock(&attached->lock);
	return *streams ? 0 : kvs_fault(ENOMEM, "no memory");
}

static int new_place(const struct kvg_driver *driver, kvg_context context, struct place **place)
{
	struct place *made = calloc(1, sizeof(*made));
	kvg_result result;

	if (!made)
		return kvs_fault(ENOMEM, "no memory");
	result = driver->context_device(&made->device);
	if (result != KVG_SUCCESS) {
		free(made);
		return kvg_fault(driver, result, "find out which GPU a stream is on");
	}
	made->context = context;
	(void)pthread_mutex_init(&made->copies.lock, NULL);
	*place = made;
	return 0;
}

/* Locked. */
static struct place *look_up(const struct kvg_streams *streams, kvg_context context)
{
	struct place *place = streams->places;

	while (place && place->context != context)
		place = place->next;
	return place;
}

/* The current context, which is this one. */
static int find_place(const struct kvg_driver *driver, struct kvg_streams *streams, kvg_context context,
		      struct place **place)
{
	struct place *made = NULL, *found;
	int rc;

	(void)pthread_mutex_lock(&streams->lock);
	found = look_up(streams, context);
	(void)pthread_mutex_unlock(&streams->lock);
	if (!found) {
		rc = new_place(driver, context, &made);
		if (!made)
			return rc;
		(void)pthread_mutex_lock(&streams->lock);
		found = look_up(streams, context); /* another thread may have been first */
		if (!found) {
			made->next = streams->places;
			streams->places = found = made;
			made = NULL;
		}
		(void)pthread_mutex_unlock(&streams->lock);
	}
	free(made);
	*place = found;
	return 0;
}

/* A call with a stream, in whose context it is. */
struct visit {
	const struct kvg_driver *driver;
	struct kvg_streams *streams;
	struct place *place;
	bool pushed;
};

static bool is_of_current(kvg_stream stream)
{
	return (uintptr_t)stream <= STREAM_OF_THREAD;
}

/* Which context a stream is of. */
static int find_context(struct kvg_attached *attached, const struct kvg_driver *driver, uint32_t plane,
			kvg_stream stream, kvg_context current, kvg_context *context)
{
	kvg_result result;

	if (is_of_current(stream)) {
		*context = current;
		return current ? 0 : kvg_attached_context(attached, plane, &driver, context);
	}
	result = driver->stream_context(stream, context);
	return result == KVG_SUCCESS ? 0 : kvg_fault(driver, result, "find the context of the stream");
}

static int check_capture(const struct kvg_driver *driver, kvg_stream stream)
{
	int status = KVG_CAPTURE_NONE;
	kvg_result result = driver->stream_capturing(stream, &status);

	if (result == KVG_CAPTURE_IMPLICIT || result == KVG_CAPTURE_UNSUPPORTED ||
	    (result == KVG_SUCCESS && status != KVG_CAPTURE_NONE))
		return kvs_routine(EBUSY, "the stream is being captured into a graph, which would do this again and "
					  "again: end the capture before");
	return result == KVG_SUCCESS ? 0 : kvg_fault(driver, result, "find out whether the stream is captured");
}

static void leave(const struct visit *visit)
{
	kvg_context context;

	if (visit->pushed)
		(void)visit->driver->context_pop(&context);
	kvg_capture_mind(visit->driver);
}

/* Finds the stream's context, and makes it current if it is not. */
static int enter_context(struct kvg_attached *attached, uint32_t plane, kvg_stream stream, struct visit *visit,
			 kvg_context *context)
{
	kvg_context current = NULL;
	kvg_result result = visit->driver->context_current(&current);
	int rc;

	if (result != KVG_SUCCESS)
		return kvg_fault(visit->driver, result, "find out which context is current");
	rc = find_context(attached, visit->driver, plane, stream, current, context);
	if (rc || *context == current)
		return rc;
	result = visit->driver->context_push(*context);
	visit->pushed = result == KVG_SUCCESS;
	return visit->pushed ? 0 : kvg_fault(visit->driver, result, "enter the context of the stream");
}

/* Each success is to be followed by leave(). Between the two other streams may be captured, and none of it spoils
 * that. */
static int enter(struct kvg_attached *attached, uint32_t plane, kvg_stream stream, struct visit *visit)
{
	kvg_context context = NULL;
	kvg_result result;
	int rc = kvg_driver(&visit->driver);

	if (rc == 0)
		rc = get_streams(attached, &visit->streams);
	if (rc)
		return rc;
	visit->pushed = false;
	result = kvg_capture_bear(visit->driver);
	if (result != KVG_SUCCESS)
		return kvg_fault(visit->driver, result, "bear captures of other streams");
	rc = enter_context(attached, plane, stream, visit, &context);
	if (rc == 0)
		rc = check_capture(visit->driver, stream);
	if (rc == 0)
		rc = find_place(visit->driver, visit->streams, context, &visit->place);
	if (rc)
		leave(visit);
	return rc;
}

/* ---- What is put on streams ---------------------------------------------------------------------------------- */

int kvg_streams_call(struct kvg_attached *attached, uint32_t plane, kvg_stream stream, const struct kvg_call *call)
{
	struct visit visit;
	void *number = NULL;
	int rc = enter(attached, plane, stream, &visit);

	if (rc)
		return rc;
	rc = add_record(visit.streams, visit.place->context, call, &number);
	if (rc == 0) {
		kvg_result result = visit.driver->call_on(stream, arrive, number);

		if (result != KVG_SUCCESS) {
			drop_record(number);
			rc = kvg_fault(visit.driver, result, "put a call on the stream");
		}
	}
	leave(&visit);
	return rc;
}

/* Can kernels of this context reach the plane? Those that can't would ruin it. */
static int check_reach(struct kvg_attached *attached, uint32_t plane, const struct place *place)
{
	kvg_device device;
	int rc;

	if (attached->map->files.memory == KVS_MEMORY_HOST)
		return 0;
	rc = kvg_attached_device(attached, plane, &device);
	if (rc == 0 && device != place->device)
		return kvs_fault(EXDEV,
				 "the stream is on GPU %d, and plane %u is memory of GPU %d: copy it on a "
				 "stream of that one",
				 place->device, plane, device);
	if (rc == 0 && attached->map->files.export == KVS_EXPORT_IPC && attached->owners[plane] != place->context)
		return kvs_fault(EXDEV,
				 "plane %u is mapped in another context than the stream's: use one context of "
				 "each GPU, or make the store with the default export, whose planes are in all",
				 plane);
	return rc;
}

/* Memory that the stream's GPU reaches, around the last address that the driver was asked of; and whether some of all
 * was the host's. */
struct known {
	uint64_t at, bytes;
	bool host;
};

/* The driver does not know it. */
static int not_reached(const struct visit *visit, uint64_t at)
{
	int pageable = 0;
	kvg_result result =
		visit->driver->device_attribute(&pageable, KVG_ATTRIBUTE_PAGEABLE_ACCESS, visit->place->device);

	if (result == KVG_SUCCESS && pageable)
		return 0;
	return kvs_fault(EFAULT,
			 "the memory at 0x%llx is neither GPU memory nor pinned host memory: register it "
			 "(cuMemHostRegister(), kvshm_register_plane()), or copy by kvshm_read() and kvshm_write()",
			 (unsigned long long)at);
}

/* Memory of a GPU's that the driver knows. */
static int check_device(const struct visit *visit, uint64_t at)
{
	int device = visit->place->device;
	kvg_result result = visit->driver->pointer_attribute(&device, KVG_POINTER_DEVICE_ORDINAL, at);

	if (result != KVG_SUCCESS)
		return kvg_fault(visit->driver, result, "find out which GPU memory is on");
	if (device == visit->place->device)
		return 0;
	return kvs_fault(EXDEV, "the memory at 0x%llx is on GPU %d, and the stream on GPU %d: both are to be on one",
			 (unsigned long long)at, device, visit->place->device);
}

/* What the driver knows of an address; of what it does not know, the piece is all there is to say. */
static int ask(const struct visit *visit, uint64_t at, uint64_t bytes, struct known *known)
{
	const struct kvg_driver *driver = visit->driver;
	unsigned type = 0;
	kvg_pointer start = 0;
	size_t size = 0;
	kvg_result result = driver->pointer_attribute(&type, KVG_POINTER_MEMORY_TYPE, at);
	int rc = 0;

	*known = (struct known){at, bytes, known->host};
	if (result == KVG_INVALID_VALUE) {
		known->host = true;
		return not_reached(visit, at);
	}
	if (result != KVG_SUCCESS)
		return kvg_fault(driver, result, "find out where memory is");
	if (type == KVG_MEMORY_HOST)
		known->host = true;
	else
		rc = check_device(visit, at);
	if (rc == 0 && driver->pointer_attribute(&start, KVG_POINTER_RANGE_START, at) == KVG_SUCCESS &&
	    driver->pointer_attribute(&size, KVG_POINTER_RANGE_SIZE, at) == KVG_SUCCESS && at - start < size) {
		known->at = start;
		known->bytes = size;
	}
	return rc;
}

/* A piece may lie in more than one range: memory that was mapped bit by bit. */
static int check_memory(const struct visit *visit, uint64_t at, uint64_t bytes, struct known *known)
{
	int rc = 0;

	while (rc == 0 && bytes) {
		uint64_t there;

		if (at - known->at >= known->bytes)
			rc = ask(visit, at, bytes, known);
		there = known->bytes - (at - known->at);
		if (there > bytes)
			there = bytes;
		at += there;
		bytes -= there;
	}
	return rc;
}

/* host: is host memory at one end of any piece? What comes of it is only how fast they are copied. */
static int check_pieces(const struct kvg_attached *attached, const struct visit *visit, const struct kvg_piece *pieces,
			size_t count, bool in, bool *host)
{
	struct known known = {.host = attached->map->files.memory == KVS_MEMORY_HOST};
	int rc = 0;

	if (visit->driver->pointer_attribute)
		for (size_t i = 0; rc == 0 && i < count; i++)
			rc = check_memory(visit, in ? pieces[i].from : pieces[i].to, pieces[i].bytes, &known);
	*host = known.host;
	return rc;
}

int kvg_streams_copy(struct kvg_attached *attached, uint32_t plane, kvg_stream stream, const struct kvg_piece *pieces,
		     size_t count, bool in)
{
	struct visit visit;
	bool host = false;
	int rc = count ? enter(attached, plane, stream, &visit) : 0;

	if (rc || !count)
		return rc;
	rc = check_reach(attached, plane, visit.place);
	if (rc == 0)
		rc = check_pieces(attached, &visit, pieces, count, in, &host);
	if (rc == 0)
		rc = kvg_copies_put(visit.driver, &visit.place->copies, stream, pieces, count, host);
	leave(&visit);
	return rc;
}

/* ---- The end ------------------------------------------------------------------------------------------------- */

/* Until a call has ended, or a moment has passed. calls: there were some in the context just now. */
static void wait_a_moment(const struct kvg_streams *streams, kvg_context context, bool calls, long ns)
{
	struct timespec until;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += ns;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	(void)pthread_mutex_lock(&table.lock);
	if (!calls || count_records(streams, context))
		(void)pthread_cond_timedwait(&table.ended, &table.lock, &until);
	(void)pthread_mutex_unlock(&table.lock);
}

/* What is returned by a context that goes on: also where there is no memory for a probe, or a capture forbids it. */
static bool is_alive(kvg_result result)
{
	return result == KVG_SUCCESS || result == KVG_NOT_READY || result == KVG_OUT_OF_MEMORY ||
	       (result >= KVG_CAPTURE_UNSUPPORTED && result <= KVG_CAPTURE_WRONG_THREAD);
}

/* What the current context says of itself: one that has failed returns its error from each call. */
static kvg_result probe(const struct kvg_driver *driver)
{
	kvg_event event;
	kvg_result result = driver->event_create(&event, KVG_EVENT_DISABLE_TIMING);

	if (result == KVG_SUCCESS) {
		result = driver->event_query(event);
		(void)driver->event_destroy(event);
	}
	return result;
}

/* In the context: until all that is kvshm's on its streams has been done, or it has failed. The context itself is not
 * waited for: that would be for what others have on their streams, too, and end the captures of any. */
static void drain(const struct kvg_driver *driver, const struct kvg_streams *streams, struct place *place)
{
	for (long ns = LOOK_FIRST;; ns = ns < LOOK_LAST / 2 ? ns * 2 : LOOK_LAST) {
		kvg_result copies = kvg_copies_look(driver, &place->copies);
		bool calls = has_calls(streams, place->context);

		if (copies == KVG_SUCCESS && !calls)
			return;
		if (!is_alive(copies == KVG_SUCCESS ? probe(driver) : copies))
			return;
		wait_a_moment(streams, place->context, calls, ns);
	}
}

/* A context that is no more has taken all that was in it along. */
static void close_place(const struct kvg_driver *driver, const struct kvg_streams *streams, struct place *place)
{
	bool there = kvg_context_push_again(driver, place->context) == KVG_SUCCESS;

	if (there)
		drain(driver, streams, place);
	kvg_copies_close(there ? driver : NULL, &place->copies);
	if (there)
		kvg_context_leave(driver);
	(void)pthread_mutex_destroy(&place->copies.lock);
	free(place);
}

void kvg_streams_close(struct kvg_attached *attached, const struct kvg_driver *driver)
{
	struct kvg_streams *streams = attached->streams;
	unsigned lost;

	if (!streams)
		return;
	while (streams->places) {
		struct place *place = streams->places;

		streams->places = place->next;
		close_place(driver, streams, place);
	}
	lost = lose_records(streams);
	if (lost)
		kvs_log(KVS_LOG_WARNING,
			"%s: %u call%s on streams took no effect, since their context has failed: what they would have "
			"ended ends with this client",
			attached->name, lost, lost == 1 ? "" : "s");
	(void)pthread_mutex_destroy(&streams->lock);
	free(streams);
	attached->streams = NULL;
}
