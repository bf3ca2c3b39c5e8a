"""Two connections made one, byte for byte: each may be plain or TLS, and each may end by half.

asyncio's own TLS ends both directions with the first. So TLS is done here, between the plain
connection and who reads and writes.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Protocol, TypeAlias, TypeVar

T = TypeVar("T")
Count: TypeAlias = Callable[[int], None]
"""Is told a number of bytes."""

PORTION_BYTES = 64 * 1024
"""What is read at most at a time, and about what lies unsent before reading stops."""
CLOSE_SECONDS = 2.0
"""How long a side may take for the rest of what was written to it."""


class Gone(ConnectionError):
    """The other side has closed the connection without ending what it said."""


class Stream(Protocol):
    """A connection to one side."""

    async def read(self) -> bytes:
        """Some bytes; none once the other side says no more. Raises OSError."""
        ...

    async def write(self, data: bytes) -> None:
        """Send; waits while the other side does not take it. Raises OSError."""
        ...

    async def end(self) -> None:
        """Say no more; what the other side says can still be read."""
        ...

    async def close(self) -> None:
        """End it once all is sent that was written."""
        ...

    def abort(self) -> None:
        """End it at once."""
        ...


class Plain:
    """A connection as it is."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.aborted = False
        """We have ended it at once."""
        writer.transport.set_write_buffer_limits(PORTION_BYTES)

    async def read(self) -> bytes:
        """Some bytes; none at the end. Raises OSError, also when we aborted it."""
        data = await self.reader.read(PORTION_BYTES)
        if self.aborted:  # Even what had come before goes nowhere any more.
            raise ConnectionAbortedError("cut off")
        return data

    async def write(self, data: bytes) -> None:
        """Send."""
        self.writer.write(data)
        await self.writer.drain()

    async def end(self) -> None:
        """Say no more."""
        if self.writer.can_write_eof():
            self.writer.write_eof()

    async def close(self) -> None:
        """End it once all is sent."""
        self.writer.close()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.writer.wait_closed()
        except OSError:  # So is a timeout.
            self.abort()

    def abort(self) -> None:
        """End it at once."""
        self.aborted = True
        self.writer.transport.abort()


class Secure:
    """TLS over a plain connection. `shake_hands` comes first.

    What came is taken out of TLS as far as it goes before anybody waits: OpenSSL must find nothing
    unread when it is told to say no more.
    """

    def __init__(self, plain: Plain, context: ssl.SSLContext, server_name: str | None) -> None:
        """Without a server name it is the side that was called."""
        self._plain, self._came, self._goes = plain, ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self._came, self._goes, server_side=server_name is None, server_hostname=server_name
        )
        self._heard_end = False

    async def shake_hands(self) -> None:
        """Raises OSError, of which ssl.SSLError is one; the other side is told why."""
        try:
            while not await self._step(self.tls.do_handshake):
                await self._flush()
                if not await self._feed():
                    raise Gone("closed during the handshake")
        finally:
            await self._flush()

    async def _step(self, step: Callable[[], None]) -> bool:
        """Whether it is done, or needs to hear more first."""
        try:
            step()
        except ssl.SSLWantReadError:
            return False
        return True

    async def _feed(self) -> bool:
        data = await self._plain.read()
        self._came.write(data)
        return bool(data)

    async def _flush(self) -> None:
        if self._goes.pending:
            await self._plain.write(self._goes.read())

    async def read(self) -> bytes:
        """Some bytes; none at the end. Raises Gone when it ends without saying so."""
        while not (found := self._taken()):
            if self._heard_end:
                return b""
            await self._flush()  # TLS itself may have to answer.
            if not await self._feed():
                raise Gone("closed without saying so")
        return found

    def _taken(self) -> bytes:
        """All that has come."""
        parts = []
        while not self._heard_end:
            try:
                part = self.tls.read(PORTION_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                part = b""
            self._heard_end = not part
            parts.append(part)
        return b"".join(parts)

    async def write(self, data: bytes) -> None:
        """Send."""
        self.tls.write(data)
        await self._flush()

    async def end(self) -> None:
        """Say no more."""
        await self._step(self._say_end)
        await self._flush()

    def _say_end(self) -> None:
        self.tls.unwrap()

    async def close(self) -> None:
        """End it once all is sent."""
        await self._plain.close()

    def abort(self) -> None:
        """End it at once."""
        self._plain.abort()


async def splice(one: Stream, other: Stream, heard: Count, said: Count) -> None:
    """Carry what each says to the other until both have ended, or one is gone; closes both.

    How many bytes one said is told to `heard`, how many it was told to `said`, once they are sent.
    """
    try:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_carry(one, other, heard))
                group.create_task(_carry(other, one, said))
        except* Gone:
            pass  # What it said before has been sent, and is seen to its end.
    except BaseException as error:
        one.abort()
        other.abort()
        if isinstance(error, ExceptionGroup) and not error.split(OSError)[1]:
            return
        raise
    await one.close()
    await other.close()


async def _carry(source: Stream, target: Stream, count: Count) -> None:
    while data := await source.read():
        await target.write(data)
        count(len(data))
    await target.end()
