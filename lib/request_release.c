/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * request_release.c: a request lets go of some of its holds: of these, or of all but these. Contracts in kvshm.h.
 * Guarantees: what is another request's stays as it is; so does a fill that is under way.
 */
#include "config.h"

#include "request.h"

int kvshm_request_release(kvshm_store *store, const struct kvshm_request *request, struct kvshm_handle *lent,
			  size_t count)
{
	struct kvl_request *own;
	struct kvs_actor actor;
	int rc = kvl_request_begin(store, request, &actor, &own);

	if (rc)
		return rc;
	if (count && !lent)
		rc = kvs_fault(EINVAL, "no handles were given (NULL)");
	for (size_t i = 0; rc == 0 && i < count; i++) {
		struct kvl_hold *hold;

		if (lent[i].kind != KVSHM_LENT || lent[i].request != own->slot + 1)
			continue;
		hold = kvl_request_find_hold(own, lent[i].block);
		if (!hold || !kvl_hold_is_held(hold) || hold->life != lent[i].life)
			continue; /* it has ended; or is another store's, which a handle does not tell */
		kvl_request_drop_hold(&actor, own, hold);
		lent[i] = kvl_no_hold;
	}
	kvl_request_tell(own);
	kvl_request_leave(own);
	return rc;
}

/* One that another request has lent keeps nothing of this one's: who gives it has taken the wrong array, or request. */
static int check_kept(const struct kvl_request *own, const struct kvshm_handle *keep, size_t count)
{
	if (count && !keep)
		return kvs_fault(EINVAL, "no handles were given (NULL)");
	for (size_t i = 0; i < count; i++)
		if (keep[i].kind == KVSHM_LENT && keep[i].request != own->slot + 1)
			return kvs_routine(EBADF, "a handle was lent by another request: nothing was let go of");
	return 0;
}

static void mark_kept(struct kvl_request *own, const struct kvshm_handle *keep, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct kvl_hold *hold = NULL;

		if (keep[i].kind == KVSHM_LENT)
			hold = kvl_request_find_hold(own, keep[i].block);
		if (hold && hold->life == keep[i].life)
			hold->kept = true;
	}
}

/* Is it one that the request began, and that others still write? Dropped, it would be given up. */
static bool is_under_way(const struct kvs_actor *actor, struct kvl_request *own, struct kvl_hold *hold)
{
	uint64_t word;

	return hold->own && !hold->ready && kvl_request_judge_hold(actor, own, hold, &word) == -EAGAIN;
}

int kvshm_request_keep(kvshm_store *store, const struct kvshm_request *request, const struct kvshm_handle *keep,
		       size_t count)
{
	struct kvl_request *own;
	struct kvs_actor actor;
	int rc = kvl_request_begin(store, request, &actor, &own);

	if (rc)
		return rc;
	rc = check_kept(own, keep, count);
	if (rc) {
		kvl_request_leave(own);
		return rc;
	}
	mark_kept(own, keep, count);
	for (uint32_t i = 0; i < own->size; i++) {
		struct kvl_hold *hold = &own->holds[i];

		if (kvl_hold_is_held(hold) && !hold->kept && !is_under_way(&actor, own, hold) &&
		    kvl_hold_is_held(hold)) /* the look may have ended it */
			kvl_request_drop_hold(&actor, own, hold);
		hold->kept = false;
	}
	kvl_request_tell(own);
	kvl_request_leave(own);
	return 0;
}
