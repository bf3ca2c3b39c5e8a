"""Calls about config entries. An entry is a dict with the API's names: Kind, Name, Meta ..."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from mesh import codec
from mesh.client.call import (
    Answer,
    Call,
    ReadOptions,
    Response,
    answer,
    blocking_seconds,
    deciding,
    decode_json,
    reading,
)

LATEST = ReadOptions()
Entry = dict[str, Any]


def write(
    entry: Entry,
    *,
    cas: int | None = None,
    owner: str = "",
    force: bool = False,
    datacenter: str = "",
) -> Call[bool]:
    """Write an entry; with cas only if its modify index is that, 0: if there is none."""
    return deciding(
        "PUT", "/v1/config", _params(cas, owner, force, datacenter), codec.to_json(entry)
    )


def read(kind: str, name: str, options: ReadOptions = LATEST) -> Call[Answer[Entry | None]]:
    """One by its kind and name, or None."""

    def decode(response: Response) -> Answer[Entry | None]:
        found = decode_json(response.body, Entry) if response.status == 200 else None
        return answer(response, found)

    return Call(
        method="GET",
        path=_path(kind, name),
        decode=decode,
        params=options.params(),
        accepts=(200, 404),
        wait_seconds=blocking_seconds(options),
    )


def listed(kind: str, options: ReadOptions = LATEST) -> Call[Answer[list[Entry]]]:
    """All of a kind, by name."""
    return reading(f"/v1/config/{quote(kind, safe='')}", list[Entry], options)


def delete(
    kind: str,
    name: str,
    *,
    cas: int | None = None,
    owner: str = "",
    force: bool = False,
    datacenter: str = "",
) -> Call[bool]:
    """Delete one; False when its modify index is not that of cas."""
    return Call(
        method="DELETE",
        path=_path(kind, name),
        decode=lambda response: response.body.strip() != b"false",
        params=_params(cas, owner, force, datacenter),
    )


def _path(kind: str, name: str) -> str:
    return f"/v1/config/{quote(kind, safe='')}/{quote(name, safe='')}"


def _params(
    cas: int | None, owner: str, force: bool, datacenter: str
) -> tuple[tuple[str, str], ...]:
    given = {
        "cas": "" if cas is None else str(cas),
        "owner": owner,
        "force": "true" if force else "",
        "dc": datacenter,
    }
    return tuple((name, value) for name, value in given.items() if value)
