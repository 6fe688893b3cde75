# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""abi: what kvshm._abi declares for ctypes is what kvshm.h declares, to the last member, parameter and number.

The header's text says what there is (header.py), the compiler how large it is and where it lies. A class of _abi names
its struct in its docstring, an enum is its enum by name: RequestState is enum kvshm_request_state.
"""

from __future__ import annotations

import ctypes
import enum
import os
import re
import tempfile
import unittest
from typing import Any, Dict, Sequence

import runner
from header import Header, Member, compiled
from kvshm import _abi

# Calls that the module does without, and why.
NOT_CALLED = {
    "kvshm_request_reserve": "it takes a place in the line and waits for the room, so that the wait can be interrupted",
}

# Enums that are not called as in C, and why not.
RENAMED = {
    "PlaneMemory": "kvshm_memory",  # Memory is the module's: the bytes themselves
}

SCALARS: Dict[str, Any] = {
    "char": ctypes.c_char,
    "int": ctypes.c_int,
    "int32_t": ctypes.c_int32,
    "int64_t": ctypes.c_int64,
    "size_t": ctypes.c_size_t,
    "uint8_t": ctypes.c_uint8,
    "uint16_t": ctypes.c_uint16,
    "uint32_t": ctypes.c_uint32,
    "uint64_t": ctypes.c_uint64,
    "unsigned": ctypes.c_uint,
    "void": None,
}

HEADER = Header(os.path.join(os.environ["top_srcdir"], "lib", "kvshm.h"))
with tempfile.TemporaryDirectory() as scratch:
    NUMBERS = compiled(HEADER, scratch)


def structures() -> Dict[str, Any]:
    """The structures of _abi, by the names of their structs."""
    found = {}
    for kind in vars(_abi).values():
        if isinstance(kind, type) and issubclass(kind, ctypes.Structure):
            match = re.fullmatch(r"struct (\w+)", kind.__doc__ or "")
            found[match[1] if match else kind.__name__] = kind
    return found


def enums() -> Dict[str, Any]:
    """The enums of _abi, by their names in C."""
    return {
        RENAMED.get(kind.__name__, "kvshm" + re.sub("([A-Z])", r"_\1", kind.__name__).lower()): kind
        for kind in vars(_abi).values()
        if isinstance(kind, type) and issubclass(kind, enum.Enum) and kind.__module__ == _abi.__name__
    }


def calls() -> Dict[str, Any]:
    """The functions that _abi declares, by their names in C."""
    pointers = [value for value in vars(_abi).values() if isinstance(value, ctypes._CFuncPtr)]
    return {call.__name__: call for call in pointers}


def function_fits(result: str, parameters: Sequence[str], restype: Any, argtypes: Sequence[Any]) -> bool:
    """Whether these are the result and the parameters of a function for ctypes."""
    return (
        fits(result, restype)
        and len(parameters) == len(argtypes)
        and all(fits(c, python) for c, python in zip(parameters, argtypes))
    )


def fits(c: str, python: Any) -> bool:
    """Whether a type for ctypes is that type in C. An address may be one of anything."""
    c = re.sub(r"\bconst ", "", c)
    if c in SCALARS:
        return python is SCALARS[c]
    match = re.fullmatch(r"(.*) \(\*\)\((.*)\)|(.*?) ?\*", c)
    if not match:
        kind, name = c.split()
        return python in (ctypes.c_int, ctypes.c_uint) if kind == "enum" else python is structures().get(name)
    if python is ctypes.c_void_p:
        return True
    if match[1]:
        return function_fits(match[1], match[2].split(", "), python._restype_, python._argtypes_)
    if match[3] in HEADER.callbacks:
        return function_fits(*HEADER.callbacks[match[3]], python._restype_, python._argtypes_)
    if python is ctypes.c_char_p:
        return match[3] in ("char", "void")
    return fits(match[3], getattr(python, "_type_", None))


class Structs(unittest.TestCase):
    """Each struct of the header has its class, and the other way round."""

    def test_are_the_same(self) -> None:
        self.assertGreater(len(HEADER.structs), 10)
        self.assertEqual(sorted(HEADER.structs), sorted(structures()))

    def test_have_the_same_size(self) -> None:
        for name, kind in structures().items():
            with self.subTest(struct=name):
                self.assertEqual(NUMBERS[f"struct {name}"], ctypes.sizeof(kind))

    def test_have_the_same_members(self) -> None:
        for name, kind in structures().items():
            with self.subTest(struct=name):
                self.assertEqual(list(HEADER.structs[name]), [field[0] for field in kind._fields_])

    def test_have_their_members_at_the_same_places(self) -> None:
        for name, kind in structures().items():
            for field, *_ in kind._fields_:
                with self.subTest(struct=name, member=field):
                    self.assertEqual(NUMBERS[f"struct {name}.{field}"], getattr(kind, field).offset)

    def test_have_members_of_the_same_types(self) -> None:
        for name, kind in structures().items():
            for field, python in kind._fields_:
                with self.subTest(struct=name, member=field):
                    member: Member = HEADER.structs[name][field]
                    if member.length:
                        self.assertEqual(NUMBERS[f"struct {name}.{field}[]"], python._length_)
                        python = python._type_
                    self.assertTrue(fits(member.type, python), f"{member.type} is no {python.__name__}")


class Numbers(unittest.TestCase):
    """Each constant and enumerator of the header has its value, and the other way round."""

    def test_constants_are_the_same(self) -> None:
        python = {
            "KVSHM_" + name: value
            for name, value in vars(_abi).items()
            if name.isupper() and not name.startswith("_") and isinstance(value, int)
        }
        self.assertGreater(len(python), 10)
        self.assertEqual({name: NUMBERS[name] for name in HEADER.constants}, python)

    def test_enums_are_the_same(self) -> None:
        self.assertGreater(len(HEADER.enums), 5)
        self.assertEqual(sorted(HEADER.enums), sorted(enums()))

    def test_enumerators_are_the_same(self) -> None:
        for name, kind in enums().items():
            with self.subTest(enum=name):
                words = HEADER.enums[name]
                # RequestState.OPEN is KVSHM_REQUEST_OPEN: what all of them begin with goes without saying.
                prefix = os.path.commonprefix(words).rpartition("_")[0] + "_"
                c = {word[len(prefix) :]: NUMBERS[word] for word in words}
                self.assertEqual(c, {member.name: member.value for member in kind})


class Calls(unittest.TestCase):
    """Each call of the header is declared; those that are not are known."""

    def test_are_the_same(self) -> None:
        self.assertGreater(len(HEADER.calls), 50)
        self.assertEqual(sorted(HEADER.calls), sorted([*calls(), *NOT_CALLED]))

    def test_have_the_same_types(self) -> None:
        for name, call in calls().items():
            with self.subTest(call=name):
                c = HEADER.calls[name]
                self.assertTrue(
                    function_fits(*c, call.restype, call.argtypes), f"{c} is not {call.restype}, {call.argtypes}"
                )


if __name__ == "__main__":
    runner.main()
