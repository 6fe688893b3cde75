# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""module_peers: blocks go from one store to another over TCP on this machine: both ends in this process, and in two."""

from __future__ import annotations

import contextlib
import copy
import errno
import gc
import os
import select
import subprocess
import sys
import threading
import warnings
from typing import List

import kvshm
import runner
import scene
from kvshm import Event, Sending

SOON = 10.0


class PeerTest(scene.StoreTest):
    """self.store listens, in a thread; self.here is a client of another store, and self.peer its connection."""

    keys = [bytes([65 + i]) * 8 for i in range(6)]

    def setUp(self) -> None:
        super().setUp()
        self.name_here = scene.new_name()
        owner = kvshm.create(self.name_here, **self.options)
        self.addCleanup(owner.destroy)
        self.here = kvshm.attach(self.name_here)
        self.addCleanup(self.here.close)
        self.listener = self.store.listen("tcp://127.0.0.1:0")
        self.addCleanup(self.listener.close)
        self.ended = False
        self.wakes, self.ends = os.pipe()
        self.addCleanup(os.close, self.wakes)
        thread = threading.Thread(target=self.listen)
        thread.start()
        self.addCleanup(self.end, thread)
        self.peer = self.here.connect(self.listener.url)
        self.addCleanup(self.peer.close)
        self.engine = self.attach()

    def listen(self) -> None:
        while not self.ended:
            while self.listener.work():
                pass
            select.select([self.listener, self.wakes], [], [])

    def end(self, thread: threading.Thread) -> None:
        self.ended = True
        os.close(self.ends)
        thread.join()

    def put_in(self, store: kvshm.Store, *keys: bytes) -> None:
        for key in keys:
            with store.get_or_fill(key) as fill:
                for plane in range(2):
                    fill.buffer(plane)[:] = key[:1] * store.block_size
                fill.publish()

    def claim(self, id: str, *keys: bytes) -> None:
        """As a decode engine does; the bytes are right."""
        request = self.engine.find_request(id)
        request.wait(SOON)
        with request.claim(keys) as got:
            request.end()
            for key, hold in zip(keys, got):
                self.assertEqual(bytes(hold.buffer(1)), key[:1] * self.store.block_size)

    def until(self, peer: kvshm.Peer, count: int) -> List[Event]:
        events: List[Event] = []
        while len(events) < count:
            events += peer.work(SOON)
        return events


