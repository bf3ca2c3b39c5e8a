"""/v1/operator/request: what became of a request, and how to make sure that it never happens."""

from __future__ import annotations

from typing import Any

import msgspec

from mesh.http import params, respond
from mesh.http.request import Reply, Request
from mesh.http.route import Param, Route
from mesh.http.shapes import Shape
from mesh.registry import outcomes
from mesh.registry.port import ReadOptions

MEANING = {
    "applied": "It was applied, once.",
    "refused": "It was refused and changed nothing.",
    "cancelled": "It was not applied, and never will be.",
    "not-applied": "It was not applied so far. A copy that is still under way may be; DELETE this "
    "request to make sure that none is.",
    "unknown": "It never came, or it was forgotten: it may have been applied or not.",
}
NO_MORE = " No copy of it is applied from now on."


class ErrorShape(Shape, frozen=True):
    """Why a request was refused."""

    code: str
    message: str


class OutcomeShape(Shape, frozen=True):
    """What became of a request."""

    request: str
    status: str
    index: int
    value: Any
    error: ErrorShape | None
    meaning: str


async def find(request: Request) -> Reply:
    """What became of the request with this key, from the leader, linearizably."""
    key, since = _asked(request)
    options = ReadOptions(
        consistency="consistent",
        datacenter=params.datacenter(request),
        token=params.token(request),
    )
    found = await request.parts.registry.read(
        outcomes.Find(outcomes.request_of(key), since), options
    )
    return _outcome(key, since, found.value)


async def cancel(request: Request) -> Reply:
    """Make sure that the request is not applied, unless it was already."""
    key, since = _asked(request)
    command = outcomes.Cancel(outcomes.request_of(key), since or 0)
    # A request of its own, whatever headers came with it.
    own = outcomes.request_of(request.parts.dice.uuid())
    options = msgspec.structs.replace(params.write_options(request), request=own)
    found = await request.parts.registry.write(command, options)
    return _outcome(key, since or 0, found)


def _asked(request: Request) -> tuple[str, int | None]:
    text = request.param("since")
    return params.required(request, "request key"), params.whole(text, "since") if text else None


def _outcome(key: str, since: int | None, found: outcomes.Outcome) -> Reply:
    meaning = MEANING[found.status]
    if found.status == "unknown" and since is not None and since < found.horizon:
        meaning += NO_MORE
    error = ErrorShape(found.code, found.message) if found.code else None
    return respond.json(OutcomeShape(key, found.status, found.index, found.value, error, meaning))


_SINCE = Param("since", "The log index that the answer to it named", "integer")

ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/operator/request/:key",
        find,
        "What became of the request with this Idempotency-Key",
        params=(_SINCE,),
        answer=OutcomeShape,
    ),
    Route(
        "DELETE",
        "/v1/operator/request/:key",
        cancel,
        "Make sure that a request is not applied any more",
        params=(_SINCE,),
        answer=OutcomeShape,
    ),
)
