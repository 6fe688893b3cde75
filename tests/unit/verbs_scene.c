/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * verbs_scene.c: see verbs_scene.h.
 */
#include "config.h"

#include "verbs_scene.h"

#include <stdio.h>
#include <string.h>

char scene_log[1024];

static void keep_log(enum kvshm_log_level level, const char *text, void *arg)
{
	(void)level;
	(void)arg;
	(void)snprintf(scene_log, sizeof(scene_log), "%s", text);
}

void scene_begin(void)
{
	fake_begin();
	kvshm_set_log(keep_log, NULL);
	ends_plane = SCENE_PLANE;
	ends_use("rdma://10.77.0.1:7471");
	ends_options.timeout = UINT64_C(10000000000);
}

void scene_renew(struct end *end)
{
	if (end->link)
		ends_end(end);
	*end = (struct end){.memory = end->memory, .plane = end->plane, .close_on_down = true};
}

void scene_connect(void)
{
	ends_open();
	scene_renew(&ends_a);
	scene_renew(&ends_b);
	ends_rc(ends_begin(&ends_a, &ends_at), 0);
	ends_until(ends_a.ups && ends_b.link);
}

void scene_end(void)
{
	ends_close();
	ck_assert_uint_eq(fake.objects, 0);
}

struct ibv_qp *scene_qp(const struct end *end)
{
	return end->link->qp;
}

void scene_works(void)
{
	struct kvr_window *window = ends_expose(&ends_b, 0, 4096);

	memset(ends_a.plane, 5, 4096);
	memset(ends_b.plane, 0, 8192);
	ends_rc(ends_write(&ends_a, 0, window, 0, 4096), 0);
	ends_tell(&ends_a);
	ck_assert(!ends_a.downs && !ends_b.downs);
	ends_is_all(ends_b.plane, 4096, 5);
	ends_is_all(ends_b.plane + 4096, 4096, 0);
	ends_withdraw(&ends_b, window);
	ends_until(ends_b.withdrawn);
	ends_b.withdrawn = 0;
}

bool scene_says(const char *text)
{
	static const struct {
		const char *call, *words;
	} without_error[] = {
		{"calloc", "no memory"},
		{"mmap", "no memory"},
		{"ibv_poll_cq", "completion queue failed"},
		{"ibv_req_notify_cq", "completion queue failed"},
		{"ibv_req_notify_cq", "does not tell of completions"},
	};

	if (strstr(text, strerror(fake.error)))
		return true;
	for (size_t i = 0; fake.failed && i < sizeof(without_error) / sizeof(without_error[0]); i++)
		if (strcmp(fake.failed, without_error[i].call) == 0 && strstr(text, without_error[i].words))
			return true;
	return false;
}
