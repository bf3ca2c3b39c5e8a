"""Operations: what the HTTP API may ask of the node as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mesh import __version__
from mesh.agent.operations import MemberInfo
from mesh.config.describe import to_plain
from mesh.errors import Invalid, NotFound
from mesh.gossip.members import Member

if TYPE_CHECKING:
    from mesh.daemon.node import Node


class Operations:
    """Implements NodeOperations for a running node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def members(self, wan: bool) -> list[MemberInfo]:
        """Every member of the pool; there is no WAN pool yet, so its list is empty."""
        return [] if wan else [_info(member) for member in self._node.gossip.members()]

    async def join(self, addresses: Sequence[str], wan: bool) -> int:
        """Join the pool through these addresses."""
        if wan:
            raise Invalid("wan: there is no WAN pool yet")
        return await self._node.gossip.join(addresses)

    async def leave(self) -> None:
        """Leave the pool; the process ends afterwards."""
        await self._node.leave()

    async def force_leave(self, name: str, prune: bool) -> None:
        """Take a failed member for left."""
        await self._node.gossip.force_leave(name, prune)

    async def reload(self) -> list[str]:
        """Read the configuration anew."""
        return await self._node.reload()

    def listen_logs(self, listener: Callable[[int, str, str], None]) -> Callable[[], None]:
        """Call the listener with each log line."""
        return self._node.live.listen(listener)

    def self_info(self) -> dict[str, Any]:
        """The body of /v1/agent/self: configuration, member entry and figures."""
        node = self._node
        config = node.config
        member = node.gossip.member(config.node_name)
        if member is None:
            raise NotFound("this node is not in its own pool")
        info = _info(member)
        return {
            "Config": {
                "Datacenter": config.datacenter,
                "PrimaryDatacenter": config.datacenter,
                "NodeName": config.node_name,
                "NodeID": node.node_id,
                "Revision": "",
                "Server": config.server,
                "Version": __version__,
                "BuildDate": "",
            },
            "DebugConfig": to_plain(config),
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
            "Stats": self._stats(),
        }

    def _stats(self) -> dict[str, dict[str, str]]:
        node = self._node
        stats: dict[str, dict[str, Any]] = {
            "agent": {
                "services": len(node.agent.services()),
                "checks": len(node.agent.checks()),
            },
            "build": {"version": __version__},
            "runtime": {"tasks": len(asyncio.all_tasks())},
            "serf_lan": {
                "members": len(node.gossip.members()),
                "alive": node.membership.size(),
                "health_score": node.gossip.health_score,
                **node.gossip.counters,
            },
            "http": dict(node.http.counters),
            "dns": dict(node.dns.counters),
        }
        if node.replica is not None:
            stats["raft"] = node.replica.raft.status()
            stats["rpc"] = dict(node.replica.rpc.counters)
        return {
            part: {name: str(value) for name, value in figures.items()}
            for part, figures in stats.items()
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
