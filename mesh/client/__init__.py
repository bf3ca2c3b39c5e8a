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
    from mesh.client.workload import tls

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
    "tls",
]


LATER = {"AsyncClient": "mesh.client.aio", "tls": "mesh.client.workload"}
"""What takes long to import, or is seldom wanted."""


def __getattr__(name: str) -> object:
    """Load what stands in LATER when somebody wants it."""
    if name not in LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(LATER[name]), name)
