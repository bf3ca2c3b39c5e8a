"""/v1/agent/connect/authorize: what a proxy asks about a connection that came to it."""

from __future__ import annotations

from mesh.connect import identity
from mesh.connect.intentions import decide
from mesh.errors import Invalid
from mesh.http import params, respond
from mesh.http.lasting import lasting
from mesh.http.request import Reply, Request
from mesh.http.route import Route
from mesh.http.shapes import Shape
from mesh.registry.authority import Roots
from mesh.registry.intentions import Matching
from mesh.registry.port import ReadOptions


class AuthorizeBody(Shape, frozen=True, kw_only=True):
    """A connection: the service it came to, and what the certificate of the caller says."""

    target: str = ""
    client_cert_uri: str = ""
    client_cert_serial: str = ""


class AuthorizedShape(Shape, frozen=True, kw_only=True):
    """Whether the connection may stay, and why."""

    authorized: bool
    reason: str


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
    return respond.answered(found, AuthorizedShape(authorized=decision.allowed, reason=reason))


ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/v1/agent/connect/authorize",
        authorize,
        "Whether a connection that came to a proxy may stay",
        body=AuthorizeBody,
        answer=AuthorizedShape,
        statuses=((400, "Something is missing, or the URI is that of no service"),),
    ),
)
