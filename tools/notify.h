/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) the kvshm authors
 *
 * notify.h: tells the service manager how a daemon is: the protocol of sd_notify(3), one datagram for each message to
 * the socket that the environment's NOTIFY_SOCKET names. Without that variable nothing happens. A message that can't
 * be sent is said on stderr, once, and no fault: the daemon serves as well without.
 */
#ifndef KVSHM_NOTIFY_H
#define KVSHM_NOTIFY_H

/* Sends a state such as "READY=1\nSTATUS=serving". Waits for a manager who does not read for a second at most. */
__attribute__((format(printf, 1, 2))) void notify(const char *format, ...);

#endif /* KVSHM_NOTIFY_H */
