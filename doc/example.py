# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
#
# example.py: the Python program of README.md: a block of numbers, which one process computes and the others find.

import sys
import kvshm
import numpy

def use(store, key):
    with store.get_or_fill(key) as hold:
        if hold.outcome == kvshm.Outcome.PENDING:
            hold.wait(60)
        numbers = numpy.asarray(hold.memory()).view("f4")
        if hold.outcome == kvshm.Outcome.FILL:
            numbers[:] = numpy.arange(len(numbers))
            hold.publish()
        print("computed" if hold.outcome == kvshm.Outcome.FILL else "found", numbers.sum())

with kvshm.attach(sys.argv[1]) as store:
    while True:
        try:
            use(store, b"numbers")
            break
        except kvshm.Canceled:
            pass  # its filler gave up or died: ask again
