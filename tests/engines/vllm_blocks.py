# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""The test engine's own blocks, in the memory of its workers' "GPUs", and the prefix cache over them.

A block that nobody uses any more keeps its hash until it is handed out again, the longest unused one first.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Dict, List, Sequence


class BlockPool:
    """Blocks 0 to count - 1, each with a number of users."""

    def __init__(self, count: int) -> None:
        self._users = [0] * count
        self._free: "OrderedDict[int, None]" = OrderedDict.fromkeys(range(count))
        self._hash_of: Dict[int, bytes] = {}
        self._cached: Dict[bytes, int] = {}

    @property
    def free(self) -> int:
        """How many blocks nobody uses."""
        return len(self._free)

    @property
    def used(self) -> int:
        """How many blocks somebody uses."""
        return len(self._users) - len(self._free)

    def cached_prefix(self, hashes: Sequence[bytes]) -> List[int]:
        """The blocks of the longest prefix that is cached."""
        found = []
        for block_hash in hashes:
            if block_hash not in self._cached:
                break
            found.append(self._cached[block_hash])
        return found

    def use(self, blocks: Sequence[int]) -> None:
        """Takes blocks, which may be used already."""
        for block in blocks:
            if self._users[block] == 0:
                del self._free[block]
            self._users[block] += 1

    def unused(self, blocks: Sequence[int]) -> int:
        """How many of these nobody uses."""
        return sum(1 for block in blocks if self._users[block] == 0)

    def take(self, count: int) -> List[int]:
        """Hands out so many blocks, of which there are enough; what was in them is not cached any more."""
        blocks = []
        for _ in range(count):
            block, _ = self._free.popitem(last=False)
            self._users[block] = 1
            self._uncache(block)
            blocks.append(block)
        return blocks

    def give_back(self, blocks: Sequence[int]) -> None:
        """Ends a use of blocks: the deeper ones are handed out before."""
        for block in reversed(blocks):
            self._users[block] -= 1
            if self._users[block] == 0:
                self._free[block] = None

    def cache(self, blocks: Sequence[int], hashes: Sequence[bytes]) -> None:
        """These blocks are whole now."""
        for block, block_hash in zip(blocks, hashes):
            if block not in self._hash_of and block_hash not in self._cached:
                self._hash_of[block] = block_hash
                self._cached[block_hash] = block

    def _uncache(self, block: int) -> None:
        block_hash = self._hash_of.pop(block, None)
        if block_hash is not None:
            del self._cached[block_hash]

    def reset(self) -> None:
        """Nothing is cached any more."""
        self._hash_of.clear()
        self._cached.clear()
