"""Sessions: what holds locks, and ends with its node, its checks, its TTL, or when told to.

A session rests on a node and on checks of that node. Whatever ends one of these ends the session
within the same log entry, so nobody ever sees a lock held by what is gone. Keys that it held are
released or deleted, and cannot be locked by others for its lock-delay: who held them may not know
yet. Since that delay lies in the tables, it outlasts the leader; it is counted by log time, the
clock of whichever server led, so servers' clocks have to agree about as well as the delay is long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar
from uuid import UUID

import msgspec

from mesh.durations import format_duration, parse_duration
from mesh.errors import Conflict, Invalid
from mesh.registry import prepared_rows
from mesh.registry.checks import CHECKS, SERF_HEALTH, Check, put_check
from mesh.registry.levels import SESSIONS as LEVEL
from mesh.registry.levels import Present
from mesh.registry.nodes import NODES
from mesh.registry.pairs import PAIRS
from mesh.registry.port import Command, Order, Query
from mesh.store.database import Transaction, View
from mesh.store.table import Row, Table

NANOSECONDS = 1_000_000_000
LOCK_DELAY = 15 * NANOSECONDS
LOCK_DELAY_MAX = 60 * NANOSECONDS
TTL_MIN_SECONDS = 10.0
TTL_MAX_SECONDS = 24 * 3600.0
RELEASE, DELETE = "release", "delete"
BEHAVIORS = (RELEASE, DELETE)
EXPIRED_MAX = 128
"""Sessions that one log entry lets expire."""
SWEPT_MAX = 1000
"""Lock-delays that one log entry forgets."""
NAME_MAX_BYTES = 2048
CHECKS_MAX = 256


class Session(Row, frozen=True, kw_only=True):
    """A session. `ttl` is a duration as it was given; empty for one without."""

    id: str
    name: str = ""
    node: str
    lock_delay: int = LOCK_DELAY
    """Nanoseconds."""
    behavior: str = RELEASE
    """What becomes of the keys that it holds at its end: `release` or `delete`."""
    ttl: str = ""
    node_checks: list[str] = []
    service_checks: list[str] = []

    @property
    def ttl_seconds(self) -> float:
        """After so long without renewal it may end; 0 for never."""
        try:
            return parse_duration(self.ttl) if self.ttl else 0.0
        except Invalid:
            return 0.0  # Not made by `Create`, which would have refused it.

    @property
    def checks(self) -> list[str]:
        """The ids of all checks that it rests on."""
        return [*self.node_checks, *self.service_checks]


class Delay(Row, frozen=True, kw_only=True):
    """A key that cannot be locked until then (Unix seconds, log time)."""

    key: str
    until: float


def _on_checks(session: Session) -> Sequence[tuple[str, str]]:
    node = session.node.lower()
    return [(node, check) for check in session.checks]


SESSIONS: Table[Session] = Table(
    "sessions",
    Session,
    key=lambda session: session.id,
    indexes={
        "node": lambda session: (session.node.lower(),),
        "name": lambda session: ((session.node.lower(), session.name),) if session.name else (),
        "check": _on_checks,
    },
    level=LEVEL,
)
DELAYS: Table[Delay] = Table(
    "lock-delays",
    Delay,
    key=lambda delay: delay.key,
    indexes={"second": lambda delay: (second(delay.until),)},
    level=LEVEL,
)


def second(until: float) -> str:
    """A text that sorts as the time does."""
    return f"{max(int(until), 0):012}"


class Info(Query[Session | None], frozen=True, tag="sessions.info"):
    """One session, or None."""

    answer = Session | None
    id: str

    def run(self, view: View) -> Session | None:
        """Look it up."""
        return view.get(SESSIONS, self.id.lower())


class OfNode(Query[list[Session]], frozen=True, tag="sessions.node"):
    """The sessions of a node, ordered by id."""

    answer = list[Session]
    node: str

    def run(self, view: View) -> list[Session]:
        """Read the node's bucket."""
        return view.select(SESSIONS, "node", self.node.lower())


class All(Query[list[Session]], frozen=True, tag="sessions.all"):
    """Every session, ordered by id."""

    answer = list[Session]

    def run(self, view: View) -> list[Session]:
        """Read the table."""
        return view.every(SESSIONS)


