# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""module_errors: a failed call raises the class of its errno with the library's text; a wrong one does nothing at all.

Numbers that C would cut raise ValueError, as stores that were closed do; what is of a wrong type raises TypeError.
"""

from __future__ import annotations

import errno
import os
import pathlib
import pickle
import tempfile
from functools import partial
from typing import Any, Callable, Dict, List, Tuple, Type, cast

import kvshm
import runner
import scene
from kvshm import _errors

Calls = List[Tuple[str, Callable[[], Any]]]


class Classes(scene.StoreTest):
    options = {**scene.StoreTest.options, "clients": 2, "requests": 1, "label": "mine"}

    def raises(self, kind: Type[kvshm.Error], number: int, text: str, call: Callable[[], Any]) -> None:
        """A call raises that very class, with that errno, and with words of that text."""
        with self.assertRaises(kind) as caught:
            call()
        self.assertIs(type(caught.exception), kind)
        self.assertEqual(caught.exception.errno, number)
        self.assertIn(text, caught.exception.strerror)
        self.assertEqual(str(caught.exception), f"[Errno {number}] {caught.exception.strerror}")
        self.seen[number] = kind

    def test_each_class_is_raised_by_a_call_that_fails_so(self) -> None:
        self.seen: Dict[int, Type[kvshm.Error]] = {}
        store, other = self.store, self.attach()
        self.raises(kvshm.NotFound, errno.ENOENT, "there is no such key", lambda: store.get(b"k"))
        fill = store.get_or_fill(b"k")
        self.raises(kvshm.NotReady, errno.EAGAIN, "", lambda: store.get(b"k"))
        pending = other.get_or_fill(b"k")
        self.raises(kvshm.TimedOut, errno.ETIMEDOUT, "", lambda: pending.wait(0))
        self.raises(kvshm.Busy, errno.EBUSY, "publish it or give it up", fill.release)
        store.remove(b"k")
        self.raises(kvshm.Canceled, errno.ECANCELED, "", fill.publish)
        self.raises(kvshm.NotHeld, errno.EBADF, "", fill.release)
        ticket = pending.ticket()
        pending.release()
        self.raises(kvshm.NotFound, errno.ENOENT, "ticket", lambda: store.hold(ticket))
        self.raises(kvshm.Invalid, errno.EINVAL, "plane 2: this store has 2", lambda: store.plane(2))
        self.raises(kvshm.Exists, errno.EEXIST, self.name, lambda: kvshm.create(self.name, **self.options))
        self.raises(kvshm.Mismatch, errno.EMEDIUMTYPE, "yours", lambda: kvshm.attach(self.name, label="yours"))
        self.raises(kvshm.Full, errno.EUSERS, "", lambda: kvshm.attach(self.name))
        self.of_requests(store, other)
        self.of_room(store)
        self.of_owners()
        self.in_child(lambda: self.raises(kvshm.Forked, errno.ECHILD, "fork", lambda: store.get(b"k")))
        self.seen[errno.ECHILD] = kvshm.Forked
        self.owner.destroy()
        self.raises(kvshm.Stale, errno.ESTALE, "destroyed", lambda: store.get(b"k"))
        # EACCES can't be had by root; what is EUCLEAN, and too many refs, are tests of their own.
        left = set(_errors._classes) - set(self.seen)
        self.assertEqual(left, {errno.EACCES, errno.EUCLEAN, errno.EMFILE})

    def of_requests(self, store: kvshm.Store, other: kvshm.Store) -> None:
        """The errors of requests."""
        request = store.open_request("r", 1, blocks=1)
        self.raises(kvshm.Exists, errno.EEXIST, "", lambda: other.open_request("r", 2))
        self.raises(kvshm.Full, errno.ENFILE, "", lambda: other.open_request("s"))
        self.raises(kvshm.NotFound, errno.ENOENT, "", lambda: other.find_request("s"))
        self.raises(kvshm.InProgress, errno.EINPROGRESS, "", lambda: request.complete(0))
        self.raises(kvshm.TooLarge, errno.E2BIG, "", lambda: request.reserve(10000, 0))
        found = other.find_request("r")
        self.raises(kvshm.NotPermitted, errno.EPERM, "", lambda: found.complete(0))
        self.raises(kvshm.NotHeld, errno.EBADF, "", lambda: store.request(bytes(16)).info())
        self.assertTrue(request.end())
        self.raises(kvshm.Canceled, errno.ECANCELED, "", lambda: found.wait(0))
        self.raises(kvshm.Ended, errno.EALREADY, "", lambda: other.open_request("r", 1))

    def of_room(self, store: kvshm.Store) -> None:
        """There is none."""
        with store.alloc_batch(store.blocks):
            self.raises(kvshm.NoRoom, errno.ENOSPC, "", store.alloc)

    def of_owners(self) -> None:
        """The errors of stores without an owner, or that are none."""
        name = scene.new_name()
        self.raises(kvshm.NotFound, errno.ENOENT, name, lambda: kvshm.attach(name))
        kvshm.create(name, **self.options).disown()
        self.addCleanup(kvshm.unlink, name)
        self.raises(kvshm.OwnerDead, errno.EOWNERDEAD, name, lambda: kvshm.create(name, **self.options))
        with tempfile.TemporaryDirectory() as place:
            with open(os.path.join(place, "kvshm.x"), "wb") as file:
                file.write(b"nonsense" * 1000)
            self.raises(kvshm.Mismatch, errno.EPROTO, "", lambda: kvshm.attach("x", dir=place))

    def test_nonsense_in_the_segment_is_damaged(self) -> None:
        name = scene.new_name()
        kvshm.create(name, **self.options).disown()
        self.addCleanup(kvshm.unlink, name)
        with open(f"/dev/shm/kvshm.{name}", "r+b") as file:
            half = os.path.getsize(file.name) // 2
            file.seek(half)
            file.write(b"\xff" * half)
        with self.assertRaises(kvshm.Damaged) as caught:
            kvshm.adopt(name)
        self.assertEqual(caught.exception.errno, errno.EUCLEAN)

    def test_too_many_parts_are_full(self) -> None:
        name = scene.new_name()
        with kvshm.create(name, size=4096, block_size=4096, planes=16), kvshm.attach(name) as store:
            with store.get_or_fill(b"k", shared=True) as fill:
                parts = [store.join(fill.ticket(), plane) for plane in range(15)]
                with self.assertRaises(kvshm.Full) as caught:
                    store.join(fill.ticket(), 15)
                self.assertEqual(caught.exception.errno, errno.EMFILE)
                for part in parts:
                    part.close()

    def test_errors_are_what_python_calls_them(self) -> None:
        for kind, name in (
            (kvshm.TimedOut, TimeoutError),
            (kvshm.NotReady, BlockingIOError),
            (kvshm.InProgress, BlockingIOError),
            (kvshm.Exists, FileExistsError),
            (kvshm.NotPermitted, PermissionError),
            (kvshm.Forked, ChildProcessError),
            (kvshm.NotFound, LookupError),
        ):
            self.assertTrue(issubclass(kind, name) and issubclass(kind, kvshm.Error))
        for kind in set(_errors._classes.values()):
            self.assertTrue(issubclass(kind, OSError))
            self.assertIs(getattr(kvshm, kind.__name__), kind)

    def test_errors_travel_between_processes(self) -> None:
        with self.assertRaises(kvshm.NotFound) as caught:
            self.store.get(b"k")
        copy = pickle.loads(pickle.dumps(caught.exception))
        self.assertEqual((type(copy), copy.args), (kvshm.NotFound, caught.exception.args))


class Wrong(scene.StoreTest):
    """Each public method, called in a wrong way."""

    def setUp(self) -> None:
        super().setUp()
        self.put(b"a", b"b")
        self.hold = self.store.get(b"a")
        self.holds = self.store.get_batch([b"a", b"b"])
        self.request = self.store.open_request("r")
        self.plane = self.store.plane(0)

    def test_each_method_of_a_closed_store_raises_ValueError(self) -> None:
        store, hold, holds, request, plane = self.store, self.hold, self.holds, self.request, self.plane
        ticket = hold.ticket()
        store.close()
        store.close()
        self.assertTrue(store.closed)
        calls: Dict[Any, Dict[str, Callable[[], Any]]] = {
            store: {
                "alloc": store.alloc,
                "alloc_batch": lambda: store.alloc_batch(1),
                "clear": store.clear,
                "connect": lambda: store.connect("tcp://127.0.0.1"),
                "copy_in": lambda: store.copy_in(None, 0, []),
                "copy_out": lambda: store.copy_out(None, 0, []),
                "fileno": store.fileno,
                "find_request": lambda: store.find_request("r"),
                "get": lambda: store.get(b"a"),
                "get_batch": lambda: store.get_batch([b"a"]),
                "get_or_fill": lambda: store.get_or_fill(b"a"),
                "get_or_fill_batch": lambda: store.get_or_fill_batch([b"a"]),
                "hold": lambda: store.hold(ticket),
                "hold_batch": lambda: store.hold_batch(ticket),
                "join": lambda: store.join(ticket, 0),
                "join_batch": lambda: store.join_batch(ticket, 0),
                "listen": lambda: store.listen("tcp://127.0.0.1:0"),
                "match": lambda: store.match([b"a"]),
                "match_window": lambda: store.match_window([b"a"], 1),
                "open_request": lambda: store.open_request("s"),
                "owner": store.owner,
                "plane": lambda: store.plane(0),
                "poll_clear": store.poll_clear,
                "recover": store.recover,
                "register_plane": lambda: store.register_plane(0),
                "remove": lambda: store.remove(b"a"),
                "remove_batch": lambda: store.remove_batch([b"a"]),
                "tend_requests": store.tend_requests,
                "touch": lambda: store.touch(b"a"),
                "touch_batch": lambda: store.touch_batch([b"a"]),
            },
            hold: {
                "address": hold.address,
                "buffer": hold.buffer,
                "give_up": hold.give_up,
                "give_up_on": lambda: hold.give_up_on(None),
                "memory": hold.memory,
                "meta": hold.meta,
                "pin": hold.pin,
                "publish": hold.publish,
                "publish_as": lambda: hold.publish_as(b"c"),
                "publish_on": lambda: hold.publish_on(None),
                "read": hold.read,
                "read_into": lambda: hold.read_into(bytearray(1)),
                "release": hold.release,
                "release_on": lambda: hold.release_on(None),
                "ticket": hold.ticket,
                "wait": lambda: hold.wait(0),
                "write": lambda: hold.write(b"x"),
            },
            holds: {
                "addresses": holds.addresses,
                "give_up": holds.give_up,
                "give_up_on": lambda: holds.give_up_on(None),
                "metas": holds.metas,
                "pin": holds.pin,
                "publish": holds.publish,
                "publish_as": lambda: holds.publish_as([b"c", b"d"]),
                "publish_on": lambda: holds.publish_on(None),
                "release": holds.release,
                "release_on": lambda: holds.release_on(None),
                "tickets": holds.tickets,
                "wait": lambda: holds.wait(0),
            },
            request: {
                "claim": lambda: request.claim([b"a"]),
                "complete": lambda: request.complete(0),
                "end": request.end,
                "end_on": lambda: request.end_on(None),
                "get_or_fill": lambda: request.get_or_fill(b"a"),
                "get_or_fill_batch": lambda: request.get_or_fill_batch([b"a"]),
                "info": request.info,
                "keep": lambda: request.keep(holds),
                "match": lambda: request.match([b"a"]),
                "pin": lambda: request.pin(holds),
                "queue": lambda: request.queue(1, 0),
                "release": lambda: request.release(holds),
                "reserve": lambda: request.reserve(1, 0),
                "settle": request.settle,
                "unreserve": request.unreserve,
                "wait": lambda: request.wait(0),
                "wait_room": lambda: request.wait_room(0),
            },
            plane: {
                "buffer": plane.buffer,
                "exported": plane.exported,
            },
        }
        spared = {"close", "fail", "calling", "mapped", "note_export", "request", "take", "where"}  # they need no store
        for what, methods in calls.items():
            public = {name for name in dir(what) if name[0] != "_" and callable(getattr(type(what), name, None))}
            self.assertEqual(public - spared, set(methods))
            for name, call in methods.items():
                with self.subTest(of=type(what).__name__, method=name), self.assertRaises(ValueError):
                    call()
        with self.assertRaises(ValueError):
            plane.__dlpack__()
        hold.close()
        holds.close()

    def numbers(self) -> Calls:
        """Numbers that are cut, or that no call takes."""
        store, hold, holds, request = self.store, self.hold, self.holds, self.request
        large, nan = 1 << 32, float("nan")
        name = scene.new_name()
        calls: Calls = []
        for number in (-1, large):
            calls += [
                ("plane", partial(store.plane, number)),
                ("alloc_batch", partial(store.alloc_batch, number)),
                ("match_window", partial(store.match_window, [b"a"], number)),
                ("join", partial(store.join, bytes(16), number)),
                ("join_batch", partial(store.join_batch, bytes(16), number)),
                ("attempt", partial(store.open_request, "s", attempt=number)),
                ("blocks", partial(store.open_request, "s", blocks=number)),
                ("reserve", partial(request.reserve, number, 0)),
                ("queue", partial(request.queue, number, 0)),
                ("address", partial(hold.address, number)),
                ("addresses", partial(holds.addresses, number)),
                ("buffer", partial(hold.buffer, number)),
                ("register_plane", partial(store.register_plane, number)),
                ("copy_in", partial(store.copy_in, None, number, [])),
                ("read's plane", partial(hold.read, number)),
                ("write's plane", partial(hold.write, b"x", number)),
                ("depth", partial(hold.publish, depth=number)),
                ("depths", partial(holds.publish, [kvshm.Meta(0, number)] * 2)),
                ("planes", partial(kvshm.create, name, size=4096, block_size=4096, planes=number)),
                ("mode", partial(kvshm.create, name, size=4096, block_size=4096, mode=number)),
            ]
        for number in (-1, large * large):
            calls += [
                ("size", partial(kvshm.create, name, size=number, block_size=4096)),
                ("block_size", partial(kvshm.create, name, size=4096, block_size=number)),
                ("length", partial(hold.publish, number)),
                ("length as", partial(hold.publish_as, b"c", number)),
                ("stream", partial(hold.publish_on, number)),
                ("offset", partial(hold.read, 0, number)),
                ("write's offset", partial(hold.write, b"x", 0, number)),
                ("piece's offset", partial(store.copy_in, None, 0, [(hold, number, 0, 1)])),
                ("piece's memory", partial(store.copy_out, None, 0, [(hold, 0, number, 1)])),
            ]
        return calls + [
            ("wait", lambda: hold.wait(nan)),
            ("waits", lambda: holds.wait(nan)),
            ("request's wait", lambda: request.wait(nan)),
            ("complete", lambda: request.complete(nan)),
            ("wait_room", lambda: request.wait_room(nan)),
            ("reserve's time", lambda: request.reserve(1, nan)),
            ("tend_requests", lambda: store.tend_requests(nan)),
            ("look_at_pins", lambda: self.owner.look_at_pins(nan)),
            ("opaque", lambda: hold.publish(opaque=bytes(33))),
            ("ticket", lambda: store.hold(bytes(15))),
            ("two tickets", lambda: store.hold(bytes(32))),
            ("tickets", lambda: store.hold_batch(bytes(17))),
            ("request", lambda: store.request(bytes(15))),
            ("keys", lambda: holds.publish_as([b"c"])),
            ("retain", lambda: kvshm.create(name, size=4096, block_size=4096, retain="maybe")),
            ("gpu_export", lambda: kvshm.create(name, size=4096, block_size=4096, gpu_export="nvlink")),
            ("pool", lambda: kvshm.create(name, size=4096, block_size=4096, pool="cuda:0\0")),
            ("numa_node", lambda: kvshm.create(name, size=4096, block_size=4096, numa_node=1 << 31)),
            ("name", lambda: kvshm.attach(self.name + "\0x")),
            ("label", lambda: kvshm.attach(self.name, label="\0x")),
            ("client", lambda: kvshm.attach(self.name, client="a\0x")),
            ("dir", lambda: kvshm.attach(self.name, dir="/dev/shm\0x")),
            ("create's name", lambda: kvshm.create(name + "\0x", size=4096, block_size=4096)),
            ("create's label", lambda: kvshm.create(name, size=4096, block_size=4096, label="a\0x")),
            ("adopt", lambda: kvshm.adopt(name + "\0x")),
            ("unlink", lambda: kvshm.unlink(name + "\0x")),
            ("View", lambda: kvshm.View(self.name + "\0x")),
            ("list_stores", lambda: kvshm.list_stores(dir="/dev/shm\0x")),
            ("unlink_dead", lambda: kvshm.unlink_dead(dir="/nowhere\0x")),
        ]

    def test_numbers_and_texts_that_C_would_cut_raise_ValueError(self) -> None:
        for name, call in self.numbers():
            with self.subTest(name), self.assertRaises(ValueError):
                call()
        self.nothing_was_done()

    def types(self) -> Calls:
        """What is of a wrong type."""
        store: Any = self.store
        hold: Any = self.hold
        holds: Any = self.holds
        request: Any = self.request
        module: Any = kvshm
        calls: Calls = []
        for key in ("a", 5, None, ["a"], 1.5):
            for call in (store.get, store.get_or_fill, store.remove, store.touch, request.get_or_fill, hold.publish_as):
                calls.append((f"{call.__name__}({key!r})", partial(call, key)))
        for keys in (5, None, ["a"], b"ab", [1]):
            for call in (store.match, store.get_batch, store.get_or_fill_batch, store.remove_batch, store.touch_batch,
                         request.match, request.claim, request.get_or_fill_batch, holds.publish_as):
                calls.append((f"{call.__name__}({keys!r})", partial(call, keys)))
        for ticket in ("a" * 16, 16, None, [1] * 16):
            for call in (store.hold, store.hold_batch, store.request):
                calls.append((f"{call.__name__}({ticket!r})", partial(call, ticket)))
        for what in (None, [], b"", self.plane):
            for call in (request.release, request.pin) + (() if what is None else (request.keep,)):
                calls.append((f"{call.__name__}({what!r})", partial(call, what)))
        for number in ("1", 1.0, None):
            for call in (store.plane, store.alloc_batch, hold.address, hold.memory, holds.addresses):
                calls.append((f"{call.__name__}({number!r})", partial(call, number)))
        times: Tuple[Any, ...] = ("1", None, [])
        for time in times:
            for call in (hold.wait, holds.wait, request.wait, request.complete, request.wait_room,
                         self.owner.look_at_pins):
                calls.append((f"{call.__name__}({time!r})", partial(call, time)))
        size = {"size": 4096, "block_size": 4096}
        name = scene.new_name()
        return calls + [
            ("attempt", lambda: store.open_request("s", 1.5)),
            ("id", lambda: store.open_request(5)),
            ("find", lambda: store.find_request(None)),
            ("window", lambda: store.match_window([b"a"], 1.0)),
            ("join", lambda: store.join(bytes(16), "0")),
            ("length", lambda: hold.publish(1.5)),
            ("depth", lambda: hold.publish(depth="1")),
            ("opaque", lambda: hold.publish(opaque="text")),
            ("metas", lambda: holds.publish([(1, 0, b"")] * 2)),
            ("opaques", lambda: holds.publish([kvshm.Meta(1, 0, module.Keys)] * 2)),
            ("name", lambda: module.attach(5)),
            ("name's bytes", lambda: module.attach(b"name")),
            ("label", lambda: module.attach(self.name, label=b"x")),
            ("client", lambda: module.attach(self.name, client=1)),
            ("dir", lambda: module.attach(self.name, dir=1)),
            ("planes", lambda: module.create(name, planes="1", **size)),
            ("size", lambda: module.create(name, size=4096.0, block_size=4096)),
            ("no such option", lambda: module.create(name, colour=1, **size)),
            ("no size", lambda: module.create(name)),
            ("retain", lambda: module.create(name, retain=1.5, **size)),
            ("label", lambda: module.create(name, label=None, **size)),
            ("adopt", lambda: module.adopt(1)),
            ("unlink", lambda: module.unlink(None)),
            ("View", lambda: module.View(None)),
            ("set_log", lambda: module.set_log(5)),
        ]

    def test_what_is_of_a_wrong_type_raises_TypeError(self) -> None:
        for name, call in self.types():
            with self.subTest(name), self.assertRaises(TypeError):
                call()
        self.nothing_was_done()

    def test_the_text_of_a_wrong_type_says_what_is_wanted(self) -> None:
        anything: Any = self.holds
        request: Any = self.request
        calls: Calls = [
            ("a key is bytes, not str: encode it", lambda: self.store.get(cast(Any, "a"))),
            ("a key is bytes, not str: encode it", lambda: kvshm.Keys(cast(Any, [b"a", None, "b"]))),
            ("a key is bytes, not int", lambda: self.store.match(cast(Any, [1]))),
            ("a ticket is bytes, not list", lambda: self.store.hold_batch(cast(Any, [b"a" * 16]))),
            ("a request's id is bytes, not int", lambda: self.store.find_request(cast(Any, 5))),
            ("a time is a number of seconds, not NoneType", lambda: anything.wait(None)),
            ("a time is a number of seconds, not str", lambda: request.queue(1, "1")),
            ("a Meta is wanted, not int", lambda: anything.publish([1, 2])),
            ("a Meta is wanted, not tuple", lambda: anything.publish([(1, 2, b"")] * 2)),
            ("a Hold or Holds are wanted, not list", lambda: request.release([])),
        ]
        for text, call in calls:
            with self.subTest(text), self.assertRaisesRegex(TypeError, text):
                call()
        self.nothing_was_done()

    def nothing_was_done(self) -> None:
        """All is as it was before the wrong calls."""
        usage = self.usage()
        self.assertEqual((usage.refs, usage.pins, usage.ready, usage.owned, usage.filling), (3, 0, 2, 0, 0))
        with kvshm.View(self.name) as view:
            self.assertEqual(len(view.requests()), 1)
        self.assertEqual(len(self.clients()), 1)
        self.hold.release()
        self.holds.release()

    def test_a_directory_may_be_a_path(self) -> None:
        with tempfile.TemporaryDirectory() as place:
            self.assertEqual(kvshm.list_stores(dir=pathlib.Path(place)), [])
        self.hold.close()
        self.holds.close()


if __name__ == "__main__":
    runner.main()
