# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""module_keys: kvshm.Keys is the array that calls read, whatever it was made of; and keys that are derived."""

from __future__ import annotations

import ctypes
import gc
import hashlib
import struct
import sys
import unittest
import weakref
from array import array
from typing import Any, Callable, List, Optional, Sequence
from unittest import mock

import kvshm
import runner
import scene
from kvshm import _keys

untyped: Any = kvshm  # for calls that are wrong


def as_c(keys: kvshm.Keys) -> List[Optional[bytes]]:
    """The keys as a call reads them: an array of a pointer and a length each."""
    pairs = (ctypes.c_uint64 * (2 * len(keys))).from_address(keys.address)
    return [ctypes.string_at(at, length) if at else None for at, length in zip(pairs[::2], pairs[1::2])]


class Keys(unittest.TestCase):
    def are(self, keys: kvshm.Keys, expected: Sequence[Optional[bytes]]) -> None:
        """Keys are these, to Python and to C."""
        self.assertEqual(list(keys), list(expected))
        self.assertEqual(as_c(keys), list(expected))
        self.assertEqual(len(keys), len(expected))

    def test_keys_of_one_length(self) -> None:
        keys = [bytes([i]) * 32 for i in range(100)]
        self.are(kvshm.Keys(keys), keys)
        self.are(kvshm.Keys(iter(keys)), keys)
        self.are(kvshm.Keys(tuple(keys)), keys)

    def test_keys_of_various_lengths_and_none(self) -> None:
        keys = [b"a", None, b"bcd", bytes(range(256)), None, b"ef"]
        self.are(kvshm.Keys(keys), keys)
        self.are(kvshm.Keys([None]), [None])

    def test_no_keys(self) -> None:
        self.are(kvshm.Keys(), [])
        self.are(kvshm.Keys([]), [])
        self.are(kvshm.Keys.packed(b"", 32), [])
        self.are(kvshm.Keys([b"a", b"b"])[1:1], [])

    def test_keys_of_any_bytes_object(self) -> None:
        expected = [b"abcd", b"efgh", b"ijkl"]
        self.are(kvshm.Keys([b"abcd", bytearray(b"efgh"), memoryview(b"ijkl")]), expected)
        self.are(kvshm.Keys([None, bytearray(b"efgh"), memoryview(b"ijkl")]), [None, *expected[1:]])

    def test_a_view_of_words_is_taken_for_no_key_and_packed_by_its_bytes(self) -> None:
        words = array("Q", [1, 2])
        for keys in ([memoryview(words)], [memoryview(words), memoryview(words)], [b"ab", memoryview(words)]):
            with self.assertRaises(TypeError):
                untyped.Keys(keys)
        self.are(kvshm.Keys.packed(memoryview(words), 8), [struct.pack("=Q", 1), struct.pack("=Q", 2)])

    def test_a_key_that_is_changed_later_is_a_copy(self) -> None:
        key, packed = bytearray(b"abcd"), bytearray(b"efgh")
        keys, more = kvshm.Keys([key]), kvshm.Keys.packed(packed, 2)
        key[:], packed[:] = b"____", b"____"
        self.are(keys, [b"abcd"])
        self.are(more, [b"ef", b"gh"])

    def test_packed_keys(self) -> None:
        self.are(kvshm.Keys.packed(b"abcdefgh", 2), [b"ab", b"cd", b"ef", b"gh"])
        self.are(kvshm.Keys.packed(bytearray(b"abcd"), 4), [b"abcd"])
        self.are(kvshm.Keys.packed(memoryview(b"abcd"), 1), [b"a", b"b", b"c", b"d"])

    def test_packed_keys_that_are_no_whole_number_are_refused(self) -> None:
        for size in (3, 16, 0, -2):
            with self.subTest(size=size), self.assertRaises(ValueError):
                kvshm.Keys.packed(b"abcdefgh", size)
        with self.assertRaises(TypeError):
            untyped.Keys.packed(8, 2)
        with self.assertRaises(TypeError):
            untyped.Keys.packed(b"abcd", "2")

    def test_what_is_no_key_is_refused(self) -> None:
        for keys in ([1, 2], b"abc", ["a"], [b"a", 5], [None, "a"], [b"a", ["b"]], 7, [[1, 2]]):
            with self.subTest(keys=keys), self.assertRaises(TypeError):
                untyped.Keys(keys)

    def test_an_empty_key_is_refused_since_None_is_what_nobody_asks_for(self) -> None:
        for keys in ([b""], [b"a", b""], [None, b""], [memoryview(b"")]):
            with self.subTest(keys=keys), self.assertRaises(ValueError):
                untyped.Keys(keys)

    def test_items_by_number(self) -> None:
        keys = kvshm.Keys([b"a", None, b"ccc"])
        self.assertEqual([keys[0], keys[1], keys[-1], keys[-3]], [b"a", None, b"ccc", b"a"])
        for number in (3, -4):
            with self.assertRaises(IndexError):
                keys[number]
        with self.assertRaises(TypeError):
            untyped.Keys.__getitem__(keys, "a")

    def test_a_slice_shares_the_memory(self) -> None:
        whole = kvshm.Keys([b"a", b"bb", None, b"d", b"e"])
        part = whole[1:4]
        self.are(part, [b"bb", None, b"d"])
        self.assertEqual(part.address, whole.address + 16)
        self.are(part[1:], [None, b"d"])
        self.are(whole[-2:], [b"d", b"e"])
        self.are(whole[3:99], [b"d", b"e"])
        self.are(whole[4:1], [])
        with self.assertRaises(ValueError):
            whole[::2]

    def test_a_slice_outlives_the_whole(self) -> None:
        keys = [bytes([i]) * 1000 for i in range(200)]
        part = kvshm.Keys(keys)[50:60]
        others = [kvshm.Keys([b"x" * 1000] * 200) for _ in range(4)]
        self.are(part, keys[50:60])
        self.assertEqual(len(others), 4)

    def test_room_is_used_again_when_nobody_has_it_any_more(self) -> None:
        first, second = ([bytes([base + i]) * 28 for i in range(20)] for base in (0, 100))
        keys = kvshm.Keys(first)
        room = weakref.ref(keys._array)
        part = keys[3:5]
        del keys
        others = [kvshm.Keys(second), kvshm.Keys.packed(b"".join(second), 28)]
        self.are(part, first[3:5])
        for other in others:
            self.are(other, second)
            self.assertIsNot(other._array, room())
        del part
        again = kvshm.Keys(second[:18])
        self.assertIs(again._array, room())
        self.are(again, second[:18])

    def test_room_of_the_sizes_that_were_used_last_is_kept(self) -> None:
        for size in range(1, 2 * _keys._LEFT + 2):
            kvshm.Keys([b"x" * size])
            self.assertEqual(list(_keys._left)[-1], (size, 16))
            kvshm.Keys([b"y"])  # is used again and again
        self.assertEqual(len(_keys._left), _keys._LEFT)
        self.assertIn((1, 16), _keys._left)

    def test_no_packed_keys_take_no_room(self) -> None:
        before = dict(_keys._left)
        for size in (1, 256, 1 << 31):
            self.assertEqual(list(kvshm.Keys.packed(b"", size)), [])
        self.assertEqual(_keys._left, before)

    def test_room_that_there_is_no_memory_for_is_just_an_error(self) -> None:
        with mock.patch.object(_keys, "address_of", side_effect=MemoryError):
            with mock.patch.object(sys, "unraisablehook") as said, self.assertRaises(MemoryError):
                kvshm.Keys([b"x" * 99])
            gc.collect()
        said.assert_not_called()

    def test_room_for_very_many_keys_is_not_kept(self) -> None:
        many = kvshm.Keys.packed(bytes(8 * 5000), 8)
        self.are(many, [bytes(8)] * 5000)
        room = weakref.ref(many._array)
        del many
        self.assertTrue(room() is None)

    def test_keys_in_a_cycle_are_what_they_are_until_its_end(self) -> None:
        """The collector ends all objects of a cycle, in any order, before any of them goes."""
        seen: List[Any] = []

        class Engine:
            def __init__(self, keys: kvshm.Keys) -> None:
                self.keys, self.cycle = keys, self

            def __del__(self) -> None:
                others = kvshm.Keys([b"x" * 32])
                seen.extend(self.keys)
                del others

        Engine(kvshm.Keys([b"a" * 32]))
        gc.collect()
        self.assertEqual(seen, [b"a" * 32])

    def test_sums_and_equality(self) -> None:
        self.are(kvshm.Keys([b"a"]) + kvshm.Keys([None, b"bc"]), [b"a", None, b"bc"])
        lists: List[List[Any]] = [[], [b"ab", b"cd", b"ef"], [None, b"a", b"bcd", None], [None, None]]
        for first in lists:
            for second in lists:
                for part in (slice(0, None), slice(1, None), slice(0, 2)):
                    both = kvshm.Keys(first)[part] + kvshm.Keys(second)[part]
                    self.are(both, first[part] + second[part])
        self.assertEqual(kvshm.Keys([b"ab", b"cd"]), kvshm.Keys.packed(b"abcd", 2))
        self.assertNotEqual(kvshm.Keys([b"ab"]), kvshm.Keys([b"ab", b"cd"]))
        self.assertNotEqual(kvshm.Keys([b"ab"]), [b"ab"])
        with self.assertRaises(TypeError):
            untyped.Keys([b"a"]) + [b"b"]
        with self.assertRaises(TypeError):
            hash(kvshm.Keys([b"a"]))


