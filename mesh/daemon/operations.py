"""Operations: what the HTTP API may ask of the node as a whole."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from mesh import __version__
from mesh.agent.differences import Change
from mesh.agent.explained import Asking, Explanation
from mesh.agent.operations import GuardInfo, KeyAct, KeyringInfo, MemberInfo, SecretsInfo
from mesh.agent.reachability import Reachability
from mesh.config.describe import to_plain
from mesh.config.schema import Config
from mesh.daemon.calm import RELEASE
from mesh.daemon.ground import Ground
from mesh.daemon.identities import Identities
from mesh.daemon.mesh import Mesh
from mesh.daemon.messaging import Messaging
from mesh.daemon.wan import wan_name
from mesh.dns.explanation import explain
from mesh.dns.server import DnsServer
from mesh.errors import Invalid, NotFound, Unreachable
from mesh.gossip.diagnosis import Examination
from mesh.gossip.driver import Gossip
from mesh.gossip.figures import Figures, figures
from mesh.gossip.members import Member
from mesh.revocation import Listed, Named, Revocations
from mesh.telemetry.logs import LiveLines
from mesh.telemetry.metrics import Metrics

_WAN_PORT = "the pool of all datacenters has a port of its own on each server, mostly 8302"


class Running(Protocol):
    """What only the whole node can do or tell."""

    config: Config
    live: LiveLines
    dns: DnsServer

    async def leave(self) -> None:
        """Leave the pool; the process ends afterwards."""
        ...

    async def reload(self) -> list[Change]:
        """Read the configuration anew; what changed."""
        ...

    metrics: Metrics
    messaging: Messaging
    identities: Identities
    mesh: Mesh | None
    has_mesh: asyncio.Event
    """It is known whether the node has a part in the mesh, and that is up."""

    def stats(self) -> dict[str, dict[str, object]]:
        """Figures of every part."""
        ...


class Operations:
    """Implements NodeOperations for a running node."""

    def __init__(self, ground: Ground, running: Running) -> None:
        self._ground, self._running = ground, running
        self.events = running.messaging.events
        self.leaves = running.identities.leaves

    @property
    def mesh(self) -> Mesh | None:
        """See NodeOperations.mesh."""
        return self._running.mesh

    async def meshed(self) -> Mesh:
        """See NodeOperations.meshed."""
        await self._running.has_mesh.wait()
        if self._running.mesh is None:
            raise Invalid("the mesh is off on this agent (connect.enabled)")
        return self._running.mesh

    def members(self, wan: bool) -> list[MemberInfo]:
        """Every member of the pool; on agents the list of the WAN pool is empty."""
        if wan:
            pool = self._ground.wan
            return [] if pool is None else [_info(member) for member in pool.gossip.members()]
        return [self._lan(member) for member in self._ground.gossip.members()]

    def _wan(self) -> Gossip:
        """The WAN pool. Raises Invalid where there is none."""
        if self._ground.wan is not None:
            return self._ground.wan.gossip
        if not self._ground.config.server:
            raise Invalid("Must be a server to join WAN cluster: this agent is none")
        raise Invalid("this server is in no WAN pool: ports.serf_wan is -1")

    def figures(self, wan: bool) -> dict[str, Figures]:
        """What gossip knows about each of them."""
        ground = self._ground
        if wan and ground.wan is None:
            return {}
        gossip = ground.wan.gossip if wan and ground.wan is not None else ground.gossip
        return figures(gossip.pool, ground.clock.monotonic())

    def _lan(self, member: Member) -> MemberInfo:
        calm = self._ground.calm
        penalty, until = calm.penalty(member.name)
        return msgspec.structs.replace(
            _info(member),
            frozen=member.name in calm.held,
            penalty=round(penalty, 2),
            damped_until=until,
        )

    async def join(self, addresses: Sequence[str], wan: bool) -> int:
        """Join the pool through these addresses."""
        if not wan:
            return await self._ground.gossip.join(addresses, ignore_old=True)
        try:
            return await self._wan().join(addresses, ignore_old=True)
        except Unreachable as error:
            raise Unreachable(f"{error}; {_WAN_PORT}") from error

    async def reach(self, seconds: float | None, relay_factor: int) -> Reachability:
        """Ask everybody for an acknowledgement."""
        return await self._running.messaging.reach(seconds, relay_factor)

    def shows(self, serial: str, issuer: str) -> bool:
        """Whether this node's certificate on the server port is this one (of any issuer if "")."""
        credentials = self._ground.credentials
        listed = Revocations([Listed(Named(serial, issuer))])
        return credentials is not None and listed.has(credentials.own)

    async def keyring(self, act: KeyAct, key: bytes, relay_factor: int) -> list[KeyringInfo]:
        """Have every member of every pool do this about the key; what they say."""
        return await self._running.messaging.keyring(act, key, relay_factor)

    async def leave(self) -> None:
        """Leave the pool; the process ends afterwards."""
        await self._running.leave()

    async def force_leave(self, name: str, prune: bool, wan: bool) -> None:
        """Take a failed member for left."""
        if wan:
            await self._wan().force_leave(name, prune)
            return
        await self._ground.gossip.force_leave(name, prune)
        pool, full = self._ground.wan, wan_name(name, self._ground.config.datacenter)
        if pool is not None and pool.gossip.member(full) is not None:
            await pool.gossip.force_leave(full, prune)

    def guard(self) -> GuardInfo:
        """What the mass-failure guard and flap damping do."""
        return self._ground.calm.info()

    async def release_guard(self) -> bool:
        """End a freeze, here and wherever this word gets."""
        frozen = self._ground.calm.frozen
        self._ground.gossip.fire(RELEASE, b"")
        return frozen

    async def examine_network(self, names: Sequence[str]) -> Examination:
        """Test the paths between members."""
        return await self._ground.gossip.examiner.examine(names)

    async def explain(self, asking: Asking) -> Explanation:
        """See NodeOperations.explain."""
        return await explain(self._running.dns.resolver, asking)

    async def reload(self) -> list[Change]:
        """Read the configuration anew."""
        return await self._running.reload()

    def listen_logs(
        self, listener: Callable[[int, str, str], None], since: float = math.inf
    ) -> Callable[[], None]:
        """Call the listener with each log line."""
        return self._running.live.listen(listener, since)

    def secrets(self) -> SecretsInfo:
        """When this node's certificates end, and how many keys its gossip has."""
        credentials, keyring = self._ground.credentials, self._ground.gossip.keyring
        ends = {} if credentials is None else {str(name): end for name, end in credentials.ends}
        return SecretsInfo(ends, 0 if keyring is None else len(keyring.list()))

    def metrics(self) -> Metrics:
        """What every part counts and measures."""
        return self._running.metrics

    def self_info(self) -> dict[str, Any]:
        """The body of /v1/agent/self: configuration, member entry and figures."""
        config = self._running.config
        member = self._ground.gossip.member(config.node_name)
        if member is None:
            raise NotFound("this node is not in its own pool")
        info = _info(member)
        return {
            "Config": {
                "Datacenter": config.datacenter,
                "PrimaryDatacenter": config.datacenter,
                "NodeName": config.node_name,
                "NodeID": self._ground.node_id,
                "Revision": "",
                "Server": config.server,
                "Version": __version__,
                "BuildDate": "",
            },
            "DebugConfig": to_plain(config),
            "Coord": self._coordinate(),
            "Member": {
                "Name": info.name,
                "Addr": info.address,
                "Port": info.port,
                "Tags": info.tags,
                "Status": info.status,
                "ProtocolMin": info.protocol[0],
                "ProtocolMax": info.protocol[1],
                "ProtocolCur": info.protocol[2],
                "DelegateMin": info.delegate[0],
                "DelegateMax": info.delegate[1],
                "DelegateCur": info.delegate[2],
            },
            "Meta": config.node_meta,
            "Stats": {
                part: {name: str(value) for name, value in figures.items()}
                for part, figures in self._running.stats().items()
            },
        }

    def _coordinate(self) -> dict[str, Any] | None:
        if self._running.config.disable_coordinates:
            return None
        one = self._ground.gossip.coordinate()
        return {
            "Vec": list(one.vec),
            "Error": one.error,
            "Adjustment": one.adjustment,
            "Height": one.height,
        }


def _info(member: Member) -> MemberInfo:
    return MemberInfo(
        member.name,
        member.address,
        member.port,
        member.tags,
        int(member.status),
        member.protocol,
        member.delegate,
    )
