"""The access log: a line of JSON for every request, whichever way it was answered."""

from __future__ import annotations

import asyncio
import logging
import math
import os
from collections import Counter
from datetime import UTC, datetime
from urllib.parse import unquote_plus

import msgspec

from mesh.clock import Clock
from mesh.errors import Invalid

log = logging.getLogger(__name__)

PENDING_MAX_BYTES = 4 * 1024 * 1024
"""What waits for the end of a turn at most; more is lost, and counted."""
WARN_SECONDS = 60.0
GONE = 499
"""The status of a request whose client went before the answer, as nginx has it."""
_HIDDEN = "<hidden>"


class Line(msgspec.Struct):
    """One request."""

    time: str
    """When it was answered, UTC."""
    client: str
    """IP address; empty over a socket without one."""
    method: str
    """Empty for bytes that are no HTTP."""
    path: str
    """As it was sent, with its parameters, but without a token."""
    status: int
    """499 when the client went before it was answered."""
    bytes: int
    """Of the response, its head included."""
    ms: float
    """From the request's head to the end of the response, waiting included."""
    kept: bool
    """Whether it was answered with a response that was kept."""


class AccessLog:
    """Writes lines to a file, together at the end of each turn of the event loop.

    What cannot be written is lost and counted in `access_lost`: no request waits or fails for it.
    """

    def __init__(self, path: str, clock: Clock, counters: Counter[str]) -> None:
        """Open the file. Raises Invalid when it cannot be written to."""
        self._clock, self._counters, self._path = clock, counters, path
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            self._file = os.open(path, flags, 0o600)
        except OSError as error:
            reason = error.strerror or str(error)
            raise Invalid(f"http_config.access_log: cannot write to {path}: {reason}") from error
        self._lines: list[bytes] = []
        self._pending = 0
        self._torn = False
        self._warned = -math.inf

    def hit(self, client: str, request: bytes, response: bytes, seconds: float) -> None:
        """Note a request that was answered with a kept response."""
        target = request[: request.find(b" HTTP/")].partition(b" ")[2].decode()
        self._note(client, "GET", target, (200, len(response), seconds, True))

    def told(
        self, client: str, asked: tuple[str, str], status: int, sent: int, seconds: float
    ) -> None:
        """Note a request, its method and target, that was answered the long way."""
        method, target = asked
        self._note(client, method, target, (status, sent, seconds, False))

    def _note(
        self, client: str, method: str, target: str, said: tuple[int, int, float, bool]
    ) -> None:
        status, sent, seconds, kept = said
        now = datetime.fromtimestamp(self._clock.wall(), UTC)
        line = Line(
            now.isoformat(timespec="milliseconds"),
            client,
            method,
            shown(target),
            status,
            sent,
            round(seconds * 1000, 3),
            kept,
        )
        data = msgspec.json.encode(line) + b"\n"
        if self._pending + len(data) > PENDING_MAX_BYTES:
            self._counters["access_lost"] += 1
            return
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._flush)
        self._lines.append(data)
        self._pending += len(data)

    def _flush(self) -> None:
        lines, self._lines, self._pending = self._lines, [], 0
        if not lines or self._file < 0:
            return
        data = (b"\n" if self._torn else b"") + b"".join(lines)
        try:
            while data:
                data = data[os.write(self._file, data) :]
            self._torn = False
        except OSError as error:
            self._torn = True  # A line may have been written in part.
            self._counters["access_lost"] += data.lstrip().count(b"\n")
            now = self._clock.monotonic()
            if now - self._warned >= WARN_SECONDS:
                self._warned = now
                log.warning("%s: lines of the access log are lost: %s", self._path, error.strerror)

    def close(self) -> None:
        """Write what is left, and no more."""
        self._flush()
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


def shown(target: str) -> str:
    """A request's target as people may read it: without a token, and as text."""
    if not target.isascii():
        target = target.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    path, mark, query = target.partition("?")
    if not query or not ("token" in query or "%" in query):
        return target
    return path + mark + "&".join(map(_parameter, query.split("&")))


def _parameter(pair: str) -> str:
    name = pair.partition("=")[0]
    return f"{name}={_HIDDEN}" if unquote_plus(name) == "token" else pair
