"""A route: one operation on a path, what it takes and answers. The documentation is made of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import msgspec

from mesh.http.request import Handler, Request
from mesh.registry.port import Command

Kind: TypeAlias = Literal["string", "integer", "boolean", "present", "duration"]
"""What a parameter's text means. A boolean may be bare; `present` holds if the parameter is there,
whatever its text; a duration is Go's, such as `10s`."""


class Param(msgspec.Struct, frozen=True):
    """A query parameter, and in a few words what it does."""

    name: str
    about: str
    kind: Kind = "string"
    required: bool = False
    repeats: bool = False
    """Whether it may be given several times."""


class Route(msgspec.Struct, frozen=True):
    """One operation. A path's `:name` takes all that follows, slashes too, but for a tail after it.

    The handler finds what it took in `request.rest`.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    limit: str = "body_max_bytes"
    """The option that limits the body."""
    streams: bool = False
    """Whether the handler reads the body piece by piece."""
    waits: bool = False
    """Whether it waits for news, and so ends when the server stops, without `index` or `hash`."""
    params: tuple[Param, ...] = ()
    """Beside `dc`, `token` and `pretty`, which every operation takes."""
    body: Any = None
    """The type of the JSON body; `bytes` for a raw one; None when there is none."""
    answer: Any = None
    """The type of the JSON answer; `bytes` or `str` for a raw one; None when it is empty."""
    statuses: tuple[tuple[int, str], ...] = ()
    """Statuses beside 200 that mean something of their own here, and what."""
    answered: tuple[int, ...] = ()
    """Those of them that come with an answer and not with a line of text."""
    media: tuple[str, ...] = ()
    """Content types in which it may answer beside JSON."""
    kept: bool = False
    """Whether a reply made of one `Request.read` follows from its value and the request's head
    alone, so that it may be given again while the value is the same."""
    writes: Callable[[Request], Command[bool] | None] | None = None
    """What most requests ask to write and nothing else: they need no handler, since the reply is
    what that came to. The handler does the same; None when this request is for the handler."""
    label: str = ""
    """What it is called in figures, `METHOD path` without what the path takes; made of the rest."""

    def __post_init__(self) -> None:
        """Make the label once: every request needs it."""
        label = f"{self.method} {self.fixed}{self.tail}"
        msgspec.structs.force_setattr(self, "label", label)

    @property
    def fixed(self) -> str:
        """The path up to its `:name`."""
        return self.path.partition(":")[0]

    @property
    def parameter(self) -> str:
        """The name of what the path takes, such as `key`; empty when it takes nothing."""
        return self.path.partition(":")[2].partition("/")[0]

    @property
    def tail(self) -> str:
        """What follows the `:name`, such as `/execute`; empty when it takes all."""
        _, slash, tail = self.path.partition(":")[2].partition("/")
        return slash + tail


BLOCKING = (
    Param("index", "Wait until the answer's index is greater than this", "integer"),
    Param("wait", "How long to wait at most (5m if not given, 10m at most)", "duration"),
)
CONSISTENCY = (
    Param("stale", "Any server may answer, without a leader too", "present"),
    Param("consistent", "The leader makes sure first that it still leads", "present"),
    Param("leader", "The leader answers, whatever the default is", "present"),
    Param("max_stale", "As stale, but from no server that heard the leader before", "duration"),
)
CACHED = (Param("cached", "The agent may answer with what it holds", "present"),)
FILTER = (Param("filter", "Only rows for which this expression is true"),)
NEAR = (Param("near", "The nearest to this node first; _agent is the agent asked"),)
READ = BLOCKING + CONSISTENCY
NODE_META = Param("node-meta", "Only on nodes with this metadata, as `key:value`", repeats=True)
TAG = Param("tag", "Only with this tag, whatever its case", repeats=True)
RELAY_FACTOR = Param("relay-factor", "Members that carry copies of answers, 0 to 5", "integer")
STALE = Param("stale", "Ask any server, which works without a leader too", "boolean")
CAS = Param("cas", "Only if the row's ModifyIndex is this; 0: if there is none", "integer")
