/* Stands in until the sender is there: deleted by who adds it. */
#include "config.h"

#include "receiver.h"
#include "sender.h"

int kvr_sender_open(struct kvr_peer *peer) { (void)peer; return 0; }
void kvr_sender_close(struct kvr_peer *peer) { (void)peer; }
int kvr_sender_on_opened(struct kvr_peer *peer, const struct kvr_opened *opened) { (void)peer; (void)opened; return -1; }
int kvr_sender_on_grant(struct kvr_peer *peer, struct kvr_message *grants) { (void)peer; (void)grants; return -1; }
int kvr_sender_on_done(struct kvr_peer *peer, const struct kvr_end *done) { (void)peer; (void)done; return -1; }
int kvr_sender_on_abort(struct kvr_peer *peer, const struct kvr_end *abort) { (void)peer; (void)abort; return -1; }
int kvr_sender_on_aborted(struct kvr_peer *peer, const struct kvr_end *e) { (void)peer; (void)e; return -1; }
int kvr_sender_on_want(struct kvr_peer *peer, struct kvr_message *want) { (void)peer; (void)want; return -1; }
int kvr_sender_on_wanted(struct kvr_peer *peer, const struct kvr_wanted *w) { (void)peer; (void)w; return -1; }
void kvr_sender_on_sent(struct kvr_peer *peer, uint64_t cookie) { (void)peer; (void)cookie; }
void kvr_sender_on_lost(struct kvr_peer *peer) { (void)peer; }
void kvr_sender_work(struct kvr_peer *peer) { (void)peer; }
void kvr_sender_wish_opened(struct kvr_peer *peer, void *user, const struct kvshm_request *request)
{
	(void)peer; (void)user; (void)request;
}
void kvr_sender_wish_ended(struct kvr_peer *peer, void *user, int result) { (void)peer; (void)user; (void)result; }
