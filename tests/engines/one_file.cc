// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) the kvshm authors
//
// one_file: an inference engine of one file, as another project would write it in C++: kvshm.h, the man pages and the
// shared library are all that it knows. A scheduler process serves hundreds of requests at once through a store that
// has room for few of them; a worker process for each plane (a tensor-parallel rank, say) reads and writes that plane,
// of blocks whose tickets it is sent. While they work, they are killed, and new ones started.
//
// It shows, for 2 and for 4 workers:
//   - a hit at the scheduler is a hit at every worker, through any death (R26)
//   - what is ready has the right bytes on every plane: no block is whole on some planes only (R27), and none is
//     another key's
//   - nothing is left of the dead, and the store is sound
//
// one_file [TRACE]: a JSON object with "hash_ids" in each line (Mooncake's format). Unless told it is the conversation
// trace, where that is beside the sources; or else one that is made up.

#include "kvshm.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <initializer_list>
#include <iostream>
#include <map>
#include <memory>
#include <new>
#include <numeric>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

namespace
{

// ---- kvshm in C++ ---------------------------------------------------------------------------------------------------

// What a call returned, if that is 0 or expected here. Everything else is an exception with the library's text.
int ok(int rc, const char *what, std::initializer_list<int> expected = {})
{
	if (rc && std::find(expected.begin(), expected.end(), rc) == expected.end())
		throw std::runtime_error(std::string(what) + ": " + kvshm_error());
	return rc;
}

// A deadline so far from now.
uint64_t after(std::chrono::nanoseconds time)
{
	timespec now{};

	clock_gettime(CLOCK_MONOTONIC, &now);
	return static_cast<uint64_t>(now.tv_sec) * 1000000000 + static_cast<uint64_t>(now.tv_nsec) +
	       static_cast<uint64_t>(time.count());
}

struct NoCopy {
	NoCopy() = default;
	NoCopy(const NoCopy &) = delete;
	NoCopy &operator=(const NoCopy &) = delete;
};

// What the library gives out, and its call that takes it back.
template <auto call> struct By {
	template <typename T> void operator()(T *pointer) const { call(pointer); }
};
using Owner = std::unique_ptr<kvshm_owner, By<kvshm_destroy>>;
using Store = std::unique_ptr<kvshm_store, By<kvshm_detach>>;
using View = std::unique_ptr<kvshm_view, By<kvshm_view_close>>;

Store attach(const std::string &name, const char *label, const char *client)
{
	kvshm_attach_options options{nullptr, label, client};
	kvshm_store *store = nullptr;

	ok(kvshm_attach(name.c_str(), &options, &store), "attach");
	return Store(store);
}

// Holds that a client takes and releases itself. Whatever is still held at the end is let go of in the way of its kind.
class Holds : NoCopy {
public:
	Holds(kvshm_store *in, size_t count) : store(in), handles(count) {}
	~Holds()
	{
		for (kvshm_handle &handle : handles) {
			switch (handle.kind) {
			case KVSHM_REF:
				kvshm_release(store, &handle);
				break;
			case KVSHM_PIN:
				kvshm_unpin(store, &handle);
				break;
			case KVSHM_WRITER:
			case KVSHM_OWNED:
			case KVSHM_PART:
				kvshm_give_up(store, &handle);
				break;
			default: // nothing, or a request's: it ends with that one
				break;
			}
		}
	}

	kvshm_handle *data() { return handles.data(); }
	kvshm_handle &operator[](size_t i) { return handles[i]; }

	void *bytes(size_t i, unsigned plane) const
	{
		void *address = nullptr;

		ok(kvshm_address(store, &handles[i], plane, &address), "address");
		return address;
	}

private:
	kvshm_store *const store;
	std::vector<kvshm_handle> handles;
};

// The keys of a request's blocks. The library reads them where they are.
class Keys : NoCopy {
public:
	Keys(const char *label, const std::vector<uint64_t> &ids) : bytes(ids.size()), keys(ids.size())
	{
		for (size_t i = 0; i < ids.size(); i++) {
			ok(kvshm_derive_key(label, 0, &ids[i], sizeof(ids[i]), bytes[i].data()), "derive_key");
			keys[i] = {bytes[i].data(), bytes[i].size()};
		}
	}

