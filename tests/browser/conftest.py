"""One cluster and one browser for all of these tests: each takes seconds to start.

They end with the last test here: the browser's loop is in the way of tests with their own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.driver import browser, window
from tests.cluster.forked import MESHD
from tests.cluster.meshed import application, meshed, register
from tests.cluster.processes import PLAIN, Cluster, Meshd, eventually

PATIENT: dict[str, Any] = {
    "gossip_lan": {},
    "autopilot": {"last_contact_threshold": "2s", "server_stabilization_time": "2s"},
    "performance": {"raft_multiplier": 3, "workers": 0},
}
"""A browser can keep a small machine busy for longer than other tests give a node to answer."""


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    with browser() as made:
        yield made


@pytest.fixture(scope="package")
def shop(chromium: Browser) -> Iterator[Cluster]:
    """Three servers and two agents, `web` that calls `payments`, and something of everything.

    Tests change what is theirs (names of their own), and leave the rest as it was.
    """
    with tempfile.TemporaryDirectory() as folder, meshed(Path(folder), 3, 2, **PATIENT) as made:
        one, other = made.agents
        check = {"name": "answers", "interval": "1s", "timeout": "5s"}
        for node, name, upstreams in ((one, "web", {"payments": 9191}), (other, "payments", {})):
            port = application(made, node, name)
            register(node, name, port, upstreams=upstreams)
            body = check | {"http": f"http://{node.address}:{port}/", "service_id": name}
            node.put("/v1/agent/check/register", {"id": f"{name}-http"} | body)
        eventually(lambda: passing(one, "web") and passing(one, "payments"))
        yield made


def passing(node: Any, service: str) -> bool:
    """Whether all of a service's instances are well, and there is one."""
    found = node.get(f"/v1/health/service/{service}")
    return bool(found) and all(
        check["Status"] == "passing" for entry in found for check in entry["Checks"]
    )


@pytest.fixture
def at(shop: Cluster) -> Callable[[str], str]:
    """The address of a page: `at("services/web")`, as the first agent serves it."""
    return lambda path: f"{address(shop)}/ui/dc1/{path}".rstrip("/")


@contextmanager
def alone(folder: Path, *, module: str = MESHD, **options: Any) -> Iterator[Meshd]:
    """A cluster of one server without TLS, for what the shared one is not to be changed by."""
    config = {"server": True, "bootstrap_expect": 1, "tls": PLAIN, **PATIENT, **options}
    node = Meshd("alone", "127.0.0.1", folder / "alone", config)
    node.module = module
    node.start()
    try:
        eventually(lambda: node.get("/v1/status/leader"))
        yield node
    finally:
        node.kill()


def page_of(node: Meshd, path: str) -> str:
    """The address of a page as this node serves it."""
    return f"http://{node.client_address}:{node.http}/ui/dc1/{path}"


def address(made: Cluster) -> str:
    """Where the first agent answers HTTP."""
    node = made.agents[0]
    return f"http://{node.client_address}:{node.http}"


Opened = Callable[..., AbstractContextManager[Page]]


@pytest.fixture
def opened(chromium: Browser) -> Opened:
    """A new window, as `tests.browser.driver.window` makes it."""
    return lambda **options: window(chromium, **options)


@pytest.fixture
def page(opened: Opened) -> Iterator[Page]:
    """A window of the usual size."""
    with opened() as made:
        yield made


@pytest.fixture
def update(request: pytest.FixtureRequest) -> bool:
    """Whether pictures are to be taken anew."""
    return bool(request.config.getoption("--update"))
