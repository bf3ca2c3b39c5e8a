"""/v1/operator/tls/revoked: certificates of nodes that servers refuse. Ours."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mesh.errors import Conflict, Invalid
from mesh.http import params, respond, shapes
from mesh.http.request import Reply, Request
from mesh.http.route import READ, Param, Route
from mesh.lazily import Lazy
from mesh.registry import revocations
from mesh.registry.revocations import Revocation, Revoke, Unrevoke
from mesh.revocation import Named, read, read_serial
from mesh.tls import pem_blocks

if TYPE_CHECKING:
    from mesh.connect import certs
else:
    certs = Lazy("mesh.connect.certs")


class RevokedShape(shapes.Shape, frozen=True, kw_only=True):
    """A certificate that is revoked."""

    serial_number: str
    """In hexadecimal, as openssl prints it."""
    issuer: str
    """Who signed it; empty: whoever did."""
    names: list[str]
    """The DNS names in it, if they are known."""
    reason: str
    by: str
    """Who revoked it: a token's accessor, or where the request came in."""
    time: str
    expires: str
    """When it ends anyway; empty if nobody knows."""
    create_index: int
    modify_index: int


class RevokeBody(shapes.Shape, frozen=True, kw_only=True):
    """What to revoke: the certificate itself, or its serial number."""

    certificate: str = ""
    """In PEM form. Only the first one counts."""
    serial_number: str = ""
    issuer: str = ""
    reason: str = ""
    force: bool = False
    """Even if it is that of the agent that is asked or of the leader, or leaves no majority."""


async def every(request: Request) -> Reply:
    """Every certificate that is revoked."""
    options = params.read_options(request)
    found = await request.parts.registry.read(revocations.All(), options)
    return respond.answered(found, [_shape(row) for row in found.value])


async def revoke(request: Request) -> Reply:
    """Refuse a certificate from now on, and end the connections that show it."""
    body, options = params.body(request, RevokeBody), params.write_options(request)
    named, names, ends = _named(body), list[str](), 0.0
    if body.certificate:
        names, ends = _facts(body.certificate)
    if not body.force and request.parts.agent.operations.shows(named.serial, named.issuer):
        raise Conflict(
            f"{named.serial} is the certificate of this very node ({request.options.node_name}), "
            "which would be shut out: ask another one, or revoke it by force"
        )
    command = Revoke(
        named.serial,
        named.issuer,
        body.reason,
        names[: revocations.NAMES_MAX],
        ends,
        options.author or options.origin,
        body.force,
    )
    return respond.json(_shape(await request.parts.registry.write(command, options)))


async def unrevoke(request: Request) -> Reply:
    """Believe it again; false when it was not revoked."""
    serial = read_serial(request.param("serial"))
    command, options = Unrevoke(serial, request.param("issuer")), params.write_options(request)
    return respond.boolean(await request.parts.registry.write(command, options))


def _named(body: RevokeBody) -> Named:
    if bool(body.certificate) == bool(body.serial_number):
        raise Invalid("give either a Certificate or a SerialNumber")
    if body.serial_number:
        return Named(read_serial(body.serial_number), body.issuer)
    try:
        return read(ssl.PEM_cert_to_DER_cert(_first(body.certificate)))
    except ValueError as error:
        raise Invalid("Certificate: is no certificate in PEM form") from error


def _first(text: str) -> str:
    blocks = pem_blocks(text)
    if not blocks:
        raise Invalid("Certificate: holds no certificate in PEM form")
    return blocks[0]


def _facts(text: str) -> tuple[list[str], float]:
    try:
        found = certs.facts(_first(text).encode())
    except Invalid as error:
        raise Invalid(f"Certificate: {error.message}") from error
    if found.authority:
        raise Invalid(
            "Certificate: is that of an authority; to be rid of one take it out of the ca_file of "
            "every node"
        )
    return found.names, found.ends


def _shape(row: Revocation) -> RevokedShape:
    return RevokedShape(
        serial_number=row.serial,
        issuer=row.issuer,
        names=row.names,
        reason=row.reason,
        by=row.by,
        time=_shown(row.time),
        expires=_shown(row.ends),
        create_index=row.create_index,
        modify_index=row.modify_index,
    )


def _shown(seconds: float) -> str:
    if not seconds:
        return ""
    return f"{datetime.fromtimestamp(int(seconds), UTC):%Y-%m-%dT%H:%M:%SZ}"


_WRONG = (400, "No certificate and no serial number, or what is neither")
_OWN = (
    500,
    "It is that of the node that is asked or of the leader, or leaves no majority of servers",
)

ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/operator/tls/revoked",
        every,
        "Certificates of nodes that are revoked",
        params=READ,
        answer=list[RevokedShape],
    ),
    Route(
        "PUT",
        "/v1/operator/tls/revoked",
        revoke,
        "Revoke a node's certificate: new connections are refused, open ones are closed",
        body=RevokeBody,
        answer=RevokedShape,
        statuses=(_WRONG, _OWN),
    ),
    Route(
        "DELETE",
        "/v1/operator/tls/revoked",
        unrevoke,
        "Believe a revoked certificate again",
        params=(
            Param("serial", "Its serial number in hexadecimal"),
            Param("issuer", "Who signed it, if the number is revoked of several"),
        ),
        answer=bool,
        statuses=(_WRONG,),
    ),
)
