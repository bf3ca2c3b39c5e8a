"""Calls about sessions: create, renew, read and destroy them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mesh import codec
from mesh.client.call import (
    Answer,
    Call,
    ReadOptions,
    Response,
    blocking_seconds,
    deciding,
    decode_json,
    path_of,
    reading,
)
from mesh.client.call import answer as answered
from mesh.client.shapes import Shape
from mesh.durations import format_duration

LATEST = ReadOptions()
NANOSECONDS = 1_000_000_000


class ServiceCheck(Shape, frozen=True):
    """A check of a service on the session's node."""

    id: str = ""


class Session(Shape, frozen=True):
    """A session. It may end once its TTL is over without renewal."""

    id: str
    name: str = ""
    node: str = ""
    behavior: str = "release"
    """What becomes at its end of the keys it holds: `release` or `delete`."""
    ttl: str = msgspec.field(default="", name="TTL")
    """A duration such as `30s`; empty for none."""
    lock_delay: int = 0
    """Nanoseconds for which nobody can lock again what it held when it ended."""
    node_checks: list[str] = []
    service_checks: list[ServiceCheck] = []
    create_index: int = 0
    modify_index: int = 0

    @property
    def lock_delay_seconds(self) -> float:
        """The lock-delay, in seconds."""
        return self.lock_delay / NANOSECONDS


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What a new session is like. The defaults are the servers'."""

    name: str = ""
    node: str = ""
    """Empty: the node of the agent asked."""
    behavior: str = ""
    ttl_seconds: float = 0.0
    """0: it ends only with its node and checks, or when destroyed."""
    lock_delay_seconds: float | None = None
    node_checks: Sequence[str] | None = None
    """None: `serfHealth`. An empty list: no check at all."""
    service_checks: Sequence[str] = ()


DEFAULT = Terms()


class _Created(Shape, frozen=True):
    id: str


def create(terms: Terms = DEFAULT, *, datacenter: str = "") -> Call[str]:
    """Begin a session; its id."""
    body: dict[str, object] = {
        "Name": terms.name,
        "Node": terms.node,
        "Behavior": terms.behavior,
        "TTL": _duration(terms.ttl_seconds) if terms.ttl_seconds else "",
        "ServiceChecks": [{"ID": check} for check in terms.service_checks],
    }
    given = {name: value for name, value in body.items() if value}
    if terms.lock_delay_seconds is not None:
        given["LockDelay"] = _duration(terms.lock_delay_seconds)
    if terms.node_checks is not None:
        given["NodeChecks"] = list(terms.node_checks)
    return Call(
        method="PUT",
        path="/v1/session/create",
        decode=lambda response: decode_json(response.body, _Created).id,
        params=_params(datacenter),
        body=codec.to_json(given),
    )


def _duration(seconds: float) -> str:
    """`90s` rather than `1m30s`: it is shown again as it was given."""
    return f"{seconds:.0f}s" if seconds == int(seconds) else format_duration(seconds)


def destroy(session: str, *, datacenter: str = "") -> Call[bool]:
    """End a session. One that does not exist is fine."""
    return deciding("PUT", path_of("session/destroy", session), _params(datacenter))


def renew(session: str, *, datacenter: str = "") -> Call[Session | None]:
    """Begin the TTL of a session anew; None when there is no such session any more."""
    return Call(
        method="PUT",
        path=path_of("session/renew", session),
        decode=_first,
        params=_params(datacenter),
        body=b"",
        accepts=(200, 404),
    )


def info(session: str, options: ReadOptions = LATEST) -> Call[Answer[Session | None]]:
    """One session, or None."""
    return Call(
        method="GET",
        path=path_of("session/info", session),
        decode=lambda response: answered(response, _first(response)),
        params=options.params(),
        wait_seconds=blocking_seconds(options),
    )


def of_node(node: str, options: ReadOptions = LATEST) -> Call[Answer[list[Session]]]:
    """The sessions of a node."""
    return reading(path_of("session/node", node), list[Session], options)


def listed(options: ReadOptions = LATEST) -> Call[Answer[list[Session]]]:
    """All sessions."""
    return reading("/v1/session/list", list[Session], options)


def _first(response: Response) -> Session | None:
    found = decode_json(response.body, list[Session]) if response.status == 200 else []
    return found[0] if found else None


def _params(datacenter: str) -> tuple[tuple[str, str], ...]:
    return (("dc", datacenter),) if datacenter else ()
