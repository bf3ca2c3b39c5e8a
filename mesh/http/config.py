"""/v1/config: config entries, checked when they are written."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec

from mesh.codec import pack
from mesh.errors import Invalid, NotFound
from mesh.http import params, respond
from mesh.http.request import Reply, Request
from mesh.http.route import CAS, FILTER, READ, Param, Route
from mesh.http.shapes import Shape
from mesh.registry import config, entries, kinds
from mesh.registry.entries import Entry

OWNER = Param("owner", "Who writes: intentions that belong to another owner are not changed")
FORCE = Param("force", "Change intentions whoever their owner is", "boolean")


class EntryShape(Shape, frozen=True, kw_only=True):
    """An entry: what its kind has is there beside these fields."""

    kind: str
    name: str
    meta: dict[str, str] = {}
    create_index: int
    modify_index: int
    hash: int


async def put(request: Request) -> Reply:
    """Write one; false when the `cas` index does not match."""
    document = _document(request)
    kind, name = _text(document, "Kind"), _text(document, "Name")
    cas = request.param("cas")
    command = config.Write.of(
        kind,
        name,
        document,
        check_index=params.whole(cas, "cas") if cas else None,
        owner=request.param("owner"),
        force=params.flag(request, "force"),
    )
    written = await request.parts.registry.write(command, params.write_options(request))
    return respond.boolean(written)


def _document(request: Request) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(request.body)
        pack(value)  # Numbers of more than 64 bits could lie in no log.
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, OverflowError) as error:
        raise Invalid(f"Request decode failed: {error}") from error
    if not isinstance(value, dict):
        raise Invalid("Request decode failed: expected an object with Kind and Name")
    return value


def _text(document: dict[str, Any], name: str) -> str:
    for key, value in document.items():
        if key.lower() == name.lower():
            if not isinstance(value, str):
                raise Invalid(f"{name}: expected text")
            return value
    if name == "Kind":
        raise Invalid(f"Kind: must be given; there are {', '.join(kinds.KINDS)}")
    return ""


async def read(request: Request) -> Reply:
    """One by its kind and name, or all of a kind."""
    kind, slash, name = request.rest.partition("/")
    if not kind:
        raise NotFound("Must provide either a kind or both kind and name")
    kinds.check_kind(kind)
    options = params.read_options(request)
    if not slash:
        found = await request.parts.registry.read(entries.List(kind), options)
        shapes = [shape(entry) for entry in found.value]
        return respond.answered(found, await _filtered(request, shapes))
    answer = await request.parts.registry.read(entries.Get(kind, name), options)
    if answer.value is None:
        reply = respond.text(404, f'Config entry not found for "{kind}" / "{name}"')
        reply.headers = respond.read_headers(answer)
        return reply
    return respond.answered(answer, shape(answer.value))


async def _filtered(request: Request, shapes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that pass `filter`, which may ask for what all kinds have."""
    if not request.param("filter"):
        return shapes
    common = {
        id(one): EntryShape(
            kind=one["Kind"],
            name=one["Name"],
            meta={str(key): str(value) for key, value in (one.get("Meta") or {}).items()},
            create_index=one["CreateIndex"],
            modify_index=one["ModifyIndex"],
            hash=one["Hash"],
        )
        for one in shapes
    }
    passing = await params.filtered(request, list(common.values()), EntryShape)
    names = {one.name for one in passing}
    return [one for one in shapes if one["Name"] in names]


async def delete(request: Request) -> Reply:
    """Delete one, if it is there; with `cas` true or false."""
    kind, _, name = request.rest.partition("/")
    if not kind or not name:
        raise NotFound("Must provide both a kind and name to delete")
    cas = request.param("cas")
    command = config.Erase(
        kind,
        name,
        check_index=params.whole(cas, "cas") if cas else None,
        owner=request.param("owner"),
        force=params.flag(request, "force"),
    )
    command.validate()
    done = await request.parts.registry.write(command, params.write_options(request))
    return respond.boolean(done) if cas else respond.json({})


def shape(entry: Entry) -> dict[str, Any]:
    """The entry as the API shows it."""
    digest = blake2b(pack(entry.body), digest_size=8).digest()
    return {
        "Kind": entry.kind,
        "Name": entry.name,
        **entry.body,
        "CreateIndex": entry.create_index,
        "ModifyIndex": entry.modify_index,
        "Hash": int.from_bytes(digest, "big"),
    }


_BAD = (400, "It makes no sense; the text names the field, such as Sources[0].Action")
_NEEDED = (500, "Another entry needs it as it is, or an intention has another owner")

ROUTES: tuple[Route, ...] = (
    Route(
        "PUT",
        "/v1/config",
        put,
        "Write a config entry",
        params=(CAS, OWNER, FORCE),
        body=dict[str, Any],
        answer=bool,
        statuses=(_BAD, _NEEDED),
    ),
    Route(
        "GET",
        "/v1/config/:kind",
        read,
        "The config entries of a kind, or with /NAME behind it that entry",
        params=FILTER + READ,
        answer=list[dict[str, Any]] | dict[str, Any],
        statuses=((404, "There is no such entry"),),
    ),
    Route(
        "DELETE",
        "/v1/config/:kind",
        delete,
        "Delete the config entry KIND/NAME",
        params=(CAS, OWNER, FORCE),
        answer=dict[str, Any] | bool,
        statuses=(_BAD, (404, "The name is missing"), _NEEDED),
    ),
)
