"""Recipes: how to hold a lock or a place of a semaphore, as steps that a client carries out.

Consul's clients follow the same two recipes, so that holders of either kind exclude each other. A
recipe does no I/O: its generators yield calls to make and pauses to wait, and are sent what came of
them. `mesh.client.lock` carries them out blocking, `mesh.client.alock` awaiting.

A lock is a key that a session holds. A semaphore is a folder: each contender has a key under its
session's id, which it holds, and the key `.lock` there lists the sessions that have a place.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeAlias, TypeVar

import msgspec

from mesh import codec
from mesh.client import kv, session
from mesh.client.call import Answer, Call, ReadOptions
from mesh.client.shapes import Pair
from mesh.errors import Conflict, Internal, Invalid, MeshError

T = TypeVar("T")

LOCK_FLAGS = 0x2DDCCBC058A50C18
SEMAPHORE_FLAGS = 0xE0F69A2BAA414DE0
HOLDERS_KEY = ".lock"


class Pause(msgspec.Struct, frozen=True):
    """A step: wait so many seconds."""

    seconds: float


Steps: TypeAlias = Generator[Call[Any] | Pause, Any, T]


class HoldOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to hold. The defaults are those of Consul's clients."""

    value: bytes = b""
    """What to write into the key while it is held."""
    session_name: str = "mesh lock"
    ttl_seconds: float = 15.0
    """Who could not renew its session for so long has lost what it held."""
    lock_delay_seconds: float = 15.0
    """How long nobody gets a lock whose holder vanished."""
    wait_seconds: float = 15.0
    """How long one blocking read waits for the key to be free."""
    retry_seconds: float = 5.0
    """Between two attempts, while there is a lock-delay or no leader."""
    monitor_retries: int | None = None
    """After so many failed requests in a row, a second apart, what is held counts as lost; None:
    only when the TTL is over."""
    datacenter: str = ""


class Taken(msgspec.Struct, frozen=True):
    """What was taken, and the numbers that fence off whoever held it before."""

    key: str
    fence: int
    """Of a lock its LockIndex: how often the key was acquired since it was created."""
    index: int
    """The log index of the acquisition. It grows also when the key was deleted meanwhile."""


class Waiting(msgspec.Struct, frozen=True):
    """Who waits: its session, until when, by which clock, and whether the session is alive."""

    session: str
    until: float
    now: Callable[[], float]
    alive: Callable[[], bool]

    def left(self, seconds: float) -> float:
        """That long, but not beyond the end; 0 or less when that is reached."""
        return min(seconds, self.until - self.now())


class LockRecipe:
    """Holds one key."""

    behavior = "release"

    def __init__(self, key: str, options: HoldOptions) -> None:
        if not key or key.startswith("/"):
            raise Invalid("key: a lock needs a key, which does not begin with a slash")
        self.key, self.options = key, options

    def acquire(self, waiting: Waiting) -> Steps[Taken | None]:
        """Wait until the key is ours; None when time is out or the session has ended."""
        options, lock = self.options, kv.Lock(waiting.session)
        index, refused = 0, False
        while waiting.alive():
            if (seconds := waiting.left(options.wait_seconds)) <= 0 and index:
                return None
            answer: Answer[Pair | None] = yield kv.get(
                self.key, _newer(options, index if seconds > 0 else 0, seconds)
            )
            pair, index = answer.value, _next_index(index, answer)
            if pair is not None and pair.flags != LOCK_FLAGS:
                raise Conflict(f"{self.key} is no lock: its flags say that it is something else")
            if pair is not None and pair.session == waiting.session:
                return Taken(self.key, pair.lock_index, pair.modify_index)
            if pair is not None and pair.session:
                refused = False
                continue
            if refused:  # Nobody holds it, and still it cannot be had: its lock-delay lasts.
                if (seconds := waiting.left(options.retry_seconds)) <= 0:
                    return None
                yield Pause(seconds)
            taken: bool = yield kv.put(
                self.key,
                options.value,
                flags=LOCK_FLAGS,
                lock=lock,
                datacenter=options.datacenter,
            )
            # The next read shows either us, or whoever was faster.
            index, refused = 0, not taken
        return None

    def release(self, identity: str) -> Steps[bool]:
        """Give the key back; False if it was not ours."""
        released: bool = yield kv.put(
            self.key,
            self.options.value,
            flags=LOCK_FLAGS,
            lock=kv.Lock(identity, release=True),
            datacenter=self.options.datacenter,
        )
        return released

    def watch(self, options: ReadOptions) -> Call[Answer[Pair | None]]:
        """The read that shows whether the key is still ours."""
        return kv.get(self.key, options)

    def still(self, identity: str, pair: Pair | None) -> bool:
        """Whether it is."""
        return pair is not None and pair.session == identity

    def cleanup(self) -> Steps[bool]:
        """Delete the key unless somebody holds it; whether it is gone."""
        where = ReadOptions(datacenter=self.options.datacenter)
        pair: Pair | None = (yield kv.get(self.key, where)).value
        if pair is None:
            return True
        if pair.flags != LOCK_FLAGS or pair.session:
            return False
        gone: bool = yield kv.delete(self.key, cas=pair.modify_index, datacenter=where.datacenter)
        return gone


