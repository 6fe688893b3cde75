# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""Runs the unittests of a file and reports each of them to tests/driver, as the programs of libcheck do.

    if __name__ == "__main__":
        runner.main()

The name that is reported is Class.test, without `test_`. The driver names a file for TAP lines; without it (a test that
is run by hand) unittest's own output is all. A test that may not end is killed by the driver's time limit: it prints
then where each thread was.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import traceback
import unittest
from typing import Any, List, NoReturn, TextIO


def _name(test: Any) -> str:
    """How a test is called; of the making of a class or a module, what unittest calls it."""
    method = getattr(test, "_testMethodName", "")
    if not method:
        return test.id().replace(":", " ")
    return f"{type(test).__name__}.{method[5:] if method.startswith('test_') else method}"


class _Result(unittest.TextTestResult):
    """Writes a line for each test: `ok N - FILE:unittest:NAME: TEXT`, or `not ok ...`, as libcheck does."""

    tap: TextIO
    count = 0
    failed_parts: List[Any]

    def report(self, test: Any, ok: bool, text: str) -> None:
        """Tells the driver of one test, at once: the process may not live to tell of the next."""
        self.count += 1
        result = "ok" if ok else "not ok"
        line = f"{result} {self.count} - python:unittest:{_name(test)}: {text}"
        print(line, file=self.tap, flush=True)

    def _report_error(self, test: Any, err: Any) -> None:
        self.report(test, False, traceback.format_exception_only(err[0], err[1])[-1].splitlines()[0])

    def startTest(self, test: Any) -> None:
        super().startTest(test)
        self.failed_parts = []

    def addSuccess(self, test: Any) -> None:
        super().addSuccess(test)
        self.report(test, True, "passed")

    def addError(self, test: Any, err: Any) -> None:
        super().addError(test, err)
        self._report_error(test, err)

    def addFailure(self, test: Any, err: Any) -> None:
        super().addFailure(test, err)
        self._report_error(test, err)

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        """The first part that fails speaks for its test: unittest reports no success of that one."""
        super().addSubTest(test, subtest, err)
        if err is not None and not self.failed_parts:
            self.failed_parts.append(subtest)
            self._report_error(test, err)

    def addSkip(self, test: Any, reason: str) -> None:
        super().addSkip(test, reason)
        print(f"SKIP {_name(test)}: {reason}", flush=True)
        self.report(test, True, "skipped")


def main() -> NoReturn:
    """Runs the tests of the file that was started. Ends the process."""
    faulthandler.enable()
    faulthandler.register(signal.SIGTERM, chain=True)
    with open(os.environ.get("CK_TAP_LOG_FILE_NAME", os.devnull), "w", encoding="utf-8") as tap:
        _Result.tap = tap
        program = unittest.main(
            module="__main__", exit=False, testRunner=unittest.TextTestRunner(resultclass=_Result, verbosity=2)
        )
        result: Any = program.result
        if result.count:
            print(f"1..{result.count}", file=tap)
    if not result.count:
        print("there is no test in this file")
    sys.exit(0 if result.count and result.wasSuccessful() else 1)
