"""Calls about cluster-wide maintenance: nodes, services and instances taken out until an end."""

from __future__ import annotations

from mesh import codec
from mesh.client.call import Answer, Call, ReadOptions, deciding, decode_json, reading
from mesh.client.shapes import Shape

LATEST = ReadOptions()


class Maintenance(Shape, frozen=True):
    """A node, an instance on a node, or a service, in maintenance for the whole cluster."""

    node: str = ""
    service: str = ""
    service_id: str = ""
    reason: str = ""
    owner: str = ""
    since: str = ""
    until: str = ""
    """RFC 3339; empty when it ends only by an operator's word."""
    instances: int = 0
    """How many instances it takes out; only in the answer of who begins it."""
    create_index: int = 0
    modify_index: int = 0


def every(options: ReadOptions = LATEST) -> Call[Answer[list[Maintenance]]]:
    """What is in maintenance, with why, for whom and until when."""
    return reading("/v1/maintenance", list[Maintenance], options)


def begin(
    *,
    node: str = "",
    service_id: str = "",
    service: str = "",
    reason: str = "",
    owner: str = "",
    seconds: float = 0.0,
) -> Call[Maintenance]:
    """Put a node, an instance on a node, or every instance of a service into maintenance.

    It need not be up, or there, for that. After so many seconds it ends; 0: when it is told to.
    """
    fields = {
        "Node": node,
        "ServiceID": service_id,
        "Service": service,
        "Reason": reason,
        "Owner": owner,
        "For": f"{round(seconds * 1000)}ms" if seconds else "",
    }
    return Call(
        method="PUT",
        path="/v1/maintenance",
        decode=lambda response: decode_json(response.body, Maintenance),
        body=codec.to_json({name: value for name, value in fields.items() if value}),
    )


def end(*, node: str = "", service_id: str = "", service: str = "") -> Call[bool]:
    """End the maintenance of exactly this; False when there is none."""
    given = (("node", node), ("service_id", service_id), ("service", service))
    return deciding("DELETE", "/v1/maintenance", [pair for pair in given if pair[1]])
