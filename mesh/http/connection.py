"""One client connection: bytes to requests, one at a time, and replies to bytes."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable

from mesh.errors import Invalid, MeshError
from mesh.http import respond, wire
from mesh.http.access import GONE
from mesh.http.dispatch import Admitted
from mesh.http.inflow import PENDING_MAX_BYTES, Inflow
from mesh.http.owner import Owner
from mesh.http.request import Reply
from mesh.http.wire import Chunked, Head, Malformed, Sized
from mesh.tasks import spawn

log = logging.getLogger(__name__)

BODY_BYTES_PER_SECOND = 1024
"""A body comes at least so fast, after the patience that the options have for all."""
LINGER_SECONDS = 5.0
"""How long what a client still sends is read and dropped after the last reply."""
ENDED_SECONDS = 30.0, 1.0
"""How long to work for a client that ended its side or went; the latter if it waits for news."""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_TOO_LARGE = "The head of the request is larger than {} bytes"
_TOO_MANY = (
    b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)


class Connection(asyncio.Protocol):
    """Reads a request, has it answered, reads the next. A client that goes away cancels its own."""

    __slots__ = (
        "_admitted", "_began", "_body", "_client", "_drained", "_ended", "_head", "_inflow",
        "_last", "_owner", "_paused", "_pending", "_sent", "_task", "_transport", "_unsent",
        "deadline",
    )  # fmt: skip

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._client: str | None = None
        self._pending = b""
        self._head: Head | None = None
        self._admitted: Admitted | None = None
        self._body: Sized | Chunked | None = None
        self._inflow: Inflow | None = None
        self._task: asyncio.Task[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._last = False  # Nothing is read from it any more.
        self._ended = False  # It sends no more.
        self._paused = False
        self._unsent = 0
        self._began = 0.0  # When the head of the present request was read.
        self._sent = 0  # Bytes of its response.
        self.deadline = math.inf

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refuse the connection if its client has too many."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        peer = transport.get_extra_info("peername")
        client = peer[0] if isinstance(peer, tuple) else ""
        if not self._owner.accept(client):
            self._last = True
            transport.write(_TOO_MANY)
            transport.close()
            return
        self._client = client
        self._owner.connections.add(self)
        self.deadline = self._owner.now() + self._owner.options.idle_seconds

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002
        """Uncount the connection and stop what it asked for."""
        self._last, self._pending, self._body, self._inflow = True, b"", None, None
        if self._client is None:
            return
        self._owner.connections.discard(self)
        self._owner.closed(self._client)
        if self._task is not None:
            self._task.cancel()
            self._note(GONE)
        self._release()

    def eof_received(self) -> bool:
        """The client sends no more: what it asked is answered. Half a request is malformed."""
        assert self._transport is not None
        if self._task is None:
            if not self._last and (self._pending or self._body is not None):
                self._refuse("it ends early")
            return False
        self._ended = True
        if self._body is not None and not self._last:
            self._spoilt("it ends early", None)
        waits = self._task in self._owner.blocked
        self.deadline = self._owner.now() + ENDED_SECONDS[waits]
        return self._transport.can_write_eof()  # Over TLS nothing can be sent after the end.

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client."""
        if self._last:
            return
        if (
            not self._pending
            and self._task is None
            and self._body is None
            and self._drained is None
            and (hit := self._owner.hit(data, self._client))
        ):
            assert self._transport is not None
            self._transport.write(hit)
            if self._drained is None:  # Else it has until then to read.
                self.deadline = self._owner.idle_until
            return
        if self._body is not None and (self._task is None or self._inflow is not None):
            self._feed(data)
        else:
            self._pending = self._pending + data if self._pending else data
        if self._task is None:
            self._advance()
        held = self._inflow.held if self._inflow is not None else len(self._pending)
        if held > PENDING_MAX_BYTES and self._task is not None and not self._paused:
            assert self._transport is not None
            self._paused = True
            self._transport.pause_reading()

    def _read_on(self) -> None:
        if self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """The client does not read as fast as we write."""
        assert self._transport is not None
        self._drained = asyncio.get_running_loop().create_future()
        self._unsent = self._transport.get_write_buffer_size()
        self.deadline = self._owner.now() + self._owner.options.write_stall_seconds

    def resume_writing(self) -> None:
        """It read enough."""
        if self._task is not None:
            self.deadline = math.inf
        else:
            self.deadline = self._owner.now() + (
                LINGER_SECONDS if self._last else self._owner.options.idle_seconds
            )
        self._release()

    def _release(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    def end(self) -> None:
        """Close it: at once when idle, else after the present reply."""
        assert self._transport is not None
        if self._task is None:
            self._last = True
            self._transport.close()
        elif self._head is not None:
            self._head.keep_alive = False

    def abort(self) -> asyncio.Task[None] | None:
        """Close it without sending what is left; what still has to end."""
        assert self._transport is not None
        self._transport.abort()
        if self._task is not None:
            self._task.cancel()
        return self._task

    def expire(self) -> None:
        """The deadline has passed."""
        assert self._transport is not None
        if self._drained is not None:
            unsent = self._transport.get_write_buffer_size()
            if unsent < self._unsent:
                self._unsent = unsent
                self.deadline = self._owner.now() + self._owner.options.write_stall_seconds
                return
            self._owner.slow()
        elif self._body is not None and not self._last:
            self._owner.slow()
            if self._task is None:
                self._say_last(respond.text(408, "Request Timeout: the body does not come"))
                return
        self.abort()

    def _advance(self) -> None:
        """Begin the next request, if enough of it is there."""
        while self._pending and self._body is None and self._task is None and not self._last:
            try:
                if not self._begin():
                    return
            except Malformed as error:
                self._refuse(str(error))

    def _begin(self) -> bool:
        data = self._pending
        if data[:1] in b"\r\n":
            data = self._pending = data.lstrip(b"\r\n")
        if data and not data[:1].isalpha():
            raise Malformed("this is not HTTP")
        end = self._end_of_head(data)
        if end < 0:
            return False
        head = self._owner.heads.read(data[:end])
        self._began, self._sent = self._owner.now(), 0
        self._pending = data[end + 4 :]
        assert self._client is not None
        if not (self._pending or head.length or head.chunked):
            head.raw = data
        self._head, admitted = head, self._owner.admit(head, self._client)
        if not head.chunked and not head.length:
            if not isinstance(admitted, Reply) and admitted.route.streams:
                nothing = Inflow(self._read_on)
                nothing.end()
                admitted.request.stream = nothing.pieces()
            self._decide(admitted)
        elif isinstance(admitted, Reply):
            self._say_last(admitted)  # What it was to be told does not depend on its body.
        elif not self._whole_body(head, admitted):
            self._await_body(head, admitted)
        return True

    def _end_of_head(self, data: bytes) -> int:
        """Where the head ends; below 0 when it has not come, or never will."""
        most = self._owner.options.head_max_bytes
        end = data.find(b"\r\n\r\n")
        if (len(data) if end < 0 else end) > most:
            self._owner.malformed("the head is too large", self._client or "")
            self._say_last(respond.text(431, _TOO_LARGE.format(most)))
            return -1
        if end < 0 and len(data) - data.rfind(b"\r\n") > wire.LINE_MAX_BYTES + 2:
            raise Malformed(f"a line of the head is longer than {wire.LINE_MAX_BYTES} bytes")
        return end

    def _whole_body(self, head: Head, admitted: Admitted) -> bool:
        """Take a body that is there already, as most small ones are. False when this is none."""
        data, size = self._pending, head.length
        if head.chunked or admitted.route.streams or size > len(data):
            return False
        if size > self._owner.limit(admitted):
            return False
        self._pending = data[size:]
        if admitted.request.method != "GET":  # Where it means nothing.
            admitted.request.body = data[:size]
        self._decide(admitted)
        return True

    def _await_body(self, head: Head, admitted: Admitted) -> None:
        assert self._transport is not None
        limit = self._owner.limit(admitted)
        try:
            self._body = Chunked(limit) if head.chunked else Sized(head.length, limit)
        except MeshError as error:
            self._say_last(respond.failure(error))
            return
        self._admitted, data, self._pending = admitted, self._pending, b""
        self.deadline = self._owner.now() + self._owner.options.body_stall_seconds
        if head.continues and not data:
            self._transport.write(_CONTINUE)
        if admitted.route.streams:
            self._inflow = Inflow(self._read_on)
            admitted.request.stream = self._inflow.pieces()
            self._decide(admitted)
        if data:
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        body, admitted = self._body, self._admitted
        assert body is not None
        assert admitted is not None
        before = body.size
        try:
            rest = body.feed(data)
        except Malformed as error:
            self._spoilt(str(error), None)
            return
        except MeshError as error:
            self._spoilt("", error)
            return
        self.deadline += (body.size - before) / BODY_BYTES_PER_SECOND
        if self._inflow is not None:
            self._inflow.push(body.take())
            self.deadline = (
                math.inf
                if rest is not None
                else self._owner.now() + self._owner.options.body_stall_seconds
            )
        if rest is None:
            return
        self._body, self._admitted, self._pending = None, None, rest
        if self._inflow is not None:
            self._inflow.end()
            self._inflow = None
            return
        if admitted.request.method != "GET":  # Where it means nothing.
            admitted.request.body = body.take()
        self._decide(admitted)

    def _spoilt(self, reason: str, error: MeshError | None) -> None:
        """The rest of the body cannot be had."""
        if self._inflow is None:
            if error is None:
                self._refuse(reason)
            else:
                self._say_last(respond.failure(error))
            return
        if error is None:
            refusal = self._owner.malformed(reason, self._client or "")
            error = Invalid(refusal.body.decode())
        self._inflow.end(error)
        self._last = True  # Who reads the body answers.

    def _decide(self, admitted: Admitted | Reply) -> None:
        self.deadline = math.inf
        self._task = spawn(self._answer(admitted), self._owner.loop)

    async def _answer(self, admitted: Admitted | Reply) -> None:
        head = self._head
        assert head is not None
        pretty = False
        if isinstance(admitted, Reply):
            reply = admitted
        else:
            reply = await self._owner.answer(admitted)
            pretty = "pretty" in admitted.request.params
        if self._transport is None or self._transport.is_closing():
            return
        if self._body is not None:
            self._task = None
            self._say_last(reply)  # Not all of the body was read.
            return
        if reply.stream is not None:
            await self._stream(reply, reply.stream, head)
        else:
            close = not head.keep_alive
            if not (pretty or close) and (whole := self._owner.small(reply, head)):
                self._write(whole)
                if self._drained is not None:
                    await self._drained
            else:
                await self._send(reply, head, pretty=pretty, close=close)
        self._finish(head, reply.status)

    def _write(self, data: bytes) -> None:
        """Send more of the response to the present request."""
        assert self._transport is not None
        self._sent += len(data)
        self._transport.write(data)

    def _note(self, status: int) -> None:
        """The present request is done with."""
        access = self._owner.access
        if access is not None:
            head = self._head
            asked = ("", "") if head is None else (head.method, head.target)
            took = 0.0 if head is None else self._owner.now() - self._began
            access.told(self._client or "", asked, status, self._sent, took)

    async def _send(self, reply: Reply, head: Head, *, pretty: bool, close: bool) -> None:
        try:
            rendered = await self._owner.render(reply, head, pretty=pretty, close=close)
        except Exception:
            log.exception("%s %s failed", head.method, head.target)
            failed = self._owner.failed()
            rendered = await self._owner.render(failed, head, pretty=False, close=close)
        for piece in rendered:
            self._write(piece)
            if self._drained is not None:
                await self._drained

    async def _stream(self, reply: Reply, pieces: AsyncIterator[bytes], head: Head) -> None:
        transport = self._transport
        assert transport is not None
        head.keep_alive = head.keep_alive and not head.old
        opening, pieces = self._owner.render_stream(reply, head, pieces, close=not head.keep_alive)
        self._write(opening)
        framed: Callable[[bytes], bytes] = bytes if head.old else _chunk
        task = asyncio.current_task()
        assert task is not None
        self._owner.blocked.add(task)
        try:
            async for piece in pieces:
                if piece:
                    self._write(framed(piece))
                if self._drained is not None:
                    await self._drained
        except asyncio.CancelledError:
            if transport.is_closing():
                raise
            if reply.ends:
                transport.abort()
                raise
            task.uncancel()  # The server stops: what was sent is a whole response.
            head.keep_alive = False
        except MeshError as error:
            # Too late for a status: without an end the client knows that something is missing.
            log.warning("%s %s ended half way: %s", head.method, head.target, error)
            transport.abort()
            return
        except Exception:
            log.exception("%s %s failed half way", head.method, head.target)
            self._owner.failed()
            transport.abort()
            return
        finally:
            self._owner.blocked.discard(task)
        if not head.old:
            self._write(b"0\r\n\r\n")

    def _finish(self, head: Head, status: int) -> None:
        """The reply is written: on to the next request, or the end."""
        transport = self._transport
        assert transport is not None
        self._note(status)
        self._task = self._head = None
        if transport.is_closing():
            return
        if not head.keep_alive:
            self._last = True
            self.deadline = self._owner.now() + self._owner.options.write_stall_seconds
            transport.close()
            return
        self.deadline = self._owner.now() + self._owner.options.idle_seconds
        if self._pending:
            self._advance()
        self._read_ahead()
        if self._ended and not self.eof_received():
            transport.close()

    def _read_ahead(self) -> None:
        """Take more from the client, unless enough of it waits for the present request to end."""
        if self._task is None or len(self._pending) <= PENDING_MAX_BYTES:
            self._read_on()

    def _refuse(self, reason: str) -> None:
        """Answer bytes that are no HTTP; the connection ends."""
        self._say_last(self._owner.malformed(reason, self._client or ""))

    def _say_last(self, reply: Reply) -> None:
        """Answer though there is more to read, which would be no request."""
        transport, head = self._transport, self._head
        assert transport is not None
        self._last, self._pending, self._body, self._inflow = True, b"", None, None
        self._read_on()
        self.deadline = self._owner.now() + LINGER_SECONDS
        body = b"" if head is not None and head.method == "HEAD" else reply.body
        framing = wire.field("Content-Length", str(len(reply.body)))
        nobody = Head("GET", "/", {}, keep_alive=False)
        opening = self._owner.render_head(reply, head or nobody, close=True, framing=framing)
        self._sent = 0
        self._write(opening + body)
        self._note(reply.status)
        # Closed with bytes unread, the system would reset it and take the reply from the client.
        if transport.can_write_eof() and not self._ended:
            transport.write_eof()
        else:
            transport.close()


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(piece), piece)
