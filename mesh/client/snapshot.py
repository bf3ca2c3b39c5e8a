"""Calls about snapshots: all data in one file, and what servers keep of such by themselves."""

from __future__ import annotations

import msgspec

from mesh.client.call import Call, Response, decode_json

SAVE_SECONDS = 300.0
"""How long nothing may come: servers pack all data before the first byte."""
RESTORE_SECONDS = 3600.0
"""How long the servers may take to read the data."""


class Kept(msgspec.Struct, frozen=True, rename="pascal"):
    """A snapshot that a server took by itself."""

    name: str
    time: str
    size: int
    index: int
    digest: str = ""
    verified: str = ""
    """When it was restored and compared; empty if it never was."""


class Schedule(msgspec.Struct, frozen=True, rename="pascal"):
    """What a server does about snapshots by itself."""

    server: str
    leader: bool = False
    directory: str = ""
    interval_seconds: float = 0.0
    retain: int = 0
    last_time: str = ""
    problem: str = ""
    error: str = ""
    kept: list[Kept] = []


def save(*, stale: bool = False, datacenter: str = "") -> Call[bytes]:
    """A snapshot, as a stream of bytes."""
    return Call(
        method="GET",
        path="/v1/snapshot",
        decode=_body,
        params=_params(stale, datacenter),
        wait_seconds=SAVE_SECONDS,
    )


def restore(*, datacenter: str = "") -> Call[None]:
    """Put the snapshot in the body in place of all data."""
    return Call(
        method="PUT",
        path="/v1/snapshot",
        decode=lambda _: None,
        params=_params(False, datacenter),
        wait_seconds=RESTORE_SECONDS,
    )


def schedules(*, datacenter: str = "") -> Call[list[Schedule]]:
    """What every server does about snapshots by itself, and which ones it keeps."""
    return Call(
        method="GET",
        path="/v1/operator/snapshots",
        decode=lambda response: decode_json(response.body, list[Schedule]),
        params=_params(False, datacenter),
    )


def _body(response: Response) -> bytes:
    return response.body


def _params(stale: bool, datacenter: str) -> tuple[tuple[str, str], ...]:
    found = [("stale", "")] if stale else []
    return (*found, ("dc", datacenter)) if datacenter else tuple(found)
