"""/v1/status: who leads and who votes."""

from __future__ import annotations

from mesh.http import params, respond
from mesh.http.request import Reply, Request
from mesh.http.route import Route


async def leader(request: Request) -> Reply:
    """The leader's `ip:port`, or an empty string."""
    status = await request.parts.registry.status(params.datacenter(request))
    return respond.json(status.leader)


async def peers(request: Request) -> Reply:
    """The `ip:port` of every voter."""
    status = await request.parts.registry.status(params.datacenter(request))
    return respond.json(status.peers)


ROUTES: tuple[Route, ...] = (
    Route("GET", "/v1/status/leader", leader, "Address of the leader", answer=str),
    Route("GET", "/v1/status/peers", peers, "Addresses of the voting servers", answer=list[str]),
)