class Derived(unittest.TestCase):
    def test_bytes_are_those_of_the_contract(self) -> None:
        """Those of tests/unit/derive.c, and what hashlib computes from the contract's words."""
        known = kvshm.derive_key("caf\u00e9", 0x01020304, b"abc")
        self.assertEqual(known.hex(), "2b8e24d232727a7e6768688f86aa8d73635e3e24e7b5a23e1d37351bb77d4fc1")
        label, block_hash = "llama-3-70b/bf16/tp4", bytes(range(32))
        message = b"kvshm key v1" + bytes(4) + struct.pack("<Q", len(label)) + label.encode()
        message += struct.pack("<IQ", 7, 32) + block_hash
        expected = hashlib.blake2b(message, digest_size=32).digest()
        self.assertEqual(kvshm.derive_key(label, 7, block_hash), expected)
        self.assertEqual(expected.hex(), "8f23c5cb0eeba7bd70815ebda453be2f220b0baa342ac83de3f432692124dfcd")

    def test_a_batch_is_each_of_them(self) -> None:
        hashes = [b"a", bytes(range(256)), b"c" * 32]
        expected = [kvshm.derive_key("m", 3, block_hash) for block_hash in hashes]
        self.assertEqual(list(kvshm.derive_keys("m", 3, hashes)), expected)
        self.assertEqual(list(kvshm.derive_keys("m", 3, kvshm.Keys(hashes)[1:])), expected[1:])
        self.assertEqual(len(kvshm.derive_keys("m", 3, [])), 0)

    def test_what_would_be_cut_is_refused(self) -> None:
        for group in (-1, 1 << 32):
            with self.assertRaises(ValueError):
                kvshm.derive_key("m", group, b"a")
            with self.assertRaises(ValueError):
                kvshm.derive_keys("m", group, [b"a"])
        with self.assertRaises(ValueError):  # of C's text only "m" would be seen
            kvshm.derive_key("m\0n", 0, b"a")
        with self.assertRaises(ValueError):
            kvshm.derive_keys("m\0n", 0, [b"a"])

    def test_what_is_no_hash_is_refused(self) -> None:
        calls: List[Callable[[], Any]] = [
            lambda: untyped.derive_key("m", 0, "a"),
            lambda: untyped.derive_key("m", 0, 5),
            lambda: untyped.derive_key("m", 1.5, b"a"),
            lambda: untyped.derive_key(b"m", 0, b"a"),
            lambda: untyped.derive_keys("m", 0, [5]),
        ]
        for call in calls:
            with self.assertRaises(TypeError):
                call()
        with self.assertRaises(kvshm.Error):
            kvshm.derive_key("m", 0, b"")
        with self.assertRaises(kvshm.Error):
            kvshm.derive_keys("m", 0, [b"a", None])


class InAStore(scene.StoreTest):
    def test_a_store_finds_what_keys_say(self) -> None:
        names = [b"a", b"bb" * 20, b"c"]
        self.put(*names)
        more = kvshm.Keys([b"x", *names, b"y"])
        forms: List[Any] = [names, kvshm.Keys(names), tuple(names), iter(names), more[1:4]]
        for keys in forms:
            with self.store.match(keys) as found:
                self.assertEqual(len(found), 3)
                self.assertEqual([hold.buffer()[0] for hold in found], [key[0] for key in names])


if __name__ == "__main__":
    runner.main()