class _Holders(msgspec.Struct, frozen=True, rename="pascal"):
    """What `.lock` holds, as Consul's clients write it."""

    limit: int
    holders: dict[str, bool] = {}


class SemaphoreRecipe:
    """Has one of `limit` places under a prefix."""

    behavior = "delete"

    def __init__(self, prefix: str, limit: int, options: HoldOptions) -> None:
        prefix = prefix.rstrip("/")
        if not prefix or prefix.startswith("/"):
            raise Invalid("prefix: a semaphore needs one, which does not begin with a slash")
        if limit < 1:
            raise Invalid("limit: a semaphore needs at least one place")
        self.prefix, self.limit, self.options = prefix, limit, options
        self.key = f"{prefix}/{HOLDERS_KEY}"

    def acquire(self, waiting: Waiting) -> Steps[Taken | None]:
        """Wait until there is a place; None when time is out or the session has ended."""
        options, index, entered = self.options, 0, False
        while waiting.alive():
            if not entered:
                entered = yield self._enter(waiting.session)
                if not entered:
                    return None
            if (seconds := waiting.left(options.wait_seconds)) <= 0 and index:
                return None
            answer: Answer[list[Pair]] = yield self.watch(
                _newer(options, index if seconds > 0 else 0, seconds)
            )
            index = _next_index(index, answer)
            pair, holders = self._read(answer.value)
            if waiting.session in holders.holders:
                assert pair is not None
                return Taken(self.key, pair.modify_index, pair.modify_index)
            if len(holders.holders) >= self.limit:
                continue
            wanted = msgspec.structs.replace(
                holders, holders={**holders.holders, waiting.session: True}
            )
            yield self._write(pair, wanted)
            index = 0  # The next read shows whether we were the fastest.
        return None

    def _enter(self, identity: str) -> Call[bool]:
        return kv.put(
            f"{self.prefix}/{identity}",
            self.options.value,
            flags=SEMAPHORE_FLAGS,
            lock=kv.Lock(identity),
            datacenter=self.options.datacenter,
        )

    def _read(self, pairs: list[Pair]) -> tuple[Pair | None, _Holders]:
        """The key of holders and what it says, without those whose session has ended."""
        alive = {pair.session for pair in pairs if pair.session}
        found = next((pair for pair in pairs if pair.key == self.key), None)
        if found is None:
            return None, _Holders(self.limit)
        if found.flags != SEMAPHORE_FLAGS:
            raise Conflict(f"{self.key} is no semaphore: its flags say that it is something else")
        holders = codec.from_json(found.value, _Holders)
        if holders.limit != self.limit:
            raise Conflict(
                f"{self.prefix}: the others there count to {holders.limit}, not to {self.limit}"
            )
        left = {one: True for one in holders.holders if one in alive}
        return found, msgspec.structs.replace(holders, holders=left)

    def _write(self, pair: Pair | None, holders: _Holders) -> Call[bool]:
        return kv.put(
            self.key,
            codec.to_json(holders),
            flags=SEMAPHORE_FLAGS,
            cas=pair.modify_index if pair is not None else 0,
            datacenter=self.options.datacenter,
        )

    def release(self, identity: str) -> Steps[bool]:
        """Give the place back; False if we had none."""
        had, where = False, ReadOptions(datacenter=self.options.datacenter)
        while True:
            pair, holders = self._read((yield self.watch(where)).value)
            if pair is None or identity not in holders.holders:
                break
            left = {one: True for one in holders.holders if one != identity}
            if (yield self._write(pair, msgspec.structs.replace(holders, holders=left))):
                had = True
                break
        yield kv.delete(f"{self.prefix}/{identity}", datacenter=where.datacenter)
        return had

    def watch(self, options: ReadOptions) -> Call[Answer[list[Pair]]]:
        """The read that shows whether we still have a place."""
        return kv.under(f"{self.prefix}/", options)

    def still(self, identity: str, pairs: list[Pair]) -> bool:
        """Whether we do."""
        try:
            _, holders = self._read(pairs)
        except MeshError:
            return False
        return identity in holders.holders

    def cleanup(self) -> Steps[bool]:
        """Delete what remains unless somebody has a place; whether it is gone."""
        where = ReadOptions(datacenter=self.options.datacenter)
        pair, holders = self._read((yield self.watch(where)).value)
        if pair is None:
            return True
        if holders.holders:
            return False
        gone: bool = yield kv.delete(self.key, cas=pair.modify_index, datacenter=where.datacenter)
        return gone


