"""Calls about intentions: which service may call which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

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
    path_of,
    reading,
)
from mesh.client.shapes import Shape

LATEST = ReadOptions()
PATH = "/v1/connect/intentions"


class Intention(Shape, frozen=True):
    """What one service, or `*` for all, may do at another: an action, or permissions."""

    source_name: str = ""
    destination_name: str = ""
    action: str = ""
    permissions: list[dict[str, Any]] = []
    """With the names of config entries: Action, HTTP, JWT."""
    description: str = ""
    dry_run: bool = False
    owner: str = ""
    meta: dict[str, str] = {}
    id: str = ""
    """Only of those made with `create`."""
    precedence: int = 0
    created_at: str = ""
    updated_at: str = ""
    create_index: int = 0
    modify_index: int = 0


class Verdict(Shape, frozen=True):
    """Whether a call is allowed, why, and where the rule stands that decided."""

    allowed: bool = False
    reason: str = ""
    rule: str = ""
    stale: bool = False
    """No server answered: this is what the agent last knew."""


class SeenOn(Shape, frozen=True):
    """What the sidecars of a node saw."""

    node: str = ""
    count: int = 0
    first: str = ""
    last: str = ""


class Refusal(Shape, frozen=True):
    """What was seen of calls between two services that one rule decided about."""

    kind: str = ""
    """denied; would-deny, would-allow: what a dry run would change."""
    source: str = ""
    destination: str = ""
    rule: str = ""
    entry: str = ""
    """Where the rule stands; empty for the default."""
    count: int = 0
    first: str = ""
    last: str = ""
    examples: list[str] = []
    """Methods and paths of some, without queries."""
    nodes: list[SeenOn] = []


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is asked about; of an empty one only the connection."""

    method: str = ""
    path: str = ""
    headers: Sequence[tuple[str, str]] = ()

    def params(self) -> list[tuple[str, str]]:
        """As the query string has them."""
        given = [(name, value) for name, value in (("method", self.method), ("path", self.path))]
        given += [("header", f"{name}: {value}") for name, value in self.headers]
        return [one for one in given if one[1]]


class _Made(Shape, frozen=True):
    id: str


CONNECTION = Asked()


def listed(
    options: ReadOptions = LATEST, *, dry_runs: bool = False
) -> Call[Answer[list[Intention]]]:
    """All of them, by precedence; dry runs only when asked for."""
    return reading(PATH, list[Intention], options, [("dry-run", "true")] if dry_runs else ())


def get(
    source: str, destination: str, options: ReadOptions = LATEST, *, dry_run: bool = False
) -> Call[Answer[Intention | None]]:
    """The one between two, or None."""
    params = [*_ends(source, destination), *([("dry-run", "true")] if dry_run else [])]
    return _maybe(f"{PATH}/exact", params, options)


def get_by_id(identity: str, options: ReadOptions = LATEST) -> Call[Answer[Intention | None]]:
    """One by its id, or None."""
    return _maybe(path_of("connect/intentions", identity), [], options)


def put(
    intention: Intention, *, cas: int | None = None, force: bool = False, datacenter: str = ""
) -> Call[bool]:
    """Make the one between two what this says, as its owner.

    With cas only if the modify index of the destination's entry is that; 0: if it has none.
    """
    given = {
        "cas": "" if cas is None else str(cas),
        "owner": intention.owner,
        "force": "true" if force else "",
        "dc": datacenter,
    }
    params = _ends(intention.source_name, intention.destination_name)
    params += [(name, value) for name, value in given.items() if value]
    return deciding("PUT", f"{PATH}/exact", params, codec.to_json(_body(intention)))


def create(intention: Intention, *, datacenter: str = "") -> Call[str]:
    """Make a new one that has an id, and learn it."""
    return Call(
        method="POST",
        path=PATH,
        decode=lambda response: decode_json(response.body, _Made).id,
        params=(("dc", datacenter),) if datacenter else (),
        body=codec.to_json(_body(intention) | {"Meta": intention.meta}),
    )


