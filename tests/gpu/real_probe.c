/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * real_probe.c: is there a GPU? For scripts: 0, and which it is; or 77, and why there is none.
 */
#include "config.h"

#include "real.h"

int main(void)
{
	struct real_machine machine;

	real_begin(&machine);
	return 0;
}
