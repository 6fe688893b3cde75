# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# tags.awk: reads the table of shm/README.md ("What orders what"), shm/layout.h, and then the other sources, in that
# order; prints what breaks the rules of HACKING for tags and relaxed accesses, and how much it has read. Status 1: some
# are broken.
#
# The code is read by its shape, not compiled: comments, top-level units (what no empty line divides outside of braces)
# and calls of atomic_*(). Portable awk.

function complain(line, text)
{
	print FILE ":" line ": " text
	broken = 1
}

# ---- The table --------------------------------------------------------------------------------------------------

# | [tag] | **role**: ... | ... | **role**: ... |
function read_row(row, line,    tag, role, cells, i)
{
	match(row, /\[[a-z-]+\]/)
	tag = substr(row, RSTART + 1, RLENGTH - 2)
	if (tag in rows)
		complain(line, "[" tag "] is in the table twice")
	rows[tag] = line
	strict[tag] = row ~ /equentially consistent/
	split(row, cells, "|")
	for (i = 3; i <= 5; i += 2) {
		if (cells[i] !~ ROLE)
			complain(line, "[" tag "] has no two ends")
		while (match(cells[i], ROLE)) {
			role = substr(cells[i], RSTART + 2, RLENGTH - 4)
			cells[i] = substr(cells[i], RSTART + RLENGTH)
			ends[tag, role] = line
			side[tag, role] = i == 3 ? 1 : 2
		}
	}
}

