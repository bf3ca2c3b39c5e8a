"""/v1/status: who leads and who votes."""

from __future__ import annotations

from mesh.http import params, respond
from mesh.http.request import Reply, Request


async def leader(request: Request) -> Reply:
    """The leader's `ip:port`, or an empty string."""
    status = await request.parts.registry.status(params.datacenter(request))
    return respond.json(status.leader)


async def peers(request: Request) -> Reply:
    """The `ip:port` of every voter."""
    status = await request.parts.registry.status(params.datacenter(request))
    return respond.json(status.peers)