class Sends(PeerTest):
    def test_holds_are_sent_and_claimed(self) -> None:
        self.put_in(self.here, *self.keys)
        with self.here.get_batch(self.keys) as held:
            transfer = self.peer.send(held, "r")
        transfer.wait(SOON)
        info = transfer.info()
        self.assertEqual((info.blocks, info.sent, info.ended, info.result), (6, 6, True, 0))
        self.claim("r", *self.keys)
        with self.here.get(self.keys[0]) as one, self.peer.send(one) as again:
            again.wait(SOON)
            self.assertEqual((again.info().there, again.info().bytes), (1, 0))
        other = self.peer.info()
        self.assertEqual((other.blocks, other.planes, other.connected), (64, 2, True))
        self.assertGreater(other.bytes_sent, 6 * 2 * 4096)
        self.assertEqual((other.pid, other.store, other.device), (os.getpid(), self.name, ""))

    def test_an_engine_writes_from_memory_of_its_own(self) -> None:
        memory = bytearray(4 * 4096)
        self.peer.register(memory)
        with self.assertRaises(BufferError):
            memory.append(0)  # it stays where it is
        transfer = self.peer.open("r", 3)
        self.put_in(self.engine, self.keys[2])
        transfer.offer(self.keys[:3], kvshm.Meta(4000, 7, b"mine"))
        events = self.until(self.peer, 3)
        self.assertEqual({event.position for event in events}, {0, 1, 2})
        granted = [event.position for event in events if event.sending == Sending.GRANTED]
        self.assertEqual(granted, [0, 1])
        for position in 0, 1:
            for plane in 0, 1:
                at = (position * 2 + plane) * 4096
                memory[at : at + 4096] = self.keys[position][:1] * 4096
                transfer.write(position, memoryview(memory)[at : at + 4096], plane)
        with self.assertRaises(kvshm.Busy):
            self.peer.unregister(memory)
        transfer.commit([0, 1])
        transfer.wait(SOON)
        self.assertEqual(self.until(self.peer, 3)[-1], Event(transfer, None, None, 0))
        self.peer.unregister(memory)
        memory.append(0)
        with self.engine.get(self.keys[0]) as hold:
            self.assertEqual(hold.meta(), kvshm.Meta(4000, 7, b"mine".ljust(kvshm.OPAQUE_SIZE, b"\0")))
        self.claim("r", *self.keys[:2])

    def test_a_block_of_the_store_is_written_from(self) -> None:
        self.put_in(self.here, self.keys[0])
        with self.here.get(self.keys[0]) as hold, self.peer.open(None, 1) as transfer:
            transfer.offer(self.keys[:1])
            self.until(self.peer, 1)
            for plane in 0, 1:
                transfer.write(0, hold.memory(plane), plane)
            transfer.commit(0)
            transfer.wait(SOON)
        with self.engine.get(self.keys[0]) as hold:
            self.assertEqual(bytes(hold.buffer(0)), self.keys[0][:1] * 4096)

    def test_what_is_given_up_or_aborted_raises(self) -> None:
        transfer = self.peer.open("r", 1)
        transfer.offer(self.keys[:1], 100)
        self.until(self.peer, 1)
        transfer.give_up([0])
        with self.assertRaises(kvshm.Canceled):
            transfer.wait(SOON)
        other = self.peer.open("s", 1)
        with self.assertRaises(kvshm.TimedOut):
            other.wait(0)
        self.assertFalse(other.info().ended)
        other.abort()
        with self.assertRaises(kvshm.Canceled):
            other.wait(SOON)
        self.assertTrue(other.info().ended)

    def test_no_room_is_told_by_its_own_text(self) -> None:
        first = self.peer.open("first", 64)
        first.offer([bytes([i]) * 8 for i in range(64)])
        self.until(self.peer, 64)
        with self.peer.open("second", 1, room_timeout=0.02) as second, self.assertRaises(kvshm.TimedOut) as raised:
            second.wait(SOON)
        self.assertIn("refused", raised.exception.strerror)
        first.close()

    def test_wrong_arguments_change_nothing(self) -> None:
        with self.assertRaises(kvshm.TooLarge):
            self.peer.open("r", 65)
        with self.peer.open("r", 1) as transfer:
            for wrong in (lambda: transfer.offer([b"x" * 257]), lambda: transfer.commit([0])):
                with self.assertRaises(kvshm.Invalid):
                    wrong()
            with self.assertRaises(ValueError):
                transfer.offer([b"x"], kvshm.Meta(1, 0, b"x" * 33))
            with self.assertRaises(ValueError):
                transfer.write(0, b"read-only")
        with self.assertRaises(ValueError):
            self.peer.send(self.store.get_batch([]))
        for none in ([], b"key", None):
            with self.assertRaises(TypeError):
                self.peer.send(none, "r")  # type: ignore[arg-type]
        with self.assertRaises(TypeError):
            self.here.connect(self.listener.url, nonsense=1)
        with self.assertRaises(kvshm.Invalid):
            kvshm.connect("http://127.0.0.1")
        with self.assertRaises(kvshm.Invalid):
            kvshm.connect(self.listener.url, secret=b"short")

    def test_secrets_must_be_the_same(self) -> None:
        with self.assertRaises(kvshm.NotPermitted):
            self.here.connect(self.listener.url, secret=b"x" * 32)


class Wants(PeerTest):
    def test_what_the_other_side_has_comes(self) -> None:
        self.put_in(self.engine, *self.keys[:4])
        with self.peer.want(self.keys, "w") as transfer:
            transfer.wait(SOON)
            request = transfer.request
            assert request is not None
            with request.claim(self.keys) as got:
                self.assertEqual(sorted(got.results.failed()), [4, 5])  # type: ignore[union-attr]
                self.assertEqual([bytes(hold.buffer(0)[:1]) for hold in got[:4]], [b"A", b"B", b"C", b"D"])
            self.assertTrue(request.end())

    def test_without_a_store_nothing_is_wanted(self) -> None:
        with kvshm.connect(self.listener.url) as peer:
            with self.assertRaises(kvshm.Invalid):
                peer.want(self.keys)
            with peer.open("r", 0) as transfer:
                self.assertIsNone(transfer.request)


