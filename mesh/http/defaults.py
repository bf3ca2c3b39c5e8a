"""What holds for calls that no intention names: configured on each node, so it is asked for."""

from __future__ import annotations

from mesh.http import params
from mesh.http.request import Request
from mesh.registry.orders import DefaultAllow


async def default_allow(request: Request) -> bool:
    """Whether such calls are allowed: as this node says, or a server of the datacenter asked for.

    Raises a MeshError when no server there answers, or none that can say.
    """
    if params.datacenter(request) in {"", request.options.datacenter}:
        return request.options.default_intention_policy != "deny"
    options = params.order_to(request, "here")
    return await request.parts.registry.operate(DefaultAllow(), options)
