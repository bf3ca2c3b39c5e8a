"""Abroad: requests for other datacenters, sent on to a live server there, to the next if it fails.

A server of the other datacenter does with them what it does with those of its own agents. It never
sends them on to a third one, so none goes round in circles.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

import msgspec

from mesh.clock import Clock, Dice
from mesh.errors import Conflict, Cutoff, MeshError, NoPath, OutcomeUnknown, Outdated, Unreachable
from mesh.registry.levels import HIGHEST, LOWEST
from mesh.registry.orders import AppliedIndex
from mesh.registry.port import (
    Answer,
    Command,
    Order,
    OrderOptions,
    Query,
    ReadOptions,
    ServerStatus,
    WriteOptions,
)
from mesh.rpc.client import Client
from mesh.rpc.patience import HOLD_SECONDS, Patience
from mesh.rpc.sending import Sending, first

T = TypeVar("T")

AVOID_SECONDS = 10.0
"""How long a server that failed is asked only if all others failed too."""
STAY_SECONDS = (120.0, 180.0)
"""How long the same server is asked."""
NAME_MAX = 64
"""Characters of a datacenter's name that an error repeats."""


class Remote(msgspec.Struct, frozen=True):
    """A live server of another datacenter."""

    address: str
    """`ip:port` of its server port."""
    seconds: float | None = None
    """A round trip to it, as far as that can be foretold."""
    speaks: int = HIGHEST
    """The highest feature level of its program."""


class Directory(Protocol):
    """Which datacenters there are, and who serves them."""

    def datacenters(self) -> list[str]:
        """All that are known: our own, then the others, nearest first."""
        ...

    def servers(self, datacenter: str) -> Sequence[Remote] | None:
        """Its live servers; None when there is no such datacenter."""
        ...


class Options(msgspec.Struct, frozen=True):
    """Who asks, and how long it tries."""

    origin: str = ""
    hold_seconds: float = HOLD_SECONDS


def no_path(datacenter: str) -> NoPath:
    """What to say of a datacenter that nobody knows."""
    return NoPath(f'No path to datacenter "{datacenter[:NAME_MAX]}"')


class _Route:
    """Which server of one datacenter to ask, and the connections to them."""

    def __init__(self, client: Client, world: tuple[Clock, Dice]) -> None:
        self.client = client
        self._clock, self._dice = world
        self._avoid: dict[str, float] = {}  # Until when.
        self._current, self._stay_until = "", 0.0

    def choose(self, known: Sequence[Remote]) -> str:
        """The one asked before, else one of the nearest that did not fail lately."""
        now = self._clock.monotonic()
        addresses = {one.address for one in known}
        self._avoid = {
            address: until
            for address, until in self._avoid.items()
            if until > now and address in addresses
        }
        fresh = self.fresh(known)
        if not fresh:
            return min(self._avoid, key=self._avoid.__getitem__)
        if now >= self._stay_until or all(one.address != self._current for one in fresh):
            self._current = self._dice.choice(_nearest(fresh)).address
            stay_until = now + self._dice.uniform(*STAY_SECONDS)
            # Nearer ones may be back soon.
            self._stay_until = min([stay_until, *self._avoid.values()])
        return self._current

    def fresh(self, known: Sequence[Remote]) -> list[Remote]:
        """Those that did not fail lately."""
        now = self._clock.monotonic()
        return [one for one in known if self._avoid.get(one.address, 0.0) <= now]

    def failed(self, address: str) -> None:
        """Ask others for a while."""
        self._avoid[address] = self._clock.monotonic() + AVOID_SECONDS


def _nearest(servers: Sequence[Remote]) -> list[Remote]:
    """Those that are about as near as the nearest; all while no distance is known."""
    distances = [one.seconds for one in servers if one.seconds is not None]
    if not distances:
        return list(servers)
    most = min(distances) * 1.25 + 0.002
    return [one for one in servers if one.seconds is not None and one.seconds <= most]