class Create(Command[str], frozen=True, tag="sessions.create"):
    """Begin a session under an id that whoever asks made up; returns the id."""

    result = str
    needs: ClassVar[int] = LEVEL
    id: str
    node: str
    name: str = ""
    lock_delay: int = LOCK_DELAY
    behavior: str = RELEASE
    ttl: str = ""
    node_checks: tuple[str, ...] = (SERF_HEALTH,)
    service_checks: tuple[str, ...] = ()

    def validate(self) -> None:
        """Id, behavior, TTL, delay and names must make sense."""
        try:
            same = str(UUID(self.id)) == self.id
        except ValueError:
            same = False
        if not same:
            raise Invalid(f'ID: expected a UUID in lower case, got "{self.id[:64]}"')
        if not self.node:
            raise Invalid("Node: must not be empty")
        if self.behavior not in BEHAVIORS:
            raise Invalid(f'Behavior: expected release or delete, got "{self.behavior[:64]}"')
        if not 0 <= self.lock_delay <= LOCK_DELAY_MAX:
            raise Invalid("LockDelay: expected 0s to 60s")
        if len(self.name.encode()) > NAME_MAX_BYTES:
            raise Invalid(f"Name: longer than {NAME_MAX_BYTES} bytes")
        if len(self.node_checks) + len(self.service_checks) > CHECKS_MAX:
            raise Invalid(f"NodeChecks, ServiceChecks: more than {CHECKS_MAX}")
        self.check_ttl(0.0)

    def check_ttl(self, shortest: float) -> None:
        """Raise Invalid unless the TTL is none, or between the shortest allowed and a day."""
        try:
            seconds = parse_duration(self.ttl) if self.ttl else 0.0
        except Invalid as error:
            raise Invalid(f"TTL: {error.message}") from error
        if seconds and not max(shortest, 1e-3) <= seconds <= TTL_MAX_SECONDS:
            least = f"{format_duration(shortest)} [session_ttl_min]" if shortest else "1ms"
            raise Invalid(f'TTL: expected {least} to 24h, or none, got "{self.ttl}"')

    def apply(self, transaction: Transaction) -> str:
        """Node and checks must be there, and no check critical."""
        node = transaction.get(NODES, self.node.lower())
        if node is None:
            raise Conflict(f'Node: there is no node "{self.node}"; register it first')
        if transaction.get(SESSIONS, self.id) is not None:
            raise Conflict(f"ID: there is a session {self.id} already")
        for field, named in (
            ("NodeChecks", self.node_checks),
            ("ServiceChecks", self.service_checks),
        ):
            for check in named:
                _require(transaction, field, self.node, check)
        transaction.put(
            SESSIONS,
            Session(
                id=self.id,
                name=self.name,
                node=node.name,
                lock_delay=self.lock_delay,
                behavior=self.behavior,
                ttl=self.ttl if self.ttl and parse_duration(self.ttl) else "",
                node_checks=list(dict.fromkeys(self.node_checks)),
                service_checks=list(dict.fromkeys(self.service_checks)),
            ),
        )
        began(transaction, node.name, self.name)
        return self.id


def _require(transaction: Transaction, field: str, node: str, check: str) -> None:
    found = transaction.get(CHECKS, (node.lower(), check))
    if found is None:
        raise Conflict(f'{field}: node {node} has no check "{check}"')
    if found.status == "critical":
        raise Conflict(
            f'{field}: check "{check}" of node {node} is critical; a session cannot rest on it'
        )


def ttl_at_least(shortest: float) -> Callable[[Command[Any]], None]:
    """A rule of the gate: no session has a TTL of fewer seconds than that."""

    def rule(command: Command[Any]) -> None:
        if isinstance(command, Create):
            command.check_ttl(shortest)

    return rule


class Destroy(Command[bool], frozen=True, tag="sessions.destroy"):
    """End a session. One that does not exist is fine."""

    result = bool
    needs: ClassVar[int] = LEVEL
    id: str

    def apply(self, transaction: Transaction) -> bool:
        """Always True."""
        destroy(transaction, self.id.lower())
        return True


class Expire(Command[int], frozen=True, tag="sessions.expire"):
    """End sessions whose TTL is over. Only the leader knows when that is."""

    result = int
    needs: ClassVar[int] = LEVEL
    ids: tuple[str, ...]

    def validate(self) -> None:
        """Not too many at once."""
        if len(self.ids) > EXPIRED_MAX:
            raise Invalid(f"ids: at most {EXPIRED_MAX} at once, got {len(self.ids)}")

    def apply(self, transaction: Transaction) -> int:
        """How many were still there."""
        return _end(transaction, self.ids)


