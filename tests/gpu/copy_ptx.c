/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * copy_ptx: prints the kernel that copies, for the tests that read it as text.
 */
#include "config.h"

#include <stdio.h>

#include "copy_kernel.h"

int main(void)
{
	return fputs(kvg_copy_ptx, stdout) < 0;
}
