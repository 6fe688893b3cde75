/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * owner.c: making, adopting, destroying and unlinking stores. Contracts in kvshm.h.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "check.h"
#include "epoch.h"
#include "files.h"
#include "internal.h"
#include "lock.h"
#include "numa.h"
#include "planes.h"
#include "pool.h"
#include "recover.h"
#include "segment.h"
#include "share.h"
#include "wait.h"

#define NAMES_PERIOD_NS UINT64_C(1000000000)
#define CLIENTS_END_NS UINT64_C(2000000000)

void kvshm_create_defaults(struct kvshm_create_options *options)
{
	if (!options)
		return;
	*options = (struct kvshm_create_options){
		.planes = 1,
		.key_max = 64,
		.clients = 64,
		.requests = 1024,
		.mode = 0600,
		.numa_node = KVS_NODE_ANY,
		.group = KVS_GROUP_OWN,
	};
}

static int check_numbers(const struct kvshm_create_options *o)
{
	if (o->block_size == 0 || o->block_size % KVSHM_BLOCK_UNIT)
		return kvs_fault(EINVAL, "a block size of %llu bytes: it must be a multiple of %d, and not 0",
				 (unsigned long long)o->block_size, KVSHM_BLOCK_UNIT);
	if (o->block_size > UINT64_C(1) << 40)
		return kvs_fault(EINVAL, "a block size of %llu bytes: the largest is 1 TiB",
				 (unsigned long long)o->block_size);
	if (o->size < o->block_size)
		return kvs_fault(EINVAL, "a size of %llu bytes is less than one block of %llu: make it larger",
				 (unsigned long long)o->size, (unsigned long long)o->block_size);
	if (o->size / o->block_size > KVSHM_BLOCKS_MAX)
		return kvs_fault(EINVAL, "%llu blocks: the most is %u; make the blocks larger",
				 (unsigned long long)(o->size / o->block_size), KVSHM_BLOCKS_MAX);
	if (o->planes == 0 || o->planes > KVSHM_PLANES_MAX)
		return kvs_fault(EINVAL, "%u planes: there must be 1 to %d", o->planes, KVSHM_PLANES_MAX);
	if (o->size > (uint64_t)INT64_MAX / o->planes)
		return kvs_fault(ENOSPC,
				 "%u planes of %llu bytes are more than any file system holds: make them smaller",
				 o->planes, (unsigned long long)o->size);
	if (o->key_max == 0 || o->key_max > KVSHM_KEY_MAX)
		return kvs_fault(EINVAL, "keys of up to %u bytes: the longest must be 1 to %d", o->key_max,
				 KVSHM_KEY_MAX);
	if (o->clients == 0 || o->clients > KVSHM_CLIENTS_MAX)
		return kvs_fault(EINVAL, "%u clients: there must be 1 to %d", o->clients, KVSHM_CLIENTS_MAX);
	if (o->requests == 0 || o->requests > KVSHM_REQUESTS_MAX)
		return kvs_fault(EINVAL, "%u requests: there must be 1 to %d", o->requests, KVSHM_REQUESTS_MAX);
	if (o->mode & ~0777U || (o->mode & 0600) != 0600)
		return kvs_fault(EINVAL, "mode %o: it must be octal, up to 0777, and let the owner read and write",
				 o->mode);
	if (o->retain != KVSHM_KEEP && o->retain != KVSHM_DROP)
		return kvs_fault(EINVAL, "retain %d: it is KVSHM_KEEP or KVSHM_DROP", (int)o->retain);
	if (o->numa_node < KVS_NODE_ANY || o->numa_node >= KVS_NODES_MAX)
		return kvs_fault(EINVAL, "NUMA node %d: it must be 0 to %d, or -1 for any", (int)o->numa_node,
				 KVS_NODES_MAX - 1);
	if (o->group < KVS_GROUP_OWN || o->group >= UINT32_MAX)
		return kvs_fault(EINVAL, "group %lld: it must be a group's number, or -1 for the process's",
				 (long long)o->group);
	if (o->populate > KVS_POPULATE_MAX)
		return kvs_fault(EINVAL, "%u threads to populate: the most is %d", o->populate, KVS_POPULATE_MAX);
	if (o->gpu_export != KVSHM_EXPORT_FD && o->gpu_export != KVSHM_EXPORT_IPC)
		return kvs_fault(EINVAL, "gpu_export %d: it is KVSHM_EXPORT_FD or KVSHM_EXPORT_IPC",
				 (int)o->gpu_export);
	if (o->label && strlen(o->label) > KVSHM_LABEL_MAX)
		return kvs_fault(EINVAL, "a label of %zu bytes: the longest is %d", strlen(o->label), KVSHM_LABEL_MAX);
	return 0;
}

