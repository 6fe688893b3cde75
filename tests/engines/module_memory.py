# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""module_memory: the bytes of blocks and planes, as others see them: at their addresses, writable for writers only.

As a buffer, by numpy, by DLPack (in both forms of its capsule), by torch where it is there; and what a plane of a GPU
tells of itself, which is made by hand here: no GPU is looked at.
"""

from __future__ import annotations

import ctypes
import gc
import unittest
from typing import Any, Callable, Dict, List, Tuple
from unittest import mock

import kvshm
import runner
import scene
from kvshm import _dlpack

try:
    import numpy
except ImportError:
    numpy = None  # type: ignore[assignment]
try:
    import torch  # type: ignore[import]
except ImportError:
    torch = None

needs_numpy = unittest.skipIf(numpy is None, "numpy is not installed (Debian: python3-numpy)")
needs_torch = unittest.skipIf(torch is None, "torch is not installed")
Looks = List[Callable[[], Any]]


def address_of(buffer: Any) -> int:
    """Where a buffer's bytes are, also of one that can't be written."""
    view = (ctypes.c_ssize_t * 10)()  # a Py_buffer, whose first word is its address
    get, release = ctypes.pythonapi.PyObject_GetBuffer, ctypes.pythonapi.PyBuffer_Release
    get.argtypes, release.argtypes = [ctypes.py_object, ctypes.c_void_p, ctypes.c_int], [ctypes.c_void_p]
    get(buffer, view, 0)
    release(view)
    return int(view[0])


def gpu_memory(store: kvshm.Store, writable: bool = True) -> kvshm.Memory:
    """Two blocks of a plane that GPU 3 would have, at an address that nobody reads."""
    return kvshm.Memory(store, 0x7F0000000000, (2, 4096), kvshm.PlaneMemory.CUDA, 3, writable)


class Capsule:
    """What a consumer sees of a capsule."""

    def __init__(self, capsule: Any) -> None:
        self.capsule = capsule
        name = ctypes.pythonapi.PyCapsule_GetName
        name.restype, name.argtypes = ctypes.c_char_p, [ctypes.py_object]
        pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
            ("PyCapsule_GetPointer", ctypes.pythonapi)
        )
        self.name: bytes = name(capsule)
        self.at: int = pointer(capsule, self.name)

    def words(self, kind: Any, count: int, offset: int = 0) -> List[int]:
        """Numbers of what it points to, by the specification's layout."""
        return list((kind * count).from_address(self.at + offset))

    def consume(self) -> None:
        """Takes it, as from_dlpack() does: the deleter is the consumer's to call."""
        self.used = b"used_" + self.name  # a capsule does not copy its name
        rename = ctypes.pythonapi.PyCapsule_SetName
        rename.argtypes = [ctypes.py_object, ctypes.c_char_p]
        rename(self.capsule, self.used)

    def delete(self, deleter: int) -> None:
        """Calls the deleter as a consumer does, in C."""
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(deleter)(self.at)