class Ends(PeerTest):
    def test_a_store_is_not_closed_before_its_peers(self) -> None:
        with self.assertRaises(kvshm.Busy):
            self.here.close()
        with self.assertRaises(kvshm.Busy):
            self.store.close()
        self.peer.close()
        self.peer.close()
        self.assertTrue(self.peer.closed)
        with self.assertRaises(ValueError):
            self.peer.work()
        self.here.close()

    def test_transfers_go_with_their_peer(self) -> None:
        transfer = self.peer.open("r", 1)
        self.peer.close()
        with self.assertRaises(ValueError):
            transfer.info()
        transfer.close()

    def test_neither_is_closed_under_a_call(self) -> None:
        transfer = self.peer.open("r", 1)
        with scene.InCall(lambda: transfer.wait(SOON)):
            with self.assertRaises(kvshm.Busy):
                self.peer.close()
            with self.assertRaises(kvshm.Busy):
                transfer.close()
            with self.assertRaises(kvshm.Busy):
                self.here.close()
            transfer.abort()
        transfer.close()

    def test_a_forgotten_transfer_is_aborted_and_warned_of(self) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.peer.open("r", 1)
            gc.collect()
        self.assertEqual([warning.category for warning in caught], [ResourceWarning])
        while self.peer.info().transfers:
            self.peer.work(SOON)

    def test_a_lost_connection_ends_all_and_is_told(self) -> None:
        with self.engine.listen("tcp://127.0.0.1:0") as listener:
            connected: List[kvshm.Peer] = []
            connecting = threading.Thread(target=lambda: connected.append(self.here.connect(listener.url)))
            connecting.start()
            while not connected:
                listener.work(0.05)
            connecting.join()
            other = connected[0]
        with other, other.open("r", 1) as transfer:
            self.assertEqual(self.until(other, 1), [Event(transfer, None, None, transfer.info().result)])
            with self.assertRaises(kvshm.Error) as raised:
                other.work(SOON)
            self.assertEqual(raised.exception.errno, errno.ENOTCONN)
            with self.assertRaises(kvshm.Error):
                transfer.wait(SOON)
            self.assertFalse(other.info().connected)

    def test_a_child_has_none_of_them(self) -> None:
        transfer = self.peer.open("r", 1)

        def act() -> None:
            for call in self.peer.info, transfer.info, self.listener.work, transfer.abort:
                with self.assertRaises(kvshm.Forked):
                    call()
            self.peer.close()

        self.in_child(act)
        transfer.close()
        self.assertTrue(self.peer.info().connected)

    def test_they_are_neither_copied_nor_pickled(self) -> None:
        with self.peer.open("r", 0) as transfer:
            for what in self.peer, self.listener, transfer:
                with self.assertRaises(TypeError):
                    copy.copy(what)


SENDER = """
import sys
import kvshm
with kvshm.attach(sys.argv[1]) as store, store.connect(sys.argv[2], secret=b"a key of this test") as peer:
    with store.get_batch([bytes([65 + i]) * 8 for i in range(6)]) as held:
        with peer.send(held, "from another process") as transfer:
            transfer.wait(10)
            print(transfer.info().sent)
"""


class TwoProcesses(PeerTest):
    def test_a_process_sends_to_another(self) -> None:
        self.put_in(self.here, *self.keys)
        with self.engine.listen("tcp://127.0.0.1:0", secret=b"a key of this test") as listener:
            command = [sys.executable, "-X", "dev", "-W", "error", "-c", SENDER, self.name_here, listener.url]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sender:
                assert sender.stdout is not None
                while not select.select([sender.stdout], [], [], 0)[0]:
                    listener.work(0.05)
                self.assertEqual(sender.stdout.read(), "6\n")
            self.assertEqual(sender.returncode, 0)
            with contextlib.closing(kvshm.attach(self.name)) as decoder:
                request = decoder.find_request("from another process")
                request.wait(0)
                with request.claim(self.keys) as got:
                    self.assertEqual(len(got), 6)
                request.end()
            while self.engine.find_request("from another process").info().state != kvshm.RequestState.CLOSED:
                listener.work(SOON)


if __name__ == "__main__":
    runner.main()
