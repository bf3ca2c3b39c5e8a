"""/v1/agent/connect/authorize, refused: what a proxy asks and tells of connections to it."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, UnsetType

from mesh.agent.operations import NodeOperations
from mesh.connect import identity
from mesh.connect.intentions import decide
from mesh.connect.xds.seen import Held, Seen
from mesh.errors import Invalid
from mesh.http import params, respond
from mesh.http.lasting import lasting
from mesh.http.request import Reply, Request
from mesh.http.route import Param, Route
from mesh.http.shapes import Shape
from mesh.registry.authority import Roots
from mesh.registry.intentions import Matching, Policy
from mesh.registry.port import ReadOptions

CALLERS_MAX, COUNT_MAX = 128, 1_000_000
"""What may be told at once."""


class AuthorizeBody(Shape, frozen=True, kw_only=True):
    """A connection: the service it came to, and what the certificate of the caller says."""

    target: str = ""
    client_cert_uri: str = ""
    client_cert_serial: str = ""


class AuthorizedShape(Shape, frozen=True, kw_only=True):
    """Whether the connection may stay, and why."""

    authorized: bool
    reason: str
    dry_run: str | UnsetType = UNSET
    """Asked with ?dry-run: allowed or denied, if dry runs were enforced; absent without any."""


class CallerShape(Shape, frozen=True, kw_only=True):
    """A caller, and how many of its connections were refused, or would be by dry runs."""

    client_cert_uri: str = ""
    count: int = 1
    allowed: bool = False
    """They were let in, and dry runs would deny them."""
    dry_run: Literal["", "allowed", "denied"] = ""
    """What would have become of them if dry runs were enforced."""


class RefusedBody(Shape, frozen=True, kw_only=True):
    """Connections to a service that intentions refused, or would by dry runs."""

    target: str = ""
    callers: list[CallerShape] = []


async def authorize(request: Request) -> Reply:
    """Decide about a connection; permissions, which need requests, deny it."""
    body = params.body(request, AuthorizeBody)
    if not body.target:
        raise Invalid("Target: the service that is called must be given")
    try:
        caller = identity.parse(body.client_cert_uri)
    except Invalid as error:
        raise Invalid(f"ClientCertURI: not a valid Connect identifier: {error.message}") from error
    if caller.role != "service":
        raise Invalid("ClientCertURI: not a valid Service identifier")
    asking = lasting(request, ReadOptions(token=params.token(request)))
    domain = (await asking.read(Roots())).value.trust_domain
    if domain and caller.trust_domain != domain:
        reason = f"the caller is of another trust domain, {caller.trust_domain}"
        return respond.json(AuthorizedShape(authorized=False, reason=reason))
    found = await asking.read(Matching(body.target))
    allow = request.options.default_intention_policy != "deny"
    decision = decide(found.value, caller, None, allow)
    reason = decision.rule
    if asking.stale:
        reason += " (no server answers: as this agent last knew it)"
    tried: str | UnsetType = UNSET
    if params.flag(request, "dry-run"):
        tried = _tried(found.value, caller, default_allow=allow) or UNSET
    shape = AuthorizedShape(authorized=decision.allowed, reason=reason, dry_run=tried)
    return respond.answered(found, shape)


def _tried(policy: Policy, caller: identity.Identity, *, default_allow: bool) -> str:
    """What dry runs say of a connection; empty without any."""
    if not any(one.dry_run and not one.peer for one in policy.intentions):
        return ""
    found = decide(policy, caller, None, default_allow, shadow=True)
    return "allowed" if found.allowed else "denied"


async def refused(request: Request) -> Reply:
    """Count what a proxy refused, or would by dry runs, that enforces intentions itself."""
    body = params.body(request, RefusedBody)
    if not body.target:
        raise Invalid("Target: the service that is called must be given")
    if len(body.callers) > CALLERS_MAX:
        raise Invalid(f"Callers: {len(body.callers)}; the limit is {CALLERS_MAX}")
    for at, one in enumerate(body.callers):
        if not 0 < one.count <= COUNT_MAX:
            raise Invalid(f"Callers[{at}].Count: expected 1 to {COUNT_MAX}, got {one.count}")
        try:
            identity.parse(one.client_cert_uri)
        except Invalid as error:
            raise Invalid(f"Callers[{at}].ClientCertURI: {error.message}") from error
        if one.allowed and one.dry_run != "denied":
            raise Invalid(f'Callers[{at}].DryRun: expected "denied" of those that are allowed')
    operations: NodeOperations = request.parts.agent.operations
    mesh = await operations.meshed()
    asking = lasting(request, ReadOptions(token=params.token(request)))
    policy = (await asking.read(Matching(body.target))).value
    held = Held(policy, request.options.default_intention_policy != "deny")
    for one in body.callers:
        caller = identity.parse(one.client_cert_uri)
        # A dry run that is gone or promoted by now is nothing to report.
        same = one.dry_run == _tried(policy, caller, default_allow=held.default_allow)
        seen = Seen(
            caller=one.client_cert_uri,
            denied=not one.allowed,
            shadow=one.dry_run if same else "",
            count=one.count,
        )
        mesh.saw([held], seen)
    return respond.nothing()


ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/v1/agent/connect/authorize",
        authorize,
        "Whether a connection that came to a proxy may stay",
        params=(Param("dry-run", "Say too what it were if dry runs were enforced", "boolean"),),
        body=AuthorizeBody,
        answer=AuthorizedShape,
        statuses=((400, "Something is missing, or the URI is that of no service"),),
    ),
    Route(
        "PUT",
        "/v1/agent/connect/refused",
        refused,
        "Tell of connections that a proxy refused by intentions, or would by dry runs",
        body=RefusedBody,
        statuses=((400, "Something is missing or too much, or the mesh is off on this agent"),),
    ),
)
