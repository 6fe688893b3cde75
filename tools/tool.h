/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * tool.h: what every tool shares: its options, its messages, its exit status.
 *
 * One table of options gives the parser and the text of --help, so that the two can't differ. Every tool has --dir,
 * --help and --version without asking for them. Messages go to stderr as `PROGRAM: text`; bad use ends the program
 * with TOOL_BAD_USE. tool_options() comes first in main(): it gives the program its name, and /dev/null for
 * standard descriptors that are closed.
 */
#ifndef KVSHM_TOOL_H
#define KVSHM_TOOL_H

#include <stdbool.h>
#include <stdint.h>

#include "kvshm.h"

#define TOOL_BAD_USE 1 /* the exit status for bad use, in every tool */

enum tool_kind {
	TOOL_FLAG,   /* no argument; to.flag becomes true */
	TOOL_TEXT,   /* to.text; not empty, unless the option says so */
	TOOL_NUMBER, /* to.number; decimal, min to max */
	TOOL_SIZE,   /* to.number; bytes, or with K, M, G or T for powers of 1,024; min to max */
	TOOL_OCTAL,  /* to.number; octal, min to max */
	TOOL_CHOICE, /* to.choice: the index of the word in choices */
};

/* An option. What is not given on the command line leaves its variable as it was. */
struct tool_option {
	const char *name;     /* as in --name; NULL ends the table */
	const char *argument; /* what --help calls the argument, such as "BYTES"; NULL for a flag */
	const char *help;     /* one line, without a full stop */
	union {
		bool *flag;
		const char **text;
		uint64_t *number;
		int *choice;
	} to;
	uint64_t min, max;	    /* of a number; max 0: no limit */
	const char *const *choices; /* of a choice: its words, ended by NULL */
	enum tool_kind kind;
	bool required;		    /* it is bad use to leave it out */
	bool may_be_empty;	    /* of a text */
};

struct tool_program {
	const char *name;
	const char *summary;  /* what it does, in one line, for --help */
	const char *operands; /* how --help shows what follows the options; NULL: nothing may follow */
	const struct tool_option *options;
	void (*more_help)(void); /* prints what --help says behind the options; may be NULL */
};

/* Reads the options. Returns the index of the first operand in argv; what may stand there is the caller's to judge
 * (with operands NULL there is none). Ends the program for --help, --version and bad use. *dir becomes the argument of
 * --dir, or NULL without one: the library's calls take it as it is. */
int tool_options(const struct tool_program *program, int argc, char **argv, const char **dir);

/* Where stores live, for messages: dir, or else $KVSHM_DIR, or /dev/shm. */
const char *tool_dir(const char *dir);

/* Prints `PROGRAM: text` on stderr, in one piece and made printable. */
__attribute__((format(printf, 1, 2))) void tool_say(const char *format, ...);

/* Prints `PROGRAM: text (see PROGRAM --help)` and ends the program with TOOL_BAD_USE. */
__attribute__((format(printf, 1, 2), noreturn)) void tool_bad_use(const char *format, ...);

/* A log callback for kvshm_set_log(): each line goes where tool_say() writes. */
void tool_log(enum kvshm_log_level level, const char *text, void *arg);

/* Flushes stdout. False, with a message: something that was printed did not get to where it should. */
bool tool_flush(void);

/* Makes text that others wrote into a store (labels, names of clients) fit for a terminal: control characters
 * become '?'. */
void tool_printable(char *text);

/* Writes bytes for people, exactly: in the largest unit that they are a whole number of, such as "1152 KiB". Returns
 * buffer. */
#define TOOL_SIZE_TEXT 32
const char *tool_size_text(uint64_t bytes, char buffer[static TOOL_SIZE_TEXT]);

#endif /* KVSHM_TOOL_H */
