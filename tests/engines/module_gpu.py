# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""module_gpu: blocks in GPU memory from Python, against the stand-in for the CUDA driver (tests/gpu): a plane on each
GPU, bytes by read() and write(), streams, pieces, __cuda_array_interface__; and what each refuses to do.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import os
import select
import sys
import threading
from types import SimpleNamespace
from typing import Any, Callable, Iterator, List, Tuple, cast
from unittest import mock

import kvshm
import runner
import scene
from kvshm import _dlpack

try:
    import numpy
except ImportError:
    numpy = None  # type: ignore[assignment]

# Loaded by its path: who asks for libcuda.so.1 afterwards, as the library does, is given this one.
CUDA = ctypes.CDLL(os.path.join(os.environ["top_builddir"], "tests", "gpu", "standin", ".libs", "libcuda.so.1"))
CUDA.standin_leaks_text.restype = ctypes.c_char_p
BLOCK = 4096
PATTERN = bytes(range(256)) * (BLOCK // 256)


def must(result: int) -> None:
    """A call of the driver's has succeeded."""
    if result:
        raise AssertionError(f"the driver's call gave {result}")


@contextlib.contextmanager
def served(owner: kvshm.Owner) -> Iterator[None]:
    """In a thread the owner gives its memory to whoever attaches."""
    fd = owner.fd()
    end, told = os.pipe()

    def serve() -> None:
        while True:
            ready, _, _ = select.select([fd, end], [], [])
            if end in ready:
                return
            owner.recover()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        os.write(told, b"x")
        thread.join()
        os.close(told)
        os.close(end)


class Stream:
    """A stream as torch has it, of the calling thread's context."""

    def __init__(self) -> None:
        handle = ctypes.c_void_p()
        must(CUDA.cuStreamCreate(ctypes.byref(handle), 0))
        self.cuda_stream = handle.value

    def stop(self) -> None:
        """Nothing that is put on it is done."""
        CUDA.standin_stream_hold(ctypes.c_void_p(self.cuda_stream))

    def go(self) -> None:
        """All of it is done, when this returns."""
        CUDA.standin_stream_go(ctypes.c_void_p(self.cuda_stream))
        must(CUDA.cuStreamSynchronize(ctypes.c_void_p(self.cuda_stream)))

    def queued(self) -> int:
        """How many things wait on it."""
        return int(CUDA.standin_stream_queued(ctypes.c_void_p(self.cuda_stream)))


class GPUTest(scene.StoreTest):
    """A test with a store in the memory of two GPUs."""

    options = {"size": 64 * BLOCK, "block_size": BLOCK, "pool": "cuda:0,cuda:1"}

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self._nothing_is_left)

    def _nothing_is_left(self) -> None:
        """Of what this process had of GPUs: the owner keeps descriptors, not handles."""
        self.store.close()
        self.assertEqual(CUDA.standin_leaks_text(), b"nothing")

    def attach(self, **options: Any) -> kvshm.Store:
        with served(self.owner):
            return super().attach(**options)

    def stream(self) -> Stream:
        """A stream of GPU 0, in a context that is this thread's until the test ends, and the store is closed."""
        context = ctypes.c_void_p()
        must(CUDA.cuInit(0))
        must(CUDA.cuCtxCreate_v2(ctypes.byref(context), 0, 0))
        self.addCleanup(lambda: must(CUDA.cuCtxDestroy_v2(context)))
        self.addCleanup(lambda: self.store.close())
        stream = Stream()
        self.addCleanup(lambda: must(CUDA.cuStreamDestroy_v2(ctypes.c_void_p(stream.cuda_stream))))
        return stream

    def fill(self, key: bytes, data: bytes) -> None:
        """Publishes a key, with these bytes in each plane."""
        with self.store.get_or_fill(key) as hold:
            for plane in range(self.store.planes):
                hold.write(data, plane)
            hold.publish()

    def device_memory(self, data: bytes) -> int:
        """Memory of GPU 0 with these bytes, until the test ends."""
        at = ctypes.c_uint64()
        must(CUDA.cuMemAlloc_v2(ctypes.byref(at), ctypes.c_size_t(len(data))))
        self.addCleanup(lambda: must(CUDA.cuMemFree_v2(at)))
        must(CUDA.cuMemcpyHtoD_v2(at, data, ctypes.c_size_t(len(data))))
        must(CUDA.cuCtxSynchronize())  # from memory that is not pinned it may return before the bytes are there
        return at.value

    def bytes_at(self, at: int, count: int) -> bytes:
        """What is in a GPU's memory."""
        data = ctypes.create_string_buffer(count)
        must(CUDA.cuMemcpyDtoH_v2(data, ctypes.c_uint64(at), ctypes.c_size_t(count)))
        return data.raw