class Buffers(scene.StoreTest):
    def test_a_buffer_is_the_block_at_its_address(self) -> None:
        with self.store.get_or_fill(b"k") as fill:
            for plane in (0, 1):
                view = fill.buffer(plane)
                self.assertEqual((view.nbytes, view.format, view.shape, view.readonly), (4096, "B", (4096,), False))
                self.assertEqual(address_of(view), fill.address(plane))
                self.assertEqual(fill.address(plane), self.store.plane(plane).address + 4096 * fill.block)
            del view
            self.assertNotEqual(fill.address(0), fill.address(1))

    def test_writers_alone_can_write(self) -> None:
        self.put(b"a")
        other = self.attach()
        with self.store.get_or_fill(b"f") as fill, self.store.alloc() as owned, other.get_or_fill(b"f") as pending:
            for hold in (fill, owned):
                hold.buffer()[:1] = b"w"
            with self.store.get(b"a") as ref, ref.pin() as pin, self.store.open_request("r") as request:
                for hold in (ref, pin, request.match([b"a"])[0], pending):
                    view = hold.buffer()
                    self.assertTrue(view.readonly)
                    with self.assertRaises(TypeError):
                        view[:1] = b"w"
                    del view
            fill.publish()
            self.assertTrue(fill.buffer().readonly)

    def test_a_plane_is_all_blocks_of_it(self) -> None:
        self.put(b"a", b"b")
        memory = self.store.plane(1)
        self.assertEqual((memory.shape, memory.nbytes, memory.writable), ((64, 4096), 64 * 4096, True))
        view: Any = memory.buffer()
        self.assertEqual((view.shape, view.nbytes, view.readonly), ((64, 4096), 64 * 4096, False))
        with self.store.get_batch([b"a", b"b"]) as refs:
            self.assertEqual([view[block, 17] for block in refs.blocks], [ord("a"), ord("b")])
        del view
        with self.assertRaises(kvshm.Error):
            self.store.plane(2)

    def test_what_one_client_writes_another_reads(self) -> None:
        other = self.attach()
        with self.store.get_or_fill(b"k") as fill:
            fill.buffer(1)[:] = bytes(range(256)) * 16
            fill.publish()
            with other.get(b"k") as ref:
                self.assertNotEqual(ref.address(1), fill.address(1))
                self.assertEqual(bytes(ref.buffer(1)), bytes(range(256)) * 16)

    def test_a_store_is_not_closed_while_its_memory_is_seen(self) -> None:
        self.put(b"k")
        looks: Looks = [lambda: self.store.get(b"k").buffer(), lambda: self.store.plane(0).buffer()]
        for see in looks:
            with self.assertWarns(ResourceWarning):
                view = see()
                gc.collect()
                part = view[1:]
                del view
                with self.assertRaises(BufferError):
                    self.store.close()
                self.assertFalse(self.store.closed)
                self.assertEqual(self.store.get_batch([b"none"]).kinds, b"\0")
                del part
                self.store.get(b"k")  # is dropped: both forms warn
        self.store.close()

    def test_memory_that_is_looked_at_after_the_end_is_refused(self) -> None:
        memory = self.store.plane(0)
        gpu = gpu_memory(self.store)
        self.store.close()
        looks: Looks = [memory.buffer, memory.__dlpack__, gpu.__dlpack__, lambda: gpu.__cuda_array_interface__]
        for look in looks:
            with self.assertRaises(ValueError):
                look()


@needs_numpy
class Numpy(scene.StoreTest):
    def test_an_array_is_the_block_itself(self) -> None:
        with self.store.get_or_fill(b"k") as fill:
            looks: Looks = [lambda: numpy.asarray(fill.buffer(1)), lambda: numpy.asarray(fill.memory(1))]
            for see in looks:
                array = see()
                self.assertEqual((array.ctypes.data, array.dtype, array.shape), (fill.address(1), numpy.uint8, (4096,)))
                self.assertTrue(array.flags.writeable)
                array.view("f4")[:] = 1.5
                self.assertEqual(bytes(fill.buffer(1)[:4]), b"\0\0\xc0\x3f")
            fill.publish()
            for memory in (fill.buffer(1), fill.memory(1)):
                self.assertFalse(numpy.asarray(memory).flags.writeable)
            del array, memory

    def test_an_array_of_a_plane_has_a_row_for_each_block(self) -> None:
        for memory in (self.store.plane(1).buffer(), self.store.plane(1)):
            array = numpy.asarray(memory)
            self.assertEqual((array.ctypes.data, array.shape), (self.store.plane(1).address, (64, 4096)))
            self.assertEqual(array.strides, (4096, 1))
        del array, memory

    def test_arrays_keep_the_store_attached(self) -> None:
        array = numpy.asarray(self.store.plane(0))[1:, ::2]
        with self.assertRaises(BufferError):
            self.store.close()
        del array
        self.store.close()

    def test_from_dlpack_is_the_memory_itself(self) -> None:
        with self.store.get_or_fill(b"k") as fill:
            fill.buffer()[:] = b"n" * 4096
            array = numpy.from_dlpack(fill.memory())
            self.assertEqual((array.ctypes.data, array.dtype, array.shape), (fill.address(), numpy.uint8, (4096,)))
            self.assertEqual(bytes(array), b"n" * 4096)
            plane = numpy.from_dlpack(self.store.plane(1))
            self.assertEqual((plane.ctypes.data, plane.shape), (self.store.plane(1).address, (64, 4096)))
            self.assertEqual(plane.strides, (4096, 1))
            with self.assertRaises(BufferError):
                self.store.close()
            del array, plane
        self.store.close()
        self.assertEqual(len(_dlpack._live), 0)

    def test_a_consumer_that_refuses_a_capsule_raises_its_own_error(self) -> None:
        with self.assertRaises((BufferError, RuntimeError)) as caught:  # numpy takes none of a GPU
            numpy.from_dlpack(gpu_memory(self.store))
        self.assertNotIsInstance(caught.exception, SystemError)
        del caught
        gc.collect()
        self.store.close()
        self.assertEqual(len(_dlpack._live), 0)


