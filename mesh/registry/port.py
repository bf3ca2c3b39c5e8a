"""The Registry port: the four verbs every edge uses, whoever does the work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

import msgspec

from mesh.store.database import Transaction, View

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

Consistency = Literal["default", "consistent", "stale"]
Where = Literal["leader", "here"]


class Query(msgspec.Struct, Generic[T], frozen=True):
    """A read as a value. `run` is a function of the view and of the query's own fields.

    `answer` is the type of the value that `run` returns, for whoever decodes it elsewhere.
    """

    answer: ClassVar[Any]
    needs: ClassVar[int] = 1
    """The level that programs must speak to know it: others close the connection it comes on."""
    shared: ClassVar[bool] = True
    """Whether others are likely to ask the same, so that the answer is worth keeping."""

    def run(self, view: View) -> T:
        """Compute the value."""
        raise NotImplementedError


class Command(msgspec.Struct, Generic[T], frozen=True):
    """A write as a value. `result` is the type of what `apply` returns."""

    result: ClassVar[Any]
    needs: ClassVar[int] = 1
    """The level that the cluster must have finalized; see `registry.levels`."""
    internal: ClassVar[bool] = False
    """Whether only the leader makes it: it is refused over any connection."""

    def validate(self) -> None:
        """Raise Invalid when no state of the tables could make this command right."""

    def at(self, level: int) -> Command[T]:  # noqa: ARG002 - for commands that gained fields.
        """The command as a cluster of this level writes it: without fields of later levels."""
        return self

    def apply(self, transaction: Transaction) -> T:
        """Change the tables: a function of them and of the command's own fields, nothing else.

        Raises a MeshError to refuse; all changes are then taken back.
        """
        raise NotImplementedError

    def remembered(self, result: T) -> T:
        """What is kept of the result for repetitions of the request; a function of it alone."""
        return result


class Order(msgspec.Struct, Generic[T], frozen=True):
    """Something asked of the servers themselves, as a value: an act, or figures of theirs.

    It reads no tables and lies in no log. `outcome` is the type of what carrying it out returns.
    """

    outcome: ClassVar[Any]
    repeatable: ClassVar[bool] = False
    """Whether it changes nothing, so that it may be asked again when the answer was lost."""
    needs: ClassVar[int] = 1
    """The level that programs must speak to know it: others close the connection it comes on."""

    def validate(self) -> None:
        """Raise Invalid when no state of the servers could make this order right."""


class Answer(msgspec.Struct, Generic[T], frozen=True):
    """The value a query has now, and how fresh it is."""

    value: T
    index: int
    """The log index at which the value last changed; at least 1."""
    known_leader: bool = True
    last_contact: float = 0.0
    """Seconds since the answering server heard the leader; 0 on the leader."""
    age: float | None = None
    """Of an answer that an agent held: seconds since a server last stood by it. None when it came
    from a server just now."""


class ReadOptions(msgspec.Struct, frozen=True):
    """How to read."""

    consistency: Consistency = "default"
    max_stale: float | None = None
    """With `stale`: seconds of last contact above which the leader is asked instead."""
    index: int = 0
    """Above 0: wait until the answer's index is greater."""
    wait: float = 300.0
    """Seconds to wait at most, before jitter."""
    datacenter: str = ""
    """Empty: the datacenter of whoever is asked."""
    token: str = ""
    cached: bool = False
    """An agent may answer with what it holds of an earlier answer. Means nothing to servers."""
    max_age: float | None = None
    """What is held and older than these seconds will not do, unless no server answers and it is
    not older than `stale_if_error`. 0 without `cached`: nothing is to be held for this read."""
    stale_if_error: float = 0.0
    seconds_max: float = 0.0
    """Above 0: give up after so many seconds, whatever holds the answer up."""