class Planes(GPUTest):
    def test_a_plane_tells_which_memory_it_is(self) -> None:
        for number in (0, 1):
            memory = self.store.plane(number)
            self.assertEqual((memory.kind, memory.device), (kvshm.PlaneMemory.CUDA, number))
            self.assertEqual(memory.shape, (64, BLOCK))
        with kvshm.View(self.name) as view:
            planes = view.planes()
            self.assertEqual([plane.mapped for plane in planes], [1, 1])
            self.assertEqual([plane.memory for plane in planes], [kvshm.PlaneMemory.CUDA] * 2)
            self.assertRegex(planes[0].gpu, "^GPU-[0-9a-f]{8}-[0-9a-f]{4}-")
            self.assertNotEqual(planes[0].gpu, planes[1].gpu)
            self.assertEqual(view.clients()[0].planes, 3)
            self.assertEqual((view.store().memory, view.store().gpu_export), (kvshm.PlaneMemory.CUDA, kvshm.Export.FD))

    def test_no_plane_is_mapped_before_it_is_needed(self) -> None:
        self.assertEqual(self.clients()[0].planes, 0)
        with self.store.alloc() as owned:
            owned.write(b"x", 1)
        self.assertEqual(self.clients()[0].planes, 2)

    def test_the_processor_is_refused(self) -> None:
        with self.store.alloc() as owned:
            memories: Tuple[kvshm.Memory, ...] = (owned.memory(), self.store.plane(0))
            for memory in memories:
                looks: List[Any] = [memory.buffer, memory.exported, owned.buffer]
                if numpy is not None:
                    looks.append(lambda memory=memory: numpy.asarray(memory))
                for look in looks:
                    with self.assertRaisesRegex(BufferError, "read\\(\\) and write\\(\\)"):
                        look()
                with self.assertRaises(TypeError):
                    memoryview(memory)  # type: ignore[arg-type]

    def test_the_array_interface_of_cuda_is_the_block(self) -> None:
        with self.store.alloc() as owned:
            seen = owned.memory(1).__cuda_array_interface__
            self.assertEqual(seen["data"], (owned.address(1), False))
            self.assertEqual((seen["shape"], seen["typestr"], seen["version"]), ((BLOCK,), "|u1", 3))
            self.assertIsNone(seen["stream"])
            self.assertEqual(seen["data"][0], self.store.plane(1).address + BLOCK * owned.block)

    def test_a_capsule_names_the_gpu_and_keeps_the_store(self) -> None:
        memory = self.store.plane(1)
        self.assertEqual(memory.__dlpack_device__(), (2, 1))
        capsule = memory.__dlpack__()
        del memory
        gc.collect()
        with self.assertRaises(BufferError):
            self.store.close()
        del capsule
        _dlpack.sweep()
        self.store.close()

    def test_addresses_of_many(self) -> None:
        with self.store.alloc_batch(3) as owned:
            base = self.store.plane(1).address
            self.assertEqual(list(owned.addresses(1)), [base + BLOCK * block for block in owned.blocks])


