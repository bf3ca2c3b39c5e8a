"""By which names browsers may ask."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from mesh.http.hosts import Hosts, is_browser
from tests.http.conftest import OPTIONS

LOOPBACK = [("127.0.0.1", 8500), ("::1", 8500)]
OWN = ["s1.example.com", "*.mesh", "*.a.example"]
FIREFOX = {"user-agent": "Mozilla/5.0", "accept-language": "en-US,en;q=0.5"}
EVIL = "evil.example:8500"


def foreign(host: str, headers: dict[str, str] | None = None, **options: Any) -> str:
    options = {"addresses": LOOPBACK, "own_hosts": OWN} | options
    given = (FIREFOX if headers is None else headers) | {"host": host}
    return Hosts(replace(OPTIONS, **options)).foreign(given) if is_browser(given) else ""


@pytest.mark.parametrize(
    "host",
    [
        "",
        "127.0.0.1:8500",
        "10.0.0.1",
        "[::1]:8500",
        "[fe80::1%25eth0]:8500",
        "localhost:8500",
        "LOCALHOST.",
        "a.localhost:8500",
        "consul",
        "s1.example.com:8500",
        "S1.Example.Com.",
        "s1.node.mesh:8500",
        "x.a.example",
        "raspberry.local:8500",
        "agent.corp.internal",
    ],
)
def test_own_names_and_those_that_nobody_else_can_have(host: str) -> None:
    assert foreign(host) == ""


@pytest.mark.parametrize(
    "host",
    [
        EVIL,
        "s1.example.com.evil.example",
        "mesh.evil.example",
        "xlocalhost.example",
        "a.example",
        "127.0.0.1.evil.example",
        "evil.example:1:2",
        "[evil",
        ":8500",
    ],
)
def test_names_that_somebody_may_have_lead_here(host: str) -> None:
    assert foreign(host) == host


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"user-agent": "curl/8.5.0", "accept": "*/*"},
        {"user-agent": "Consul/1.20", "accept-encoding": "gzip"},
        {"user-agent": "Prometheus/2.53", "accept-encoding": "gzip"},
        {"user-agent": "node", "accept-language": "*", "sec-fetch-mode": "cors"},
        {"user-agent": "Mozilla/5.0 (Windows NT; Windows NT 10.0) WindowsPowerShell/5.1"},
    ],
)
def test_programs_may_ask_by_any_name(headers: dict[str, str]) -> None:
    assert foreign(EVIL, headers) == ""


@pytest.mark.parametrize(
    "headers",
    [
        FIREFOX,
        # What a script can change of it, and what it cannot.
        FIREFOX | {"user-agent": "curl/8.5.0", "x-forwarded-for": "10.0.0.1"},
        FIREFOX | {"accept-language": ""},
        FIREFOX | {"accept-language": "*"},
        {"user-agent": "node", "accept-language": "*"},
        {"accept-language": "*"},
        {"user-agent": "curl", "accept-language": "*", "origin": "http://evil.example:8500"},
        {"user-agent": "curl", "accept-language": "*", "sec-fetch-site": "same-origin"},
    ],
)
def test_browsers_may_not(headers: dict[str, str]) -> None:
    assert foreign(EVIL, headers) == EVIL


def test_names_that_are_allowed() -> None:
    allowed = ["Mesh.Corp.example.", "*.ui.example"]
    assert foreign("mesh.corp.example:443", allowed_hosts=allowed) == ""
    assert foreign("a.b.ui.example", allowed_hosts=allowed) == ""
    assert foreign("ui.example", allowed_hosts=allowed) == "ui.example"
    assert foreign(EVIL, allowed_hosts=[*allowed, "*"]) == ""


def test_where_others_reach_the_node_only_what_is_allowed_counts() -> None:
    for address in ("0.0.0.0", "10.0.0.1", "::"):
        reached = [*LOOPBACK, (address, 8500)]
        assert foreign(EVIL, addresses=reached) == ""
        assert foreign(EVIL, addresses=reached, allowed_hosts=["a.example"]) == EVIL