class Sweep(Command[int], frozen=True, tag="sessions.sweep"):
    """Forget lock-delays that are over."""

    result = int
    needs: ClassVar[int] = LEVEL

    def apply(self, transaction: Transaction) -> int:
        """How many were forgotten: not more than SWEPT_MAX."""
        now, swept = second(transaction.time), 0
        for end in transaction.values(DELAYS, "second"):
            if end >= now or swept >= SWEPT_MAX:
                break
            for delay in transaction.select(DELAYS, "second", end)[: SWEPT_MAX - swept]:
                transaction.delete(DELAYS, delay.key)
                swept += 1
        return swept


class Renew(Order[Session | None], frozen=True, tag="sessions.renew"):
    """Have the leader begin the TTL of a session anew; None when there is no such session."""

    outcome = Session | None
    repeatable = True
    needs = LEVEL
    id: str


def destroy(transaction: Transaction, identity: str) -> bool:
    """End a session, whatever it is bound to; False when there is none with this id."""
    return _end(transaction, (identity,)) > 0


def began(transaction: Transaction, node: str, name: str) -> None:
    """A session of this name was written: the checks that follow it pass."""
    _judge_named(transaction, node, name)


def node_left(transaction: Transaction, node: str) -> None:
    """A node, its name in lower case, is about to be removed: its sessions end."""
    _end(transaction, _ids(transaction.select(SESSIONS, "node", node)))


def check_failed(transaction: Transaction, check: Check) -> None:
    """A check became critical, or was removed: the sessions that rest on it end."""
    _end(transaction, _on(transaction, check))


def _on(transaction: Transaction, check: Check) -> list[str]:
    return _ids(transaction.select(SESSIONS, "check", (check.node.lower(), check.id)))


def _ids(rows: Iterable[Session]) -> list[str]:
    return [session.id for session in rows]


def _end(transaction: Transaction, ids: Iterable[str]) -> int:
    """End these sessions, and those that rest on checks which follow them; how many it were."""
    waiting, ended = list(ids), 0
    while waiting:  # A list, not a recursion: a chain of them may be long.
        session = transaction.get(SESSIONS, waiting.pop())
        if session is None:
            continue
        ended += 1
        transaction.delete(SESSIONS, session.id)
        _let_go(transaction, session)
        for query in transaction.select(prepared_rows.TABLE, "session", session.id):
            transaction.delete(prepared_rows.TABLE, query.id)
        for check in _judge_named(transaction, session.node, session.name):
            waiting += _on(transaction, check)
    return ended


def _let_go(transaction: Transaction, session: Session) -> None:
    """Release or delete what it holds, and keep others from locking that for its lock-delay."""
    until = transaction.time + session.lock_delay / NANOSECONDS
    for pair in transaction.select(PAIRS, "session", session.id):
        if session.behavior == DELETE:
            transaction.delete(PAIRS, pair.key)
        else:
            transaction.put(PAIRS, msgspec.structs.replace(pair, session=""))
        if session.lock_delay:
            transaction.put(DELAYS, Delay(key=pair.key, until=until))


def held_back(transaction: Transaction, key: str) -> bool:
    """Whether the key may not be locked yet, because who held it lost it only just now."""
    delay = transaction.get(DELAYS, key)
    if delay is None:
        return False
    if transaction.time < delay.until:
        return True
    transaction.delete(DELAYS, key)
    return False


def judged(transaction: Transaction, check: Check) -> Check:
    """The check as its session has it, if it follows one; every other check as it is."""
    name = check.session_name
    if not name or Present().run(transaction) < LEVEL:
        return check
    if transaction.select(SESSIONS, "name", (check.node.lower(), name)):
        return msgspec.structs.replace(check, status="passing", output=f'session "{name}" is there')
    return msgspec.structs.replace(
        check, status="critical", output=f'node {check.node} has no session "{name}"'
    )


def _judge_named(transaction: Transaction, node: str, name: str) -> list[Check]:
    """Judge the checks that follow sessions of this name; those that are critical now."""
    if not name:
        return []
    found = transaction.select(CHECKS, "session", (node.lower(), name))
    now = [put_check(transaction, judged(transaction, check)) for check in found]
    return [check for check in now if check.status == "critical"]
