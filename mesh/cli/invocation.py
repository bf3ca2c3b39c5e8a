"""One run of a command: its words, its output, and the client it may need."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from mesh.cli.flags import Parsed
    from mesh.cli.output import Output
    from mesh.client import Client


class Invocation:
    """What a command function is given."""

    def __init__(
        self, parsed: Parsed, out: Output, environment: Mapping[str, str], stdin: BinaryIO
    ) -> None:
        self.parsed = parsed
        self.out = out
        self.environment = environment
        self.stdin = stdin
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """The client that the flags and the environment describe, made on first use."""
        if self._client is None:
            # Loaded only now: commands that ask no agent need not pay for it.
            connection = importlib.import_module("mesh.cli.connection")
            opened: Client = connection.open_client(self.parsed, self.environment)
            self._client = opened
        return self._client

    def close(self) -> None:
        """Drop the client's connection."""
        if self._client is not None:
            self._client.close()