class Abroad:
    """A server's way to other datacenters. `connect` makes the client for one of them.

    Every method raises NoPath for a datacenter that is not known, Cutoff when none of its servers
    can be reached, and else what the Registry port raises.
    """

    def __init__(
        self,
        options: Options,
        directory: Directory,
        connect: Callable[[str], Client],
        world: tuple[Clock, Dice],
    ) -> None:
        self._options, self._directory, self._connect = options, directory, connect
        self._world = world
        self._routes: dict[str, _Route] = {}

    async def stop(self) -> None:
        """Close every connection."""
        for route in self._routes.values():
            await route.client.stop()

    def forget(self, address: str) -> None:
        """Ask a server that is known to be gone nothing more; what waits for it goes elsewhere."""
        for route in self._routes.values():
            route.client.forget(address)

    async def read(self, query: Query[T], options: ReadOptions) -> Answer[T]:
        """See Registry.read. Half of `seconds_max` is for the first server, if there is a limit."""
        patience = self._patience(options.wait)
        return await self._ask(
            (options.datacenter, query.needs),
            lambda client, address: client.read(address, query, patience.remaining(options)),
            patience,
            options.seconds_max / 2,
        )

    async def operate(self, order: Order[T], options: OrderOptions) -> T:
        """See Registry.operate."""
        return await self._ask(
            (options.datacenter, order.needs),
            lambda client, address: client.operate(address, order, options),
            self._patience(),
        )

    async def status(self, datacenter: str) -> ServerStatus:
        """See Registry.status."""
        return await self._ask(
            (datacenter, LOWEST),
            lambda client, address: client.status(address, datacenter),
            self._patience(),
        )

    async def _ask(
        self,
        where: tuple[str, int],
        ask: Callable[[Client, str], Awaitable[T]],
        patience: Patience,
        seconds: float = 0.0,
    ) -> T:
        datacenter, _ = where
        while True:
            route, address = self._choose(*where)
            try:
                async with asyncio.timeout(seconds or None):
                    return await ask(route.client, address)
            except TimeoutError:
                error = Unreachable(f"{address} did not answer within {seconds:.1f} s")
            except Unreachable as caught:
                error = caught
            route.failed(address)
            if route.fresh(self._directory.servers(datacenter) or ()):
                continue
            try:
                await patience.rest(error)
            except Unreachable as final:
                raise _cut_off(datacenter, final.message) from final

    async def write(self, command: Command[T], options: WriteOptions) -> T:
        """See Registry.write."""
        datacenter = options.datacenter
        client = self._choose(datacenter, command.needs)[0].client
        if options.since is None and not client.applied_index:
            await self.operate(AppliedIndex(), OrderOptions("here", datacenter))  # Connects, too.
        # All in the log over there.
        sent = first(options, self._options.origin, self._world[1], client.applied_index)
        sending = Sending(options, sent, self._patience(), lambda: client.applied_index)
        while True:
            try:
                return await self._write_once(command, sending.options)
            except Outdated as error:
                await sending.failed(error)
            except (Unreachable, OutcomeUnknown) as error:
                try:
                    await sending.failed(error)
                except Unreachable as final:
                    raise _cut_off(datacenter, final.message) from final
            except NoPath as error:
                told = sending.last(_cut_off(datacenter, error.message))
                if isinstance(told, OutcomeUnknown):
                    raise told from error
                raise
            except MeshError as error:
                raise sending.last(error) from error

    async def _write_once(self, command: Command[T], options: WriteOptions) -> T:
        route, address = self._choose(options.datacenter, command.needs)
        try:
            return await route.client.write(address, command, options)
        except (Unreachable, OutcomeUnknown):
            route.failed(address)
            raise

    def _patience(self, wait: float = 0.0) -> Patience:
        return Patience(self._options.hold_seconds, self._world, wait)

    def _choose(self, datacenter: str, needs: int) -> tuple[_Route, str]:
        """Whom to ask there; everybody must know what is asked, or would drop the connection."""
        known = self._directory.servers(datacenter)
        if known is None:
            raise no_path(datacenter)
        if not known:
            raise _cut_off(datacenter, "all of them failed or left")
        if min(one.speaks for one in known) < needs:
            what = f"upgrade every server of {datacenter} first"
            raise Conflict(f"this needs feature level {needs}: {what}")
        route = self._routes.get(datacenter)
        if route is None:
            route = self._routes[datacenter] = _Route(self._connect(datacenter), self._world)
        return route, route.choose(known)


def _cut_off(datacenter: str, why: str) -> Cutoff:
    return Cutoff(f'Remote DC has no server currently reachable: "{datacenter}": {why}')
