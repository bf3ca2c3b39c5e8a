"""Leaves: the certificates of this node's services, made on first use and renewed in time.

The private key is made here and goes nowhere. A leaf is renewed at a random point of 60 to 90 % of
its life, and when another root signs; then at a random moment, since all nodes do so at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from mesh.clock import Clock, Dice
from mesh.connect import identity
from mesh.connect.acks import Acks
from mesh.connect.credentials import Leaf
from mesh.connect.vault import Vault
from mesh.errors import Busy, Conflict, Invalid, MeshError, Unreachable
from mesh.lazily import Lazy
from mesh.registry.authority import Roots, Sign, Signed, Trust
from mesh.registry.intentions import ANY
from mesh.registry.port import STALE, Registry
from mesh.tasks import Tasks

if TYPE_CHECKING:
    from mesh.connect import keys, signing
else:
    keys = Lazy("mesh.connect.keys")
    signing = Lazy("mesh.connect.signing")

log = logging.getLogger(__name__)

RENEW_SHARE = (0.6, 0.9)
"""Of its life, after which a leaf is renewed."""
SPREAD_SECONDS = 30.0
"""Within which leaves are renewed when another root signs."""
LOST_SECONDS = 2.0
"""The same when the root of a leaf is not believed any more."""
LOOK_SECONDS = 30.0
"""The wall clock may jump: nobody sleeps longer than this."""
RETRY_SECONDS = (0.5, 60.0)
AGAIN_SECONDS = (1.0, 3.0)
"""After following the roots failed."""
HELD_MAX = 4096
"""Services whose leaves one node holds."""
PAUSE_SECONDS = 5.0
"""From one leaf to the next at least, should servers have another time or a root near its end."""
SOON_SHARE = 0.1
"""A leaf with less of its life left is in trouble."""
GET_SECONDS = 30.0
IDLE_SECONDS = 6 * 3600.0
"""After which a leaf that nobody asks for is dropped, as who got it over HTTP does not say so."""
NAME_MAX_BYTES = 512


class Trouble(msgspec.Struct, frozen=True):
    """What is wrong with a leaf: `warning` when it ends soon, `critical` when it has."""

    status: str
    reason: str


class _Held:
    """What is known of the leaf of one service."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.leaf: Leaf | None = None
        self.renew_at = float("-inf")
        """Wall time."""
        self.root_seen = ""
        self.error = ""
        self.trouble: Trouble | None = None
        self.wake = asyncio.Event()
        self.watchers: set[asyncio.Event] = set()
        self.asked_at = float("-inf")
        """When somebody last asked for it, or was seen to wait for the next one; no wall time."""