Recipe: TypeAlias = LockRecipe | SemaphoreRecipe


def open_session(recipe: Recipe) -> Call[str]:
    """Begin the session that holds."""
    options = recipe.options
    terms = session.Terms(
        name=options.session_name,
        behavior=recipe.behavior,
        ttl_seconds=options.ttl_seconds,
        lock_delay_seconds=options.lock_delay_seconds,
    )
    return session.create(terms, datacenter=options.datacenter)


def patient(steps: Steps[T], waiting: Waiting, retry_seconds: float) -> Steps[T | None]:
    """The steps, where an error is no end while there is time and the session lives."""
    step = next(steps)
    while True:
        try:
            result = yield step
        except MeshError as error:
            if not (error.retry or isinstance(error, Internal)):
                raise
            if (seconds := waiting.left(retry_seconds)) <= 0:
                raise
            yield Pause(min(seconds, 1.0))
            if not waiting.alive():
                return None
            continue  # Every step of a recipe may be made again.
        try:
            step = steps.send(result)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # The generator's own T.


class Keeping:
    """Renews a session and, once something is held, watches whether it still is.

    `lost` says why not, once that is sure, or once it can be no longer known: the servers may end
    a session when its TTL is over, so by then the holder must have stopped.
    """

    def __init__(self, recipe: Recipe, identity: str, now: Callable[[], float]) -> None:
        self.recipe, self.session, self._now = recipe, identity, now
        self.holds = False
        self.ending = False
        """The holder gives it back itself."""
        self.lost = ""
        self._beat = recipe.options.ttl_seconds / 6
        self._failed = 0
        self._renewed = now()
        self.good_until = self._renewed + recipe.options.ttl_seconds - self._beat

    @property
    def request_seconds(self) -> float:
        """How long one request may take, so that it is known in time what is lost."""
        return self._beat

    def steps(self) -> Steps[None]:
        """Until something is lost, or given back."""
        index = 0
        while self._goes_on():
            try:
                if self.holds:
                    index = yield from self._look(index)
                else:
                    yield Pause(self._beat)
                if self._goes_on():
                    yield from self._renew()
                self._failed = 0
            except MeshError as error:
                self._fail(error)
                if self._goes_on():
                    yield Pause(min(self._beat, 1.0))

    def _goes_on(self) -> bool:
        return not (self.ending or self.lost)

    def _fail(self, error: MeshError) -> None:
        self._failed += 1
        most = self.recipe.options.monitor_retries
        if not error.retry and not isinstance(error, Internal):
            self._lose(error.message)
        elif self._now() >= self.good_until or (most is not None and self._failed > most):
            self._lose(f"the session could not be renewed in time: {error.message}")

    def _look(self, index: int) -> Steps[int]:
        options = ReadOptions(
            index=index, wait_seconds=self._beat, datacenter=self.recipe.options.datacenter
        )
        answer = yield self.recipe.watch(options)
        if not self.recipe.still(self.session, answer.value):
            self._lose("somebody else took it, or the session has ended")
        return _next_index(index, answer)

    def _renew(self) -> Steps[None]:
        began = self._now()
        if began - self._renewed < self._beat:
            return
        found = yield session.renew(self.session, datacenter=self.recipe.options.datacenter)
        if found is None:
            self._lose("the session has ended")
            return
        self._renewed = began
        self.good_until = began + self.recipe.options.ttl_seconds - self._beat

    def _lose(self, reason: str) -> None:
        if not self.ending:
            self.lost = reason


def _newer(options: HoldOptions, index: int, seconds: float) -> ReadOptions:
    return ReadOptions(index=index, wait_seconds=max(seconds, 0.001), datacenter=options.datacenter)


def _next_index(index: int, answer: Answer[Any]) -> int:
    """What to wait beyond; an index that went back means that the data was restored."""
    return answer.index if answer.index >= index else 0