class DLPack(scene.StoreTest):
    def test_an_attach_lets_go_of_what_nobody_sees_any_more(self) -> None:
        self.store.plane(0).__dlpack__()
        self.assertEqual(len(_dlpack._live), 1)
        self.attach()
        self.assertEqual(len(_dlpack._live), 0)

    def test_a_capsule_tells_of_the_tensor(self) -> None:
        capsule = Capsule(self.store.plane(1).__dlpack__())
        self.assertEqual(capsule.name, b"dltensor")
        data, = capsule.words(ctypes.c_uint64, 1)
        self.assertEqual(data, self.store.plane(1).address)
        self.assertEqual(capsule.words(ctypes.c_int32, 3, 8), [1, 0, 2])  # the CPU; two dimensions
        self.assertEqual(capsule.words(ctypes.c_uint8, 4, 20), [1, 8, 1, 0])  # uint8, one lane
        shape, strides, offset, context, deleter = capsule.words(ctypes.c_uint64, 5, 24)
        self.assertEqual(list((ctypes.c_int64 * 2).from_address(shape)), [64, 4096])
        self.assertEqual((strides, offset, context), (0, 0, 0))
        self.assertNotEqual(deleter, 0)

    def test_a_versioned_capsule_says_what_may_not_be_written(self) -> None:
        with self.store.get_or_fill(b"k") as fill:
            for read_only in (0, 1):
                memory = fill.memory(1)
                capsule = Capsule(memory.__dlpack__(max_version=(1, 0)))
                self.assertEqual(capsule.name, b"dltensor_versioned")
                self.assertEqual(capsule.words(ctypes.c_uint32, 2), [1, 0])
                context, deleter, flags, data = capsule.words(ctypes.c_uint64, 4, 8)
                self.assertEqual((context, flags, data), (0, read_only, fill.address(1)))
                self.assertNotEqual(deleter, 0)
                self.assertEqual(capsule.words(ctypes.c_int32, 3, 40), [1, 0, 1])
                self.assertEqual(capsule.words(ctypes.c_uint8, 4, 52), [1, 8, 1, 0])
                shape, strides = capsule.words(ctypes.c_uint64, 2, 56)
                self.assertEqual((ctypes.c_int64.from_address(shape).value, strides), (4096, 0))
                del capsule
                if not read_only:
                    fill.publish()

    def test_the_form_is_what_the_consumer_takes(self) -> None:
        memory = self.store.plane(0)
        for version, name in ((None, b"dltensor"), ((0, 8), b"dltensor"), ((1, 0), b"dltensor_versioned"),
                              ((2, 1), b"dltensor_versioned")):
            self.assertEqual(Capsule(memory.__dlpack__(max_version=version)).name, name)

    def test_a_capsule_that_nobody_takes_frees_its_tensor(self) -> None:
        for version in (None, (1, 0)):
            capsule = self.store.plane(0).__dlpack__(max_version=version)
            with self.assertRaises(BufferError):
                self.store.close()
            del capsule
            _dlpack.sweep()
            self.assertEqual(len(_dlpack._live), 0)
        capsule = self.store.plane(0).__dlpack__()
        del capsule
        self.store.close()

    def test_a_capsule_that_was_taken_is_freed_by_its_deleter(self) -> None:
        forms: Tuple[Tuple[Any, int], ...] = ((None, 56), ((1, 0), 16))  # where the deleter is
        for version, offset in forms:
            taken = Capsule(self.store.plane(0).__dlpack__(max_version=version))
            taken.consume()
            del taken.capsule
            with self.assertRaises(BufferError):
                self.store.close()
            taken.delete(taken.words(ctypes.c_uint64, 1, offset)[0])
            _dlpack.sweep()
            self.assertEqual(len(_dlpack._live), 0)
        self.store.close()

    def test_what_is_over_is_found_when_more_is_made(self) -> None:
        memory = self.store.plane(0)
        kept = [memory.__dlpack__() for _ in range(10)]
        for _ in range(1000):
            memory.__dlpack__()
            self.assertLess(len(_dlpack._live), 100)
        self.assertGreaterEqual(len(_dlpack._live), len(kept))

    def test_who_looks_while_a_capsule_is_made_lets_it_be(self) -> None:
        class Looked(Dict[int, Any]):
            """Another thread looks for what is over when a tensor is put here."""

            def __setitem__(self, number: int, lent: Any) -> None:
                super().__setitem__(number, lent)
                _dlpack.sweep()

        with mock.patch.object(_dlpack, "_live", Looked()):
            capsule = Capsule(self.store.plane(0).__dlpack__())
            self.assertEqual(len(_dlpack._live), 1)
            del capsule
            _dlpack.sweep()

    def test_no_copy_and_no_other_device(self) -> None:
        memory = self.store.plane(0)
        wrong: Tuple[Any, ...] = ({"copy": True}, {"dl_device": (2, 0)}, {"dl_device": (1, 1)})
        for options in wrong:
            with self.assertRaises(BufferError):
                memory.__dlpack__(**options)
        right: Tuple[Any, ...] = ({"copy": False}, {"dl_device": (1, 0)}, {"stream": None})
        for options in right:
            memory.__dlpack__(**options)

    def test_memory_is_clean_at_the_interpreters_end(self) -> None:
        """With a capsule, a buffer, an array and a hold that are left, in a cycle too."""
        for last in ("left = kept", "kept.append(kept)", "sys.left = kept"):
            done = scene.run_python(
                "import sys, kvshm\n"
                "store = kvshm.attach(sys.argv[1])\n"
                "hold = store.get_or_fill(b'k')\n"
                "memory = hold.memory()\n"
                "kept = [hold, memory, memory.buffer(), memory.__dlpack__(), memory.__dlpack__(max_version=(1, 0))]\n"
                "try:\n"
                "    from numpy import asarray, from_dlpack\n"
                "    kept += [asarray(memory), from_dlpack(memory), from_dlpack(store.plane(1))]\n"
                "except ImportError:\n"
                "    pass\n"
                "hold.give_up()\n"
                f"{last}\n",
                self.name,
            )
            with self.subTest(last):
                self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))


