/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * leaks.h: what LeakSanitizer does not look for: descriptors that stay open, memory that stays mapped. Who uses it is
 * linked with --wrap=mmap and --wrap=munmap.
 */
#ifndef LEAKS_H
#define LEAKS_H

#include <stdint.h>

struct leaks {
	uint64_t mapped; /* bytes */
	int next;	 /* the next descriptor that would be opened */
};

/* What there is now. Of two that are equal, nothing has leaked between them. */
struct leaks leaks_now(void);

#endif
