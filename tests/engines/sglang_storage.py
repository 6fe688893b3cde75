# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""A storage backend in the shape of SGLang's HiCacheStorage, over one kvshm store for all ranks of all engines.

Its methods never raise, and never return None: an exception would end the daemon thread that calls them. What went
wrong is counted (get_stats()). They are called in several threads at once.

A page is one key in one of two ways. With `shared_pages` the store has a plane for each rank, each rank writes its
part, and a page is whole in all ranks or absent: all find the same prefix. Without, each rank has keys of its own in
plane 0, as SGLang's other backends do: the prefix is the minimum over the ranks, what lies beyond is read for nothing.

SGLang holds nothing from exists to get, and no call tells that a page will not be asked for. So the refs that exists
takes are kept until get has the page, until `keep_for` seconds have passed, or until others need the room.
"""

from __future__ import annotations

import collections
import enum
import errno
import functools
import threading
import time
from typing import Any, Callable, Deque, Dict, List, NamedTuple, Optional, Sequence, TypeVar

import kvshm

KV = "kv"
Returned = TypeVar("Returned")


class HitPolicy(enum.Enum):
    """Which pages of a pool a prefix needs."""

    ALL_PAGES = "all"
    TRAILING_PAGES = "trailing"


class PoolTransfer(NamedTuple):
    """Pages of one pool: their hashes, and where they are in the host pool: page_size slots each."""

    name: str
    keys: Sequence[str]
    host_indices: Sequence[int] = ()
    hit_policy: HitPolicy = HitPolicy.ALL_PAGES


class PoolTransferResult(NamedTuple):
    """How many pages can be used; and what each pool alone would have."""

    kv_hit_pages: int
    extra_pool_hit_pages: Dict[str, int]


class Config(NamedTuple):
    """What a rank knows of itself."""

    tp_rank: int
    tp_size: int
    model_name: str
    is_mla_model: bool = False
    shared_pages: bool = True
    keep_for: float = 30.0  # SGLang's longest time for a prefetch
    finish_within: float = 30.0  # seconds until a page that another rank does not write is given up


class HostPool:
    """Host memory of pages: page_size slots, page_bytes bytes each."""

    def __init__(self, pages: int, page_bytes: int, page_size: int = 1) -> None:
        self.memory = memoryview(bytearray(pages * page_bytes))
        self.page_bytes = page_bytes
        self.page_size = page_size

    def pages(self, host_indices: Sequence[int]) -> List[memoryview]:
        """The pages whose slots these are."""
        starts = [slot // self.page_size * self.page_bytes for slot in host_indices[:: self.page_size]]
        return [self.memory[at : at + self.page_bytes] for at in starts]


class _Kept(NamedTuple):
    """Refs of pages that exists has told of."""

    pool: str
    keys: List[str]
    holds: kvshm.Holds
    until: float


class _Unfinished(NamedTuple):
    """Pages that this rank has begun, and that others may still be writing."""

    holds: kvshm.Holds
    until: float


def _never_raises(nothing: Callable[..., Any]) -> Callable[[Callable[..., Returned]], Callable[..., Returned]]:
    """A method that answers nothing(arguments) where something went wrong."""

    def wrap(method: Callable[..., Returned]) -> Callable[..., Returned]:
        @functools.wraps(method)
        def answer(self: KvshmStorage, *arguments: Any, **named: Any) -> Any:
            try:
                self._tend()
                return method(self, *arguments, **named)
            except Exception as error:
                self._count(type(error).__name__)
                return nothing(*arguments)

        return answer

    return wrap


def _no_pages(keys: Any, *_: Any) -> List[bool]:
    return [False] * (len(keys) if hasattr(keys, "__len__") else 0)


def _no_pools(transfers: Any, *_: Any) -> Dict[str, List[bool]]:
    return {transfer.name: [False] * len(transfer.keys) for transfer in transfers}


class KvshmStorage:
    """See above. The store's label is the model's name; its planes are the ranks, or 1."""

    def __init__(self, config: Config, store: str) -> None:
        self._config = config
        self._store = kvshm.attach(store, label=config.model_name, client=f"sglang rank {config.tp_rank}")
        self._plane = config.tp_rank if config.shared_pages and not config.is_mla_model else 0
        self._bytes = self._store.plane(self._plane).buffer().cast("B")
        self._pools: Dict[str, HostPool] = {}
        self._lock = threading.Lock()  # of what follows
        self._kept: Deque[_Kept] = collections.deque()
        self._unfinished: List[_Unfinished] = []
        self._counts: Dict[str, int] = collections.defaultdict(int)

    # -- Host pools --

    def register_mem_pool_host(self, pool: HostPool) -> None:
        """The pool of the model's pages."""
        self._pools[KV] = pool

    def register_mem_host_pool_v2(self, pool: HostPool, name: str) -> None:
        """A pool of other pages, which fit into a block, too."""
        self._pools[name] = pool

    # -- Which pages there are --

    @_never_raises(lambda *_: 0)
    def batch_exists(self, keys: Sequence[str], extra_info: Any = None) -> int:
        """How many pages there are, from the first on."""
        found = self._store.match(self._names(KV, keys))
        self._keep(KV, keys[: len(found)], found)
        return len(found)

    @_never_raises(lambda *_: PoolTransferResult(0, {}))
    def batch_exists_v2(
        self, keys: Sequence[str], pool_transfers: Sequence[PoolTransfer], extra_info: Any = None
    ) -> PoolTransferResult:
        """The longest prefix that is good in every pool at the same length.

        The minimum of what each pool has alone may be a length whose trailing pages are not there; so each pool is
        asked again for what the others have left, until all agree.
        """
        wanted = [PoolTransfer(KV, keys), *pool_transfers]
        found: List[kvshm.Holds] = []
        alone: Dict[str, int] = {}
        count = len(keys)
        while len(found) < len(wanted):
            transfer = wanted[len(found)]
            holds = self._match(transfer, keys[:count])
            alone.setdefault(transfer.name, len(holds))
            found.append(holds)
            if len(holds) < count:
                count = len(holds)
                for former in found:
                    former.close()
                found.clear()
        for transfer, holds in zip(wanted, found):
            self._keep(transfer.name, keys[:count], holds)
        return PoolTransferResult(count, {transfer.name: alone[transfer.name] for transfer in pool_transfers})

    def _match(self, transfer: PoolTransfer, keys: Sequence[str]) -> kvshm.Holds:
        names = self._names(transfer.name, keys)
        if transfer.hit_policy == HitPolicy.ALL_PAGES:
            return self._store.match(names)
        return self._store.match_window(names, max(len(transfer.keys), 1))

    @_never_raises(lambda *_: False)
    def exists(self, key: str) -> bool:
        """Is that page there? Nothing is kept of it."""
        return self._store.touch_batch(self._names(KV, [key])).ok

    # -- Reading pages --

    @_never_raises(_no_pages)
    def batch_get_v1(self, keys: Sequence[str], host_indices: Sequence[int], extra_info: Any = None) -> List[bool]:
        """Copies pages into the host pool."""
        return self._read(KV, keys, self._pools[KV].pages(host_indices))

    @_never_raises(_no_pools)
    def batch_get_v2(self, transfers: Sequence[PoolTransfer], extra_info: Any = None) -> Dict[str, List[bool]]:
        """The same for pages of several pools."""
        return {t.name: self._read(t.name, t.keys, self._pools[t.name].pages(t.host_indices)) for t in transfers}

    @_never_raises(lambda *_: False)
    def get(self, key: str, target: bytearray) -> bool:
        """Copies a page to where it is wanted."""
        return self._read(KV, [key], [memoryview(target)])[0]

    def _read(self, pool: str, keys: Sequence[str], pages: Sequence[memoryview]) -> List[bool]:
        with self._store.get_batch(self._names(pool, keys)) as refs:
            assert refs.results is not None
            there = [result == 0 for result in refs.results]
            for is_there, block, page in zip(there, refs.blocks, pages):
                if is_there:
                    page[:] = self._block(block, len(page))
        self._let_go(pool, keys)
        self._count("pages read", sum(there))
        return there

    # -- Writing pages --

    @_never_raises(_no_pages)
    def batch_set_v1(self, keys: Sequence[str], host_indices: Sequence[int], extra_info: Any = None) -> List[bool]:
        """Copies pages from the host pool, but those that are there or that another writes."""
        return self._write(KV, keys, self._pools[KV].pages(host_indices))

    @_never_raises(_no_pools)
    def batch_set_v2(self, transfers: Sequence[PoolTransfer], extra_info: Any = None) -> Dict[str, List[bool]]:
        """The same for pages of several pools."""
        return {t.name: self._write(t.name, t.keys, self._pools[t.name].pages(t.host_indices)) for t in transfers}

    @_never_raises(lambda *_: False)
    def set(self, key: str, value: bytes) -> bool:
        """Copies a page from where it is."""
        return self._write(KV, [key], [memoryview(value)])[0]

    def _write(self, pool: str, keys: Sequence[str], pages: Sequence[memoryview]) -> List[bool]:
        if self._config.is_mla_model and self._config.tp_rank != 0:
            return [True] * len(keys)  # all ranks' pages are the same, and the first one writes them
        shared = self._config.shared_pages and not self._config.is_mla_model
        done = (self._write_part if shared else self._write_whole)(self._names(pool, keys), pages)
        self._count("pages not written", done.count(False))
        return done

    def _write_whole(self, names: kvshm.Keys, pages: Sequence[memoryview]) -> List[bool]:
        """Pages of this rank alone."""
        with self._store.get_or_fill_batch(names) as held:
            assert held.results is not None
            done = [result == 0 for result in held.results]
            for i, (hold, page) in enumerate(zip(held, pages)):
                if hold.outcome == kvshm.Outcome.FILL:
                    self._block(hold.block, len(page))[:] = page
                    done[i] = self._publish(hold, len(page))
            return done

    def _write_part(self, names: kvshm.Keys, pages: Sequence[memoryview]) -> List[bool]:
        """This rank's part of pages: whoever comes first begins them, and looks after them until all have come."""
        held = self._store.get_or_fill_batch(names, shared=True)
        assert held.results is not None
        done = [result == 0 for result in held.results]
        some = [i for i, is_held in enumerate(done) if is_held]
        tickets = b"".join(held[i].ticket() for i in some)
        with self._store.join_batch(tickets, self._plane) as parts:
            assert parts.results is not None
            for i, part, result in zip(some, parts, parts.results):
                if result == 0:
                    self._block(part.block, len(pages[i]))[:] = pages[i]
                    done[i] = self._publish(part)
                else:  # it is whole, or this rank of another engine writes it
                    done[i] = result in (-errno.EALREADY, -errno.EBUSY)
        begun = 0
        for i in some:
            hold = held[i]
            if hold.outcome == kvshm.Outcome.FILL:
                begun += self._publish(hold, len(pages[i]))
            else:
                hold.release()
        if begun:
            with self._lock:
                self._unfinished.append(_Unfinished(held, time.monotonic() + self._config.finish_within))
        return done

    @staticmethod
    def _publish(hold: kvshm.Hold, length: Optional[int] = None) -> bool:
        try:
            hold.publish(length)
        except kvshm.Canceled:
            return False
        return True

    # -- All of it --

    @_never_raises(lambda *_: None)
    def clear(self) -> None:
        """Clears the store, for all ranks and engines."""
        self._store.clear()

    def get_stats(self) -> Dict[str, int]:
        """What was counted: pages, and exceptions by their names."""
        with self._lock:
            return dict(self._counts)

    def close(self) -> None:
        """Lets go of all. Where another thread is in a call still, the store ends when nobody has it any more."""
        with self._lock:
            for holds in [*(kept.holds for kept in self._kept), *(begun.holds for begun in self._unfinished)]:
                holds.close()
            self._kept.clear()
            self._unfinished.clear()
        try:
            self._bytes.release()
            self._store.close()
        except Exception as error:
            self._count(type(error).__name__)

    # -- Inside --

    def _names(self, pool: str, keys: Sequence[str]) -> kvshm.Keys:
        """Keys for SGLang's hashes: those of pools, and of ranks where these have their own, never meet."""
        rank = "" if self._config.shared_pages or self._config.is_mla_model else f" of {self._config.tp_rank}"
        return kvshm.derive_keys(f"{pool}{rank}/{self._config.tp_size}", 0, [bytes.fromhex(key) for key in keys])

    def _block(self, block: int, length: int) -> memoryview:
        at = block * self._store.block_size
        return self._bytes[at : at + length]

    def _count(self, what: str, by: int = 1) -> None:
        with self._lock:
            self._counts[what] += by

    def _keep(self, pool: str, keys: Sequence[str], holds: kvshm.Holds) -> None:
        """Keeps refs, of a quarter of the store at most."""
        with self._lock:
            self._kept.append(_Kept(pool, list(keys), holds, time.monotonic() + self._config.keep_for))
            while sum(len(kept.keys) for kept in self._kept) > self._store.blocks // 4:
                self._kept.popleft().holds.close()

    def _let_go(self, pool: str, keys: Sequence[str]) -> None:
        """Lets go of what was kept for a get of these pages, the oldest that has them."""
        with self._lock:
            for kept in self._kept:
                if kept.pool == pool and keys and keys[-1] in kept.keys:
                    kept.holds[: kept.keys.index(keys[-1]) + 1].close()
                    if keys[-1] == kept.keys[-1]:
                        self._kept.remove(kept)
                    return

    def _tend(self) -> None:
        """Ends what is over, or has waited for too long."""
        now = time.monotonic()
        with self._lock:
            while self._kept and self._kept[0].until < now:
                self._kept.popleft().holds.close()
            for unfinished in list(self._unfinished):
                results = unfinished.holds.wait(0)
                if -errno.ETIMEDOUT not in results or unfinished.until < now:
                    unfinished.holds.close()
                    self._unfinished.remove(unfinished)