def delete(
    source: str,
    destination: str,
    *,
    dry_run: bool = False,
    owner: str = "",
    force: bool = False,
    datacenter: str = "",
) -> Call[bool]:
    """Delete the one between two, if there."""
    params = [*_ends(source, destination), *([("dry-run", "true")] if dry_run else [])]
    return deciding("DELETE", f"{PATH}/exact", params + _by(owner, force, datacenter))


def delete_by_id(
    identity: str, *, owner: str = "", force: bool = False, datacenter: str = ""
) -> Call[bool]:
    """Delete one that has an id."""
    path = path_of("connect/intentions", identity)
    return deciding("DELETE", path, _by(owner, force, datacenter))


def promote(
    source: str, destination: str, *, owner: str = "", force: bool = False, datacenter: str = ""
) -> Call[bool]:
    """Enforce the dry run between two from now on."""
    params = [*_ends(source, destination), *_by(owner, force, datacenter)]
    return deciding("PUT", f"{PATH}/promote", params)


def match(
    name: str,
    by: Literal["source", "destination"] = "destination",
    options: ReadOptions = LATEST,
    *,
    dry_runs: bool = False,
) -> Call[Answer[list[Intention]]]:
    """Those about a service, in the order in which they are asked."""
    params = [("by", by), ("name", name), *([("dry-run", "true")] if dry_runs else [])]
    call = reading(f"{PATH}/match", dict[str, list[Intention]], options, params)

    def decode(response: Response) -> Answer[list[Intention]]:
        found = call.decode(response)
        return answer(response, found.value.get(name, []))

    return Call(
        method=call.method,
        path=call.path,
        decode=decode,
        params=call.params,
        wait_seconds=call.wait_seconds,
    )


def check(
    source: str,
    destination: str,
    asked: Asked = CONNECTION,
    *,
    dry_run: bool = False,
    datacenter: str = "",
) -> Call[Verdict]:
    """Whether one service may call another, or make this request of it."""
    params = [*_ends(source, destination), *asked.params()]
    params += [("dry-run", "true")] if dry_run else []
    return Call(
        method="GET",
        path=f"{PATH}/check",
        decode=lambda response: decode_json(response.body, Verdict),
        params=(*params, *([("dc", datacenter)] if datacenter else [])),
    )


def report(
    *, denied: bool = False, service: str = "", here: bool = False, datacenter: str = ""
) -> Call[list[Refusal]]:
    """What dry runs would deny or allow, or what was denied; `here`: as this agent saw it."""
    given = {
        "denied": "true" if denied else "",
        "service": service,
        "dc": "" if here else datacenter,
    }
    return Call(
        method="GET",
        path="/v1/agent/connect/report" if here else f"{PATH}/report",
        decode=lambda response: decode_json(response.body, list[Refusal]),
        params=tuple((name, value) for name, value in given.items() if value),
    )


def _maybe(
    path: str, params: list[tuple[str, str]], options: ReadOptions
) -> Call[Answer[Intention | None]]:
    def decode(response: Response) -> Answer[Intention | None]:
        found = decode_json(response.body, Intention) if response.status == 200 else None
        return answer(response, found)

    return Call(
        method="GET",
        path=path,
        decode=decode,
        params=(*params, *options.params()),
        accepts=(200, 404),
        wait_seconds=blocking_seconds(options),
    )


def _body(one: Intention) -> dict[str, Any]:
    body = {
        "SourceName": one.source_name,
        "DestinationName": one.destination_name,
        "Action": one.action,
        "Permissions": one.permissions,
        "Description": one.description,
        "DryRun": one.dry_run,
        "Owner": one.owner,
    }
    return {name: value for name, value in body.items() if value}


def _ends(source: str, destination: str) -> list[tuple[str, str]]:
    return [("source", source), ("destination", destination)]


def _by(owner: str, force: bool, datacenter: str) -> list[tuple[str, str]]:
    given = {"owner": owner, "force": "true" if force else "", "dc": datacenter}
    return [(name, value) for name, value in given.items() if value]