class Leaves:
    """Has a leaf for each service that somebody asked for, until it is dropped."""

    def __init__(
        self,
        registry: Registry,
        datacenter: str,
        acks: Acks,
        world: tuple[Clock, Dice],
        vault: Vault | None = None,
        spread_seconds: float = SPREAD_SECONDS,
    ) -> None:
        self._registry, self._datacenter, self._acks = registry, datacenter, acks
        (self._clock, self._dice), self._vault = world, vault
        self._spread = spread_seconds
        self.get_seconds = GET_SECONDS
        """How long somebody waits for a first leaf."""
        self._tasks = Tasks()
        self._held: dict[str, _Held] = {}
        self._trust = Trust()
        self._known = asyncio.Event()
        self._listeners: set[asyncio.Event] = set()
        """Set when other roots are believed."""
        self.enabled = True
        """False where the mesh is off: then nobody gets a leaf."""
        self.tell: Callable[[str, Trouble | None], None] = lambda *_: None
        """Hears what is wrong with the leaf of a service, or that nothing is any more."""

    async def start(self) -> None:
        """Follow the roots from now on, unless the mesh is off."""
        if not self.enabled:
            return
        self._tasks.start(self._follow(), name="roots of the mesh")
        self._tasks.start(self._acks.run(), name="what was acknowledged")
        self._tasks.start(self._acks.settle(), name="who did not come back")

    async def stop(self) -> None:
        """End all renewals."""
        await self._tasks.stop()

    @property
    def trust(self) -> Trust:
        """The roots as this node knows them; without a trust domain before it heard of any."""
        return self._trust

    def held(self) -> dict[str, Leaf]:
        """Every leaf there is, by service."""
        return {name: one.leaf for name, one in self._held.items() if one.leaf is not None}

    def troubles(self) -> dict[str, Trouble]:
        """What is wrong, by service."""
        return {name: one.trouble for name, one in self._held.items() if one.trouble is not None}

    async def get(self, service: str, seconds: float | None = None) -> Leaf:
        """The leaf of a service; the first one is made. `get_seconds` unless told.

        Raises Unreachable when none comes, Busy when there are too many, Invalid for a name that
        is none, Conflict where the mesh is off.
        """
        held = self._hold(service)
        async for leaf in self._changes(held, self.get_seconds if seconds is None else seconds):
            return leaf
        raise Unreachable(f"no leaf for {service} yet: {held.error or 'no server answered'}")

    async def watch(self, service: str) -> AsyncIterator[Leaf]:
        """The leaf as soon as there is one, and each that follows it."""
        async for leaf in self._changes(self._hold(service)):
            yield leaf

    async def credentials(self, service: str) -> AsyncGenerator[tuple[Leaf, Trust], None]:
        """The leaf with the roots, now and when one of them is another; ends with `drop`.

        Raises what `get` does.
        """
        leaf = await self.get(service)
        held = self._hold(service)
        with _hearing(held.watchers, self._listeners) as changed:
            while self._held.get(service) is held:
                changed.clear()
                leaf = held.leaf or leaf
                yield leaf, self._trust
                await changed.wait()

    async def trusts(self) -> AsyncGenerator[Trust, None]:
        """The roots as soon as there are some, and whenever there are others.

        Raises Unreachable when none come, Conflict where the mesh is off.
        """
        self._check_enabled()
        if not self._trust.trust_domain:
            await self._learn()
        with _hearing(self._listeners) as changed:
            while True:
                changed.clear()
                yield self._trust
                await changed.wait()

    async def after(self, service: str, index: int, seconds: float) -> Leaf:
        """The leaf once its index is greater, or as it is when time is out. Raises Unreachable."""
        held = self._hold(service)
        async for leaf in self._changes(held, seconds, index):
            return leaf
        return held.leaf or await self.get(service)

    def reissue(self, service: str) -> bool:
        """Renew it now; False when there is none of this service here."""
        held = self._held.get(service)
        if held is None:
            return False
        held.renew_at = float("-inf")
        held.wake.set()
        return True

    def drop(self, service: str) -> None:
        """Nobody needs it any more; who asks again is given another."""
        held = self._held.pop(service, None)
        if held is None:
            return
        held.wake.set()  # Its task sees that it is no longer held,
        for changed in held.watchers:  # and so does who watches it.
            changed.set()
        self._acks.leaf_gone(service)
        if self._vault is not None:
            self._vault.forget(service)
        if held.trouble is not None:
            self.tell(service, None)

    def _check_enabled(self) -> None:
        if not self.enabled:
            raise Conflict(
                "Connect must be enabled in order to use this endpoint [connect.enabled]"
            )

    def _hold(self, service: str) -> _Held:
        self._check_enabled()
        held = self._held.get(service)
        if held is None:
            if not 0 < len(service.encode()) <= NAME_MAX_BYTES:
                raise Invalid(f"service name: expected 1 to {NAME_MAX_BYTES} bytes")
            if service == ANY:
                raise Invalid(f'service name: "{ANY}" stands for every service and is none')
            if len(self._held) >= HELD_MAX:
                raise Busy(f"this node holds certificates of {HELD_MAX} services already")
            held = self._held[service] = _Held(service)
            self._restore(held)
            self._tasks.start(self._care(held), name=f"leaf of {service}")
        held.asked_at = self._clock.monotonic()
        return held

    def _restore(self, held: _Held) -> None:
        """Begin with the leaf that was kept on disk, if it is still good."""
        leaf = self._vault.find(held.service) if self._vault is not None else None
        if leaf is not None and leaf.valid_before > self._clock.wall():
            self._take(held, leaf)

    async def _changes(
        self, held: _Held, seconds: float | None = None, index: int = 0
    ) -> AsyncIterator[Leaf]:
        """Each leaf with an index above the last one's, until time is out."""
        with _hearing(held.watchers) as changed:
            while self._held.get(held.service) is held:
                if held.leaf is not None and held.leaf.index > index:
                    index = held.leaf.index
                    yield held.leaf
                    continue
                changed.clear()
                try:
                    async with asyncio.timeout(seconds):
                        await changed.wait()
                except TimeoutError:
                    return

    # Care

    async def _follow(self) -> None:
        while True:
            try:
                async for answer in self._registry.watch(Roots(), STALE):
                    self._learned(answer.value)
            except MeshError as error:
                # No server is there, or only those of an older mesh.
                log.debug("following the roots of the mesh: %s", error)
            await self._clock.sleep(self._dice.uniform(*AGAIN_SECONDS))

    def _learned(self, trust: Trust) -> None:
        if not trust.trust_domain or trust == self._trust:
            return
        self._trust = trust
        self._known.set()
        for held in self._held.values():
            self._acknowledge(held)
            held.wake.set()
        for changed in self._listeners:
            changed.set()

    async def _care(self, held: _Held) -> None:
        pause = RETRY_SECONDS[0]
        while self._held.get(held.service) is held:
            held.wake.clear()
            if held.watchers:
                held.asked_at = self._clock.monotonic()
            elif self._clock.monotonic() - held.asked_at > IDLE_SECONDS:
                self.drop(held.service)
                return
            now = self._clock.wall()
            self._heed_root(held, now)
            if now >= held.renew_at:
                if await self._renewed(held):
                    pause = RETRY_SECONDS[0]
                else:
                    held.renew_at = self._clock.wall() + self._dice.uniform(pause / 2, pause)
                    pause = min(2 * pause, RETRY_SECONDS[1])
            self._judge(held)
            await self._rest(held)

    async def _rest(self, held: _Held) -> None:
        seconds = min(max(held.renew_at - self._clock.wall(), 0.0), LOOK_SECONDS)
        woken = self._tasks.start(_wait(held.wake), name="woken")
        slept = self._tasks.start(self._clock.sleep(seconds), name="slept")
        try:
            await asyncio.wait((woken, slept), return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
            slept.cancel()

    def _heed_root(self, held: _Held, now: float) -> None:
        """When another root signs than that of the leaf, renew it soon."""
        leaf, active = held.leaf, self._trust.active
        if leaf is None or not active or active in {leaf.root, held.root_seen}:
            return
        held.root_seen = active
        believed = any(root.id == leaf.root for root in self._trust.roots)
        spread = self._spread if believed else LOST_SECONDS
        held.renew_at = min(held.renew_at, now + self._dice.uniform(0.0, spread))

    async def _renewed(self, held: _Held) -> bool:
        try:
            leaf = await self._issue(held)
        except MeshError as error:
            if error.message != held.error:
                log.info("leaf of %s: %s", held.service, error)
            held.error = error.message
            return False
        held.error = ""
        if self._vault is not None:
            await asyncio.to_thread(self._vault.keep, leaf)
        if self._held.get(held.service) is held:
            self._take(held, leaf)
            held.renew_at = max(held.renew_at, self._clock.wall() + PAUSE_SECONDS)
        elif self._vault is not None and held.service not in self._held:
            self._vault.forget(held.service)
        return True

    async def _issue(self, held: _Held) -> Leaf:
        """A new key, and the leaf that the servers sign for it."""
        if not self._trust.trust_domain:
            await self._learn()
        trust = self._trust
        if not self._acks.is_told(held.service):
            self._acknowledge(held)
            await self._acks.tell()
        kind, bits = trust.rules.private_key_type, trust.rules.private_key_bits
        key = await asyncio.to_thread(keys.new_key, kind, bits)
        uri = identity.service(trust.trust_domain, self._datacenter, held.service).uri
        csr = await asyncio.to_thread(partial(signing.request_leaf, key, uri))
        signed = await self._registry.operate(Sign(csr))
        return self._made(held, key, signed)

    async def _learn(self) -> None:
        """Wait a little for the roots. Raises Unreachable."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._known.wait()
        except TimeoutError:
            raise Unreachable("there is no certificate authority yet, or no server") from None

    def _made(self, held: _Held, key: str, signed: Signed) -> Leaf:
        # Greater than before a restart too, for who waits for another one.
        before = held.leaf.index if held.leaf is not None else 0
        return Leaf(
            service=held.service,
            uri=signed.uri,
            serial=signed.serial,
            certificate=signed.certificate + "".join(signed.chain),
            key=key,
            valid_after=signed.valid_after,
            valid_before=signed.valid_before,
            root=signed.root,
            index=max(int(self._clock.wall() * 1000), before + 1),
        )

    def _take(self, held: _Held, leaf: Leaf) -> None:
        now = self._clock.wall()
        life = leaf.valid_before - max(leaf.valid_after + signing.BACKDATED_SECONDS, 0.0)
        share = self._dice.uniform(*RENEW_SHARE)
        held.renew_at = leaf.valid_before - (1.0 - share) * max(life, 0.0)
        held.leaf, held.root_seen = leaf, ""
        log.debug(
            "leaf of %s: serial %s, for %.0f s", held.service, leaf.serial, leaf.valid_before - now
        )
        self._acknowledge(held)
        for changed in held.watchers:
            changed.set()

    def _acknowledge(self, held: _Held) -> None:
        roots = [root.id for root in self._trust.roots]
        self._acks.leaf(held.service, roots, held.leaf.root if held.leaf is not None else "")

    def _judge(self, held: _Held) -> None:
        """Say so when the leaf ends soon, or has ended."""
        leaf, now = held.leaf, self._clock.wall()
        trouble = None
        if leaf is not None:
            left = leaf.valid_before - now
            why = held.error or "it is being renewed"
            if left <= 0:
                trouble = Trouble("critical", f"the certificate has expired: {why}")
            elif left < SOON_SHARE * (leaf.valid_before - leaf.valid_after):
                trouble = Trouble("warning", f"the certificate ends soon: {why}")
        if trouble != held.trouble:
            held.trouble = trouble
            self.tell(held.service, trouble)


@contextmanager
def _hearing(*places: set[asyncio.Event]) -> Iterator[asyncio.Event]:
    """An event that stands in all these places, to be set by who changes something."""
    changed = asyncio.Event()
    for place in places:
        place.add(changed)
    try:
        yield changed
    finally:
        for place in places:
            place.discard(changed)


async def _wait(event: asyncio.Event) -> None:
    await event.wait()