	size_t size() const { return keys.size(); }
	const kvshm_key *data() const { return keys.data(); }

private:
	std::vector<std::array<uint8_t, KVSHM_DERIVED_KEY_SIZE>> bytes;
	std::vector<kvshm_key> keys;
};

// A request that this client owns, and the handles that it lends, one for each key. It ends with the object.
class Request : NoCopy {
public:
	Request(kvshm_store *in, const std::string &id, uint32_t attempt, const Keys &of)
		: store(in), keys(of), lent(of.size())
	{
		ok(kvshm_request_open(store, id.data(), id.size(), attempt, 0, &request), "request_open");
	}
	~Request() { end(); }

	void end() { kvshm_request_end(store, &request); }

	// Holds the longest prefix that is ready. The number of its blocks.
	size_t match()
	{
		size_t ready = 0;
		kvshm_next next{};

		ok(kvshm_request_match(store, &request, keys.data(), keys.size(), lent.data(), &ready, &next), "match");
		return ready;
	}

	// Takes a place in the line for room. 0: it is there. -EINPROGRESS: look again with room().
	int queue(size_t blocks, uint64_t deadline)
	{
		ok(kvshm_request_unreserve(store, &request), "unreserve");
		return ok(kvshm_request_queue(store, &request, static_cast<uint32_t>(blocks), deadline), "queue",
			  {-EINPROGRESS, -ETIMEDOUT, -E2BIG});
	}
	int room()
	{
		return ok(kvshm_request_wait_room(store, &request, 0), "wait_room", {-EINPROGRESS, -ETIMEDOUT});
	}

	// Holds the keys from number first on; those that are missing are this request's to fill, by several processes.
	// What came of key first + i is in results[i] and outcomes[i].
	void get_or_fill(size_t first, std::vector<kvshm_outcome> &outcomes, std::vector<int> &results)
	{
		size_t count = keys.size() - first;

		outcomes.assign(count, KVSHM_READY);
		results.assign(count, 0);
		ok(kvshm_request_get_or_fill_shared_batch(store, &request, keys.data() + first, count, outcomes.data(),
							  &lent[first], results.data()),
		   "get_or_fill");
	}

	void publish(size_t i, const kvshm_meta &meta) { ok(kvshm_publish(store, &lent[i], &meta), "publish"); }
	void release(size_t i) { ok(kvshm_request_release(store, &request, &lent[i], 1), "request_release"); }
	bool holds(size_t i) const { return lent[i].kind != KVSHM_NONE; }

	// 0: all that it holds is ready. -ETIMEDOUT: not yet. -EAGAIN: what was waited for won't come, ask again.
	int complete() { return ok(kvshm_request_complete(store, &request, 0), "complete", {-ETIMEDOUT, -EAGAIN}); }

	struct kvshm_ticket ticket(size_t i) const
	{
		struct kvshm_ticket ticket {};

		ok(kvshm_get_ticket(store, &lent[i], &ticket), "ticket");
		return ticket;
	}

private:
	kvshm_store *const store;
	const Keys &keys;
	struct kvshm_request request {};
	std::vector<kvshm_handle> lent;
};

// ---- What the processes of the engine share -------------------------------------------------------------------------

constexpr size_t REQUESTS = 500;
constexpr size_t LINE_MAX_BLOCKS = 256; // longer ones are cut
constexpr size_t IN_FLIGHT = 200;
constexpr size_t BLOCKS = 2048; // of the store: a sixth of what the requests want
constexpr size_t BLOCK_SIZE = 2048; // in each plane
constexpr size_t KILLS = 40;
constexpr auto PATIENCE = std::chrono::milliseconds(300); // for room: then a request goes on without saving its blocks
constexpr const char *LABEL = "one_file, uint64";	  // of real models: name, dtype and layout

using Trace = std::vector<std::vector<uint64_t>>;

// In memory that all processes share: what is done, and what they saw.
struct Board {
	std::array<std::atomic<bool>, REQUESTS> done;
	std::atomic<uint64_t> hits, filled, pending, asked_again, not_saved, aborted, compared;
	std::atomic<uint64_t> missed; // hits of the scheduler's that were none at a worker
	std::atomic<uint64_t> wrong;  // blocks of wrong bytes on all planes
	std::atomic<uint64_t> torn;   // on some

