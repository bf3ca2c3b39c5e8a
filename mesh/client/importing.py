"""Calls that write records of another registry."""

from __future__ import annotations

import msgspec

from mesh.client.call import Call, decode_json


class Merged(msgspec.Struct, frozen=True, rename="pascal"):
    """How many rows were not so before."""

    changed: int = 0


def merge(records: bytes, *, datacenter: str = "") -> Call[Merged]:
    """Write all of these records, packed as the agent reads them, or none."""
    return Call(
        method="PUT",
        path="/v1/internal/import",
        decode=lambda response: decode_json(response.body, Merged),
        params=(("dc", datacenter),) if datacenter else (),
        body=records,
    )
