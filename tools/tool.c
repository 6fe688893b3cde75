/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * tool.c: options, messages and sizes, shared by the tools; see tool.h for what it promises.
 */
#include "config.h"

#include "tool.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	OPTIONS_MAX = 48,    /* of one tool, the common ones included */
	COMMON = 3,	     /* --dir, --help, --version */
	HELP_COLUMN = 26,    /* where --help starts to explain */
	LONG_OPTION = 0x100, /* getopt_long()'s values start above every short option */
	MESSAGE_MAX = 4096,
};

static const char *program_name = "kvshm";

/* ---- Messages -------------------------------------------------------------------------------------------- */

/* One write for the whole line: several processes may share stderr. */
__attribute__((format(printf, 1, 0))) static void say(const char *format, va_list arguments, const char *tail)
{
	char text[MESSAGE_MAX];

	vsnprintf(text, sizeof(text), format, arguments);
	tool_printable(text);
	fprintf(stderr, "%s: %s%s\n", program_name, text, tail);
}

void tool_say(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	say(format, arguments, "");
	va_end(arguments);
}

void tool_bad_use(const char *format, ...)
{
	char tail[64];
	va_list arguments;

	snprintf(tail, sizeof(tail), " (see %s --help)", program_name);
	va_start(arguments, format);
	say(format, arguments, tail);
	va_end(arguments);
	exit(TOOL_BAD_USE);
}

void tool_log(enum kvshm_log_level level, const char *text, void *arg)
{
	(void)level;
	(void)arg;
	tool_say("%s", text);
}

bool tool_flush(void)
{
	if (!fflush(stdout) && !ferror(stdout))
		return true;
	tool_say("can't write the output: %s", strerror(errno));
	return false;
}

void tool_printable(char *text)
{
	for (; *text; text++)
		if (iscntrl((unsigned char)*text))
			*text = '?';
}

/* ---- Numbers --------------------------------------------------------------------------------------------- */

static const char size_units[] = "KMGT"; /* each 1,024 times the one before */

/* Reads digits of the base and nothing else; *end is what follows them. -EINVAL: no digit; -ERANGE: over 64 bits. */
static int read_digits(const char *text, unsigned base, uint64_t *number, const char **end)
{
	uint64_t sum = 0;

	for (*end = text; **end >= '0' && **end < (char)('0' + base); ++*end)
		if (__builtin_mul_overflow(sum, base, &sum) ||
		    __builtin_add_overflow(sum, (uint64_t)(**end - '0'), &sum))
			return -ERANGE;
	*number = sum;
	return *end == text ? -EINVAL : 0;
}

static int read_number(const char *text, unsigned base, uint64_t *number)
{
	const char *end;
	int rc = read_digits(text, base, number, &end);

	return !rc && *end ? -EINVAL : rc;
}

static int read_size(const char *text, uint64_t *size)
{
	const char *end, *unit;
	int rc = read_digits(text, 10, size, &end);

	if (rc || !*end)
		return rc;
	unit = strchr(size_units, *end);
	if (!unit || end[1])
		return -EINVAL;
	return __builtin_mul_overflow(*size, UINT64_C(1) << (10 * (unit - size_units + 1)), size) ? -ERANGE : 0;
}

const char *tool_size_text(uint64_t bytes, char buffer[static TOOL_SIZE_TEXT])
{
	unsigned power = 0;

	while (bytes && bytes % 1024 == 0 && power < sizeof(size_units) - 1) {
		bytes /= 1024;
		power++;
	}
	if (power)
		snprintf(buffer, TOOL_SIZE_TEXT, "%" PRIu64 " %ciB", bytes, size_units[power - 1]);
	else
		snprintf(buffer, TOOL_SIZE_TEXT, "%" PRIu64 " bytes", bytes);
	return buffer;
}

/* ---- One option's argument ------------------------------------------------------------------------------- */

static void take_number(const struct tool_option *option, const char *text)
{
	static const char *const what[] = {
		[TOOL_NUMBER] = "a number is wanted, in decimal digits",
		[TOOL_SIZE] = "a size is wanted: bytes, or with K, M, G or T, such as 512K, 2M, 64G",
		[TOOL_OCTAL] = "octal digits are wanted, such as 0660",
	};
	uint64_t number;
	int rc;

	if (option->kind == TOOL_SIZE)
		rc = read_size(text, &number);
	else
		rc = read_number(text, option->kind == TOOL_OCTAL ? 8 : 10, &number);
	if (rc == -ERANGE)
		tool_bad_use("--%s %s: too large", option->name, text);
	if (rc)
		tool_bad_use("--%s '%s': %s", option->name, text, what[option->kind]);
	if (number < option->min || (option->max && number > option->max)) {
		const char *limit = number < option->min ? "least" : "most";
		uint64_t value = number < option->min ? option->min : option->max;

		if (option->kind == TOOL_OCTAL)
			tool_bad_use("--%s %s: the %s is %" PRIo64, option->name, text, limit, value);
		tool_bad_use("--%s %s: the %s is %" PRIu64, option->name, text, limit, value);
	}
	*option->to.number = number;
}

static void take_choice(const struct tool_option *option, const char *text)
{
	for (int i = 0; option->choices[i]; i++) {
		if (!strcmp(option->choices[i], text)) {
			*option->to.choice = i;
			return;
		}
	}
	tool_bad_use("--%s '%s': it can be %s", option->name, text, option->argument);
}

