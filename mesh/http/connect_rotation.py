"""/v1/connect/ca/rotation: another root, step by step, each with proof that it may be taken."""

from __future__ import annotations

from typing import Any

from mesh.connect import proof
from mesh.errors import Conflict, Invalid
from mesh.http import params, respond
from mesh.http.request import Reply, Request
from mesh.http.route import READ, Param, Route
from mesh.http.shapes import Shape
from mesh.registry import authority
from mesh.registry.authority import Reports, Roots, Step
from mesh.registry.port import Order


class RootProgressShape(Shape, frozen=True):
    """A root; how many workloads believe it, and how many have a leaf under it."""

    id: str
    standing: str
    believed: int
    leaves: int


class RotationShape(Shape, frozen=True):
    """How far a rotation has come: steady, prepared or activated."""

    phase: str
    workloads: int
    roots: list[RootProgressShape]
    waiting: list[str]
    next: str


class StepShape(Shape, frozen=True):
    """What a step came to."""

    root_id: str
    dropped: list[str]
    next: str


class PrepareBody(Shape, frozen=True):
    """How the next root is made, as in the configuration; empty: as the present one."""

    config: dict[str, Any] = {}


async def rotation(request: Request) -> Reply:
    """How far it is, and for whom the next step waits."""
    options = params.read_options(request)
    registry = request.parts.registry
    trust = await registry.read(Roots(), options)
    if not trust.value.trust_domain:
        raise Conflict("there is no certificate authority; see connect.enabled")
    reports = await registry.read(Reports(), options)
    found = proof.progress(trust.value, reports.value, request.parts.clock.wall())
    roots = [
        RootProgressShape(root.id, root.standing, root.believed, root.leaves)
        for root in found.roots
    ]
    shape = RotationShape(found.phase, found.workloads, roots, found.waiting, found.next)
    return respond.answered(max(trust, reports, key=lambda answer: answer.index), shape)


async def prepare(request: Request) -> Reply:
    """Make the next root, which every workload is to believe beside the present one."""
    body = params.body(request, PrepareBody)
    return await _step(request, authority.Prepare(config=body.config))


async def activate(request: Request) -> Reply:
    """Sign leaves under the prepared root, if enough workloads believe it."""
    share, force = _threshold(request), params.flag(request, "force")
    return await _step(request, authority.Activate(threshold=share, force=force))


async def retire(request: Request) -> Reply:
    """Believe past roots no longer, if enough workloads need none."""
    share, force = _threshold(request), params.flag(request, "force")
    return await _step(request, authority.Retire(threshold=share, force=force))


async def recover(request: Request) -> Reply:
    """Begin with a new root, because the present one has expired."""
    return await _step(request, authority.Recover(force=params.flag(request, "force")))


async def _step(request: Request, order: Order[Step]) -> Reply:
    options = params.order_to(request, "leader")
    done = await request.parts.registry.operate(order, options)
    return respond.json(StepShape(done.root, done.dropped, done.said))


def _threshold(request: Request) -> float:
    text = request.param("threshold")
    try:
        share = float(text or 1.0)
        authority.check_threshold(share)
    except (ValueError, Invalid) as error:
        raise Invalid(f'threshold: expected a share from 0 to 1, got "{text[:64]}"') from error
    return share


_THRESHOLD = Param("threshold", "The share of workloads that will do, 0 to 1; 1 if not given")
_FORCE = Param("force", "Whoever may have to do without", "boolean")
_NONE = (404, "There is no certificate authority")
_WAITS = (500, "Too few workloads are ready, or there is no such root; the text says which")

ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/connect/ca/rotation",
        rotation,
        "How far the rotation of the root has come",
        params=READ,
        answer=RotationShape,
        statuses=((500, "There is no certificate authority"),),
    ),
    Route(
        "PUT",
        "/v1/connect/ca/rotation/prepare",
        prepare,
        "Make the next root",
        body=PrepareBody,
        answer=StepShape,
        statuses=(_NONE, (500, "One is prepared already")),
    ),
    Route(
        "PUT",
        "/v1/connect/ca/rotation/activate",
        activate,
        "Sign under the prepared root",
        params=(_THRESHOLD, _FORCE),
        answer=StepShape,
        statuses=(_NONE, _WAITS),
    ),
    Route(
        "PUT",
        "/v1/connect/ca/rotation/retire",
        retire,
        "Believe past roots no longer",
        params=(_THRESHOLD, _FORCE),
        answer=StepShape,
        statuses=(_NONE, _WAITS),
    ),
    Route(
        "PUT",
        "/v1/connect/ca/recover",
        recover,
        "Begin with a new root when the present one has expired",
        params=(_FORCE,),
        answer=StepShape,
        statuses=(_NONE, (500, "It has not expired")),
    ),
)
