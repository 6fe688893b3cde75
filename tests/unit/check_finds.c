/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * check_finds: the check is checked. Each kind of finding, and each way to come to it, is planted in a store that is
 * sound but for that; the check must find it, tell it in these words, and find nothing else. What work in progress, a
 * stopped or a dead process may have left must be no finding. A kind that nothing plants fails the third test.
 */
#include "config.h"

#include "check_scene.h"

#include "hold.h"
#include "part.h"

/* ---- Planting -------------------------------------------------------------------------------------------- */

static const struct plant *plant_number(size_t i)
{
	if (i < plants_of_blocks_count)
		return &plants_of_blocks[i];
	i -= plants_of_blocks_count;
	return i < plants_of_index_count ? &plants_of_index[i] : &plants_of_requests[i - plants_of_index_count];
}

static size_t plants(void)
{
	return plants_of_blocks_count + plants_of_index_count + plants_of_requests_count;
}

static void plant_named(const char *name)
{
	for (size_t i = 0; i < plants(); i++)
		if (strcmp(plant_number(i)->name, name) == 0) {
			plant_number(i)->plant();
			return;
		}
	ck_abort_msg("there is no plant %s", name);
}

/* Plants each of a store's, sees that it is found, in its words, and nothing else; and mends it. */
static void plant_all(bool at_work)
{
	struct soil soil = keep_segment();

	for (size_t i = 0; i < plants(); i++) {
		const struct plant *plant = plant_number(i);
		struct told told;

		if (plant->at_work != at_work)
			continue;
		plant->plant();
		(void)look(&told);
		must_be_told(&told, plant->name);
		if (!told.of[plant->kind])
			ck_abort_msg("%s: no finding '%s' among%s", plant->name, kind_names[plant->kind], told.lines);
		mend(&soil);
		(void)nothing_is_found(plant->name);
	}
	end_soil(&soil);
}

START_TEST(what_is_planted_in_a_store_at_rest_is_found)
{
	store_at_rest();
	plant_all(false);
}
END_TEST

START_TEST(what_is_planted_under_living_clients_is_found)
{
	live_store();
	plant_all(true);
}
END_TEST

START_TEST(every_kind_of_finding_is_planted)
{
	unsigned of[KVS_FINDINGS] = {0};

	for (size_t i = 0; i < plants(); i++)
		of[plant_number(i)->kind]++;
	for (unsigned kind = 0; kind < KVS_FINDINGS; kind++)
		if (!of[kind])
			ck_abort_msg("nothing plants '%s' (findings.def)", kind_names[kind]);
}
END_TEST

/* ---- What work in progress explains ---------------------------------------------------------------------- */

static void filling_in_no_chain(void)
{
	cut(scene.filling); /* it has its key, and its filler is about to link it */
}

static void a_claim_that_came_second(void)
{
	put_counts(1, scene.held, KVS_ENTRY_WRITER); /* the ref went after the claim: the claim is about to go too */
}

/* Each with the reader slot of the one who explains it, in its section. */
static const struct {
	const char *plant;
	uint32_t reader;
} explained[] = {
	{"removal_left", 1},
	{"letting_go_left", 0},
	{"hold_without_a_bit", 0},
	{"hold_of_a_free_block", 1},
	{"hold_of_a_block_in_grace", 1},
	{"hold_of_anothers_block", 1},
	{"fill_whole_and_left", 0},
	{"fill_failed_and_left", 1},
	{"doomed_and_linked", 0},
	{"let_go_and_linked", 1},
};

START_TEST(what_one_in_its_section_may_be_at_is_no_finding)
{
	struct soil soil;

	live_store();
	soil = keep_segment();
	for (size_t i = 0; i < sizeof(explained) / sizeof(explained[0]); i++) {
		plant_named(explained[i].plant);
		enter(explained[i].reader);
		(void)nothing_is_found(explained[i].plant);
		mend(&soil);
	}
	filling_in_no_chain();
	(void)nothing_is_found("a fill that is not linked yet");
	mend(&soil);
	a_claim_that_came_second();
	(void)nothing_is_found("a claim that came second");
	mend(&soil);
	end_soil(&soil);
}
END_TEST

START_TEST(what_one_who_is_recovered_was_at_is_no_finding)
{
	struct soil soil;

	live_store();
	soil = keep_segment();
	/* The last recoverer looks like a living holder of the lock; its reader slot is flagged. */
	atomic_store(&scene.map.readers[atomic_load(&scene.map.head->readers_top) - 1].owner, 2 | KVS_READER_RECOVERER);
	plant_named("removal_left");
	(void)nothing_is_found("being recovered");
	mend(&soil);
	end_soil(&soil);
}
END_TEST

/* Another's section explains nothing of what is done in a client's own. */
START_TEST(what_another_is_at_explains_nothing)
{
	struct soil soil;
	struct told told;

	live_store();
	soil = keep_segment();
	plant_named("removal_left"); /* by client 1 */
	enter(0);
	(void)look(&told);
	must_be_told(&told, "unexplained");
	mend(&soil);
	plant_named("hold_of_a_block_in_grace"); /* by client 1 */
	enter(0);
	(void)look(&told);
	must_be_told(&told, "unexplained");
	mend(&soil);
	end_soil(&soil);
}
END_TEST

/* ---- Looks ----------------------------------------------------------------------------------------------- */

int __real_kvs_inspect_slots(const struct kvs_view *view, struct kvs_slot_view **slots);
int __wrap_kvs_inspect_slots(const struct kvs_view *view, struct kvs_slot_view **slots);

static unsigned looks;
static void (*before_look)(unsigned look);

