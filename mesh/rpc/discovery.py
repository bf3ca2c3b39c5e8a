"""Discovery: the registry as DNS and HTTP ask it, with what gossip knows of health on top.

Only reads that may be stale are touched, since those are about what runs now; `default` and
`consistent` reads show the catalog, which stays the record. Answers about other datacenters come
from there as they are.

On an agent such reads come from answers it holds (`rpc.held`), at once, whether servers are there
or not. For names nobody asked before, when no server answers, there are the services of this node.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from mesh.clock import Clock
from mesh.errors import MeshError, NoLeader, Unreachable
from mesh.registry import authority, catalog, health, intentions, prepared, settings
from mesh.registry.overlay import LAID, Overlay, Patch, Standing
from mesh.registry.port import (
    ORDER,
    READ,
    STALE,
    WRITE,
    Answer,
    Command,
    Order,
    OrderOptions,
    Query,
    ReadOptions,
    Registry,
    ServerStatus,
    WriteOptions,
    Writer,
)
from mesh.rpc.held import HeldAnswers
from mesh.rpc.minding import Minding
from mesh.tasks import spawn

T = TypeVar("T")

HOLDABLE: frozenset[type] = frozenset(
    (
        health.Instances,
        health.Connected,
        health.NodeChecks,
        health.ServiceChecks,
        catalog.NodeNamed,
        catalog.Nodes,
        catalog.Owner,
        catalog.ServiceNodes,
        catalog.Services,
        prepared.Named,
        prepared.Templates,
        intentions.Matching,
        intentions.Providers,
        settings.Service,
        settings.Mesh,
        authority.Roots,
    )
)
PATCHES_MAX = 4096
CURRENT_SECONDS = 5.0
"""An answer that was the leader's word so lately knows of members that came back."""
NEW_NAME_SECONDS = 2.0
"""How long a question about a name not held may take."""


class Own(Protocol):
    """What this node itself runs."""

    def __call__(self, query: Query[Any]) -> Any:
        """Its part of the answer; None when the query is not about that."""
        ...


class Servers(Registry, Protocol):
    """A registry that asks servers."""

    @property
    def knows_servers(self) -> bool:
        """Whether there is one to ask."""
        ...


class Members(Protocol):
    """Who is in the pool."""

    def __call__(self, *, current: bool) -> Standing:
        """For answers that are current, or not; the same object until that changes."""
        ...


class Holding(msgspec.Struct, frozen=True):
    """What an agent answers from beside the servers."""

    servers: Servers
    answers: HeldAnswers
    own: Own


class _Laid(msgspec.Struct):
    """An answer with its patch applied, and what that was made of."""

    value: Any
    patch: Patch
    source: Any
    version: int
    standing: Standing


