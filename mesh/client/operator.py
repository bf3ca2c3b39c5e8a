"""Calls of operators: what became of a request, and the cluster's feature level."""

from __future__ import annotations

from mesh.client.call import Call, decode_json, path_of
from mesh.client.shapes import Outcome, Upgrade


def request(key: str, since: int | None = None) -> Call[Outcome]:
    """What became of the request with this Idempotency-Key.

    `since` is a log index known before it was first made, as an OutcomeUnknown has it; without it
    nothing can be said of requests that are not remembered.
    """
    return Call(
        method="GET",
        path=path_of("operator/request", key),
        decode=lambda response: decode_json(response.body, Outcome),
        params=() if since is None else (("since", str(since)),),
    )


def cancel(key: str, since: int) -> Call[Outcome]:
    """Make sure that the request is not applied any more; what became of it."""
    return Call(
        method="DELETE",
        path=path_of("operator/request", key),
        decode=lambda response: decode_json(response.body, Outcome),
        params=(("since", str(since)),),
    )


def upgrade() -> Call[Upgrade]:
    """The cluster's feature level, and who keeps it from rising."""
    return Call(
        method="GET",
        path="/v1/operator/upgrade",
        decode=lambda response: decode_json(response.body, Upgrade),
    )


def finalize() -> Call[Upgrade]:
    """Raise the feature level, for good, as far as every server speaks it."""
    return Call(
        method="PUT",
        path="/v1/operator/upgrade/finalize",
        decode=lambda response: decode_json(response.body, Upgrade),
        body=b"",
    )