/* An owner's memory, with the directory's name kept in it. */
static int new_owner(const char *name, const char *dir, struct kvshm_owner **owner)
{
	size_t size;
	void *memory;
	int rc = kvs_files_check_name(name);

	if (rc)
		return rc;
	dir = kvs_files_dir(dir);
	size = strlen(dir) + 1;
	rc = kvl_memory_take(sizeof(**owner) + size, &memory);
	if (rc)
		return rc;
	*owner = memory;
	memcpy((*owner)->dir, dir, size);
	memcpy((*owner)->name, name, strlen(name) + 1);
	(void)pthread_mutex_init(&(*owner)->overdue.lock, NULL);
	return 0;
}

static void free_owner(struct kvshm_owner *owner)
{
	kvg_share_close(owner->share);
	kvg_planes_free(owner->planes);
	(void)pthread_mutex_destroy(&owner->overdue.lock);
	free(owner->overdue.told);
	kvl_memory_give_back(owner, sizeof(*owner) + strlen(owner->dir) + 1);
}

static void tell_rounding(const struct kvshm_create_options *o)
{
	if (o->size % o->block_size)
		kvs_log(KVSHM_LOG_NOTICE,
			"the size of %llu bytes was rounded down to %llu blocks of %llu: %llu bytes are "
			"not used",
			(unsigned long long)o->size, (unsigned long long)(o->size / o->block_size),
			(unsigned long long)o->block_size, (unsigned long long)(o->size % o->block_size));
}

/* ---- Planes in GPU memory --------------------------------------------------------------------------------- */

/* What the options ask for, in the place of what they say of planes. */
static int wish_planes(const struct kvshm_create_options *o, struct kvg_planes_wish *wish, uint32_t *planes)
{
	int rc;

	if (!kvg_devices_asked(o->pool))
		return 0;
	if (o->hugepages)
		return kvs_fault(EINVAL, "huge pages are of host memory, and the pool is '%s': leave one out", o->pool);
	rc = kvg_devices_parse(o->pool, wish->uuids, planes);
	if (rc)
		return rc;
	if (o->planes > 1 && o->planes != *planes)
		return kvs_fault(EINVAL, "%u planes are asked for, and the pool '%s' has %u: leave the number out",
				 o->planes, o->pool, *planes);
	wish->export = (enum kvs_export)o->gpu_export;
	return 0;
}

/* The segment's mode and group, which its sockets have as well. */
static int find_access(const struct kvshm_owner *owner, struct kvs_files_access *access)
{
	struct stat st;

	if (fstat(owner->map.fd, &st))
		return kvs_fault(errno, "cannot look at the segment: %s", strerror(errno));
	*access = (struct kvs_files_access){.mode = st.st_mode & 0777, .group = st.st_gid};
	return 0;
}

/* Lets clients come for the planes' descriptors, where these are how they get them. */
static int share_planes(struct kvshm_owner *owner)
{
	struct kvs_files_access access;
	int rc;

	if (!owner->planes || !kvg_planes_fds(owner->planes))
		return 0;
	rc = find_access(owner, &access);
	if (rc)
		return rc;
	return kvg_share_open(owner->dir, owner->name, &owner->map, &access, kvg_planes_fds(owner->planes),
			      &owner->share);
}

/* Has the memory gone with the owner? Whoever gets the owner's lock behind that, its clients take for a living one: so
 * it tells them, before it does anything that takes time. */
static int look_for_planes(struct kvshm_owner *owner)
{
	if (owner->map.files.memory != KVS_MEMORY_CUDA || owner->map.files.export != KVS_EXPORT_IPC)
		return 0;
	atomic_store(&owner->map.head->state, KVS_STORE_DESTROYED);
	return kvs_fault(ESTALE,
			 "the GPU memory of store '%s' has gone with its owner: make a new one by --replace-dead",
			 owner->name);
}

/* Gets them for a new owner of an old store. */
static int adopt_planes(struct kvshm_owner *owner)
{
	struct kvs_files_access access;
	int fds[KVS_PLANES_MAX];
	int rc;

	if (owner->map.files.memory != KVS_MEMORY_CUDA)
		return 0;
	rc = find_access(owner, &access);
	if (rc == 0)
		rc = kvg_share_ask(owner->dir, owner->name, &owner->map, &access, fds);
	if (rc == 0)
		rc = kvg_planes_take(fds, owner->map.g.planes, &owner->planes);
	return rc ? rc : share_planes(owner);
}