static void take(const struct tool_option *option, const char *text)
{
	switch (option->kind) {
	case TOOL_FLAG:
		*option->to.flag = true;
		break;
	case TOOL_TEXT:
		if (!*text && !option->may_be_empty)
			tool_bad_use("--%s: %s is empty", option->name, option->argument);
		*option->to.text = text;
		break;
	case TOOL_NUMBER:
	case TOOL_SIZE:
	case TOOL_OCTAL:
		take_number(option, text);
		break;
	case TOOL_CHOICE:
		take_choice(option, text);
		break;
	}
}

/* ---- The table: parser and --help ------------------------------------------------------------------------ */

struct common {
	const char *dir;
	bool help;
	bool version;
};

/* all becomes the tool's options and the common ones behind them, ended by one without a name. */
static void join(const struct tool_option *options, struct common *common, struct tool_option all[OPTIONS_MAX + 1])
{
	const struct tool_option last[COMMON + 1] = {
		{ .name = "dir", .argument = "DIR", .kind = TOOL_TEXT, .to.text = &common->dir,
		  .help = "where stores live; $KVSHM_DIR, or /dev/shm, unless told" },
		{ .name = "help", .kind = TOOL_FLAG, .to.flag = &common->help, .help = "show this, and exit" },
		{ .name = "version", .kind = TOOL_FLAG, .to.flag = &common->version,
		  .help = "show the version, and exit" },
	};
	size_t count = 0;

	while (options[count].name)
		count++;
	assert(count + COMMON <= OPTIONS_MAX);
	memcpy(all, options, count * sizeof(*all));
	memcpy(all + count, last, sizeof(last));
}

static void print_help(const struct tool_program *program, const struct tool_option *all)
{
	bool sizes = false;

	printf("Usage: %s", program->name);
	for (const struct tool_option *option = all; option->name; option++)
		if (option->required)
			printf(" --%s %s", option->name, option->argument);
	printf(" [OPTION]...%s%s\n%s.\n\nOptions:\n", program->operands ? " " : "",
	       program->operands ? program->operands : "", program->summary);
	for (const struct tool_option *option = all; option->name; option++) {
		int width = printf("  --%s%s%s", option->name, option->argument ? " " : "",
				   option->argument ? option->argument : "");

		if (width > HELP_COLUMN - 2)
			width = printf("\n") - 1;
		printf("%*s%s\n", HELP_COLUMN - width, "", option->help);
		sizes = sizes || option->kind == TOOL_SIZE;
	}
	if (sizes)
		printf("\nSizes are bytes, or numbers with K, M, G or T: 512K, 2M, 64G.\n");
	if (program->more_help)
		program->more_help();
}

/* What getopt_long() did not like: it said ':' or '?', and left the option in optopt if it is one of the table's. */
__attribute__((noreturn)) static void refuse(const struct tool_option *all, int said, char **argv)
{
	if (optopt >= LONG_OPTION) {
		const struct tool_option *option = &all[optopt - LONG_OPTION];

		if (said == ':')
			tool_bad_use("--%s needs %s", option->name, option->argument);
		tool_bad_use("--%s takes no argument", option->name);
	}
	if (optopt)
		tool_bad_use("no option -%c", optopt);
	tool_bad_use("no option %s, or more than one that begins so", argv[optind - 1]);
}

/* Takes every option of argv; the ones that were given get their bit in the result. */
static uint64_t parse(const struct tool_option *all, int argc, char **argv)
{
	struct option longs[OPTIONS_MAX + 1] = { 0 };
	uint64_t given = 0;
	int said;

	for (int i = 0; all[i].name; i++) {
		longs[i].name = all[i].name;
		longs[i].has_arg = all[i].kind == TOOL_FLAG ? no_argument : required_argument;
		longs[i].val = LONG_OPTION + i;
	}
	opterr = 0;
	while ((said = getopt_long(argc, argv, ":", longs, NULL)) != -1) {
		if (said < LONG_OPTION)
			refuse(all, said, argv);
		take(&all[said - LONG_OPTION], optarg);
		given |= UINT64_C(1) << (said - LONG_OPTION);
	}
	return given;
}

/* A descriptor 0, 1 or 2 that is closed would be given to the next file that is opened, and what is meant for stderr
 * written into that one. */
static void open_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int tool_options(const struct tool_program *program, int argc, char **argv, const char **dir)
{
	struct tool_option all[OPTIONS_MAX + 1];
	struct common common = { 0 };
	uint64_t given;

	open_standard_descriptors();
	program_name = program->name;
	join(program->options, &common, all);
	given = parse(all, argc, argv);
	if (common.help || common.version) {
		if (common.help)
			print_help(program, all);
		else
			printf("%s (kvshm) %s\n", program->name, kvshm_version());
		exit(tool_flush() ? EXIT_SUCCESS : EXIT_FAILURE);
	}
	for (int i = 0; all[i].name; i++)
		if (all[i].required && !(given & UINT64_C(1) << i))
			tool_bad_use("--%s %s is missing", all[i].name, all[i].argument);
	if (!program->operands && optind < argc)
		tool_bad_use("nothing was expected at '%s'", argv[optind]);
	*dir = common.dir;
	return optind;
}

const char *tool_dir(const char *dir)
{
	if (!dir)
		dir = getenv("KVSHM_DIR");
	return dir && *dir ? dir : "/dev/shm";
}
