"""/v1/operator/keyring: the keys that gossip is encrypted with."""

from __future__ import annotations

import msgspec

from mesh.agent.operations import KeyAct, KeyringInfo, NodeOperations
from mesh.errors import Invalid
from mesh.gossip.keytext import read_key
from mesh.http import params, respond
from mesh.http.request import Reply, Request
from mesh.http.route import RELAY_FACTOR, Param, Route
from mesh.http.shapes import Shape


class KeyringShape(Shape, frozen=True):
    """The keys of one pool: how many of its members have each."""

    wan: bool = msgspec.field(name="WAN")
    datacenter: str
    segment: str
    messages: dict[str, str]
    keys: dict[str, int]
    primary_keys: dict[str, int]
    num_nodes: int


class KeyBody(Shape, frozen=True):
    """What a client sends."""

    key: str = ""


async def listed(request: Request) -> Reply:
    """The keys of each pool, and how many members have them."""
    params.flag(request, "local-only")
    return respond.json([_shape(one) for one in await _order(request, "list", b"")])


async def install(request: Request) -> Reply:
    """Give every member a key."""
    return await _change(request, "install")


async def use(request: Request) -> Reply:
    """Have every member encrypt with a key that all of them have."""
    return await _change(request, "use")


async def remove(request: Request) -> Reply:
    """Take a key from every member."""
    return await _change(request, "remove")


async def _change(request: Request, act: KeyAct) -> Reply:
    if params.flag(request, "local-only"):
        raise Invalid("local-only: is only for listing keys")
    found = await _order(request, act, _key(params.body(request, KeyBody).key))
    wrong = [
        f"{'WAN' if one.wan else one.datacenter}: {name}: {one.messages[name]}"
        for one in found
        for name in sorted(one.messages)
    ]
    if wrong:
        return respond.text(500, f"not every member did it: {'; '.join(wrong)}")
    return respond.nothing()


async def _order(request: Request, act: KeyAct, key: bytes) -> list[KeyringInfo]:
    if params.datacenter(request) not in {"", request.options.datacenter}:
        raise Invalid(
            "dc: keys are changed and listed in each datacenter; ask an agent of that one"
        )
    operations: NodeOperations = request.parts.agent.operations
    return await operations.keyring(act, key, params.relay_factor(request))


def _key(text: str) -> bytes:
    try:
        return read_key(text)
    except Invalid as error:
        raise Invalid(f"Key: {error.message}") from error


def _shape(one: KeyringInfo) -> KeyringShape:
    return KeyringShape(
        one.wan, one.datacenter, "", one.messages, one.keys, one.primary_keys, one.members
    )


_REFUSED = (500, "Gossip is not encrypted, or not every member did it")

ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/operator/keyring",
        listed,
        "Gossip's keys, and who has them",
        params=(
            RELAY_FACTOR,
            Param("local-only", "Accepted; a pool's keys are always asked of it all", "boolean"),
        ),
        answer=list[KeyringShape],
        statuses=(_REFUSED,),
    ),
    *(
        Route(
            method,
            "/v1/operator/keyring",
            handler,
            summary,
            params=(RELAY_FACTOR, Param("local-only", "Must be off: only for listing", "boolean")),
            body=KeyBody,
            statuses=(_REFUSED,),
        )
        for method, handler, summary in (
            ("POST", install, "Give every member a key"),
            ("PUT", use, "Have every member encrypt with a key"),
            ("DELETE", remove, "Take a key from every member"),
        )
    ),
)
