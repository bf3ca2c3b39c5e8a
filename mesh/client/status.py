"""Calls about consensus: who leads, and who votes."""

from __future__ import annotations

from mesh.client.call import Call, decode_json


def leader(datacenter: str = "") -> Call[str]:
    """The leader's `ip:port`, or an empty text when nobody leads."""
    return Call(
        method="GET",
        path="/v1/status/leader",
        decode=lambda response: decode_json(response.body, str),
        params=(("dc", datacenter),) if datacenter else (),
    )


def peers(datacenter: str = "") -> Call[list[str]]:
    """The `ip:port` of every voting server."""
    return Call(
        method="GET",
        path="/v1/status/peers",
        decode=lambda response: decode_json(response.body, list[str]),
        params=(("dc", datacenter),) if datacenter else (),
    )
