"""The gate: every write passes it on the leader, and leaves as an envelope for the log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from mesh.clock import Clock
from mesh.errors import Conflict, Invalid, Outdated, TooLarge
from mesh.registry.envelope import ENTRY_MAX_BYTES, NEVER_SAID, Envelope, seal
from mesh.registry.levels import EXACT, HIGHEST, LOWEST, Finalize, Found, level_of, unready
from mesh.registry.port import Command, Order, OrderOptions, WriteOptions
from mesh.store.database import Database

Audit: TypeAlias = Callable[[str], None]


class Gate:
    """Admits writes and orders: checks them, stamps them and records who asked.

    Permissions, limits and audit belong here, so that nothing can go round them. `speaking` gives
    the highest level of every server known, by name; `highest` is this one's own. `audit` gets a
    line for each order that is more than a question. `rules` are limits that operators set: each
    raises Invalid for a command beyond it.
    """

    def __init__(
        self,
        clock: Clock,
        database: Database,
        speaking: Callable[[], Mapping[str, int]] = dict,
        highest: int = HIGHEST,
        audit: Audit = lambda _: None,
    ) -> None:
        self._clock, self._database, self._audit = clock, database, audit
        self._speaking, self._highest = speaking, highest
        self.rules: list[Callable[[Command[Any]], None]] = []

    @property
    def fresh(self) -> bool:
        """Whether nothing is known to be committed yet."""
        return self._database.index == 0

    @property
    def index(self) -> int:
        """The log index of the last commit."""
        return self._database.index

    def founding(self) -> Found | None:
        """The first command of a new cluster: the highest level that all servers speak."""
        common = min([self._highest, *self._speaking().values()])
        return Found(common) if common > LOWEST else None

    def admit(self, command: Command[Any], options: WriteOptions) -> bytes:
        """The log entry of the command. Nothing has happened when it raises.

        Raises Invalid or TooLarge, Conflict when the cluster's level is too low for the command,
        and Outdated when a request may have been done and forgotten meanwhile.
        """
        if not options.request:
            raise Invalid("request: a write needs an id, given where it enters")
        command.validate()
        for rule in self.rules:
            rule(command)
        level = level_of(self._database)
        self._check_level(command, level)
        since = NEVER_SAID if options.since is None else options.since
        if level >= EXACT and not options.attempt:
            self._check_age(options.request, since)
        entry = seal(
            Envelope(
                format=level,
                request=options.request,
                time=self._clock.wall(),
                author=options.author,
                origin=options.origin,
                command=command.at(level),  # type: ignore[arg-type]  # AnyCommand lists every Command.
                attempt=options.attempt,
                since=since,
            )
        )
        if len(entry) > ENTRY_MAX_BYTES:
            raise TooLarge(
                f"the request takes {len(entry)} bytes in the log; the limit is {ENTRY_MAX_BYTES}"
            )
        return entry

    def _check_age(self, request: str, since: int) -> None:
        """Refuse here what the machine would refuse, and spare the log."""
        ledger = self._database.ledger
        if since < ledger.horizon and request not in ledger.ended:
            raise Outdated("the request may have been forgotten", self._database.index)

    def _check_level(self, command: Command[Any], level: int) -> None:
        if command.needs > level:
            raise Conflict(
                f"this needs feature level {command.needs}, and the cluster has {level}: "
                "upgrade every server, then run meshctl operator upgrade finalize"
            )
        if not isinstance(command, Finalize) or command.level <= level:
            return
        speaking = {**self._speaking(), "the leader": self._highest}
        lacking = [
            f"{name} (level {highest})"
            for name, highest in sorted(speaking.items())
            if highest < command.level
        ]
        if lacking:
            raise Conflict(unready(command.level, lacking))

    def pass_order(self, order: Order[Any], options: OrderOptions) -> None:
        """Let the order be carried out. Raises Invalid when it makes no sense."""
        order.validate()
        if not order.repeatable:
            who, where = options.author or "anonymous", options.origin or "unknown"
            self._audit(f"{order!r} ordered by {who} through {where}")
