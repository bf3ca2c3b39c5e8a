"""A wall between nodes of ours and everybody else: nothing passes, as in a split network."""

from __future__ import annotations

from asyncio import StreamReader, StreamWriter
from collections.abc import Sequence
from typing import Any

from mesh.errors import Unreachable
from mesh.gossip.driver import Gossip
from mesh.gossip.transport import Transport


class Wall:
    """Around some nodes, which still reach each other by datagrams.

    It stands at the seam between driver and sockets. Who opened a stream cannot be told on
    loopback, so behind the wall nobody answers streams at all.
    """

    def __init__(self, inside: Sequence[Gossip]) -> None:
        self._inside = inside
        self._addresses = {node.address for node in inside}
        self._up = False
        for node in inside:
            self._build(node)

    def raise_(self) -> None:
        """Let nothing pass."""
        self._up = True

    def remove(self) -> None:
        """Let everything pass."""
        self._up = False

    def _stops(self, address: tuple[str, int]) -> bool:
        return self._up and address not in self._addresses

    def _build(self, node: Gossip) -> None:
        transport = node.transport
        received, serve = transport.datagram_received, transport._serve

        def walled_received(data: bytes, addr: tuple[str, int]) -> None:
            if not self._stops(addr[:2]):
                received(data, addr)

        async def walled_serve(reader: StreamReader, writer: StreamWriter) -> None:
            if self._up:
                writer.close()
            else:
                await serve(reader, writer)

        transport.datagram_received = walled_received  # type: ignore[method-assign]
        transport._serve = walled_serve  # type: ignore[method-assign]
        self._build_outwards(transport)

    def _build_outwards(self, transport: Transport) -> None:
        send = transport.send

        def walled_send(address: str, port: int, parts: Sequence[bytes], *, crc: bool) -> None:
            if not self._stops((address, port)):
                send(address, port, parts, crc=crc)

        def walled(stream: Any) -> Any:
            async def opens(host: str, port: int, *rest: Any) -> Any:
                if self._stops((host, port)):
                    raise Unreachable(f"{host}:{port}: there is a wall")
                return await stream(host, port, *rest)

            return opens

        transport.send = walled_send  # type: ignore[method-assign]
        transport.ask = walled(transport.ask)  # type: ignore[method-assign]
        transport.tell = walled(transport.tell)  # type: ignore[method-assign]
