"""The gate: every write and every order passes it where it is done; writes leave as log entries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from mesh.clock import Clock
from mesh.errors import Invalid, TooLarge
from mesh.registry.envelope import ENTRY_MAX_BYTES, FORMAT, Envelope, seal
from mesh.registry.port import Command, Order, OrderOptions, WriteOptions

Audit: TypeAlias = Callable[[str], None]


class Gate:
    """Admits writes and orders: checks them, stamps them and records who asked.

    Permissions, limits and audit belong here, so that nothing can go round them. `audit` gets a
    line for each order that is more than a question.
    """

    def __init__(self, clock: Clock, audit: Audit = lambda _: None) -> None:
        self._clock, self._audit = clock, audit

    def admit(self, command: Command[Any], options: WriteOptions) -> bytes:
        """The log entry of the command. Raises Invalid or TooLarge; nothing has happened then."""
        if not options.request:
            raise Invalid("request: a write needs an id, given where it enters")
        command.validate()
        entry = seal(
            Envelope(
                format=FORMAT,
                request=options.request,
                time=self._clock.wall(),
                author=options.author,
                origin=options.origin,
                command=command,  # type: ignore[arg-type]  # AnyCommand lists every Command.
            )
        )
        if len(entry) > ENTRY_MAX_BYTES:
            raise TooLarge(
                f"the request takes {len(entry)} bytes in the log; the limit is {ENTRY_MAX_BYTES}"
            )
        return entry

    def pass_order(self, order: Order[Any], options: OrderOptions) -> None:
        """Let the order be carried out. Raises Invalid when it makes no sense."""
        order.validate()
        if not order.repeatable:
            who, where = options.author or "anonymous", options.origin or "unknown"
            self._audit(f"{order!r} ordered by {who} through {where}")