class Bytes(GPUTest):
    def test_what_one_client_writes_another_reads(self) -> None:
        other = self.attach()
        self.fill(b"k", PATTERN)
        with other.get(b"k") as ref:
            self.assertEqual(ref.read(1), PATTERN)
            self.assertEqual(ref.read(0, 250, 10), PATTERN[250:260])
            self.assertEqual(ref.read(0, 4090), PATTERN[4090:])
            part = bytearray(7)
            ref.read_into(memoryview(part)[2:5], 1, 3)
            self.assertEqual(part, b"\0\0\3\4\5\0\0")
        other.close()

    def test_a_part_of_a_block_is_written(self) -> None:
        with self.store.alloc() as owned:
            owned.write(PATTERN, 0)
            owned.write(b"abc", 0, 17)
            self.assertEqual(owned.read(0), PATTERN[:17] + b"abc" + PATTERN[20:])

    def test_who_may_not_is_refused(self) -> None:
        self.fill(b"k", PATTERN)
        with self.store.get(b"k") as ref, self.store.get_or_fill(b"f") as fill:
            with self.store.get_or_fill(b"f") as pending:
                with self.assertRaises(kvshm.NotHeld):
                    ref.write(b"x")
                with self.assertRaises(kvshm.NotHeld):
                    pending.write(b"x")
            with self.assertRaises(kvshm.Invalid):
                fill.write(bytes(2), 0, BLOCK - 1)
            for what in ((0, BLOCK, 1), (2,)):
                with self.assertRaises(kvshm.Invalid):
                    ref.read(*what)
            self.assertEqual(ref.read(0, BLOCK), b"")

    def test_buffers_that_do_not_fit(self) -> None:
        self.fill(b"k", PATTERN)
        with self.store.get(b"k") as ref:
            ref.read_into(bytearray())
            with self.assertRaises(TypeError):
                ref.read_into(bytes(4))  # is not to be written
            with self.assertRaises(ValueError):
                ref.read(0, 0, -1)
            with self.assertRaises(TypeError):
                ref.write("text")  # type: ignore[arg-type]


