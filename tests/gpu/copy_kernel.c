/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * copy_kernel: the kernel that copies, as the text that the driver gets, carried out instruction by instruction by each
 * thread of each block: every byte of every piece is written, once, and nothing else is read or written, with no access
 * that is not aligned. What it uses of PTX is all that this knows.
 */
#include "config.h"

#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "copy_kernel.h"
#include "streams.h"

#define CODE_MAX 256
#define ARGS_MAX 9 /* four registers of a vector, and what is around them */
#define NAMES_MAX 64
#define SHARED UINT64_C(0x100000000) /* where the block's own memory begins */
#define STEPS 100000		     /* more than any thread has to do */

/* What it uses of PTX. An instruction is the first of these that its name begins with. */
#define OPS(OP)                                                                                                   \
	OP(BAR, "bar.sync")                                                                                       \
	OP(RET, "ret")                                                                                            \
	OP(BRA, "bra") OP(PARAM, "ld.param") OP(LOAD, "ld.") OP(STORE, "st.") OP(MOV, "mov.") OP(CVT, "cvt")      \
		OP(ADD, "add.") OP(SUB, "sub.") OP(NEG, "neg.") OP(SHL, "shl.") OP(SHR, "shr.u") OP(MIN, "min.u") \
			OP(WIDE, "mul.wide.u32") OP(LOW, "mul.lo.u32") OP(AND, "and.") OP(XOR, "xor.")            \
				OP(GE, "setp.ge.u") OP(LT, "setp.lt.u") OP(NE, "setp.ne.")
#define OP_IS(op, name) op,
#define OP_NAME(op, name) name,
enum op { OPS(OP_IS) OPS_END };
static const char *const names[] = {OPS(OP_NAME)};

/* An operand: a register, or a number. */
struct operand {
	bool is_register;
	uint64_t value; /* the register's place */
};

struct instruction {
	struct operand args[ARGS_MAX];
	uint64_t offset; /* of an address */
	enum op op;
	unsigned unit; /* bytes of what it works on */
	int guard;     /* a register's place; -1: none */
	unsigned count;
	char label[24];
};

static struct instruction code[CODE_MAX];
static unsigned length;

static struct {
	char name[24];
	unsigned at;
} labels[NAMES_MAX], registers[NAMES_MAX];
static unsigned label_count, register_count;

/* ---- The text ---------------------------------------------------------------------------------------------- */

static unsigned place_of(const char *name)
{
	unsigned i = 0;

	while (i < register_count && strcmp(registers[i].name, name) != 0)
		i++;
	ck_assert_uint_lt(i, NAMES_MAX);
	ck_assert_uint_lt(strlen(name), sizeof(registers[i].name));
	if (i == register_count)
		(void)snprintf(registers[register_count++].name, sizeof(registers[0].name), "%s", name);
	return i;
}

static struct operand read_operand(const char *text)
{
	if (text[0] == '%')
		return (struct operand){true, place_of(text)};
	if (strcmp(text, "mine") == 0)
		return (struct operand){false, SHARED};
	return (struct operand){false, strtoull(text, NULL, 10)};
}

static enum op read_op(const char *name)
{
	enum op op = 0;

	while (op < OPS_END && strncmp(name, names[op], strlen(names[op])) != 0)
		op++;
	ck_assert_msg(op < OPS_END, "%s", name);
	return op;
}

static void read_instruction(char *text)
{
	struct instruction *to = &code[length++];
	const char *name;
	char *rest;

	ck_assert_uint_lt(length, CODE_MAX);
	to->guard = -1;
	if (text[0] == '@')
		to->guard = (int)place_of(strsep(&text, " ") + 1);
	name = strsep(&text, " ");
	rest = text;
	to->op = read_op(name);
	to->unit = strstr(name, "64") && to->op != WIDE ? 8 : strstr(name, "u8") ? 1 : 4;
	if (to->op == BRA) {
		(void)snprintf(to->label, sizeof(to->label), "%s", rest);
		return;
	}
	for (char *arg = rest ? strtok(rest, " ,{}[]") : NULL; arg; arg = strtok(NULL, " ,{}[]")) {
		char *plus = strchr(arg, '+');

		if (plus) {
			*plus = '\0';
			to->offset = strtoull(plus + 1, NULL, 10);
		}
		ck_assert_uint_lt(to->count, ARGS_MAX);
		to->args[to->count++] = read_operand(arg);
	}
}

