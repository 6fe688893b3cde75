# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# counters.awk: makes kvshm-counters(7) from shm/counters.def. Reads lines KVS_COUNTER(name, "help"); fails when it
# finds none, or one that it can't read.

BEGIN {
	print ".\\\" SPDX-License-Identifier: BSD-3-Clause"
	print ".\\\" Copyright (c) the kvshm authors"
	print ".\\\" Made from shm/counters.def: change that."
	printf ".TH kvshm-counters 7 2026-11-21 \"kvshm %s\" kvshm\n", version
	print ".SH NAME"
	print "kvshm-counters \\- the counters of a store"
	print ".SH DESCRIPTION"
	print "A store counts from the moment that it is made."
	print "The numbers only grow, and outlast the clients that counted them."
	print ".BR kvshm-stat (1)"
	print "shows them under these names, as text and as JSON;"
	print ".BR kvshm_view_counters (3)"
	print "gives them to programs."
}

function fail(why) {
	printf "%s:%d: %s\n", FILENAME, FNR, why > "/dev/stderr"
	failed = 1
	exit 1
}

/^[ \t]*KVS_COUNTER\(/ {
	if (!match($0, /\([a-z0-9_]+, *"/))
		fail("not KVS_COUNTER(name, \"help\"), on one line")
	name = substr($0, RSTART + 1, RLENGTH - 1)
	sub(/, *"$/, "", name)
	help = substr($0, RSTART + RLENGTH)
	if (!sub(/"\)[ \t]*$/, "", help))
		fail("the line does not end with \")")
	gsub(/-/, "\\-", help)
	print ".TP"
	print ".B " name
	print toupper(substr(help, 1, 1)) substr(help, 2) "."
	count++
}

END {
	if (failed)
		exit 1
	if (!count)
		fail("no counters")
	print ".SH SEE ALSO"
	print ".BR kvshm-stat (1),"
	print ".BR kvshm (7)"
}
