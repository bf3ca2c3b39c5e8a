"""Handlers are plain functions: a request in, a reply out."""

from __future__ import annotations

from collections.abc import Callable

from mesh.http import kv
from mesh.http.request import Request
from tests.registry_memory import MemoryRegistry


async def test_put_then_get(request_for: Callable[..., Request], registry: MemoryRegistry) -> None:
    reply = await kv.put(request_for("cas=0", rest="x", body=b"1"))
    assert reply.body == b"true"
    reply = await kv.get(request_for("raw", rest="x"))
    assert (reply.status, reply.body) == (200, b"1")
    assert (await kv.get(request_for(rest="y"))).status == 404
