"""The Python client of mesh: everything a program needs is imported from here.

`Client` blocks, `AsyncClient` awaits; both have the same methods, grouped by noun: `client.kv.get`.
The modules named after nouns build the same requests as values, for `client.watch(kv.get("a"))`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from mesh.client import catalog, event, health, kv, session
from mesh.client.call import Answer, ReadOptions
from mesh.client.settings import Settings
from mesh.client.sync import Client
from mesh.client.watching import Change

if TYPE_CHECKING:
    from mesh.client.aio import AsyncClient

__all__ = [
    "Answer",
    "AsyncClient",
    "Change",
    "Client",
    "ReadOptions",
    "Settings",
    "catalog",
    "event",
    "health",
    "kv",
    "session",
]


def __getattr__(name: str) -> type[AsyncClient]:
    """Load the client that awaits only when somebody wants it: aiohttp takes long to import."""
    if name != "AsyncClient":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: type[AsyncClient] = importlib.import_module("mesh.client.aio").AsyncClient
    return found