static void read_kernel(void)
{
	char *text = strdup(strchr(kvg_copy_ptx, '{') + 1), *all = text, *line;

	while ((line = strsep(&text, "\n")) && line[0] != '}') {
		char *end = line + strlen(line) - 1;

		line += strspn(line, "\t");
		if (line > end || line[0] == '.')
			continue;
		if (*end == ':') {
			*end = '\0';
			(void)snprintf(labels[label_count].name, sizeof(labels[0].name), "%s", line);
			labels[label_count++].at = length;
			continue;
		}
		ck_assert_int_eq(*end, ';');
		*end = '\0';
		read_instruction(line);
	}
	free(all);
}

/* ---- A thread ---------------------------------------------------------------------------------------------- */

struct thread {
	uint64_t registers[NAMES_MAX];
	unsigned at;
	bool done;
};

/* What may be read, and what may be written: how often each byte was. */
static const struct kvg_piece *list;
static uint32_t list_count;
static uint8_t shared[96];
static const uint8_t *source;
static uint8_t *target, *written;
static size_t size;

static uint64_t value(const struct thread *thread, struct operand operand)
{
	return operand.is_register ? thread->registers[operand.value] : operand.value;
}

/* Where the kernel's address is, if it may go there. */
static uint8_t *reach(uint64_t at, size_t bytes, bool write)
{
	if (at % bytes)
		ck_abort_msg("an access that is not aligned");
	if (at >= SHARED && at + bytes <= SHARED + sizeof(shared))
		return shared + (at - SHARED);
	if (write) {
		size_t place = at - (uintptr_t)target;

		if (at < (uintptr_t)target || place + bytes > size)
			ck_abort_msg("it writes beside the target");
		for (size_t i = 0; i < bytes; i++)
			written[place + i]++;
		return target + place;
	}
	if ((at < (uintptr_t)source || at + bytes > (uintptr_t)source + size) &&
	    (at < (uintptr_t)list || at + bytes > (uintptr_t)(list + list_count)))
		ck_abort_msg("it reads beside the source and the list");
	return (uint8_t *)(uintptr_t)at; // NOLINT(performance-no-int-to-ptr)
}

static void access_memory(struct thread *thread, const struct instruction *i)
{
	bool load = i->op == LOAD;
	size_t unit = i->unit;
	unsigned count = i->count - 1, address = load ? count : 0;
	uint8_t *memory = reach(value(thread, i->args[address]) + i->offset, unit * count, !load);

	for (unsigned n = 0; n < count; n++) {
		uint64_t *reg = &thread->registers[i->args[load ? n : n + 1].value];

		if (load)
			*reg = 0;
		memcpy(load ? (void *)reg : memory + n * unit, load ? memory + n * unit : (void *)reg, unit);
	}
}

static uint64_t compute(enum op op, uint64_t a, uint64_t b)
{
	switch (op) {
	case ADD:
		return a + b;
	case SUB:
		return a - b;
	case NEG:
		return -a;
	case SHL:
		return a << b;
	case SHR:
		return a >> b;
	case MIN:
		return a < b ? a : b;
	case WIDE:
	case LOW:
		return a * b;
	case AND:
		return a & b;
	case XOR:
		return a ^ b;
	case GE:
		return a >= b;
	case LT:
		return a < b;
	case NE:
		return a != b;
	default:
		return a;
	}
}

/* One that neither jumps nor ends. mul.wide.u32 makes 64 bits of 32, as the only one. */
static void step(struct thread *thread, const struct instruction *i)
{
	uint64_t *to = &thread->registers[i->args[0].value], result;

	if (i->op == LOAD || i->op == STORE) {
		access_memory(thread, i);
		return;
	}
	if (i->op == PARAM)
		result = i->unit == 8 ? (uintptr_t)list : list_count;
	else
		result = compute(i->op, value(thread, i->args[1]), i->count > 2 ? value(thread, i->args[2]) : 0);
	*to = i->unit == 8 || i->op == WIDE ? result : (uint32_t)result;
}

static void go(struct thread *thread, const struct instruction *i)
{
	for (unsigned n = 0; n < label_count; n++)
		if (strcmp(labels[n].name, i->label) == 0) {
			thread->at = labels[n].at;
			return;
		}
	ck_abort_msg("no label %s", i->label);
}

/* Up to the barrier, or its end. */
static void run(struct thread *thread)
{
	for (unsigned steps = 0; steps < STEPS; steps++) {
		const struct instruction *i = &code[thread->at++];

		if (thread->at > length)
			ck_abort_msg("it goes beyond its end");
		if (i->guard >= 0 && !thread->registers[i->guard])
			continue;
		switch (i->op) {
		case BAR:
			return;
		case RET:
			thread->done = true;
			return;
		case BRA:
			go(thread, i);
			break;
		default:
			step(thread, i);
			break;
		}
	}
	ck_abort_msg("a thread goes on for ever");
}