function read_table(    n)
{
	for (n = 1; n <= lines; n++) {
		if (text[n] ~ /^## /)
			inside = text[n] == "## What orders what"
		if (inside && text[n] ~ /^\| \[[a-z-]+\] /)
			read_row(text[n], n)
	}
}

# ---- A source ---------------------------------------------------------------------------------------------------

# Divides a line into code[n] and comment[n]; what stands in quotes is left out.
function divide(n,    rest, at)
{
	rest = text[n]
	code[n] = comment[n] = ""
	while (rest != "") {
		if (commented) {
			at = index(rest, "*/")
			comment[n] = comment[n] (at ? substr(rest, 1, at - 1) : rest) " "
			rest = at ? substr(rest, at + 2) : ""
			commented = !at
		} else if (match(rest, /^("([^"\\]|\\.)*"|'([^'\\]|\\.)*')/)) {
			code[n] = code[n] "\"\""
			rest = substr(rest, RLENGTH + 1)
		} else if (substr(rest, 1, 2) == "/*") {
			commented = 1
			rest = substr(rest, 3)
		} else {
			match(rest, /^([^"'\/]+|.)/)
			code[n] = code[n] substr(rest, 1, RLENGTH)
			rest = substr(rest, RLENGTH + 1)
		}
	}
}

# Adds a line's braces to depth.
function count_braces(line)
{
	depth += gsub(/\{/, "{", line) - gsub(/\}/, "}", line)
}

# unit[n]: which unit a line is of; said[u]: its comments. Unit 1 is the file's opening comment.
function find_units(    n, u)
{
	depth = 0
	u = 1
	for (n = 1; n <= lines; n++) {
		divide(n)
		if (depth == 0 && !commented && text[n] == "" || n > 1 && u == 1 && code[n] ~ /[^ \t]/)
			u++
		unit[n] = u
		said[u] = said[u] comment[n]
		count_braces(code[n])
	}
}

# The arguments of a call, whose text begins behind its opening parenthesis: argument[1..]; returns how many.
function read_arguments(call,    count, level)
{
	count = level = 1
	argument[1] = ""
	while (match(call, /^([^(),]+|.)/)) {
		piece = substr(call, 1, RLENGTH)
		call = substr(call, RLENGTH + 1)
		level += (piece == "(") - (piece == ")")
		if (level == 0)
			return count
		if (piece == "," && level == 1)
			argument[++count] = ""
		else
			argument[count] = argument[count] piece
	}
	return count
}

function trimmed(word)
{
	gsub(/[ \t\n]/, "", word)
	return word
}

# The member that an access is to: "&map->infos[number].depth" gives depth.
function member_of(where)
{
	where = trimmed(where)
	sub(/\[[^][]*\]$/, "", where)
	return match(where, /(->|\.)[a-z_]+$/) ? substr(where, RSTART + (substr(where, RSTART, 1) == "." ? 1 : 2)) : ""
}

# One call of an atomic, at a line. A compare-and-swap is judged by its order where it succeeds: where it fails, what
# was read is tried from again, or not looked at.
function note_access(name, line, call,    count, order)
{
	count = read_arguments(call)
	if (name == "membarrier" || name !~ /_explicit$/ && name !~ /_fence$/)
		order = "seq_cst"
	else
		order = trimmed(argument[name ~ /compare_exchange/ ? count - 1 : count])
	sub(/^memory_order_/, "", order)
	accesses++
	at_line[accesses] = line
	order_of[accesses] = order
	kind_of[accesses] = name
	target[accesses] = member_of(argument[1])
}

function find_accesses(    n, all, line, before, name)
{
	all = ""
	for (n = 1; n <= lines; n++)
		all = all code[n] "\n"
	accesses = 0
	line = 1
	while (match(all, /(atomic_[a-z_]+|membarrier)\(/)) {
		before = substr(all, 1, RSTART - 1)
		name = substr(all, RSTART, RLENGTH - 1)
		all = substr(all, RSTART + RLENGTH)
		line += gsub(/\n/, "", before)
		note_access(name, line, all)
	}
}

# ---- The rules --------------------------------------------------------------------------------------------------

# May an access stand at this end of a pair? The one end releases, the other acquires; a load acquires at either, and a
# fence is for what neither gives.
function fits(access, tag, role,    order)
{
	order = order_of[access]
	if (order == "seq_cst" || order == "acq_rel" && !strict[tag] && kind_of[access] !~ /_fence$/)
		return 1
	if (strict[tag] || kind_of[access] ~ /_fence$/)
		return 0
	return order == "acquire" && (kind_of[access] ~ /_load_/ || side[tag, role] == 2) || \
		order == "release" && side[tag, role] == 1
}

# The first access behind a tag is the one that it is of; none is too far.
function judge_end(tag, role, line,    i)
{
	places++
	if (!((tag, role) in ends)) {
		complain(line, "[" tag ": " role "] is no end that the table of shm/README.md has")
		return
	}
	for (i = 1; i <= accesses && (at_line[i] < line || kind_of[i] == "atomic_signal_fence"); i++)
		;
	if (i > accesses || at_line[i] > line + NEAR)
		complain(line, "[" tag ": " role "] stands before no access")
	else if (fits(i, tag, role))
		used[tag, role] = 1
	else
		complain(at_line[i], "too weak for [" tag ": " role "]: " order_of[i])
}

function judge_tags(    n, rest, tag, parts)
{
	for (n = 1; n <= lines; n++) {
		rest = comment[n]
		if (rest ~ /\[[a-z-]+: *$/)
			complain(n, "a tag must be on one line")
		while (match(rest, /(^|[^a-z_])\[[a-z-]+(: [a-z-]+)?\]/)) {
			tag = substr(rest, RSTART, RLENGTH)
			rest = substr(rest, RSTART + RLENGTH)
			gsub(/^[^[]*\[|\]/, "", tag)
			if (split(tag, parts, ": ") == 2)
				judge_end(parts[1], parts[2], n)
			else if (parts[1] in rows)
				complain(n, "which end of [" tag "] is this?")
			else if (length(tag) > 2)
				complain(n, "[" tag "] is in no table")
		}
	}
}

# Members of the segment, and whether their declaration says why relaxed is enough: their own comment does, or the one
# on lines of its own above them, up to the next such one or an empty line.
function read_layout(    n, group, names, words, count, i)
{
	for (n = 1; n <= lines; n++) {
		if (text[n] == "")
			group = ""
		else if (code[n] ~ /^[ \t]*$/)
			group = (code[n - 1] ~ /^[ \t]*$/ ? group : "") comment[n]
		if (code[n] !~ /_Atomic [a-z0-9_]+ [a-z_, ]+(\[|;)/)
			continue
		names = code[n]
		sub(/.*_Atomic [a-z0-9_]+ /, "", names)
		sub(/[[;].*/, "", names)
		count = split(names, words, /, */)
		for (i = 1; i <= count; i++)
			if ((group comment[n]) ~ /elaxed/)
				excused[words[i]] = 1
	}
}

function judge_relaxed(    i, u)
{
	for (i = 1; i <= accesses; i++) {
		if (order_of[i] != "relaxed")
			continue
		relaxed++
		u = unit[at_line[i]]
		if (said[u] ~ /elaxed/ || target[i] in excused || said[1] ~ /elaxed/ && kind_of[i] ~ /_load_/)
			continue
		complain(at_line[i], "relaxed, and nothing says why that is enough")
	}
}

# The default forms (atomic_load() and so on) stand where the kernel orders, or between threads only.
function judge_ordered(    i)
{
	for (i = 1; i <= accesses; i++) {
		if (kind_of[i] ~ /_fence$/ && order_of[i] != "seq_cst")
			complain(at_line[i], "a fence that is weaker than seq_cst")
		if (order_of[i] != "relaxed" && kind_of[i] ~ /_(explicit|fence)$/ &&
		    said[unit[at_line[i]]] !~ /\[[a-z-]+: [a-z-]+\]/)
			complain(at_line[i], "ordered, and no tag says with what")
	}
}

function judge()
{
	if (FILE ~ /\.md$/) {
		read_table()
		return
	}
	split("", said)
	commented = 0
	find_units()
	find_accesses()
	if (FILE ~ /layout\.h$/)
		read_layout()
	judge_tags()
	judge_relaxed()
	judge_ordered()
	total += accesses
}

BEGIN {
	NEAR = 12 # lines
	ROLE = "\\*\\*[a-z-]+\\*\\*"
}

FNR == 1 && NR > 1 { judge() }

{
	FILE = FILENAME
	lines = FNR
	text[FNR] = $0
}

END {
	judge()
	FILE = "shm/README.md"
	for (end in ends)
		if (!(end in used)) {
			split(end, parts, SUBSEP)
			complain(ends[end], "[" parts[1] ": " parts[2] "] is at no place in the code")
		}
	for (tag in rows)
		count++
	print count " tags at " places " places; " total " accesses, " relaxed " of them relaxed"
	exit broken
}
