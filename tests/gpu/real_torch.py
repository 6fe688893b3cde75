# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""real_torch: blocks in GPU memory as tensors of torch: written in one process and read in another, by both exports.

No copy is made: a block's tensor, and its row of the plane's tensor, lie where the store has the block.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import unittest
from typing import Any, Optional

ME = [sys.executable, os.path.abspath(__file__)]
sys.path.insert(0, os.path.join(os.path.dirname(ME[1]), os.pardir, "engines"))

import kvshm  # noqa: E402
import runner  # noqa: E402

try:
    import torch  # type: ignore[import]
except ImportError:
    torch = None

BLOCKS, BLOCK_SIZE, PLANES = 16, 1 << 20, 2


def why_not() -> Optional[str]:
    """Why this can't run here."""
    if torch is None:
        return "no GPU here that torch could use (torch is not installed)"
    if not torch.cuda.is_available():
        return "no GPU here (torch.cuda.is_available() is false)"
    return None


def pattern(number: int) -> Any:
    """The bytes that a block is to have."""
    return (torch.arange(BLOCK_SIZE, dtype=torch.int32, device="cuda") * (2 * number + 1) % 251).to(torch.uint8)


def write(store: kvshm.Store, key: bytes, number: int) -> None:
    """Fills a key by tensors of its block, and publishes it on the stream behind that."""
    with store.get_or_fill(key) as hold:
        assert hold.outcome == kvshm.Outcome.FILL, hold
        for plane in range(PLANES):
            memory = hold.memory(plane)
            tensor = torch.as_tensor(memory, device="cuda")
            assert tensor.data_ptr() == memory.address and tensor.shape == (BLOCK_SIZE,), tensor
            tensor.copy_(pattern(number + plane))
            del tensor, memory
        hold.publish_on(torch.cuda.current_stream())
        hold.wait(30)


def read(store: kvshm.Store, key: bytes, number: int) -> None:
    """Gets a key, and looks at its block, and at its row of the whole plane."""
    with store.get(key) as hold:
        for plane in range(PLANES):
            whole = torch.as_tensor(store.plane(plane), device="cuda")
            assert whole.shape == (BLOCKS, BLOCK_SIZE), whole.shape
            block = torch.as_tensor(hold.memory(plane), device="cuda")
            assert whole[hold.block].data_ptr() == block.data_ptr()
            assert torch.equal(block, pattern(number + plane)), key
            del whole, block


@unittest.skipIf(why_not(), why_not() or "")
class Torch(unittest.TestCase):
    """Two processes and one store."""

    def exchange(self, export: str) -> None:
        """The other process reads what this one has written, and the other way round."""
        name = f"{os.environ.get('KVSHM_TEST_PREFIX', '')}torch-{export}-{os.getpid()}"
        with subprocess.Popen([*ME, "own", name, export], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
            assert owner.stdout is not None
            self.assertEqual(owner.stdout.readline(), b"ready\n")
            with kvshm.attach(name) as store:
                write(store, b"here", 10)
                subprocess.run([*ME, "other", name], check=True)
                read(store, b"there", 20)
            owner.communicate()  # the end of its input ends it
        self.assertEqual(owner.returncode, 0)

    def test_descriptors(self) -> None:
        self.exchange("fd")

    def test_ipc(self) -> None:
        self.exchange("ipc")


def own(name: str, export: str) -> None:
    """Owns the store, and hands out what its memory is reached by, until nobody needs it: in a process of its own,
    since legacy IPC handles are no good in the one that made them."""
    with kvshm.create(
        name, size=BLOCKS * BLOCK_SIZE, block_size=BLOCK_SIZE, pool="cuda:0,cuda:0", gpu_export=export
    ) as owner:
        print("ready", flush=True)
        while not select.select([sys.stdin], [], [], 0.005)[0]:
            owner.recover()


def other(name: str) -> None:
    """What the other process does."""
    with kvshm.attach(name) as store:
        read(store, b"here", 10)
        write(store, b"there", 20)


if __name__ == "__main__":
    if sys.argv[1:2] == ["own"]:
        own(*sys.argv[2:])
    elif sys.argv[1:2] == ["other"]:
        other(*sys.argv[2:])
    else:
        runner.main()
