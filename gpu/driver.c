/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * driver.c: the driver's library. See driver.h.
 */
#include "config.h"

#include "driver.h"

#include "fault.h"

int kvg_driver(const struct kvg_driver **driver)
{
	(void)driver;
	return kvs_fault(95, "to be done");
}

const struct kvg_driver *kvg_driver_loaded(void)
{
	return NULL;
}

int kvg_fault(const struct kvg_driver *driver, kvg_result result, const char *format, ...)
{
	(void)driver;
	(void)result;
	return kvs_fault(5, "to be done: %s", format);
}