class Streams(GPUTest):
    def test_a_fill_is_published_when_the_stream_gets_there(self) -> None:
        stream = self.stream()
        stream.stop()
        with self.store.get_or_fill(b"k") as hold:
            for plane in (0, 1):
                hold.write(PATTERN, plane)
            hold.publish_on(stream, length=100, depth=3, opaque=b"engine")
            self.assertEqual(hold.kind, kvshm.Kind.REF)
            with self.assertRaises(kvshm.NotReady):
                self.store.get(b"k")
            with self.assertRaises(kvshm.TimedOut):
                hold.wait(0)
            stream.go()
            hold.wait(10)
            self.assertEqual(hold.meta(), kvshm.Meta(100, 3, b"engine" + bytes(26)))
            hold.release_on(stream.cuda_stream)
            self.assertEqual(hold.kind, kvshm.Kind.NONE)
            stream.go()
            self.assertEqual(self.usage().held, 0)

    def test_many_are_one_thing_on_the_stream(self) -> None:
        stream = self.stream()
        keys = [b"a", b"b", b"c"]
        with self.store.get_or_fill_batch(keys) as fills:
            stream.stop()
            results = fills.publish_on(stream, [kvshm.Meta(i) for i in range(3)])
            self.assertTrue(results.ok)
            self.assertEqual(stream.queued(), 1)
            self.assertEqual(fills.kinds, bytes([kvshm.Kind.REF] * 3))
            self.assertEqual(fills.wait(0).failed(), {i: -errno.ETIMEDOUT for i in range(3)})
            stream.go()
            self.assertTrue(fills.wait(10).ok)
            self.assertEqual([meta.length for meta in fills.metas()], [0, 1, 2])
            self.assertTrue(fills.release_on(stream).ok)
            self.assertEqual(fills.kinds, bytes(3))
            stream.go()
            self.assertEqual((self.usage().ready, self.usage().held), (3, 0))

    def test_what_is_given_up_then(self) -> None:
        stream = self.stream()
        with self.store.get_or_fill(b"k") as fill, self.store.alloc_batch(2) as owned:
            stream.stop()
            fill.give_up_on(stream)
            self.assertTrue(owned.give_up_on(stream).ok)
            self.assertEqual((fill.kind, owned.kinds), (kvshm.Kind.NONE, bytes(2)))
            self.assertEqual((self.usage().filling, self.usage().owned), (1, 2))
            stream.go()
            self.assertEqual((self.usage().filling, self.usage().owned), (0, 0))

    def test_a_request_ends_then(self) -> None:
        stream = self.stream()
        request = self.store.open_request("r", blocks=1)
        stream.stop()
        request.end_on(stream)
        self.assertEqual(request.info().state, kvshm.RequestState.OPEN)
        stream.go()
        request.end_on(stream)
        stream.go()
        self.assertEqual(request.info().state, kvshm.RequestState.CLOSED)
        self.assertFalse(request.end())

    def test_a_batch_tells_of_those_that_it_does_not_take(self) -> None:
        stream = self.stream()
        self.fill(b"k", PATTERN)
        with self.store.get_or_fill_batch([b"k", b"f"]) as holds:
            self.assertEqual(holds.publish_on(stream).failed(), {0: -errno.EBADF})
            stream.go()
            self.assertTrue(holds.release_on(stream).ok)
            stream.go()
            with self.store.get(b"k") as ref, self.assertRaises(kvshm.NotHeld):
                ref.publish_on(stream)

    def test_what_is_no_stream_is_refused(self) -> None:
        with self.store.get_or_fill(b"k") as fill:
            wrong: Tuple[Any, ...] = ("stream", 1.5, object())
            for stream in wrong:
                with self.assertRaisesRegex(TypeError, "a stream is a number"):
                    fill.publish_on(stream)
            with self.assertRaises(ValueError):
                fill.publish_on(-1)
            self.assertEqual(fill.kind, kvshm.Kind.WRITER)

    def test_the_default_stream_is_that_of_the_current_gpu(self) -> None:
        self.stream()
        torch = SimpleNamespace(cuda=SimpleNamespace(current_device=lambda: 0))
        with mock.patch.dict(sys.modules, torch=torch), self.store.get_or_fill(b"k") as fill:
            other = SimpleNamespace(cuda_stream=0, device_index=1)
            calls: List[Callable[[], Any]] = [
                lambda: fill.publish_on(other),
                lambda: fill.give_up_on(other),
                lambda: self.store.copy_in(other, 0, []),
            ]
            for call in calls:
                with self.assertRaisesRegex(ValueError, "with torch.cuda.device\\(1\\)"):
                    call()
            self.assertEqual(fill.kind, kvshm.Kind.WRITER)
            fill.publish_on(SimpleNamespace(cuda_stream=0, device_index=0))
            fill.wait(10)

    def test_a_captured_stream_is_refused(self) -> None:
        stream = self.stream()
        graph = ctypes.c_void_p()
        with self.store.get_or_fill(b"k") as fill:
            must(CUDA.cuStreamBeginCapture_v2(ctypes.c_void_p(stream.cuda_stream), 0))
            with self.assertRaises(kvshm.Busy):
                fill.publish_on(stream)
            self.assertEqual(fill.kind, kvshm.Kind.WRITER)
            must(CUDA.cuStreamEndCapture(ctypes.c_void_p(stream.cuda_stream), ctypes.byref(graph)))