class OfGPU(scene.StoreTest):
    def test_the_array_interface_of_cuda(self) -> None:
        for writable in (True, False):
            self.assertEqual(
                gpu_memory(self.store, writable).__cuda_array_interface__,
                {
                    "shape": (2, 4096),
                    "typestr": "|u1",
                    "data": (0x7F0000000000, False),  # torch takes no other
                    "version": 3,
                    "strides": None,
                    "stream": None,
                },
            )

    def test_its_device_in_dlpack(self) -> None:
        memory = gpu_memory(self.store)
        self.assertEqual(memory.__dlpack_device__(), (2, 3))
        capsule = Capsule(memory.__dlpack__(stream=1))
        self.assertEqual(capsule.words(ctypes.c_int32, 3, 8), [2, 3, 2])
        self.assertEqual(self.store.plane(0).__dlpack_device__(), (1, 0))

    def test_it_is_no_buffer_and_host_memory_is_none_of_cudas(self) -> None:
        with self.assertRaises(BufferError):
            gpu_memory(self.store).buffer()
        for memory, name in ((gpu_memory(self.store), "__array_interface__"),
                             (self.store.plane(0), "__cuda_array_interface__")):
            self.assertFalse(hasattr(memory, name))
        self.assertIn("cuda:3", repr(gpu_memory(self.store)))
        self.assertIn("host", repr(self.store.plane(0)))

    def test_who_has_its_address_keeps_the_store_attached(self) -> None:
        memory = gpu_memory(self.store)
        taken = memory.__cuda_array_interface__  # a consumer keeps memory itself
        with self.assertRaises(BufferError):
            self.store.close()
        del memory
        self.store.close()
        self.assertEqual(taken["version"], 3)


