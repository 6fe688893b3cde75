/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * fault.h: what went wrong, as a text of the calling thread, and the program's log.
 */
#ifndef KVS_FAULT_H
#define KVS_FAULT_H

#include <errno.h>

/* Keeps the text for kvs_fault_text(), and returns the error. */
int kvs_fault_keep(int error, const char *format, ...) __attribute__((format(printf, 2, 3), cold));
int kvs_fault_keep_constant(int error, const char *text);

/* A call that fails never returns 0, whatever errno was. (Written so that an analyzer sees it, too.) */
static inline int kvs_fault_negative(int error)
{
	int rc = -error;

	return rc < 0 ? rc : -EIO;
}

/* kvs_fault(error, format, ...) is for "return kvs_fault(EINVAL, ...)". Whoever first detects an error tells it;
 * callers pass the number on. */
#define kvs_fault(...) kvs_fault_negative(kvs_fault_keep(__VA_ARGS__))

/* The same for errors that are part of ordinary work: text is a constant, and nothing is formatted. */
static inline int kvs_routine(int error, const char *text)
{
	return kvs_fault_negative(kvs_fault_keep_constant(error, text));
}

const char *kvs_fault_text(void);

/* Calls the program's log callback, if there is one. The levels are enum kvshm_log_level's. */
#define KVS_LOG_WARNING 4
#define KVS_LOG_NOTICE 5
void kvs_log(int level, const char *format, ...) __attribute__((format(printf, 2, 3), cold));
/* What the thread has for the log between these two is told by the second. The callback is the program's, and may wait
 * for what another thread has that waits for a lock of this one: so they stand around what is done under a lock. They
 * nest. */
void kvs_log_put_off(void);
void kvs_log_go_on(void);
/* Instead of the second, the outermost, by a thread that others may wait for in all it does, such as one of a GPU's
 * driver: adds what it has put off to *to, for another thread to tell. */
struct kvs_log_lines;
void kvs_log_hand_over(struct kvs_log_lines **to);
/* Tells these, and frees them. */
void kvs_log_tell(struct kvs_log_lines *told);
void kvs_log_set(void (*fn)(int level, const char *text, void *arg), void *arg);

#endif