class AtTheEnd(GPUTest):
    """Of an interpreter, whose stream never gets to what was put on it."""

    PROGRAM = """
import ctypes, os, sys
import kvshm
CUDA = ctypes.CDLL(os.path.join(os.environ["top_builddir"], "tests/gpu/standin/.libs/libcuda.so.1"))
context, stream = ctypes.c_void_p(), ctypes.c_void_p()
assert CUDA.cuInit(0) == CUDA.cuCtxCreate_v2(ctypes.byref(context), 0, 0) == 0
assert CUDA.cuStreamCreate(ctypes.byref(stream), 0) == 0
CUDA.standin_stream_hold(stream)
store = kvshm.attach(sys.argv[1])
request = store.open_request(None, blocks=1)
fill, left, more = store.get_or_fill(b"f"), store.alloc(), store.get_or_fill_batch([b"g"])
"""

    def test_a_stream_that_is_stuck_holds_nobody_up(self) -> None:
        for put in (
            "fill.publish_on(stream.value)",
            "more.give_up_on(stream.value)",
            "request.end_on(stream.value)",
            "store.copy_in(stream.value, 0, [(left, 0, store.plane(0).address, 8)])",
        ):
            for end, status in (("", 0), ("sys.exit(3)", 3), ("1 / 0", 1)):
                with self.subTest(put=put, end=end):
                    program = f"{self.PROGRAM}{put}\nprint('put')\n{end}"
                    with served(self.owner):
                        done = scene.run_python(program, self.name)
                    self.assertEqual((done.stdout, done.returncode), ("put\n", status), done.stderr)
                    self.store.recover()
                    self.assertEqual((self.usage().filling, self.usage().owned, self.usage().held), (0, 0, 0))
                    self.assertEqual(len(self.clients()), 1)


class Pieces(GPUTest):
    def test_pieces_go_in_and_out(self) -> None:
        stream = self.stream()
        size = 512
        source = self.device_memory(PATTERN)
        target = self.device_memory(bytes(BLOCK))
        offsets = range(0, BLOCK, size)
        with self.store.get_or_fill(b"k") as hold:
            backwards = [(hold, BLOCK - size - at, source + at, size) for at in offsets]
            self.store.copy_in(stream, 0, backwards)
            hold.publish_on(stream)
            stream.go()
            hold.wait(10)
            wanted = b"".join(PATTERN[BLOCK - size - at : BLOCK - at] for at in offsets)
            self.assertEqual(hold.read(0), wanted)
            self.store.copy_out(stream, 0, ((hold, at, target + at, size) for at in offsets))
            stream.go()
            self.assertEqual(self.bytes_at(target, BLOCK), wanted)

    def test_the_pages_example_ends_holds_behind_the_copies(self) -> None:
        with open(os.path.join(os.environ["top_srcdir"], "lib", "man", "kvshm-python.7"), encoding="utf-8") as page:
            example = page.read().split("\n.Ss GPU streams\n")[1].split("\n.Bd -literal\n")[1].split("\n.Ed\n")[0]
        acts = {"kvshm": kvshm}
        exec(example, acts)  # pylint: disable=exec-used
        save, load = (cast(Callable[..., None], acts[name]) for name in ("save", "load"))
        stream = self.stream()
        source, target = self.device_memory(PATTERN), self.device_memory(bytes(BLOCK))
        stream.stop()
        save(self.store, stream, b"k", [(0, source, BLOCK)])
        with self.assertRaises(kvshm.NotReady):
            self.store.get(b"k")
        with self.assertRaises(kvshm.Invalid):
            save(self.store, stream, b"f", [(0, source, BLOCK), (1, source, BLOCK)])
        self.assertEqual((self.usage().filling, self.usage().ready), (2, 0))
        stream.go()
        self.assertEqual((self.usage().filling, self.usage().ready, self.usage().held), (0, 1, 0))
        stream.stop()
        load(self.store, stream, b"k", [(0, target, BLOCK)])
        self.store.remove(b"k")
        self.assertEqual(self.usage().held, 1)
        stream.go()
        self.assertEqual((self.bytes_at(target, BLOCK), self.usage().held), (PATTERN, 0))

    def test_a_host_plane_is_to_be_registered(self) -> None:
        stream = self.stream()
        source = self.device_memory(PATTERN)
        name = scene.new_name()
        with kvshm.create(name, size=64 * BLOCK, block_size=BLOCK), kvshm.attach(name) as store:
            with store.alloc() as owned:
                pieces = [(owned, 0, source, BLOCK)]
                with self.assertRaises(kvshm.Error) as caught:
                    store.copy_in(stream, 0, pieces)
                self.assertEqual(caught.exception.errno, errno.EOPNOTSUPP)
                for _ in range(2):
                    store.register_plane(0)
                store.copy_in(stream, 0, pieces)
                stream.go()
                self.assertEqual(bytes(owned.buffer()), PATTERN)
        with self.assertRaises(kvshm.Ended):
            self.store.register_plane(0)

    def test_what_may_not_be_copied(self) -> None:
        stream = self.stream()
        self.fill(b"k", PATTERN)
        source = self.device_memory(PATTERN)
        other = self.attach()
        with self.store.get(b"k") as ref, self.store.alloc() as owned, other.alloc() as others:
            with self.assertRaises(kvshm.NotHeld):
                self.store.copy_in(stream, 0, [(owned, 0, source, 8), (ref, 0, source, 8)])
            with self.assertRaises(kvshm.Invalid):
                self.store.copy_in(stream, 0, [(owned, BLOCK - 4, source, 8)])
            with self.assertRaises(kvshm.Invalid):
                self.store.copy_in(stream, 2, [(owned, 0, source, 8)])
            with self.assertRaisesRegex(ValueError, "another store"):
                self.store.copy_in(stream, 0, [(others, 0, source, 8)])
            self.store.copy_in(stream, 0, [])
            self.assertEqual(stream.queued(), 0)
        other.close()