/* Each look begins with the slots. */
int __wrap_kvs_inspect_slots(const struct kvs_view *view, struct kvs_slot_view **slots)
{
	looks++;
	if (before_look)
		before_look(looks);
	return __real_kvs_inspect_slots(view, slots);
}

static void look_with(void (*before)(unsigned look), struct told *told)
{
	looks = 0;
	before_look = before;
	(void)look(told);
	before_look = NULL;
}

static void out_in_the_fifth(unsigned at)
{
	atomic_store(&scene.map.readers[1].epoch, at == 5 ? 0 : atomic_load(&scene.map.head->epoch));
}

static void out_in_the_first(unsigned at)
{
	atomic_store(&scene.map.readers[1].epoch, at == 1 ? 0 : atomic_load(&scene.map.head->epoch));
}

static void mended_before_the_last(unsigned at)
{
	if (at == 10)
		put_state(scene.ready, KVS_READY, 0);
}

static void a_step_on_each_time(unsigned at)
{
	(void)at;
	put_state(scene.ready, KVS_READY, 1);
}

START_TEST(one_look_without_an_excuse_is_enough_but_not_the_first)
{
	struct told told;

	live_store();
	plant_named("removal_left");
	look_with(out_in_the_fifth, &told);
	must_be_told(&told, "unexplained");
	ck_assert_uint_eq(looks, 10);
	look_with(out_in_the_first, &told);
	ck_assert_str_eq(told.lines, "");
}
END_TEST

START_TEST(every_look_must_see_it_with_the_same_word)
{
	struct told told;

	live_store();
	plant_named("ready_with_an_owner");
	look_with(mended_before_the_last, &told);
	ck_assert_str_eq(told.lines, "");
	ck_assert_uint_eq(looks, 10);
	look_with(a_step_on_each_time, &told);
	ck_assert_str_eq(told.lines, "");
	ck_assert_uint_eq(looks, 2);
	look_with(NULL, &told);
	must_be_told(&told, "unexplained");
}
END_TEST

/* ---- Sound stores ---------------------------------------------------------------------------------------- */

static struct kvshm_ticket *given;

/* One of everything that a client can have; then it dies. */
static void have_everything(void *arg)
{
	struct kvshm_request request;
	struct kvshm_handle handle;
	kvshm_store *store;

	(void)arg;
	ck_rc(kvshm_attach(unit_name(), NULL, &store), 0);
	(void)unit_fill(store, 3000, 0);
	ck_rc(kvshm_alloc(store, &handle), 0);
	(void)unit_begin(store, 3001);
	(void)unit_begin_shared(store, 3002);
	(void)unit_fill(store, 3003, 0);
	ck_rc(unit_remove(store, 3003), 0);
	(void)unit_part(store, given, 1);
	ck_rc(kvshm_request_open(store, "dead", 4, 1, 1, &request), 0);
	ck_rc(kvshm_request_reserve(store, &request, 1, 0), 0);
	unit_wait_for_death();
}

/* Client 2 of the live store, who writes the shared fill's other plane too. */
static void begin_client(struct child *child)
{
	const struct kvshm_handle fill = {
		.life = life(scene.shared), .block = scene.shared, .kind = KVSHM_WRITER};

	given = unit_shared(sizeof(*given));
	*given = unit_ticket(scene.a, &fill);
	unit_child(child, have_everything, NULL);
	unit_await(child);
}

START_TEST(a_store_with_everything_and_its_dead_is_sound_throughout)
{
	struct kvs_check_result result;
	struct child child;

	live_store();
	begin_client(&child);
	result = nothing_is_found("with three clients");
	ck_assert_uint_eq(result.pending, 0);
	unit_kill(&child);
	result = nothing_is_found("with a dead client");
	/* Six holds, three blocks with its number, a request, and its room of one block. */
	ck_assert_uint_eq(result.pending, 11);
	ck_rc(kvshm_recover(scene.a, NULL), 0);
	result = nothing_is_found("after its recovery");
	ck_assert_uint_eq(result.pending, 0);
	unit_detach(scene.b);
	(void)nothing_is_found("after one client has left");
	unit_detach(scene.a);
	ck_assert(nothing_is_found("after all have left").quiescent);
}
END_TEST

START_TEST(what_a_dead_client_may_have_been_at_is_no_finding)
{
	struct child child;
	struct soil soil;

	live_store();
	begin_client(&child);
	unit_kill(&child);
	soil = keep_segment();
	put_state(scene.ready, KVS_REM_READY, 2);
	(void)nothing_is_found("it was removing");
	mend(&soil);
	put_counts(2, scene.limbo, KVS_ENTRY_REF);
	(void)nothing_is_found("it came by an old ticket");
	mend(&soil);
	plant_named("doomed_and_linked");
	(void)nothing_is_found("it had not unlinked yet");
	mend(&soil);
	plant_named("fill_failed_and_left");
	(void)nothing_is_found("it was dooming");
	mend(&soil);
	end_soil(&soil);
	ck_rc(kvshm_recover(scene.a, NULL), 0);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		what_is_planted_in_a_store_at_rest_is_found,
		what_is_planted_under_living_clients_is_found,
		every_kind_of_finding_is_planted,
		what_one_in_its_section_may_be_at_is_no_finding,
		what_one_who_is_recovered_was_at_is_no_finding,
		what_another_is_at_explains_nothing,
		one_look_without_an_excuse_is_enough_but_not_the_first,
		every_look_must_see_it_with_the_same_word,
		a_store_with_everything_and_its_dead_is_sound_throughout,
		what_a_dead_client_may_have_been_at_is_no_finding,
	};

	return unit_run("check_finds", tests, sizeof(tests) / sizeof(tests[0]));
}
