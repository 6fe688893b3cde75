# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""man_examples: what kvshm-python(7) and README.md say of the module is so: their programs run, and the page has each
public name.
"""

from __future__ import annotations

import enum
import importlib.util
import os
import re
import subprocess
import sys
import unittest
from typing import Any, List, Set

import kvshm
import runner

TOP = os.environ["top_srcdir"]
STORE = os.environ["KVSHM_TEST_PREFIX"] + "man"

# What the classes of the module call each other by.
INTERNAL = {
    "hold.address_of_handles", "holds.address_of_handles", "keys.address", "memory.export", "memory.exported",
    "request.address", "results.address", "results.error", "results.keep_text", "results.merge", "results.of",
    "results.part", "store.calling", "store.fail", "store.left_to_death", "store.mapped", "store.note_export",
    "store.pointer",
}  # fmt: skip


def text_of(*path: str) -> str:
    """A file of the source."""
    with open(os.path.join(TOP, *path), encoding="utf-8") as file:
        return file.read()


def page() -> str:
    """The page's source, with its escapes as they are printed."""
    return text_of("lib", "man", "kvshm-python.7").replace("\\e", "\\").replace("\\-", "-").replace("\\(dq", '"')


def examples() -> List[str]:
    """The programs of the page."""
    return re.findall(r"^\.Bd -literal\n(.*?)^\.Ed", page().split(".Sh EXAMPLES")[1], re.M | re.S)


def start(program: str) -> "subprocess.Popen[str]":
    """Runs a program of its own with the store's name. A warning, such as of a forgotten hold, is an error."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", program, STORE]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


class Programs(unittest.TestCase):
    """They run, say what is expected, and leave nothing held."""

    def setUp(self) -> None:
        self.owner = kvshm.create(STORE, size=1 << 20, block_size=4096, planes=2)
        self.addCleanup(self.owner.destroy)

    def said(self, *programs: str) -> List[str]:
        """What programs say that run at the same time."""
        started = [start(program) for program in programs]
        said = []
        for process in started:
            said.append(process.communicate()[0])
            self.assertEqual(process.returncode, 0, said[-1])
        with kvshm.View(STORE) as view:
            usage = view.usage()
            self.assertEqual((usage.held, usage.owned, usage.filling, usage.room), (0, 0, 0, 0))
        return said

    def test_page_has_three(self) -> None:
        self.assertEqual(len(examples()), 3)

    def test_one_key(self) -> None:
        program = examples()[0]
        self.assertEqual(self.said(program, program), ["b'bytes'\n"] * 2)

    def test_scheduler_and_workers(self) -> None:
        for hits in (0, 3):  # it may run again, on the same store
            self.assertEqual(self.said(examples()[1]), [f"request-1 {hits} of 3\nrequest-2 3 of 3\n"])
        with kvshm.attach(STORE) as store:
            keys = kvshm.derive_keys("my-model/bf16", 0, [b"hash 0", b"hash 1", b"hash 2"])
            with store.match(keys) as holds:
                self.assertEqual(len(holds), len(keys))
                for hold in holds:
                    for plane in range(store.planes):
                        with hold.buffer(plane) as block:
                            self.assertEqual(bytes(block), bytes([plane + 1]) * store.block_size)

    def test_event_loop(self) -> None:
        self.assertEqual(self.said(examples()[2]), ["REF\n"])

    @unittest.skipUnless(importlib.util.find_spec("numpy"), "numpy is not installed")
    def test_readme(self) -> None:
        program = text_of("doc", "example.py")
        said = self.said(*[program] * 3)
        self.assertEqual(sorted(said), ["computed 523776.0\n", "found 523776.0\n", "found 523776.0\n"])

    def test_readme_has_that_program(self) -> None:
        section = text_of("README.md").split("\n## From Python\n")[1]
        code = re.search(r"^(?:    .*\n|\n(?=    |\n))+", section, re.M)
        assert code is not None
        shown = re.sub("^    ", "", code[0].strip("\n") + "\n", flags=re.M)
        self.assertEqual(shown, re.sub(r"\A(#.*\n)+\n", "", text_of("doc", "example.py")))


class Page(unittest.TestCase):
    """It tells of all that is there."""

    def names(self) -> Set[str]:
        """The words of the page that can be names."""
        return set(re.findall(r"\w+", page().split(".Sh EXAMPLES")[0]))

    def test_has_each_name_of_the_package(self) -> None:
        self.assertEqual(sorted(set(kvshm.__all__) - self.names()), [])

    def test_has_each_member_of_its_classes(self) -> None:
        lines = re.findall(r"^\.(?:It|Va|Fn) (?:.*\\\n)*.*", page(), re.M)
        told = set(re.findall(r"(?=\b(\w+\.\w+))", "\n".join(lines).lower()))
        told |= {"holds." + name for name in re.findall(r"^\.Va (\w+)", page(), re.M)}
        for public in map(kvshm.__dict__.get, kvshm.__all__):
            if isinstance(public, type) and not issubclass(public, (enum.Enum, OSError)):
                with self.subTest(kind=public.__name__):
                    names = set(members(public))
                    if issubclass(public, tuple):
                        self.assertEqual(sorted(names - self.names()), [])
                    else:
                        lines_of = {f"{public.__name__.lower()}.{name}" for name in names}
                        self.assertEqual(sorted(lines_of - told - INTERNAL), [])

    def test_has_each_error_with_its_errno(self) -> None:
        for name, public in vars(kvshm).items():
            if isinstance(public, type) and issubclass(public, kvshm.Error) and public is not kvshm.Error:
                with self.subTest(error=name):
                    row = re.search(rf"^\.It {name} \(([^;)]*)(?:; also (.*))?\)$", page(), re.M)
                    assert row is not None
                    self.assertEqual(row[1], (public.__doc__ or "").split(":")[0])
                    also = [base.__name__ for base in public.__bases__ if base is not kvshm.Error]
                    self.assertEqual(row[2], also[0] if also else None)


def members(public: Any) -> List[str]:
    """The public names of a class, its bases' too, but Python's own."""
    kinds = [kind for kind in public.__mro__ if kind.__module__.startswith("kvshm.")]
    found = {name for kind in kinds for name in [*vars(kind), *getattr(kind, "__annotations__", {})]}
    return sorted(name for name in found if not name.startswith("_"))


if __name__ == "__main__":
    runner.main()