static void run_block(uint32_t block, uint32_t blocks)
{
	static struct thread threads[KVG_COPY_THREADS];
	unsigned tid = place_of("%tid.x"), ctaid = place_of("%ctaid.x"), nctaid = place_of("%nctaid.x"), done = 0;

	memset(threads, 0, sizeof(threads));
	memset(shared, 0xee, sizeof(shared));
	while (!done) {
		for (unsigned i = 0; i < KVG_COPY_THREADS; i++) {
			threads[i].registers[tid] = i;
			threads[i].registers[ctaid] = block;
			threads[i].registers[nctaid] = blocks;
			run(&threads[i]);
			done += threads[i].done;
		}
		if (done % KVG_COPY_THREADS)
			ck_abort_msg("some of a block's threads wait for others that have ended");
	}
}

/* ---- Pieces ------------------------------------------------------------------------------------------------ */

static void copy_by(const struct kvg_piece *pieces, uint32_t count, uint32_t blocks)
{
	uint8_t *wanted = malloc(size), *once = calloc(1, size);

	memcpy(wanted, target, size);
	memset(written, 0, size);
	for (uint32_t i = 0; i < count; i++) {
		size_t at = pieces[i].to - (uintptr_t)target, from = pieces[i].from - (uintptr_t)source;

		memcpy(wanted + at, source + from, pieces[i].bytes);
		memset(once + at, 1, pieces[i].bytes);
	}
	list = pieces;
	list_count = count;
	for (uint32_t block = 0; block < blocks; block++)
		run_block(block, blocks);
	ck_assert_int_eq(memcmp(target, wanted, size), 0);
	ck_assert_int_eq(memcmp(written, once, size), 0);
	free(wanted);
	free(once);
}

static void copy(const struct kvg_piece *pieces, uint32_t count)
{
	copy_by(pieces, count, (count + KVG_COPY_WARPS - 1) / KVG_COPY_WARPS);
}

static void begin(size_t bytes)
{
	uint8_t *from = aligned_alloc(64, bytes);

	size = bytes;
	target = aligned_alloc(64, bytes);
	written = malloc(bytes);
	ck_assert(from && target && written);
	for (size_t i = 0; i < bytes; i++) {
		from[i] = (uint8_t)(i * 131 + i / 251);
		target[i] = (uint8_t)~from[i];
	}
	source = from;
	read_kernel();
}

static void end(void)
{
	free((void *)source);
	free(target);
	free(written);
}

static struct kvg_piece piece(size_t to, size_t from, size_t bytes)
{
	return (struct kvg_piece){(uintptr_t)target + to, (uintptr_t)source + from, bytes};
}

/* Wherever in 16 bytes both ends lie, with what is shorter than 16 bytes, and longer. */
START_TEST(short_pieces_at_all_places)
{
	struct kvg_piece pieces[256];

	begin(64 << 10);
	for (size_t bytes = 1; bytes <= 70; bytes += bytes < 17 ? 1 : 13) {
		for (size_t i = 0; i < 256; i++)
			pieces[i] = piece(i * 128 + i % 16, i * 128 + i / 16, bytes);
		copy(pieces, 256);
	}
	end();
}
END_TEST

/* What loops have at their ends: 512 and 4096 bytes for a warp, 32 and 256 where they go by bytes. */
START_TEST(longer_pieces_up_to_a_part)
{
	static const size_t lengths[] = {255,  256,  257,  511,	 512,  513,  3583, 3584, 3585,
					 4095, 4096, 4097, 8191, 8192, 7680, 4608, 1000};

	begin(64 << 10);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		const struct kvg_piece pieces[5] = {piece(0, 16, lengths[i]), piece(8200, 8232, lengths[i]),
						    piece(16401, 16433, lengths[i]), piece(25000, 25001, lengths[i]),
						    piece(40000, 0, lengths[i])};

		for (uint32_t count = 1; count <= 5; count++)
			copy(pieces, count);
	}
	end();
}
END_TEST

/* Fewer blocks than there are fours of pieces, with all lengths and places among them, and a rest. */
START_TEST(blocks_go_on_with_what_is_left)
{
	struct kvg_piece pieces[128];

	begin(64 << 10);
	for (size_t i = 0; i < 128; i++)
		pieces[i] = piece(i * 512 + i % 16, i * 512 + i / 16, i * 7 % 490);
	for (uint32_t blocks = 1; blocks <= 24; blocks += blocks < 6 ? 1 : 9)
		for (uint32_t count = 117; count <= 128; count++)
			copy_by(pieces, count, blocks);
	end();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {short_pieces_at_all_places, longer_pieces_up_to_a_part,
				      blocks_go_on_with_what_is_left};

	return unit_run("copy_kernel", tests, sizeof(tests) / sizeof(tests[0]));
}