class WriteOptions(msgspec.Struct, frozen=True):
    """How to write."""

    datacenter: str = ""
    token: str = ""
    request: str = ""
    """An id that makes retries apply once; made up where the write enters when empty."""
    author: str = ""
    """Accessor of the token that asked, never its secret."""
    origin: str = ""
    """Where the write entered: node name, protocol and the client's address."""
    attempt: int = 0
    """How often the request may have been sent before."""
    since: int | None = None
    """A log index that was applied before the first attempt. None for a request never sent before;
    whoever makes it known to others fills it in."""


class OrderOptions(msgspec.Struct, frozen=True):
    """How to have an order carried out."""

    where: Where = "leader"
    """By the leader, or by whichever server is asked, which works without a leader too."""
    datacenter: str = ""
    token: str = ""
    author: str = ""
    """Accessor of the token that asked, never its secret."""
    origin: str = ""
    """Where the order entered: node name, protocol and the client's address."""


class ServerStatus(msgspec.Struct, frozen=True):
    """Who leads and who votes, as the answering server sees it. Addresses are `ip:port`."""

    leader: str
    peers: list[str]


READ = ReadOptions()
STALE = ReadOptions(consistency="stale")
WRITE = WriteOptions()
ORDER = OrderOptions()
HERE = OrderOptions(where="here")


class Writer(Protocol[T_contra]):
    """Who began a write. Is told one of these, once, and never while it begins."""

    def written(self, result: T_contra) -> None:
        """It is durable on a majority and applied, and came to this."""
        ...

    def unsettled(self, rest: Coroutine[Any, Any, Any]) -> None:
        """It failed, perhaps not for good: `rest` goes on, and returns or raises as `write` does.

        Whoever does not want to know closes it.
        """
        ...


class Registry(Protocol):
    """Reads, writes and follows the replicated state of a datacenter; operates its servers.

    Every method raises a MeshError: NoLeader, Unreachable or Busy when nothing was done, as NoPath
    or Cutoff about another datacenter; OutcomeUnknown when a write or an order may have happened,
    Outdated when a repeated write is too old to tell, Invalid, Denied or Conflict for the request.
    """

    async def read(self, query: Query[T], options: ReadOptions = READ) -> Answer[T]:
        """Answer once, after waiting for a newer index if the options say so."""
        ...

    def at_once(self, query: Query[T], options: ReadOptions) -> Answer[T] | None:
        """What `read` would answer, if that can be had here and now; None when it must be awaited.

        For edges that keep what they made of an answer: as long as nothing changed the value is
        the same object, and this takes a few microseconds. Raises a MeshError as `read` does.
        """
        ...

    def asking(self, query: Query[T], options: ReadOptions) -> Callable[[], Answer[T] | None]:
        """What calls `at_once` with these, for who does so again and again: it takes less."""
        ...

    def mind(
        self, query: Query[Any], options: ReadOptions, changed: Callable[[], None]
    ) -> Callable[[], None]:
        """Call back whenever `at_once` may from now on say something else; returns what ends that.

        What only time changes (how long ago a leader was heard, whether a lease has run out) is not
        told. Called within the commit that changes the answer, so before anybody learns of it.
        """
        ...

    async def write(self, command: Command[T], options: WriteOptions = WRITE) -> T:
        """Apply the command; returns when it is durable on a majority and applied."""
        ...

    def begin(self, command: Command[T], options: WriteOptions, writer: Writer[T]) -> bool:
        """Begin `write` at once, and tell the writer later: for edges to which a task is much.

        False when nothing was done, since it is not that simple: then it takes `write`.
        """
        ...

    def watch(self, query: Query[T], options: ReadOptions = STALE) -> AsyncIterator[Answer[T]]:
        """The answer now, and again each time it changes. Goes on through changes of leader."""
        ...

    async def operate(self, order: Order[T], options: OrderOptions = ORDER) -> T:
        """Have an order carried out. Asked again only while surely nothing was done."""
        ...

    async def status(self, datacenter: str = "") -> ServerStatus:
        """Who leads and who votes."""
        ...
