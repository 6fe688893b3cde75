/* Stands in until the receiver is there: deleted by who adds it. */
#include "config.h"

#include "receiver.h"

int kvr_receiver_open(struct kvr_node *node) { (void)node; return 0; }
void kvr_receiver_close(struct kvr_node *node) { (void)node; }
int kvr_receiver_on_open(struct kvr_peer *peer, const struct kvr_open *open) { (void)peer; (void)open; return -1; }
int kvr_receiver_on_offer(struct kvr_peer *peer, struct kvr_message *offers) { (void)peer; (void)offers; return -1; }
int kvr_receiver_on_commit(struct kvr_peer *peer, struct kvr_message *commits) { (void)peer; (void)commits; return -1; }
int kvr_receiver_on_abort(struct kvr_peer *peer, const struct kvr_end *abort) { (void)peer; (void)abort; return -1; }
int kvr_receiver_on_aborted(struct kvr_peer *peer, const struct kvr_end *e) { (void)peer; (void)e; return -1; }
void kvr_receiver_on_withdrawn(struct kvr_peer *peer, struct kvr_window *window) { (void)peer; (void)window; }
void kvr_receiver_on_lost(struct kvr_peer *peer) { (void)peer; }
uint64_t kvr_receiver_work(struct kvr_node *node, uint64_t now) { (void)node; (void)now; return UINT64_MAX; }
int kvr_receiver_wish(struct kvr_peer *peer, const struct kvr_wish *wish) { (void)peer; (void)wish; return -1; }
void kvr_receiver_wish_empty(struct kvr_peer *peer, uint32_t want) { (void)peer; (void)want; }
void kvr_receiver_wish_abort(struct kvr_peer *peer, uint32_t want) { (void)peer; (void)want; }
