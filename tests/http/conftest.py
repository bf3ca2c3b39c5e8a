"""Requests for handlers and parsers, without sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mesh.clock import SeededDice, SystemClock
from mesh.http import params
from mesh.http.options import Options
from mesh.http.request import Parts, Request
from tests.registry_memory import MemoryRegistry

OPTIONS = Options(addresses=[], datacenter="dc1", node_name="n0")


@pytest.fixture
def registry() -> MemoryRegistry:
    return MemoryRegistry()


@pytest.fixture
def parts(registry: MemoryRegistry) -> Parts:
    return Parts(registry, SystemClock(), SeededDice(1))


@pytest.fixture
def request_for(parts: Parts) -> Callable[..., Request]:
    def make(query: str = "", **fields: Any) -> Request:
        fields.setdefault("options", OPTIONS)
        given = fields.pop("headers", {})
        fields["headers"] = {name.lower(): text for name, text in given.items()}
        return Request(parts, params=params.parse(query), **fields)

    return make