/* The callback, as the inner library calls it. */
static int tell_progress(int phase, uint64_t done, uint64_t total, void *arg)
{
	const struct kvshm_create_options *o = arg;

	return o->progress((enum kvshm_phase)phase, done, total, o->progress_arg);
}

int kvshm_create(const char *name, const struct kvshm_create_options *options, kvshm_owner **owner)
{
	struct kvg_planes_wish wish = {.planes = NULL};
	struct kvs_segment_options how;
	struct kvshm_owner *made;
	uint32_t planes;
	int rc;

	if (!owner)
		return kvl_no_place();
	if (!options)
		return kvs_fault(EINVAL, "no options were given (NULL): a store needs a size and a block size");
	rc = check_numbers(options);
	planes = options->planes;
	if (rc == 0)
		rc = wish_planes(options, &wish, &planes);
	if (rc == 0)
		rc = kvs_epoch_register(options->fence);
	if (rc == 0)
		rc = new_owner(name, options->dir, &made);
	if (rc)
		return rc;
	how = (struct kvs_segment_options){
		.dir = made->dir,
		.label = options->label,
		.shape = {.block_size = options->block_size,
			  .blocks = (uint32_t)(options->size / options->block_size),
			  .planes = planes,
			  .key_max = options->key_max,
			  .clients = options->clients,
			  .requests = options->requests,
			  .drop = options->retain == KVSHM_DROP,
			  .fence = options->fence != 0},
		.access = {.mode = options->mode, .group = options->group},
		.replace_dead = options->replace_dead,
		.huge = options->hugepages != 0,
		.node = options->numa_node,
		.threads = options->populate,
		.progress = options->progress ? tell_progress : NULL,
		.progress_arg = (void *)options,
		.planes = kvg_devices_asked(options->pool) ? kvg_planes_make : NULL,
		.planes_arg = &wish,
	};
	rc = kvs_segment_create(made->name, &how, &made->map);
	made->planes = wish.planes;
	if (rc)
		goto free_memory;
	rc = share_planes(made);
	if (rc)
		goto destroy;
	tell_rounding(options);
	made->alive = KVL_ALIVE;
	*owner = made;
	return 0;

destroy:
	kvs_segment_destroy(made->name, made->dir, &made->map);
	kvs_map_close(&made->map);
free_memory:
	free_owner(made);
	return rc;
}

/* Is a store that is to be adopted sound? */
static int prove_sound(const char *name, const char *dir)
{
	struct kvs_check_result result;
	struct kvs_view *view = kvs_inspect_memory(sizeof(*view));
	int rc;

	if (!view)
		return kvs_fault(ENOMEM, "no memory");
	rc = kvs_inspect_open(name, dir, view);
	if (rc == 0) {
		rc = kvs_check(view, NULL, NULL, &result);
		kvs_inspect_close(view);
	}
	free(view);
	if (rc == 0 && result.unsound)
		rc = kvs_fault(EUCLEAN,
			       "store '%s' is not sound, in %llu places (kvshm-check tells them): make a new one by "
			       "--replace-dead",
			       name, (unsigned long long)result.unsound);
	return rc;
}

int kvshm_adopt(const char *name, const char *dir, kvshm_owner **owner)
{
	struct kvshm_owner *made;
	int rc;

	if (!owner)
		return kvl_no_place();
	rc = new_owner(name, dir, &made);
	if (rc)
		return rc;
	rc = kvs_segment_adopt(made->name, made->dir, &made->map);
	if (rc)
		goto free_memory;
	rc = look_for_planes(made);
	if (rc == 0)
		rc = kvs_epoch_register(made->map.g.fence);
	if (rc == 0)
		rc = prove_sound(made->name, made->dir);
	if (rc == 0)
		rc = adopt_planes(made);
	if (rc)
		goto close_map;
	made->alive = KVL_ALIVE;
	*owner = made;
	return 0;

close_map:
	kvg_share_close(made->share);
	made->share = NULL;
	kvs_map_close(&made->map);
free_memory:
	free_owner(made);
	return rc;
}

int kvl_check_owner(const kvshm_owner *owner)
{
	if (!owner)
		return kvs_fault(EINVAL, "no owner was given (NULL)");
	if (owner->alive != KVL_ALIVE)
		return kvs_routine(ECHILD, "the store was made before fork(): its parent owns it");
	return 0;
}

