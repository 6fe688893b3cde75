/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * calls.c: what every call of the stand-in begins and ends with: it is counted, and fails if a test wants that; it is
 * refused before cuInit(), in a process that was forked by one that had called it, and in a host function.
 */
#include "config.h"
#include <dlfcn.h>
#include <link.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "inner.h"

pthread_mutex_t si_lock = PTHREAD_MUTEX_INITIALIZER;
_Thread_local bool si_in_host_function;

#define SI_NAME(member, name, parameters) name,
static const char *const names[SI_CALLS] = {KVG_FUNCTIONS(SI_NAME, SI_NAME) STANDIN_FUNCTIONS(SI_NAME)};
#undef SI_NAME

#define SI_ADDRESS(member, name, parameters) (void *)cu_##member,
static void *const addresses[SI_CALLS] = {KVG_FUNCTIONS(SI_ADDRESS, SI_ADDRESS) STANDIN_FUNCTIONS(SI_ADDRESS)};
#undef SI_ADDRESS

/* They do what they are for also when they return an error. */
static const bool frees[SI_CALLS] = {
	[SI_primary_release] = true, [SI_context_pop] = true,	[SI_memory_release] = true, [SI_address_free] = true,
	[SI_memory_unmap] = true,    [SI_memory_free] = true,	[SI_ipc_close] = true,	    [SI_host_unregister] = true,
	[SI_host_free] = true,	     [SI_event_destroy] = true, [SI_module_unload] = true,  [SI_context_destroy] = true,
	[SI_stream_destroy] = true,
};

struct order {
	unsigned long at; /* the number of the call */
	kvg_result result;
	bool is, always;
};

static pthread_mutex_t counting = PTHREAD_MUTEX_INITIALIZER;
static struct order orders[SI_CALLS], any;
static unsigned long counts[SI_CALLS], count;
static const char *failed;
static bool read_environment;
static atomic_int started; /* the process that called cuInit() */
static _Thread_local kvg_result owed;

void si_die(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("stand-in for libcuda: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	abort();
}

static enum si_call call_of(const char *name, size_t length)
{
	unsigned call;

	for (call = 0; call < SI_CALLS; call++)
		if (strlen(names[call]) == length && memcmp(names[call], name, length) == 0)
			return (enum si_call)call;
	si_die("there is no function %.*s", (int)length, name);
}

static void order(struct order *to, unsigned long made, unsigned long nth, kvg_result result)
{
	*to = (struct order){.is = true, .always = nth == 0, .at = made + nth, .result = result};
	failed = NULL;
}

/* KVSHM_STANDIN_FAIL. */
static void orders_of_environment(void)
{
	const char *text = getenv("KVSHM_STANDIN_FAIL");
	char *end;

	read_environment = true;
	while (text && *text) {
		size_t length = strcspn(text, ":");
		enum si_call call = call_of(text, length);
		unsigned long nth = 0;
		long result = 0;

		text += length;
		if (*text == ':') {
			result = strtol(text + 1, &end, 10);
			text = end;
		}
		if (*text == ':') {
			nth = strtoul(text + 1, &end, 10);
			text = end;
		}
		if (result <= 0 || (*text && *text != ','))
			si_die("KVSHM_STANDIN_FAIL is NAME:RESULT or NAME:RESULT:NTH, with commas between");
		order(&orders[call], counts[call], nth, (kvg_result)result);
		text += *text == ',';
	}
}

static kvg_result ordered(struct order *order, unsigned long made)
{
	if (!order->is || (!order->always && order->at != made))
		return KVG_SUCCESS;
	order->is = order->always;
	return order->result;
}

static kvg_result counted(enum si_call call)
{
	kvg_result result;

	pthread_mutex_lock(&counting);
	if (!read_environment)
		orders_of_environment();
	counts[call]++;
	count++;
	result = ordered(&orders[call], counts[call]);
	if (result == KVG_SUCCESS)
		result = ordered(&any, count);
	if (result != KVG_SUCCESS)
		failed = names[call];
	pthread_mutex_unlock(&counting);
	return result;
}

void si_started(void)
{
	atomic_store(&started, getpid());
}

bool si_forked(void)
{
	int pid = atomic_load(&started);

	return pid && pid != getpid();
}

kvg_result si_enter_early(enum si_call call)
{
	return si_forked() ? KVG_NOT_INITIALIZED : counted(call);
}

kvg_result si_enter(enum si_call call)
{
	kvg_result result = si_enter_early(call);

	if (result != KVG_SUCCESS && (!frees[call] || si_forked()))
		return result;
	if (!atomic_load(&started))
		return KVG_NOT_INITIALIZED;
	if (si_in_host_function)
		return KVG_NOT_PERMITTED;
	pthread_mutex_lock(&si_lock);
	owed = result;
	return KVG_SUCCESS;
}

kvg_result si_leave(kvg_result result)
{
	pthread_mutex_unlock(&si_lock);
	return result != KVG_SUCCESS ? result : owed;
}

/* KVSHM_STANDIN_WITHOUT: symbols without a place are none to dlsym(). */
static void hide(const char *name, size_t length)
{
	void *address = addresses[call_of(name, length)];
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	ElfW(Sym) * symbol;
	Dl_info info;
	void *entry;
	char *from;

	if (!dladdr1(address, &info, &entry, RTLD_DL_SYMENT) || !entry)
		si_die("%.*s can't be hidden: it has no symbol", (int)length, name);
	symbol = entry;
	from = (char *)symbol - ((uintptr_t)symbol & (page - 1));
	if (mprotect(from, (size_t)((char *)(symbol + 1) - from), PROT_READ | PROT_WRITE))
		si_die("%.*s can't be hidden: %m", (int)length, name);
	symbol->st_value = 0;
	symbol->st_shndx = SHN_UNDEF;
}

__attribute__((constructor)) static void without(void)
{
	const char *text = getenv("KVSHM_STANDIN_WITHOUT");
	size_t length;

	for (; text && *text; text += length + (text[length] == ',')) {
		length = strcspn(text, ",");
		hide(text, length);
	}
}

/* ---- What tests ask ----------------------------------------------------------------------------------------- */

SI_PUBLIC void standin_fail(const char *name, unsigned nth, kvg_result result)
{
	enum si_call call = call_of(name, strlen(name));

	pthread_mutex_lock(&counting);
	if (!read_environment)
		orders_of_environment();
	order(&orders[call], counts[call], nth, result);
	pthread_mutex_unlock(&counting);
}

SI_PUBLIC void standin_fail_call(unsigned nth, kvg_result result)
{
	pthread_mutex_lock(&counting);
	order(&any, count, nth, result);
	pthread_mutex_unlock(&counting);
}

SI_PUBLIC void standin_calm(void)
{
	pthread_mutex_lock(&counting);
	read_environment = true;
	memset(orders, 0, sizeof(orders));
	any.is = false;
	pthread_mutex_unlock(&counting);
}

SI_PUBLIC const char *standin_failed(void)
{
	const char *name;

	pthread_mutex_lock(&counting);
	name = failed;
	pthread_mutex_unlock(&counting);
	return name;
}

SI_PUBLIC unsigned long standin_calls(void)
{
	unsigned long made;

	pthread_mutex_lock(&counting);
	made = count;
	pthread_mutex_unlock(&counting);
	return made;
}

SI_PUBLIC unsigned long standin_calls_of(const char *name)
{
	enum si_call call = call_of(name, strlen(name));
	unsigned long made;

	pthread_mutex_lock(&counting);
	made = counts[call];
	pthread_mutex_unlock(&counting);
	return made;
}