	size_t count_done() const { return static_cast<size_t>(std::count(done.begin(), done.end(), true)); }
};

enum class Kind : uint32_t {
	HELLO,	// a worker says who it is; a scheduler asks for that
	LOAD,	// hold these blocks, and compare their bytes
	HELD,	// they are held: the scheduler may let go
	LOADED, // they were compared
	FILL,	// write these blocks
	FILLED, // they were written, or can't be
	END,	// leave
};

enum class Result : uint8_t { FINE, MISSED, WRONG };

// A process that takes the place of a dead one has a higher number. The sockets outlive them: what was meant for
// a dead process, or comes from one, is passed over.
struct Message {
	explicit Message(Kind of = {}) : kind(of) {}

	Kind kind;
	uint32_t scheduler = 0;
	uint32_t worker = 0;
	uint32_t line = 0;  // of the trace
	uint64_t order = 0; // what is to be done with these blocks of that line
	size_t count = 0;
	std::array<struct kvshm_ticket, LINE_MAX_BLOCKS> tickets{};
	std::array<uint64_t, LINE_MAX_BLOCKS> ids{};
	std::array<Result, LINE_MAX_BLOCKS> results{};
};

// What every process knows from the start.
struct Engine {
	std::string store;
	unsigned planes;
	const Trace &trace;
	Board &board;
	uint64_t seed;
	std::vector<std::array<int, 2>> sockets; // for each plane: the scheduler's end, and the worker's
};

// The 8 bytes at position i of a block: of its key and its plane, and of nothing else.
uint64_t word(uint64_t id, unsigned plane, size_t i)
{
	uint64_t x = (id << 24 ^ uint64_t{plane} << 16 ^ i) + UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

void compute(void *bytes, uint64_t id, unsigned plane)
{
	for (size_t i = 0; i < BLOCK_SIZE / sizeof(uint64_t); i++)
		static_cast<uint64_t *>(bytes)[i] = word(id, plane, i);
}

// What is said of a block.
kvshm_meta describe(uint64_t id, size_t position)
{
	kvshm_meta meta{};

	meta.length = BLOCK_SIZE;
	meta.depth = static_cast<uint32_t>(position);
	std::memcpy(meta.opaque, &id, sizeof(id));
	return meta;
}

bool is_right(const void *bytes, uint64_t id, unsigned plane)
{
	for (size_t i = 0; i < BLOCK_SIZE / sizeof(uint64_t); i++)
		if (static_cast<const uint64_t *>(bytes)[i] != word(id, plane, i))
			return false;
	return true;
}

// ---- Worker ---------------------------------------------------------------------------------------------------------

class Worker {
public:
	Worker(const Engine &engine, unsigned rank, uint32_t life)
		: store(attach(engine.store, LABEL, "worker")), plane(rank), number(life),
		  socket(engine.sockets[rank][1])
	{
	}

	void run()
	{
		Message message;

		answer(message, Kind::HELLO);
		while (message.kind != Kind::END) {
			if (recv(socket, &message, sizeof(message), 0) != sizeof(message))
				throw std::runtime_error("worker: no message");
			if (message.kind == Kind::HELLO)
				answer(message, Kind::HELLO);
			else if (message.kind == Kind::LOAD && message.worker == number)
				load(message);
			else if (message.kind == Kind::FILL && message.worker == number)
				fill(message);
		}
	}

private:
	void answer(Message &message, Kind kind)
	{
		message.kind = kind;
		message.worker = number;
		if (send(socket, &message, sizeof(message), MSG_NOSIGNAL) != sizeof(message))
			throw std::runtime_error("worker: can't answer");
	}

	// The scheduler may let go of the blocks as soon as they are held here: they are compared after that.
	void load(Message &message)
	{
		Holds holds(store.get(), message.count);
		std::array<kvshm_outcome, LINE_MAX_BLOCKS> outcomes{};
		std::array<int, LINE_MAX_BLOCKS> results{};

		ok(kvshm_hold_batch(store.get(), message.tickets.data(), message.count, outcomes.data(), holds.data(),
				    results.data()),
		   "hold");
		for (size_t i = 0; i < message.count; i++)
			message.results[i] = results[i] || outcomes[i] != KVSHM_READY ? Result::MISSED : Result::FINE;
		answer(message, Kind::HELD);
		for (size_t i = 0; i < message.count; i++)
			if (message.results[i] == Result::FINE && !is_as_published(holds, i, message.ids[i]))
				message.results[i] = Result::WRONG;
		answer(message, Kind::LOADED);
	}

	bool is_as_published(Holds &holds, size_t i, uint64_t id)
	{
		kvshm_meta meta{};

		ok(kvshm_get_meta(store.get(), &holds[i], &meta), "get_meta");
		return meta.length == BLOCK_SIZE && std::memcmp(meta.opaque, &id, sizeof(id)) == 0 &&
		       is_right(holds.bytes(i, plane), id, plane);
	}

	// A fill may have failed by now: another worker has died. Or the one before this has done its part, and died
	// before it told. What came of the block is seen by the scheduler, which holds it.
	void fill(Message &message)
	{
		Holds parts(store.get(), message.count);
		std::array<int, LINE_MAX_BLOCKS> results{};

		ok(kvshm_join_batch(store.get(), message.tickets.data(), plane, message.count, parts.data(),
				    results.data()),
		   "join");
		for (size_t i = 0; i < message.count; i++) {
			if (ok(results[i], "join", {-EBUSY, -EALREADY, -ENOENT, -ECANCELED}))
				continue;
			compute(parts.bytes(i, plane), message.ids[i], plane);
			ok(kvshm_publish(store.get(), &parts[i], nullptr), "publish a part", {-ECANCELED});
		}
		answer(message, Kind::FILLED);
	}

	const Store store;
	const unsigned plane;
	const uint32_t number;
	const int socket;
};

// ---- Scheduler ------------------------------------------------------------------------------------------------------

class Scheduler {
public:
	Scheduler(const Engine &of, uint32_t life)
		: engine(of), board(of.board), store(attach(of.store, LABEL, "scheduler")), number(life),
		  random(of.seed + life), workers(of.planes), outboxes(of.planes)
	{
		ok(kvshm_poll_fd(store.get(), &event_fd), "poll_fd");
	}

	void run()
	{
		for (unsigned plane = 0; plane < engine.planes; plane++)
			post(plane, Message(Kind::HELLO));
		for (take_lines(); !jobs.empty(); take_lines()) {
			wait_and_receive();
			if (random() % 30 == 0)
				abort_one();
			for (auto job = jobs.begin(); job != jobs.end();)
				job = job->second.step == Step::DONE ? jobs.erase(job) : std::next(job);
		}
	}

private:
	enum class Step { HITS, ROOM, FILL, PENDING, SAVED, DONE };

	// What every worker is to do with some blocks, each on its plane.
	struct Order {
		Message message;
		std::vector<uint32_t> wrong; // of each block: the planes whose bytes are not right, a bit each
		uint32_t to_hold = 0;	     // workers that have not held the blocks yet
		uint32_t to_finish = 0;	     // and that are not through with them
	};

	// A request, on its way: the blocks that are hits are loaded; room for the others is waited for; they are
	// filled, or another fills them; they are loaded, too, as hits would be.
	struct Job {
		Job(kvshm_store *in, uint32_t of, const std::vector<uint64_t> &blocks, uint32_t attempt)
			: line(of), ids(blocks), keys(LABEL, blocks), request(in, std::to_string(of), attempt, keys)
		{
		}

		const uint32_t line;
		const std::vector<uint64_t> &ids;
		const Keys keys;
		Request request;
		size_t hits = 0;
		Step step = Step::HITS;
		bool ended = false; // its holds have
		Order order;
	};

	void take_lines()
	{
		for (; jobs.size() < IN_FLIGHT && next_line < engine.trace.size(); next_line++) {
			if (board.done[next_line])
				continue;
			Job &job = jobs.try_emplace(next_line, store.get(), next_line, engine.trace[next_line], number)
					   .first->second;
			std::vector<size_t> hits(job.request.match());

			std::iota(hits.begin(), hits.end(), 0);
			job.hits = hits.size();
			board.hits += job.hits;
			give(job, Kind::LOAD, hits);
		}
	}

	// ---- A request's steps: each calls the next one, as deep as there are steps.
	// NOLINTBEGIN(misc-no-recursion)

	void ask_for_room(Job &job)
	{
		size_t missing = job.ids.size() - job.hits;

		job.step = Step::ROOM;
		if (missing == 0)
			finish(job);
		else
			got_room(job, job.request.queue(missing, after(PATIENCE)));
	}

	void got_room(Job &job, int rc)
	{
		if (rc == 0) {
			fill(job);
		} else if (rc != -EINPROGRESS) {
			board.not_saved += job.ids.size() - job.hits;
			finish(job);
		}
	}

	void fill(Job &job)
	{
		std::vector<kvshm_outcome> outcomes;
		std::vector<int> results;
		std::vector<size_t> mine;

		job.request.get_or_fill(job.hits, outcomes, results);
		for (size_t i = job.hits; i < job.ids.size(); i++) {
			kvshm_outcome outcome = outcomes[i - job.hits];

			if (ok(results[i - job.hits], "get_or_fill", {-ENOSPC})) {
				board.not_saved++;
			} else if (outcome == KVSHM_FILL) {
				mine.push_back(i);
				job.request.publish(i, describe(job.ids[i], i)); // it is ready once the workers are
			} else if (outcome == KVSHM_PENDING && random() % 4 == 0) {
				job.request.release(i); // computes it rather than wait
				board.not_saved++;
			} else {
				board.pending += outcome == KVSHM_PENDING;
			}
		}
		board.filled += mine.size();
		job.step = Step::FILL;
		give(job, Kind::FILL, mine);
	}

	void look_whether_complete(Job &job)
	{
		int rc = job.request.complete();

		job.step = Step::PENDING;
		if (rc == 0) {
			std::vector<size_t> saved;

			for (size_t i = job.hits; i < job.ids.size(); i++)
				if (job.request.holds(i))
					saved.push_back(i);
			job.step = Step::SAVED;
			give(job, Kind::LOAD, saved);
		} else if (rc == -EAGAIN) {
			board.asked_again++;
			ask_for_room(job);
		}
	}

	void finish(Job &job)
	{
		job.request.end();
		job.step = Step::DONE;
		board.done[job.line] = true;
	}

	// At any point: the workers' answers will find no such request.
	void abort_one()
	{
		Job &job = std::next(jobs.begin(), static_cast<std::ptrdiff_t>(random() % jobs.size()))->second;

		if (job.step != Step::DONE) {
			finish(job);
			board.aborted++;
		}
	}

	// ---- Orders

	void give(Job &job, Kind kind, const std::vector<size_t> &blocks)
	{
		Message message(kind);

		message.line = job.line;
		message.order = ++orders;
		for (size_t i : blocks) {
			message.tickets[message.count] = job.request.ticket(i);
			message.ids[message.count++] = job.ids[i];
		}
		job.order = {message, std::vector<uint32_t>(blocks.size()), 0, 0};
		for (unsigned plane = 0; plane < engine.planes && !blocks.empty(); plane++)
			send_order(job.order, plane);
		go_on(job);
	}

	// To a worker that has not come yet it is sent when it does.
	void send_order(Order &order, unsigned plane)
	{
		order.to_hold |= 1U << plane;
		order.to_finish |= 1U << plane;
		if (workers[plane])
			post(plane, order.message);
	}

	// Goes on with a request as far as the workers' answers allow.
	void go_on(Job &job)
	{
		const Order &order = job.order;
		const uint32_t all = (1U << engine.planes) - 1;

		// What the workers hold they read without the scheduler's holds.
		if (job.step == Step::SAVED && order.to_hold == 0 && !job.ended) {
			job.request.end();
			job.ended = true;
		}
		if (order.to_finish)
			return;
		for (uint32_t planes : order.wrong) {
			board.wrong += planes == all;
			board.torn += planes != 0 && planes != all;
		}
		if (job.step == Step::HITS)
			ask_for_room(job);
		else if (job.step == Step::FILL)
			look_whether_complete(job);
		else if (job.step == Step::SAVED)
			finish(job);
	}

	// NOLINTEND(misc-no-recursion)
	// ---- Messages

	void post(unsigned plane, Message message)
	{
		message.scheduler = number;
		message.worker = workers[plane];
		outboxes[plane].push_back(message);
		flush(plane);
	}

	void flush(unsigned plane)
	{
		std::deque<Message> &outbox = outboxes[plane];

		while (!outbox.empty() && send(engine.sockets[plane][0], &outbox.front(), sizeof(Message),
					       MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(Message))
			outbox.pop_front();
	}

	void wait_and_receive()
	{
		std::vector<pollfd> fds;
		Message message;

		for (unsigned plane = 0; plane < engine.planes; plane++)
			fds.push_back({engine.sockets[plane][0],
				       static_cast<short>(outboxes[plane].empty() ? POLLIN : POLLIN | POLLOUT), 0});
		fds.push_back({event_fd, POLLIN, 0});
		if (poll(fds.data(), fds.size(), 1000) < 0)
			throw std::runtime_error("scheduler: poll");
		if (fds.back().revents) {
			ok(kvshm_poll_clear(store.get()), "poll_clear");
			for (auto &[line, job] : jobs) {
				if (job.step == Step::ROOM)
					got_room(job, job.request.room());
				else if (job.step == Step::PENDING)
					look_whether_complete(job);
			}
		}
		for (unsigned plane = 0; plane < engine.planes; plane++) {
			while (recv(fds[plane].fd, &message, sizeof(message), MSG_DONTWAIT) == sizeof(message))
				receive(plane, message);
			flush(plane);
		}
	}

	void receive(unsigned plane, const Message &message)
	{
		if (message.kind == Kind::HELLO) {
			meet(plane, message.worker);
			return;
		}
		auto found = jobs.find(message.line);
		if (message.scheduler != number || message.worker != workers[plane] || found == jobs.end() ||
		    found->second.order.message.order != message.order || found->second.step == Step::DONE)
			return;
		Order &order = found->second.order;
		for (size_t i = 0; i < message.count; i++) {
			if (message.kind == Kind::HELD)
				board.missed += message.results[i] == Result::MISSED;
			else if (message.results[i] == Result::WRONG)
				order.wrong[i] |= 1U << plane;
		}
		board.compared += message.kind == Kind::LOADED ? message.count : 0;
		(message.kind == Kind::HELD ? order.to_hold : order.to_finish) &= ~(1U << plane);
		go_on(found->second);
	}

	// A new worker is given what its predecessor was not through with; but for what nobody holds for it any more.
	void meet(unsigned plane, uint32_t worker)
	{
		if (worker <= workers[plane])
			return;
		workers[plane] = worker;
		outboxes[plane].clear();
		for (auto &[line, job] : jobs) {
			if (job.step == Step::DONE || !(job.order.to_finish & 1U << plane))
				continue;
			if (job.ended)
				job.order.to_finish &= ~(1U << plane);
			else
				send_order(job.order, plane);
			go_on(job);
		}
	}

	const Engine &engine;
	Board &board;
	const Store store;
	const uint32_t number;
	std::mt19937_64 random;
	std::vector<uint32_t> workers; // of each plane: who works there; 0: nobody has come yet
	std::vector<std::deque<Message>> outboxes;
	std::map<uint32_t, Job> jobs; // by their lines
	uint64_t orders = 0;
	uint32_t next_line = 0;
	int event_fd = -1;
};

// ---- The test: who starts them, and kills them ----------------------------------------------------------------------

Owner create(const std::string &name, unsigned planes)
{
	kvshm_create_options options;
	kvshm_owner *owner = nullptr;

	kvshm_create_defaults(&options);
	options.label = LABEL;
	options.size = BLOCKS * BLOCK_SIZE;
	options.block_size = BLOCK_SIZE;
	options.planes = planes;
	ok(kvshm_create(name.c_str(), &options, &owner), "create");
	return Owner(owner);
}

// The engine's processes: a worker for each plane, then the scheduler.
class Processes : NoCopy {
public:
	explicit Processes(const Engine &of) : engine(of), pids(of.planes + 1)
	{
		for (size_t i = 0; i < pids.size(); i++)
			start(i);
	}

	void start(size_t i)
	{
		uint32_t number = ++started;

		pids[i] = fork();
		if (pids[i] < 0)
			throw std::runtime_error("fork");
		if (pids[i] > 0)
			return;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		try {
			if (i < engine.planes)
				Worker(engine, static_cast<unsigned>(i), number).run();
			else
				Scheduler(engine, number).run();
			_exit(0);
		} catch (const std::exception &error) {
			std::cerr << (i < engine.planes ? "worker: " : "scheduler: ") << error.what() << std::endl;
			_exit(1);
		}
	}

	// Waits for the end of one: of itself, or by the signal that it was sent.
	void wait(size_t i, int signal = 0)
	{
		int status = 0;

		waitpid(pids[i], &status, 0);
		if (status != 0 && !(WIFSIGNALED(status) && WTERMSIG(status) == signal))
			throw std::runtime_error("a process has ended with status " + std::to_string(status));
	}

	void kill_and_start(size_t i)
	{
		kill(pids[i], SIGKILL);
		wait(i, SIGKILL);
		start(i);
	}

	// Whether one has ended that nobody has killed, and not well.
	bool has_failed() const
	{
		siginfo_t info{};

		return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid && info.si_status;
	}

private:
	const Engine &engine;
	std::vector<pid_t> pids;
	uint32_t started = 0;
};

// Runs all requests, and kills somebody after every so many that are done, a random moment later: the same number of
// kills on a fast machine and on a slow one.
void run_and_kill(const Engine &engine, kvshm_owner *owner, Processes &processes, std::mt19937_64 &random)
{
	uint64_t limit = after(std::chrono::minutes(2));

	for (size_t kills = 0, done = 0; done < engine.trace.size(); done = engine.board.count_done()) {
		if (processes.has_failed() || after({}) > limit)
			throw std::runtime_error("stopped at " + std::to_string(done) + " requests");
		ok(kvshm_owner_recover(owner, nullptr), "owner_recover");
		usleep(static_cast<useconds_t>(random() % 2000));
		if (done * KILLS < (kills + 1) * engine.trace.size())
			continue;
		processes.kill_and_start(random() % (engine.planes + 1));
		kills++;
	}
	processes.wait(engine.planes);
	for (unsigned plane = 0; plane < engine.planes; plane++) {
		Message message(Kind::END);

		if (send(engine.sockets[plane][0], &message, sizeof(message), 0) != sizeof(message))
			throw std::runtime_error("end");
		processes.wait(plane);
	}
	ok(kvshm_owner_recover(owner, nullptr), "owner_recover");
}

View look_at(const std::string &name)
{
	kvshm_view *view = nullptr;

	ok(kvshm_view_open(name.c_str(), nullptr, &view), "view_open");
	return View(view);
}

// Whether nobody holds anything, and nothing is unsound.
bool is_clean(const View &view)
{
	auto tell = [](const char *finding, void *) { std::puts(finding); };
	kvshm_check_result found{};
	kvshm_usage usage{};

	ok(kvshm_view_check(view.get(), tell, nullptr, &found), "view_check");
	ok(kvshm_view_usage(view.get(), &usage), "view_usage");
	return found.quiescent && found.unsound + found.leaked + found.pending == 0 &&
	       usage.held + usage.filling + usage.room == 0;
}

// Compares all that is ready in the end, on all planes. The number of blocks.
size_t take_stock(const Engine &engine, const View &view)
{
	std::vector<kvshm_block_info> blocks;
	auto collect = [](const kvshm_block_info *block, void *to) {
		static_cast<std::vector<kvshm_block_info> *>(to)->push_back(*block);
		return 0;
	};
	const Store store = attach(engine.store, LABEL, "stock");
	size_t ready = 0;

	blocks.reserve(BLOCKS); // a callback must not throw
	ok(kvshm_view_blocks(view.get(), collect, &blocks), "view_blocks");
	for (const kvshm_block_info &block : blocks) {
		Holds holds(store.get(), 1);
		uint64_t id;
		unsigned wrong = 0;

		if (std::strcmp(block.state, "ready") != 0)
			continue;
		ok(kvshm_get(store.get(), block.key, block.key_length, holds.data()), "get");
		ready++;
		std::memcpy(&id, block.opaque, sizeof(id));
		for (unsigned plane = 0; plane < engine.planes; plane++)
			wrong += !is_right(holds.bytes(0, plane), id, plane);
		engine.board.wrong += wrong == engine.planes;
		engine.board.torn += wrong > 0 && wrong < engine.planes;
	}
	return ready;
}

bool test(const Trace &trace, unsigned planes, uint64_t seed)
{
	void *memory = mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		throw std::runtime_error("mmap");
	Board &board = *new (memory) Board();
	const char *prefix = std::getenv("KVSHM_TEST_PREFIX");
	Engine engine{(prefix ? prefix : "") + std::string("one_file"), planes, trace, board, seed, {}};
	std::mt19937_64 random(seed);
	Owner owner = create(engine.store, planes);

	engine.sockets.resize(planes);
	for (auto &pair : engine.sockets)
		if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair.data()))
			throw std::runtime_error("socketpair");

	Processes processes(engine);
	run_and_kill(engine, owner.get(), processes, random);
	View view = look_at(engine.store);
	bool clean = is_clean(view);
	size_t stock = take_stock(engine, view);
	std::cout << planes << " workers: " << trace.size() << " requests, " << KILLS << " kills, " << board.aborted
		  << " aborted; blocks: " << board.hits << " hits, " << board.filled << " filled, " << board.pending
		  << " pending, " << board.asked_again << " asked again, " << board.not_saved << " not saved, "
		  << board.compared << " compared, " << stock << " in the end; " << board.missed
		  << " missed at a worker, " << board.wrong << " wrong, " << board.torn << " torn; "
		  << (clean ? "all" : "NOT all") << " given back and sound" << std::endl;
	return clean && board.missed + board.wrong + board.torn == 0 && board.hits && board.pending && stock;
}

// ---- Traces ---------------------------------------------------------------------------------------------------------

// The numbers of "hash_ids": [...] in each line.
Trace read_trace(std::ifstream &file)
{
	Trace trace;
	std::string line;

	while (trace.size() < REQUESTS && std::getline(file, line)) {
		size_t start = line.find("\"hash_ids\"");
		size_t end = line.find(']', start);

		start = line.find('[', start);
		if (end == std::string::npos || start > end)
			throw std::runtime_error("the trace has a line without hash_ids");
		std::vector<uint64_t> &ids = trace.emplace_back();
		std::istringstream numbers(line.substr(start + 1, end - start - 1));
		for (uint64_t id; numbers >> id; numbers.ignore(1, ','))
			ids.push_back(id);
		ids.resize(std::min(ids.size(), LINE_MAX_BLOCKS));
	}
	if (trace.size() < REQUESTS)
		throw std::runtime_error("the trace has too few lines");
	return trace;
}

// Conversations that take turns: each turn has the blocks of the last one, and some more. All have the first in common.
Trace make_trace()
{
	Trace trace(REQUESTS);

	for (size_t n = 0; n < REQUESTS; n++) {
		trace[n].resize(20 + n / IN_FLIGHT * 20);
		std::iota(trace[n].begin(), trace[n].end(), n % IN_FLIGHT * LINE_MAX_BLOCKS);
		trace[n][0] = 0;
	}
	return trace;
}

} // namespace

int main(int argc, char **argv)
{
	try {
		const char *text = std::getenv("KVSHM_TEST_SEED");
		uint64_t seed = text ? std::strtoull(text, nullptr, 0) : std::random_device()();
		const char *sources = std::getenv("top_srcdir");
		std::string root = sources ? sources : ".";
		std::ifstream file(argc > 1 ? argv[1] : root + "/../shared/traces/conversation_trace.jsonl");
		Trace trace = file ? read_trace(file) : make_trace();

		std::cout << "KVSHM_TEST_SEED=" << seed << std::endl;
		return test(trace, 2, seed) && test(trace, 4, seed) ? 0 : 1;
	} catch (const std::exception &error) {
		std::cerr << error.what() << '\n';
		return 1;
	}
}