@needs_torch
class Torch(scene.StoreTest):
    def test_a_tensor_is_the_block_itself(self) -> None:
        with self.store.get_or_fill(b"k") as fill:
            tensor = torch.from_dlpack(fill.memory(1))
            self.assertEqual((tensor.data_ptr(), tensor.dtype, tuple(tensor.shape)),
                             (fill.address(1), torch.uint8, (4096,)))
            tensor.view(torch.float32)[:] = 1.5
            self.assertEqual(bytes(fill.buffer(1)[:4]), b"\0\0\xc0\x3f")
            with self.assertRaises(BufferError):
                self.store.close()
            del tensor
        self.store.close()
        self.assertEqual(len(_dlpack._live), 0)

    def test_a_tensor_that_an_exception_drops(self) -> None:
        """Its deleter is called while the exception is on its way."""
        memory: Any = self.store.plane(0)
        for see in (torch.from_dlpack, lambda memory: torch.from_dlpack(memory)[3]):
            with self.assertRaises(ZeroDivisionError):
                print(see(memory), 1 // 0)
        self.store.close()

    def test_a_tensor_of_a_plane_has_a_row_for_each_block(self) -> None:
        self.put(b"a")
        tensor = torch.from_dlpack(self.store.plane(1))
        with self.store.get(b"a") as ref:
            self.assertEqual((tensor.data_ptr(), tuple(tensor.shape)), (self.store.plane(1).address, (64, 4096)))
            self.assertTrue(bool((tensor[ref.block] == ord("a")).all()))
            self.assertEqual(tensor[ref.block].data_ptr(), ref.address(1))
        del tensor

    def test_a_tensor_from_a_buffer(self) -> None:
        with self.store.alloc() as owned:
            tensor = torch.frombuffer(owned.buffer(), dtype=torch.uint8)
            tensor[:] = 7
            self.assertEqual((tensor.data_ptr(), owned.buffer()[4095]), (owned.address(), 7))
            del tensor

    def test_a_tensor_that_is_left_at_the_interpreters_end(self) -> None:
        done = scene.run_python(
            "import sys, kvshm, torch\n"
            "store = kvshm.attach(sys.argv[1])\n"
            "tensor = torch.from_dlpack(store.plane(0))\n"
            "sys.left = [tensor, torch.from_dlpack(store.plane(1))]\n",
            self.name,
        )
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))


if __name__ == "__main__":
    runner.main()