class Owners(GPUTest):
    def test_an_engine_sees_that_its_owner_is_gone(self) -> None:
        self.assertEqual(self.store.owner(), (True, os.getpid()))
        self.fill(b"k", PATTERN)
        self.owner.disown()
        self.assertEqual(self.store.owner(), (False, os.getpid()))
        with self.store.get(b"k") as ref:
            self.assertEqual(ref.read(1), PATTERN)
        with self.assertRaises(kvshm.OwnerDead):
            kvshm.attach(self.name)
        self.adopt()
        other = self.attach()
        with other.get(b"k") as ref:
            self.assertEqual(ref.read(0), PATTERN)
        other.close()

    def adopt(self) -> None:
        """The store's memory comes from its client, who makes calls meanwhile."""
        adopted = threading.Event()

        def call() -> None:
            while not adopted.is_set():
                self.store.recover()

        caller = threading.Thread(target=call)
        caller.start()
        try:
            self.owner = kvshm.adopt(self.name)
        finally:
            adopted.set()
            caller.join()

    def test_a_store_in_host_memory_waits_for_nobody(self) -> None:
        name = scene.new_name()
        with kvshm.create(name, size=BLOCK, block_size=BLOCK) as owner:
            self.assertIsNone(owner.fd())
        with self.assertRaises(ValueError):
            owner.fd()

    def test_options_that_do_not_fit(self) -> None:
        name = scene.new_name()
        for pool, error in (("cuda:7", errno.ENODEV), ("GPU-00", errno.EINVAL), ("cuda:", errno.EINVAL)):
            with self.subTest(pool), self.assertRaises(kvshm.Error) as caught:
                kvshm.create(name, size=BLOCK, block_size=BLOCK, pool=pool)
            self.assertEqual(caught.exception.errno, error)
        with self.assertRaises(kvshm.Invalid):
            kvshm.create(name, size=BLOCK, block_size=BLOCK, pool="cuda:0", planes=2)


class ByLegacyHandles(GPUTest):
    """The same memory by CUDA's legacy handles; their owner may not be one that opens them."""

    options = {**GPUTest.options, "gpu_export": "ipc"}

    def attach(self, **options: Any) -> kvshm.Store:
        return scene.StoreTest.attach(self, **options)

    def _nothing_is_left(self) -> None:
        """The owner is of this process, and has its memory."""

    def test_a_view_says_so(self) -> None:
        self.assertIsNone(self.owner.fd())
        with kvshm.View(self.name) as view:
            self.assertEqual(view.store().gpu_export, kvshm.Export.IPC)


if __name__ == "__main__":
    runner.main()
