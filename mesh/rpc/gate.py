"""The gate: every write passes it on the leader, and leaves as an envelope for the log."""

from __future__ import annotations

from typing import Any

from mesh.clock import Clock
from mesh.errors import Invalid, TooLarge
from mesh.registry.envelope import ENTRY_MAX_BYTES, FORMAT, Envelope, seal
from mesh.registry.port import Command, WriteOptions


class Gate:
    """Admits writes: checks them, stamps them and records who asked.

    Permissions, limits and audit belong here, so that no write can go round them.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

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
