/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * histograms.h: the histograms that histograms.def declares, and which bucket a time falls into.
 *
 * Bucket i counts the times below 2^(KVS_HISTOGRAM_SHIFT + i) ns that no lower bucket counts, the last one all the
 * rest: from 1 microsecond to 9.8 hours, in steps of two. Behind the buckets stands the sum in ns, so that means can be
 * told.
 */
#ifndef KVS_HISTOGRAMS_H
#define KVS_HISTOGRAMS_H

#include <stdint.h>

#define KVS_HISTOGRAM_SHIFT 10
#define KVS_HISTOGRAM_BUCKETS 37
#define KVS_HISTOGRAM_SUM KVS_HISTOGRAM_BUCKETS
#define KVS_HISTOGRAM_CELLS (KVS_HISTOGRAM_BUCKETS + 1)

enum kvs_histogram {
#define KVS_HISTOGRAM(name, help) KVS_TIME_##name,
#include "histograms.def"
#undef KVS_HISTOGRAM
	KVS_HISTOGRAMS
};

static inline unsigned kvs_histogram_bucket(uint64_t ns)
{
	uint64_t above = ns >> KVS_HISTOGRAM_SHIFT;
	unsigned bucket = above ? 64 - (unsigned)__builtin_clzll(above) : 0;

	return bucket < KVS_HISTOGRAM_BUCKETS ? bucket : KVS_HISTOGRAM_BUCKETS - 1;
}

#endif