class _News(Generic[T]):
    """The last answer of a watch, and whether there is reason to look at it again."""

    def __init__(self) -> None:
        self._answer: Answer[T] | None = None
        self._error: MeshError | None = None
        self._changed = asyncio.Event()
        self._seconds: float | None = None
        self.wake, self.forget = self._changed.set, _nothing

    async def read(self, answers: AsyncIterator[Answer[T]]) -> None:
        try:
            async for answer in answers:
                self._answer = answer
                self.wake()
        except MeshError as error:
            self._error = error
            self.wake()

    def again(self, seconds: float) -> None:
        """Look again after so many seconds, at the latest."""
        self._seconds = seconds if seconds < math.inf else None

    async def next(self) -> Answer[T]:
        """Wait for a reason to look. Raises what ended the watch."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    await self._changed.wait()
            self._changed.clear()
            if self._error is not None:
                raise self._error
            if self._answer is not None:
                return self._answer


def _nothing() -> None:
    pass


class Discovery:
    """The Registry port for the edges. `holding` is for agents; servers have the tables."""

    def __init__(
        self,
        registry: Registry,
        overlay: Overlay,
        standing: Members,
        datacenter: str,
        clock: Clock,
        holding: Holding | None = None,
    ) -> None:
        self._registry, self._overlay, self._standing = registry, overlay, standing
        self._datacenter, self._clock, self._holding = datacenter, clock, holding
        self._laid: OrderedDict[tuple[Query[Any], str], _Laid] = OrderedDict()
        self._minding = Minding()
        self._asked_before: OrderedDict[tuple[Query[Any], str], None] = OrderedDict()
        self.counters: Counter[str] = Counter(
            dict.fromkeys(("held_hits", "held_stale", "own_services", "laid_over"), 0)
        )

    async def read(self, query: Query[T], options: ReadOptions = READ) -> Answer[T]:
        """See Registry.read."""
        elsewhere = options.datacenter not in {"", self._datacenter}
        if elsewhere or not (options.cached or options.consistency == "stale"):
            return await self._registry.read(query, options)
        if not _among(query, HOLDABLE):
            answer = await self._registry.read(query, options)
        elif self._holding is None:
            answer = await self._from_tables(query, options)
        else:
            answer = await self._held(self._holding, query, options)
        if _among(query, LAID):
            return self._lay(query, options.token, answer)
        return answer

    def at_once(self, query: Query[T], options: ReadOptions) -> Answer[T] | None:
        """See Registry.at_once."""
        datacenter = options.datacenter
        if options.index or (datacenter and datacenter != self._datacenter):
            return None
        if not (options.cached or options.consistency == "stale"):
            return self._registry.at_once(query, options)
        if not _among(query, HOLDABLE):
            answer = self._registry.at_once(query, options)
        elif self._holding is None:
            answer = self._at_once_from_tables(query, options)
        elif not _may_hold(options):
            return None
        else:
            answer = self._holding.answers.at_once(query, options.token)
            if answer is None or not _will_do(answer, options):
                return None
            self._hit(answer)
        if answer is None or not _among(query, LAID):
            return answer
        return self._lay(query, options.token, answer)

    def asking(self, query: Query[T], options: ReadOptions) -> Callable[[], Answer[T] | None]:
        """See Registry.asking."""
        if options.cached or options.consistency == "stale":
            return partial(self.at_once, query, options)
        return self._registry.asking(query, options)

    def mind(
        self, query: Query[Any], options: ReadOptions, changed: Callable[[], None]
    ) -> Callable[[], None]:
        """See Registry.mind. To be asked anew for each answer of `at_once`."""
        stale = options.cached or options.consistency == "stale"
        if stale and self._holding is not None and _among(query, HOLDABLE):
            end = self._holding.answers.mind(query, options.token, changed)
        else:
            end = self._registry.mind(query, options, changed)
        laid = self._laid.get((query, options.token))
        if not stale or laid is None:
            return end
        forget = self._minding.add(laid.patch.nodes, changed)

        def both() -> None:
            end()
            forget()

        return both

    def heard(self, nodes: Collection[str] | None) -> None:
        """Gossip said something of these nodes (in lower case), or perhaps of any."""
        self._minding.tell(nodes)

    def _at_once_from_tables(self, query: Query[T], options: ReadOptions) -> Answer[T] | None:
        if not options.cached or options.consistency != "default":
            return self._registry.at_once(query, options)
        if options.max_age == 0 or (query, options.token) not in self._asked_before:
            return None
        self._asked_before.move_to_end((query, options.token))
        here = msgspec.structs.replace(_plain(options), consistency="stale")
        answer = self._registry.at_once(query, here)
        if answer is None or (
            options.max_age is not None and answer.last_contact > options.max_age
        ):
            return None
        return msgspec.structs.replace(answer, age=answer.last_contact)

    async def _from_tables(self, query: Query[T], options: ReadOptions) -> Answer[T]:
        """With `cached` a server reads its own tables. What nobody asked before is no hit there."""
        asked = _plain(options)
        if not options.cached or options.consistency != "default":
            return await self._registry.read(query, asked)
        key = (query, options.token)
        before = key in self._asked_before
        self._asked_before[key] = None
        self._asked_before.move_to_end(key)
        if len(self._asked_before) > PATCHES_MAX:
            self._asked_before.popitem(last=False)
        if before and options.max_age != 0:
            here = msgspec.structs.replace(asked, consistency="stale")
            answer = await self._registry.read(query, here)
            if options.max_age is None or answer.last_contact <= options.max_age:
                return msgspec.structs.replace(answer, age=answer.last_contact)
        return await self._registry.read(query, asked)

    async def _held(self, holding: Holding, query: Query[T], options: ReadOptions) -> Answer[T]:
        asked = _plain(options)
        if options.index:
            fresh = await self._wait(holding, query, options)
            holding.answers.hold(query, options.token, fresh)
            return fresh
        answer = None
        if _may_hold(options):
            answer = await holding.answers.find(query, options.token)
        if answer is not None and _will_do(answer, options):
            return self._hit(answer)
        try:
            fresh = await self._asked(holding, query, asked, soon=options.cached)
        except (Unreachable, NoLeader) as error:
            if answer is not None and (answer.age or 0.0) < options.stale_if_error:
                return self._hit(answer)
            if isinstance(error, NoLeader):
                raise
            value = holding.own(query)
            if not value:
                raise
            self.counters["own_services"] += 1
            return Answer(value, 1, known_leader=False, last_contact=math.inf, age=0.0)
        if _may_hold(options):
            holding.answers.hold(query, options.token, fresh)
        return fresh

    async def _wait(self, holding: Holding, query: Query[T], options: ReadOptions) -> Answer[T]:
        """Wait here, with all who wait for the same; at a server if what is held will not do."""
        asked = _plain(options)
        if options.max_age != 0:
            until = self._clock.monotonic() + options.wait
            answer = await holding.answers.wait(query, options.token, options.index, options.wait)
            if answer is not None and _will_do(answer, options):
                return self._hit(answer)
            if answer is not None:
                left = max(0.0, until - self._clock.monotonic())
                asked = msgspec.structs.replace(asked, wait=left)
        return await self._registry.read(query, asked)

    def _hit(self, answer: Answer[T]) -> Answer[T]:
        self.counters["held_hits"] += 1
        self.counters["held_stale"] += bool(answer.age)
        return answer

    async def _asked(
        self, holding: Holding, query: Query[T], options: ReadOptions, *, soon: bool
    ) -> Answer[T]:
        if not holding.servers.knows_servers and holding.own(query):
            raise Unreachable("no server is there; this node knows its own services")
        try:
            async with asyncio.timeout(NEW_NAME_SECONDS if soon else None):
                return await self._registry.read(query, options)
        except TimeoutError:
            raise Unreachable(f"no server answered within {NEW_NAME_SECONDS:.0f} s") from None

    def _lay(self, query: Query[T], token: str, answer: Answer[T]) -> Answer[T]:
        """The answer with the newest health; the same value object while nothing changes."""
        standing = self._standing(current=answer.last_contact <= CURRENT_SECONDS)
        as_of = self._clock.monotonic() - answer.last_contact
        laid = self._laid.get((query, token))
        if laid is None or as_of >= laid.patch.until or self._outdated(laid, answer, standing):
            patch = self._overlay.patch(query, answer.value, as_of, standing)
            value: Any = answer.value
            if laid is not None and laid.source is value and laid.patch.same(patch):
                value = laid.value
            elif patch:
                value = patch.applied(value)
            version = self._overlay.version
            laid = _Laid(value, patch, answer.value, version, standing)
            self._laid[query, token] = laid
            if len(self._laid) > PATCHES_MAX:
                self._laid.popitem(last=False)
        if not laid.patch:
            return answer
        self.counters["laid_over"] += 1
        return msgspec.structs.replace(answer, value=laid.value)

    def _outdated(self, laid: _Laid, answer: Answer[Any], standing: Standing) -> bool:
        """Whether the patch may be wrong; if not, it is good for what is known now."""
        if laid.source is not answer.value:
            return True
        if laid.version != self._overlay.version:
            changed = self._overlay.changed_since(laid.version)
            if changed is None or not laid.patch.nodes.isdisjoint(changed):
                return True
            laid.version = self._overlay.version
        if laid.standing is not standing:
            if not laid.patch.nodes.isdisjoint(laid.standing.differing(standing)):
                return True
            laid.standing = standing
        return False

    def write(self, command: Command[T], options: WriteOptions = WRITE) -> Coroutine[Any, Any, T]:
        """See Registry.write."""
        return self._registry.write(command, options)

    def begin(self, command: Command[T], options: WriteOptions, writer: Writer[T]) -> bool:
        """See Registry.begin."""
        return self._registry.begin(command, options, writer)

    def watch(self, query: Query[T], options: ReadOptions = STALE) -> AsyncIterator[Answer[T]]:
        """See Registry.watch. What gossip says of health is an answer of its own."""
        elsewhere = options.datacenter not in {"", self._datacenter}
        if elsewhere or options.consistency != "stale" or not _among(query, LAID):
            return self._registry.watch(query, options)
        return self._watch_laid(query, options)

    async def _watch_laid(self, query: Query[T], options: ReadOptions) -> AsyncIterator[Answer[T]]:
        news = _News[T]()
        reading = spawn(news.read(self._registry.watch(query, options)))
        shown: Answer[T] | None = None
        try:
            while True:
                answer = await news.next()
                laid = self._lay(query, options.token, answer)
                patch = self._laid[query, options.token].patch
                news.again(patch.until - self._clock.monotonic())
                news.forget()
                news.forget = self._minding.add(patch.nodes, news.wake)
                if shown is None or laid.value is not shown.value or laid.index != shown.index:
                    shown = laid
                    yield laid
        finally:
            news.forget()
            reading.cancel()

    async def operate(self, order: Order[T], options: OrderOptions = ORDER) -> T:
        """See Registry.operate."""
        return await self._registry.operate(order, options)

    async def status(self, datacenter: str = "") -> ServerStatus:
        """See Registry.status."""
        return await self._registry.status(datacenter)


def _plain(options: ReadOptions) -> ReadOptions:
    """The options without what is about held answers, for servers."""
    return msgspec.structs.replace(options, cached=False, max_age=None, stale_if_error=0.0)


def _may_hold(options: ReadOptions) -> bool:
    return options.cached or options.max_age != 0


def _will_do(answer: Answer[Any], options: ReadOptions) -> bool:
    """Whether an answer that is held is as new as it has to be."""
    if options.max_stale is not None and answer.last_contact > options.max_stale:
        return False
    # One that is followed has no age, but with 0 it is a server's word that is wanted.
    return options.max_age is None or (answer.age or 0.0) < options.max_age


def _among(query: object, kinds: frozenset[type]) -> bool:
    return type(query) in kinds
