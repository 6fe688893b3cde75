# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# counters.awk: makes kvshm-counters(7) from shm/counters.def and shm/histograms.def. Reads lines KVS_COUNTER(name,
# "help") and KVS_HISTOGRAM(name, "help"); fails when it finds none of a kind, or one that it can't read.

BEGIN {
	print ".\\\" SPDX-License-Identifier: BSD-3-Clause"
	print ".\\\" Copyright (c) the kvshm authors"
	print ".\\\" Made from shm/counters.def and shm/histograms.def: change these."
	printf ".TH kvshm-counters 7 2026-11-25 \"kvshm %s\" kvshm\n", version
	print ".SH NAME"
	print "kvshm-counters \\- the counters and histograms of a store"
	print ".SH DESCRIPTION"
	print "A store counts, and takes times, from the moment that it is made."
	print "The numbers only grow, and outlast the clients that counted them."
	print ".BR kvshm-stat (1)"
	print "shows them under these names, as text, as JSON, and for Prometheus;"
	print ".BR kvshm_view_counters (3)"
	print "and"
	print ".BR kvshm_view_histograms (3)"
	print "give them to programs."
}

function fail(why) {
	printf "%s:%d: %s\n", FILENAME, FNR, why > "/dev/stderr"
	failed = 1
	exit 1
}

# The first of a kind begins its section.
function begin(kind) {
	if (count[kind]++)
		return
	if (kind == "COUNTER") {
		print ".SH COUNTERS"
		return
	}
	print ".SH HISTOGRAMS"
	print "A histogram counts times in buckets: below 1,024 ns, and below twice as much in each that follows;"
	print "the last one counts all from 9.8 hours on."
	print "It has the sum of the times as well, so that means can be told."
}

/^[ \t]*KVS_(COUNTER|HISTOGRAM)\(/ {
	kind = $0
	sub(/^[ \t]*KVS_/, "", kind)
	sub(/\(.*/, "", kind)
	if (!match($0, /\([a-z0-9_]+, *"/))
		fail("not KVS_" kind "(name, \"help\"), on one line")
	name = substr($0, RSTART + 1, RLENGTH - 1)
	sub(/, *"$/, "", name)
	help = substr($0, RSTART + RLENGTH)
	if (!sub(/"\)[ \t]*$/, "", help))
		fail("the line does not end with \")")
	gsub(/-/, "\\-", help)
	begin(kind)
	print ".TP"
	print ".B " name
	print toupper(substr(help, 1, 1)) substr(help, 2) "."
}

END {
	if (failed)
		exit 1
	if (!count["COUNTER"])
		fail("no counters")
	if (!count["HISTOGRAM"])
		fail("no histograms")
	print ".SH SEE ALSO"
	print ".BR kvshm-stat (1),"
	print ".BR kvshm_view_counters (3),"
	print ".BR kvshm_view_histograms (3),"
	print ".BR kvshm (7)"
}
