"""The operator: carries out orders about the servers, on the server that was asked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from mesh.clock import Clock
from mesh.errors import Conflict, Invalid, MeshError, NoLeader, NotFound, Unreachable
from mesh.raft.epochs import Peer
from mesh.registry import orders
from mesh.registry.port import HERE, Order
from mesh.rpc.client import Client
from mesh.server.autopilot import health
from mesh.server.electorate import Changes, Electorate
from mesh.server.observation import Sighting, by_id, followers
from mesh.server.pilot import Pilot

log = logging.getLogger(__name__)
T = TypeVar("T")

STATUS_SECONDS = 3.0
"""How long another server may take to tell its figures."""


class ServerOperator:
    """Implements the router's Operator: orders about voters, leadership and health."""

    def __init__(
        self,
        electorate: tuple[Electorate, Changes],
        pilot: Pilot,
        sightings: Callable[[], Sequence[Sighting]],
        reach: tuple[Client, Callable[[Peer], str]],
        clock: Clock,
    ) -> None:
        self._node, self._changes = electorate
        self._pilot, self._sightings, self._clock = pilot, sightings, clock
        self._client, self._find = reach
        self._do: dict[type[Order[Any]], Callable[[Any], Awaitable[Any]]] = {
            orders.RaftConfiguration: self._configuration,
            orders.AddPeer: self._add,
            orders.RemovePeer: self._remove,
            orders.TransferLeader: self._transfer,
            orders.RaftStatus: self._status,
            orders.OwnStatus: self._own_status,
            orders.AutopilotHealth: self._health,
            orders.AppliedIndex: self._applied_index,
        }

    def also(self, do: Mapping[type[Order[Any]], Callable[[Any], Awaitable[Any]]]) -> None:
        """Have orders of these types carried out by others."""
        self._do |= do

    async def operate(self, order: Order[T]) -> T:
        """Carry it out. Raises a MeshError; NoLeader or Busy when the same may succeed later."""
        done: T = await self._do[type(order)](order)
        return done

    async def _configuration(self, _: orders.RaftConfiguration) -> orders.RaftServers:
        node, leader, progress = self._node, self._node.leader, self._node.progress()
        voters = {voter.id for voter in node.voters}

        def shown(peer: Peer) -> orders.RaftServer:
            known = progress.get(peer.id)
            here = node.commit_index if peer.id == node.me.id else 0
            return orders.RaftServer(
                id=peer.id,
                name=peer.name,
                address=peer.address,
                voter=peer.id in voters,
                leader=leader is not None and leader.id == peer.id,
                last_index=known.match if known else here,
                barred=peer.id in node.barred,
            )

        servers = [shown(peer) for peer in self._servers()]
        servers.sort(key=lambda server: (not server.voter, server.name, server.id))
        return orders.RaftServers(servers, node.epoch, node.commit_index)

    def _servers(self) -> list[Peer]:
        """Voters, then everyone who follows the log or will soon."""
        node = self._node
        waiting = followers(self._sightings(), node.voters, node.cluster_id)
        found = {peer.id: peer for peer in (*waiting, *node.learners, *node.voters)}
        return list(found.values())

    async def _add(self, order: orders.AddPeer) -> int:
        node = self._node
        peer = _named(self._servers(), order.id, order.address, self._find)
        if any(voter.id == peer.id for voter in node.voters):
            return node.commit_index
        sighting = by_id(self._sightings()).get(peer.id)
        if sighting is not None and sighting.read_replica:
            raise Conflict(
                f"{peer.name} is a read replica, which never votes; restart it without read_replica"
            )
        known = node.progress().get(peer.id)
        if known is None or not known.caught_up:
            raise Conflict(f"{peer.name} does not follow the log yet; try again when it does")
        barred = [one for one in node.barred if one != peer.id]
        reason = f"{peer.name} gets a vote: an operator added it"
        return await self._changes.make([*node.voters, peer], barred, reason)

    async def _remove(self, order: orders.RemovePeer) -> int:
        node = self._node
        if order.leaving and all(voter.id != order.id for voter in node.voters):
            return node.commit_index
        peer = _named(node.voters, order.id, order.address, self._find)
        others = [voter for voter in node.voters if voter.id != peer.id]
        if not others:
            raise Conflict(f"{peer.name} is the only voter; a cluster needs one")
        if peer.id == node.me.id:
            await self._hand_over()
        barred = list(node.barred)
        if not order.leaving and peer.id not in barred:
            barred.append(peer.id)
        why = "it leaves" if order.leaving else "an operator removed it"
        return await self._changes.make(others, barred, f"{peer.name} loses its vote: {why}")

    async def _hand_over(self) -> None:
        """Have another leader remove this one: it loses no time to an election, as this would."""
        me = self._node.me
        try:
            leader = await self._node.transfer()
        except (Invalid, Unreachable) as error:
            log.warning("could not hand leadership over before leaving the voters: %s", error)
            return
        if leader.id != me.id:
            raise NoLeader(f"{me.name} has handed leadership to {leader.name}")

    async def _transfer(self, order: orders.TransferLeader) -> orders.Server:
        node = self._node
        to = _named(node.voters, order.to, "", self._find).id if order.to else ""
        if to == node.me.id:
            return _server(node.me)
        if len(node.voters) < 2:
            raise Conflict("there is no other voter to hand leadership to")
        try:
            leader = await node.transfer(to)
        except Unreachable as error:
            # Routers take Unreachable for a request that was never sent, and would repeat this.
            raise Conflict(error.message) from error
        if leader.id == node.me.id:
            raise Conflict("nobody took leadership over; this server still leads")
        return _server(leader)

    async def _status(self, order: orders.RaftStatus) -> list[orders.Figures]:
        servers = self._servers()
        if all(peer.id != self._node.me.id for peer in servers):
            servers.append(self._node.me)
        if order.server:
            servers = [_named(servers, order.server, "", self._find)]
        found = await asyncio.gather(*(self._figures(peer) for peer in servers))
        return sorted(found, key=lambda figures: (figures.server.name, figures.server.id))

    async def _figures(self, peer: Peer) -> orders.Figures:
        if peer.id == self._node.me.id:
            return await self._own_status(orders.OwnStatus())
        try:
            async with asyncio.timeout(STATUS_SECONDS):
                return await self._client.operate(self._find(peer), orders.OwnStatus(), HERE)
        except TimeoutError:
            return orders.Figures(_server(peer), error=f"no answer within {STATUS_SECONDS:.0f} s")
        except MeshError as error:
            return orders.Figures(_server(peer), error=error.message)

    async def _own_status(self, _: orders.OwnStatus) -> orders.Figures:
        return orders.Figures(_server(self._node.me), self._node.status())

    async def _applied_index(self, _: orders.AppliedIndex) -> int:
        return self._node.applied_index

    async def _health(self, _: orders.AutopilotHealth) -> orders.Health:
        if not self._node.is_leader:
            raise NoLeader("No cluster leader")
        return health(self._pilot.view(), self._clock.wall())


def _server(peer: Peer) -> orders.Server:
    return orders.Server(peer.id, peer.name, peer.address)


def _named(peers: Iterable[Peer], name: str, address: str, find: Callable[[Peer], str]) -> Peer:
    """The server with this id or name, or this address. Raises NotFound or, for two, Conflict."""
    known = list(peers)
    if address:
        found = [peer for peer in known if address in {peer.address, find(peer)}]
    else:
        found = [peer for peer in known if peer.id == name]
        found = found or [peer for peer in known if peer.name.lower() == name.lower()]
    if not found:
        here = ", ".join(sorted(peer.name for peer in known)) or "nobody"
        what = f'address "{address}"' if address else f'id "{name}"'
        raise NotFound(f"{what} was not found in the Raft configuration, which has {here}")
    if len(found) > 1:
        ids = ", ".join(peer.id for peer in found)
        raise Conflict(f"{address or name} means more than one server; use an id: {ids}")
    return found[0]