/* Tells the log, once, that nobody can find the store any more. Looks once a second: in a hugetlbfs that takes a
 * while. */
static void look_for_names(kvshm_owner *owner)
{
	uint64_t now = kvs_now(), next = atomic_load(&owner->next_look);

	if (now < next || !atomic_compare_exchange_strong(&owner->next_look, &next, now + NAMES_PERIOD_NS) ||
	    kvs_segment_named(owner->name, owner->dir, &owner->map))
		return;
	atomic_store(&owner->next_look, UINT64_MAX);
	kvs_log(KVSHM_LOG_ERROR,
		"store '%s' has lost its name in %s: a file of it was removed or replaced there, by hand, or by "
		"systemd-logind when its user logged out (RemoveIPC=yes). Attached clients go on; nobody new can "
		"attach. Make a new store; against logind set RemoveIPC=no, or run as a system user",
		owner->name, owner->dir);
}

int kvshm_owner_recover(kvshm_owner *owner, unsigned *recovered)
{
	int rc = kvl_check_owner(owner);

	if (rc)
		return rc;
	if (owner->share)
		kvg_share_work(owner->share);
	look_for_names(owner);
	rc = kvs_recover_dead(&owner->map);
	if (rc < 0)
		return rc;
	if (recovered)
		*recovered = (unsigned)rc;
	return 0;
}

int kvshm_owner_fd(kvshm_owner *owner, int *fd)
{
	int rc = kvl_check_owner(owner);

	if (rc)
		return rc;
	if (!fd)
		return kvl_no_place();
	*fd = owner->share ? kvg_share_fd(owner->share) : -1;
	return 0;
}

/* Memory that clients have open by an IPC handle must not be freed under what they have on the GPU: their next call
 * tells them, and they detach. Who does not must not hold up the owner's end, which takes the memory anyway. */
static void await_clients(const struct kvshm_owner *owner)
{
	const struct timespec moment = {.tv_nsec = 1000000};
	uint64_t until = kvs_now() + CLIENTS_END_NS;

	if (!owner->planes || kvg_planes_fds(owner->planes))
		return;
	if (kvs_map_whole(&owner->map) == 0)
		atomic_store(&owner->map.head->state, KVS_STORE_DESTROYED);
	while (kvs_lock_any_client(owner->map.probe) > 0 && kvs_now() < until)
		(void)nanosleep(&moment, NULL);
}

int kvshm_destroy(kvshm_owner *owner)
{
	int rc = kvl_check_owner(owner);

	if (rc)
		return rc;
	kvs_segment_destroy(owner->name, owner->dir, &owner->map);
	return kvshm_disown(owner);
}

int kvshm_disown(kvshm_owner *owner)
{
	int rc = kvl_check_owner(owner);

	if (rc)
		return rc;
	owner->alive = 0;
	kvg_share_close(owner->share); /* under the owner's lock, which falls with the map */
	owner->share = NULL;
	await_clients(owner);
	kvs_map_close(&owner->map);
	free_owner(owner);
	return 0;
}

int kvshm_unlink(const char *name, const char *dir)
{
	return kvs_segment_unlink(name, dir);
}

struct unlinking {
	const char *dir;
	int (*fn)(const char *name, int result, void *arg);
	void *arg;
};

/* Removes one, if nobody has it. One that is gone by now, another process took; one that can't be opened is another
 * user's. */
static int unlink_one(const char *name, void *arg)
{
	const struct unlinking *all = arg;
	int rc = kvs_segment_unlink_dead(name, all->dir);

	return rc == -EBUSY || rc == -ENOENT || rc == -EACCES || !all->fn ? 0 : all->fn(name, rc, all->arg);
}

/* By the name of its planes: what makers who died have left, and a segment of which too little is left to be listed. */
static int unlink_by_planes(const char *name, void *arg)
{
	const struct unlinking *all = arg;
	struct kvshm_head_info listed;

	if (kvs_files_check_name(name))
		return 0; /* no store was ever called so */
	return kvshm_view_head(name, all->dir, &listed) == 0 ? 0 : unlink_one(name, arg);
}

int kvshm_unlink_dead(const char *dir, int (*fn)(const char *name, int result, void *arg), void *arg)
{
	struct unlinking all = {.dir = dir, .fn = fn, .arg = arg};
	int rc = kvshm_list(dir, unlink_one, &all);

	return rc ? rc : kvs_pool_host.each_name(kvs_files_dir(dir), unlink_by_planes, &all);
}
