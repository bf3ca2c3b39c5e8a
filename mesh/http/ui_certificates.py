"""/v1/internal/ui/certificates: the certificates that this node shows, and when they end."""

from __future__ import annotations

from mesh.agent.operations import NodeOperations
from mesh.http import respond
from mesh.http.connect_ca import time_text
from mesh.http.request import Reply, Request
from mesh.http.route import Route
from mesh.http.shapes import Shape


class HeldShape(Shape, frozen=True, kw_only=True):
    """The certificate of a service in the mesh, without its key."""

    service: str
    uri: str = ""
    serial_number: str
    root_id: str
    valid_after: str
    valid_before: str
    trouble: str
    """Why it was not renewed in time; empty when all is well."""


class NodeCertificateShape(Shape, frozen=True):
    """A TLS certificate of the node itself, by the option that names its file."""

    option: str
    valid_before: str


class CertificatesShape(Shape, frozen=True):
    """What the node asked shows to others."""

    node: str
    leaves: list[HeldShape]
    own: list[NodeCertificateShape]


async def certificates(request: Request) -> Reply:
    """The leaves that this node holds, by service, and its own certificates."""
    operations: NodeOperations = request.parts.agent.operations
    troubles = operations.leaves.troubles()
    held = operations.leaves.held()
    leaves = [
        HeldShape(
            service=name,
            uri=held[name].uri,
            serial_number=held[name].serial,
            root_id=held[name].root,
            valid_after=time_text(held[name].valid_after),
            valid_before=time_text(held[name].valid_before),
            trouble=troubles[name].reason if name in troubles else "",
        )
        for name in sorted(held)
    ]
    ends = operations.secrets().ends
    own = [NodeCertificateShape(name, time_text(ends[name])) for name in sorted(ends)]
    return respond.json(CertificatesShape(request.options.node_name, leaves, own))


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/internal/ui/certificates",
        certificates,
        "Certificates that this node shows, and when they end; never a key",
        answer=CertificatesShape,
    ),
)
