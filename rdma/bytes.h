/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * bytes.h: numbers in messages: their low byte first, at any address, whatever the machine's order is.
 */
#ifndef KVR_BYTES_H
#define KVR_BYTES_H

#include <stdint.h>

static inline uint16_t kvr_get16(const uint8_t *at)
{
	return (uint16_t)(at[0] | at[1] << 8);
}

static inline uint32_t kvr_get32(const uint8_t *at)
{
	return kvr_get16(at) | (uint32_t)kvr_get16(at + 2) << 16;
}

static inline uint64_t kvr_get64(const uint8_t *at)
{
	return kvr_get32(at) | (uint64_t)kvr_get32(at + 4) << 32;
}

static inline void kvr_put16(uint8_t *at, uint32_t number)
{
	at[0] = (uint8_t)number;
	at[1] = (uint8_t)(number >> 8);
}

static inline void kvr_put32(uint8_t *at, uint32_t number)
{
	kvr_put16(at, number);
	kvr_put16(at + 2, number >> 16);
}

static inline void kvr_put64(uint8_t *at, uint64_t number)
{
	kvr_put32(at, (uint32_t)number);
	kvr_put32(at + 4, (uint32_t)(number >> 32));
}

#endif
