"""Figures for Prometheus on a port of their own: all that the built-in proxy answers by HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mesh.connect.proxy import Conversation, Door, Limits

LIMITS = Limits(connections=16, handshakes=16)
HEAD_MAX_BYTES = 16 * 1024
PATHS = {"/metrics", "/"}
_HEAD = (
    "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
    "Content-Length: {length}\r\nConnection: close\r\n\r\n"
)


class Page(Door):
    """Answers one request of each connection."""

    def __init__(self, text: Callable[[], str]) -> None:
        super().__init__("metrics", LIMITS)
        self._text = text

    async def serve(self, conversation: Conversation) -> None:
        """Read the head of a request and answer it. Raises OSError."""
        plain = conversation.plain
        async with asyncio.timeout(LIMITS.handshake_seconds):
            head = b""
            while b"\r\n\r\n" not in head:
                data = await plain.read()
                head += data
                if not data or len(head) > HEAD_MAX_BYTES:
                    plain.abort()
                    return
            status, body = self._answer(head.partition(b"\r\n")[0].decode("latin-1"))
            answer = _HEAD.format(status=status, length=len(body)).encode()
            await plain.write(answer + (b"" if head.startswith(b"HEAD ") else body))
        await plain.close()

    def _answer(self, line: str) -> tuple[str, bytes]:
        method, _, rest = line.partition(" ")
        if method not in {"GET", "HEAD"}:
            return "405 Method Not Allowed", b"GET it\n"
        if rest.partition(" ")[0].partition("?")[0] not in PATHS:
            return "404 Not Found", b"ask for /metrics\n"
        return "200 OK", self._text().encode()
