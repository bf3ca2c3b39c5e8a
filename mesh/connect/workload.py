"""The SPIFFE Workload API of one service: its certificate and the roots, for programs that ask.

Who may open the socket is that service: its owner and mode decide, and nothing that a caller says.
Source: SPIFFE Workload API (sections 3 to 6 for calls, messages and errors).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import grpc

from mesh.connect import signing
from mesh.connect.credentials import Leaf
from mesh.connect.keys import key_der
from mesh.connect.leaves import Leaves
from mesh.connect.xds import wire
from mesh.errors import MeshError, Unreachable
from mesh.registry.authority import Trust
from mesh.tasks import spawn

STREAMS_MAX = 256
"""Calls at once, of one service."""
REQUEST_MAX = 64 * 1024
"""Bytes of a request."""
STOP_SECONDS = 1.0
HEADER = ("workload.spiffe.io", "true")
"""What each call has to have: no browser that somebody leads here sends it."""
_SERVICE = "SpiffeWorkloadAPI"
_WITHOUT = "mesh gives X.509-SVIDs only, and no JWT-SVIDs"


class _Call:
    """What one caller is to be told: the newest, since what it missed does not matter to it."""

    def __init__(self) -> None:
        self.newest = b""
        self.ended: tuple[Any, ...] = ()
        """The status and the reason."""
        self._event = asyncio.Event()

    def put(self, message: bytes) -> None:
        """Send this, unless it was the last."""
        self.newest = message
        self._event.set()

    def end(self, *status: Any) -> None:
        """Send no more; the first reason counts."""
        self.ended = self.ended or status
        self._event.set()

    async def woken(self) -> None:
        """Wait until there may be something to do."""
        await self._event.wait()
        self._event.clear()


class WorkloadServer:
    """Tells the programs of one service who they are and whom to believe, again at each change."""

    def __init__(self, leaves: Leaves, service: str) -> None:
        self._leaves, self._service = leaves, service
        self._server: Any = None
        self._calls: set[_Call] = set()

    async def start(self, path: str) -> None:
        """Listen on a unix socket. Raises Unreachable when it cannot be had."""
        options = [("grpc.max_receive_message_length", REQUEST_MAX)]
        self._server = grpc.aio.server(options=options, maximum_concurrent_rpcs=STREAMS_MAX)
        one, stream = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        handlers = {
            "FetchX509SVID": stream(self._svids),
            "FetchX509Bundles": stream(self._bundles),
            "FetchJWTSVID": one(self._without),
            "FetchJWTBundles": stream(self._without),
            "ValidateJWTSVID": one(self._without),
        }
        handler = grpc.method_handlers_generic_handler(_SERVICE, handlers)
        self._server.add_generic_rpc_handlers((handler,))
        try:
            self._server.add_insecure_port(f"unix:{path}")
        except RuntimeError as error:
            raise Unreachable(f"Workload API: cannot listen on {path}") from error
        await self._server.start()

    async def stop(self, *, gone: bool = False) -> None:
        """End all calls, then listen no more; `gone`: the service is not here any more."""
        status = grpc.StatusCode.UNAVAILABLE, "the agent stops"
        if gone:
            text = f"service {self._service} is not registered here any more"
            status = grpc.StatusCode.PERMISSION_DENIED, text
        for call in self._calls:
            call.end(*status)
        await self._server.stop(STOP_SECONDS)

    # Calls

    async def _svids(self, _: bytes, context: Any) -> None:
        await self._serve(context, self._own())

    async def _bundles(self, _: bytes, context: Any) -> None:
        await self._serve(context, self._believed())

    async def _without(self, _: bytes, context: Any) -> None:
        await _check(context)
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, _WITHOUT)

    async def _serve(self, context: Any, news: AsyncGenerator[bytes, None]) -> None:
        await _check(context)
        call, last = _Call(), b""
        reader = spawn(_read(call, news))
        self._calls.add(call)
        try:
            while not call.ended:
                if call.newest != last:
                    last = call.newest
                    await context.write(last)
                    continue
                await call.woken()
        finally:
            self._calls.discard(call)
            reader.cancel()
        await context.abort(*call.ended)

    async def _own(self) -> AsyncGenerator[bytes, None]:
        while True:
            # It ends when a sidecar of the service goes and takes the leaf along: get another.
            async with aclosing(self._leaves.credentials(self._service)) as news:
                async for leaf, trust in news:
                    yield svids(leaf, trust)

    async def _believed(self) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._leaves.trusts()) as news:
            async for trust in news:
                yield bundles(trust)


async def _read(call: _Call, news: AsyncGenerator[bytes, None]) -> None:
    try:
        async with aclosing(news):
            async for message in news:
                call.put(message)
    except MeshError as error:
        call.end(grpc.StatusCode.UNAVAILABLE, error.message)
    finally:
        call.end(grpc.StatusCode.INTERNAL, "the agent failed; see its log")


async def _check(context: Any) -> None:
    """Refuse a call that somebody was led to make."""
    if HEADER not in {(key, value) for key, value in context.invocation_metadata() or ()}:
        text = f"security header missing from request: {HEADER[0]}: {HEADER[1]}"
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)


# Messages


def svids(leaf: Leaf, trust: Trust) -> bytes:
    """An X509SVIDResponse: chain, key and roots, all DER."""
    fields = (
        leaf.uri.encode(),
        signing.chain_der(leaf.certificate),
        key_der(leaf.key),
        _roots(trust),
    )
    svid = b"".join(wire.field(number, content) for number, content in enumerate(fields, 1))
    return wire.field(1, svid)


def bundles(trust: Trust) -> bytes:
    """An X509BundlesResponse: the roots by the SPIFFE ID of the trust domain."""
    domain = f"spiffe://{trust.trust_domain}".encode()
    return wire.field(2, wire.field(1, domain) + wire.field(2, _roots(trust)))


def _roots(trust: Trust) -> bytes:
    # Ordered by what does not change when another one becomes active.
    ordered = sorted(trust.roots, key=lambda root: root.id)
    return b"".join(signing.der(root.certificate) for root in ordered)
