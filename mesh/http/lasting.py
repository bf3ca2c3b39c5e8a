"""Reads that are answered also while no server is there, from what this node has."""

from __future__ import annotations

import asyncio
from typing import NamedTuple, TypeVar

from msgspec.structs import replace

from mesh.agent.operations import MeshOperations
from mesh.errors import NoLeader, Unreachable
from mesh.http.request import Request
from mesh.registry.port import Answer, Query, ReadOptions

T = TypeVar("T")
LEADER_SECONDS = 2.0
"""How long the leader's word is waited for."""


class Lasting(NamedTuple):
    """How a request reads: as it asks to, and as it has to after the leader did not answer once."""

    request: Request
    options: ReadOptions
    gone: list[bool]
    """Filled when the leader did not answer."""

    @property
    def stale(self) -> bool:
        """Whether anything was read that may be old for that."""
        return bool(self.gone)

    async def read(self, query: Query[T]) -> Answer[T]:
        """Ask the leader, else take what is held here. Raises what the last of them did."""
        registry, options = self.request.parts.registry, self.options
        elsewhere = options.datacenter not in {"", self.request.options.datacenter}
        if elsewhere or options.consistency != "default" or options.cached:
            return await registry.read(query, options)
        if not self.gone:
            try:
                async with asyncio.timeout(LEADER_SECONDS):
                    return await registry.read(query, options)
            except (TimeoutError, NoLeader, Unreachable):
                self.gone.append(True)
        mesh: MeshOperations | None = self.request.parts.agent.operations.mesh
        last = mesh.last(query) if mesh is not None else None
        if last is not None:
            return last
        held = replace(options, consistency="stale", cached=True)
        return await registry.read(query, held)


def lasting(request: Request, options: ReadOptions) -> Lasting:
    """Reads with these options, without waiting for anything newer."""
    return Lasting(request, replace(options, index=0), [])
