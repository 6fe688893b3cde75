# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""What the test engine "computes", and for whom: the bytes of KV blocks, and requests from a trace.

A block's bytes follow from its hash, the layer, the rank, and the epoch of the weights: so whoever reads a block knows
what must be in it, to the last byte, and bytes of another block, plane, layer or epoch are never taken for them.
"""

from __future__ import annotations

import hashlib
import random
from typing import Any, Dict, List, NamedTuple, Sequence

import numpy as np
import traced

BLOCK_TOKENS = 4
BLOCK_BYTES = 4096  # in each plane
LAYERS = 4
WORDS = BLOCK_BYTES // LAYERS // 8  # of a block in a layer, in a plane
TRACE_BLOCK = 512  # tokens of a block of the trace: here it is one of BLOCK_TOKENS
BLOCKS_MAX = 20  # of a prompt

_RAMP = np.arange(WORDS, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)


def seeds_of(hashes: Sequence[bytes]) -> Any:
    """What the bytes of these blocks are derived from, an integer each."""
    return np.frombuffer(b"".join(block_hash[:8] for block_hash in hashes), np.uint64)


def words_of(seeds: Any, layer: int, rank: int, epoch: int) -> Any:
    """The bytes of blocks in a layer and a plane, as an array (blocks, WORDS)."""
    salt = (epoch << 16 | rank << 8 | layer) * 0xD1B54A32D192ED03 & 0xFFFFFFFFFFFFFFFF
    return (seeds ^ np.uint64(salt))[:, None] + _RAMP


class Prompt(NamedTuple):
    """A request as a client sends it: hashes are those of the prompt's full blocks."""

    id: str
    tokens: int
    outputs: int
    hashes: List[bytes]


def output_hash(parent: bytes, request: str, index: int) -> bytes:
    """The hash of a block that has tokens which the model has made for that request."""
    return hashlib.sha256(parent + f"{request} {index}".encode()).digest()


def prompts(count: int, rng: random.Random) -> List[Prompt]:
    """So many requests of conversations, whose turns come in order, but between those of others."""
    conversations = _traced() or _generated(rng)
    rng.shuffle(conversations)
    open_ones: List[List[Dict[str, Any]]] = []
    made: List[Prompt] = []
    while len(made) < count:
        while len(open_ones) < 24 and conversations:
            open_ones.append(conversations.pop())
        turns = rng.choice(open_ones)
        made.append(_prompt(f"r{len(made)}", turns.pop(0)))
        if not turns:
            open_ones.remove(turns)
    return made


def _prompt(name: str, line: Dict[str, Any]) -> Prompt:
    tokens = min(max(line["input_length"] * BLOCK_TOKENS // TRACE_BLOCK, 1), BLOCKS_MAX * BLOCK_TOKENS)
    hashes, parent = [], b""
    for number in line["hash_ids"][: tokens // BLOCK_TOKENS]:
        parent = hashlib.sha256(parent + number.to_bytes(8, "little")).digest()
        hashes.append(parent)
    return Prompt(name, tokens, 1 + line["output_length"] * 6 // TRACE_BLOCK, hashes)


def _traced() -> List[List[Dict[str, Any]]]:
    """The conversations of the trace that have several turns: lines that begin with the same two blocks or more."""
    by_start: Dict[Any, List[Dict[str, Any]]] = {}
    for line in traced.lines():
        by_start.setdefault(tuple(line["hash_ids"][:2]), []).append(line)
    return [lines[:8] for lines in by_start.values() if len(lines) > 1]


def _generated(rng: random.Random) -> List[List[Dict[str, Any]]]:
    """The same for where the trace is not: conversations that begin with one block, and grow by some at each turn."""
    made, number = [], 1
    for _ in range(400):
        ids, turns = [0], []
        for _ in range(rng.randint(2, 8)):
            more = rng.randint(1, 6)
            ids += range(number, number + more)
            number += more
            length = len(ids) * TRACE_BLOCK - rng.randint(0, TRACE_BLOCK - 1)
            turns.append({"input_length": length, "output_length": rng.randint(1, 800), "hash_ids": list(ids)})
        made.append(turns)
    return made
