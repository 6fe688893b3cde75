#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# guest_root: the first process in a guest's own root: mounts what a job needs, runs it, leaves its status in the
# shared directory, and powers off. The job (/out/.job, by tests/rdma/guest) begins with the role of this guest, if it
# has one, and with the harness' environment.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb HOME=/tmp

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
mkdir -p /dev/shm /dev/pts /out
ln -sf /proc/self/fd /dev/fd
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=none out /out
stty -F /dev/hvc0 -opost
exec </dev/null >/dev/hvc0 2>&1

read -r role modules < <(sed -n 's/.*kvshm\.role=\([^ ]*\) kvshm\.modules=\([^ ]*\).*/\1 \2/p' /proc/cmdline)
mkdir -p /lib/modules
mount --bind "$modules" /lib/modules
ip link set lo up
ulimit -l unlimited
export KVSHM_GUEST=$role
bash /out/.job
echo $? >"/out/.status.$role"
sync
/bin/busybox poweroff -f
