"""The WAN pool: this server among the servers of all datacenters, and what that tells of them."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterator
from statistics import median

import msgspec

from mesh.clock import Clock
from mesh.daemon.membership import Membership
from mesh.errors import MeshError
from mesh.gossip.driver import Gossip
from mesh.gossip.members import Member, MemberEvent, Status
from mesh.gossip.vivaldi import estimate
from mesh.registry.coordinates import Coordinate, DatacenterMap, Placed
from mesh.rpc.abroad import Remote
from mesh.rpc.servers import ServerTags, endpoint, read_tags

log = logging.getLogger(__name__)

DATACENTERS_MAX = 256
"""More are not looked at: whoever has the keys of the pool could make up any number of them."""
MEASURE_SECONDS = 10.0
"""How often it is looked at again who is near."""
FLOOD_SECONDS = 60.0
FLOOD_AGAIN_SECONDS = 5.0
_NAME = re.compile(r"[a-z0-9_-]{1,63}")  # As in the configuration.


def wan_name(node: str, datacenter: str) -> str:
    """What a server is called in the WAN pool."""
    return f"{node}.{datacenter}"


class Datacenters:
    """Implements the router's Directory from the members of the WAN pool."""

    def __init__(self, gossip: Gossip, datacenter: str, clock: Clock) -> None:
        self._gossip, self._datacenter, self._clock = gossip, datacenter, clock
        self._found: dict[str, list[tuple[Member, ServerTags]]] = {}
        self._remotes: dict[str, list[Remote]] = {}
        self._until = 0.0
        gossip.listen(self._changed)

    def _changed(self, _: MemberEvent) -> None:
        self._until = 0.0

    def datacenters(self) -> list[str]:
        """Our own, then the others: nearest first, those of unknown distance last, by name."""
        self._look()
        others = {name: self._distance(name) for name in self._found if name != self._datacenter}
        return [self._datacenter, *sorted(others, key=lambda name: (others[name], name))]

    def _distance(self, datacenter: str) -> float:
        """Of its server in the middle, as Consul says it."""
        known = [one.seconds for one in self._remotes[datacenter] if one.seconds is not None]
        return median(known) if known else float("inf")

    def servers(self, datacenter: str) -> list[Remote] | None:
        """The live servers of a datacenter; None when none of its servers is a member."""
        self._look()
        return self._remotes.get(datacenter)

    def maps(self) -> list[DatacenterMap]:
        """The coordinates that servers told, by datacenter."""
        self._look()
        places = self._gossip.coordinates() | {self._gossip.name: self._gossip.coordinate()}
        found = []
        for datacenter in self.datacenters():
            placed = [
                Placed(
                    member.name,
                    msgspec.convert(places[member.name], Coordinate, from_attributes=True),
                )
                for member, _ in self._found.get(datacenter, ())
                if member.name in places
            ]
            found.append(DatacenterMap(datacenter, placed))
        return found

    def _look(self) -> None:
        now = self._clock.monotonic()
        if now < self._until:
            return
        self._until = now + MEASURE_SECONDS
        self._found = {}
        for member, tags in self._members():
            if tags.datacenter in self._found or len(self._found) < DATACENTERS_MAX:
                self._found.setdefault(tags.datacenter, []).append((member, tags))
        here, places = self._gossip.coordinate(), self._gossip.coordinates()
        self._remotes = {
            datacenter: [
                Remote(
                    endpoint(member.address, tags.port),
                    estimate(here, places[member.name]) if member.name in places else None,
                    tags.level_max,
                )
                for member, tags in members
                if member.status == Status.ALIVE
            ]
            for datacenter, members in self._found.items()
        }

    def _members(self) -> Iterator[tuple[Member, ServerTags]]:
        """The servers that have not left, also those that failed."""
        for member in self._gossip.members():
            tags = read_tags(member.tags)
            if tags is None or member.status not in {Status.ALIVE, Status.LEAVING, Status.FAILED}:
                continue
            if _NAME.fullmatch(tags.datacenter):
                yield member, tags


class Wan:
    """This server's part in the WAN pool. `forget` hears the address of each server that is gone.

    The servers of a datacenter bring each other in: it is enough that one of them joins another
    datacenter.
    """

    def __init__(
        self, gossip: Gossip, membership: Membership, datacenter: str, clock: Clock
    ) -> None:
        self.gossip, self._membership, self._datacenter = gossip, membership, datacenter
        self._clock = clock
        self.datacenters = Datacenters(gossip, datacenter, clock)
        self.forget: Callable[[str], None] = lambda _: None
        self._lan_changed = asyncio.Event()
        gossip.listen(self._heard)

    @property
    def port(self) -> int:
        """Where other servers join, once started."""
        return self.gossip.address[1]

    def show(self, tags: ServerTags) -> None:
        """Say this of the server."""
        self.gossip.set_tags(tags.tags())

    def lan_changed(self) -> None:
        """The servers of the own datacenter may have changed."""
        self._lan_changed.set()

    def _heard(self, event: MemberEvent) -> None:
        member = event.member
        log.info("WAN member %s (%s): %s", member.name, member.address, event.kind)
        if event.kind in {"failed", "leave"} and (tags := read_tags(member.tags)):
            self.forget(endpoint(member.address, tags.port))

    async def bring_in(self) -> None:
        """Join every server of the own datacenter that is not in the WAN pool; never ends."""
        while True:
            complete = True
            for address in self._missing():
                try:
                    await self.gossip.join([address], ignore_old=True)
                except MeshError as error:
                    complete = False
                    log.info("WAN pool: bringing in %s: %s", address, error)
            self._lan_changed.clear()
            try:
                async with asyncio.timeout(FLOOD_SECONDS if complete else FLOOD_AGAIN_SECONDS):
                    await self._lan_changed.wait()
            except TimeoutError:
                pass

    def _missing(self) -> list[str]:
        found = []
        for member, tags in self._membership.servers():
            name = wan_name(member.name, self._datacenter)
            known = self.gossip.member(name)
            there = known is not None and known.status == Status.ALIVE
            if tags.wan_join_port and not there and name != self.gossip.name:
                found.append(endpoint(member.address, tags.wan_join_port))
        return found
