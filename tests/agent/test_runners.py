"""Checks against real servers, and the ones that ask nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mesh.agent import scripts
from mesh.agent.checks import Result
from mesh.registry.catalog import Check, Deregister, Node, Register, Service
from tests.agent.conftest import World, until
from tests.registry_memory import MemoryRegistry

Make = Callable[..., World]
INTERVAL = "30ms"
NAMES = {"w": "Service 'web' check", "d": "Service 'db' check"}


class Site:
    """An HTTP server that answers as told and remembers what it was asked."""

    def __init__(self) -> None:
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        self.asked: list[str] = []
        self.url = ""
        self.silent = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
            if self.silent:
                await reader.read()
            writer.write(self.answer)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/health"
    yield made
    server.close()


@pytest.fixture
async def running(world: Make) -> Callable[..., Awaitable[World]]:
    async def start(check: dict[str, Any], **options: Any) -> World:
        made = world(**options)
        made.check(ID="c", Name="c", **check)
        await made.agent.start()
        return made

    return start


Running = Callable[..., Awaitable[World]]


async def test_http_says_what_it_got(site: Site, running: Running) -> None:
    headers = {"Host": ["web.example"], "X-A": ["1", "2"], "User-Agent": ["me"]}
    check = {"HTTP": site.url, "Interval": INTERVAL, "Method": "POST", "Body": "hi"}
    world = await running(check | {"Header": headers})
    await until(lambda: world.status("c") == "passing")
    assert world.output("c") == f"HTTP POST {site.url}: 200 OK Output: ok"
    asked = site.asked[0].lower()
    assert asked.startswith("post /health http/1.1\r\n")
    for line in ("host: web.example", "x-a: 1", "x-a: 2", "user-agent: me", "connection: close"):
        assert asked.count(f"\r\n{line}\r\n") == 1
    assert "accept: text/plain, text/*, */*" in asked


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("204 No Content", "passing"),
        ("302 Found", "critical"),
        ("429 Too Many Requests", "warning"),
        ("404 Not Found", "critical"),
        ("500 Oops", "critical"),
    ],
)
async def test_http_statuses(site: Site, running: Running, line: str, status: str) -> None:
    site.answer = f"HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n".encode()
    check = {"HTTP": site.url, "Interval": INTERVAL, "DisableRedirects": True, "Status": "passing"}
    world = await running(check)
    await until(lambda: line in world.output("c"))
    assert world.status("c") == status


async def test_http_reads_all_and_keeps_the_end(site: Site, running: Running) -> None:
    body = b"a" * 300_000 + b"end"
    site.answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    world = await running({"HTTP": site.url, "Interval": INTERVAL, "OutputMaxSize": 10})
    await until(lambda: world.output("c"))
    whole = len(f"HTTP GET {site.url}: 200 OK Output: ") + len(body)
    assert world.output("c") == f"Captured 10 of {whole} bytes\n...\naaaaaaaend"


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Len"])
async def test_http_nonsense_is_critical(site: Site, running: Running, answer: bytes) -> None:
    site.answer = answer
    world = await running({"HTTP": site.url, "Interval": INTERVAL, "Status": "passing"})
    await until(lambda: world.status("c") == "critical")
    assert site.url in world.output("c")
    site.answer = Site().answer
    await until(lambda: world.status("c") == "passing")


async def test_http_timeout(site: Site, running: Running) -> None:
    site.silent = True
    world = await running({"HTTP": site.url, "Interval": INTERVAL, "Timeout": "50ms"})
    await until(lambda: world.output("c"))
    assert world.status("c") == "critical"
    assert "timed out" in world.output("c").lower()


async def test_tcp(site: Site, running: Running) -> None:
    address = site.url.removeprefix("http://").removesuffix("/health")
    world = await running({"TCP": address, "Interval": INTERVAL})
    await until(lambda: world.status("c") == "passing")
    assert world.output("c") == f"TCP connect {address}: Success"
    world.check(ID="c", Name="c", TCP="127.0.0.1:1", Interval=INTERVAL)
    await until(lambda: world.status("c") == "critical")
    assert world.output("c").startswith("TCP connect 127.0.0.1:1: ")


async def test_tls_to_a_plain_server_is_critical(site: Site, running: Running) -> None:
    address = site.url.removeprefix("http://").removesuffix("/health")
    check = {"TCP": address, "TCPUseTLS": True, "Interval": INTERVAL, "Timeout": "200ms"}
    world = await running(check)
    await until(lambda: world.output("c"))
    assert world.output("c").startswith(f"TCP+TLS connect {address}: ")
    assert world.status("c") == "critical"


async def test_scripts_and_thresholds(running: Running, tmp_path: Path) -> None:
    good, runs = tmp_path / "good", tmp_path / "runs"
    good.touch()
    script = f"if test -e {good}; then exit 0; fi; echo bad >> {runs}; exit 2"
    check = {"Args": ["/bin/sh", "-c", script], "Interval": INTERVAL, "FailuresBeforeCritical": 3}
    world = await running(check, enable_script_checks=True)
    await until(lambda: world.status("c") == "passing")
    good.unlink()
    await until(lambda: world.status("c") == "critical")
    assert len(runs.read_text().split()) >= 3


async def test_a_defect_in_a_probe_is_critical_and_not_the_end(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    results: list[Result | Exception] = [Result("passing", "fine"), RuntimeError("defect")]

    async def probe(arguments: list[str], seconds: float) -> Result:
        result = results.pop() if results else Result("passing", "fine")
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(scripts, "run", probe)
    world = await running({"Args": ["x"], "Interval": INTERVAL}, enable_script_checks=True)
    await until(lambda: "defect" in world.output("c"))
    assert world.status("c") == "critical"
    await until(lambda: world.status("c") == "passing")


async def test_a_new_check_is_judged_within_a_second(site: Site, running: Running) -> None:
    world = await running({"HTTP": site.url, "Interval": "1h"}, interval_min_seconds=1.0)
    async with asyncio.timeout(1.5):
        await until(lambda: world.status("c") == "passing")


async def test_a_ttl_expires_and_comes_back(running: Running) -> None:
    world = await running({"TTL": "80ms", "FailuresBeforeCritical": 5, "SuccessBeforePassing": 5})
    world.agent.update_ttl("c", "passing", "all is well")
    assert (world.status("c"), world.output("c")) == ("passing", "all is well")
    await until(lambda: world.status("c") == "critical")
    assert world.output("c") == "TTL expired\nall is well"
    world.agent.update_ttl("c", "critical", "ill")
    world.agent.update_ttl("c", "warning", "so so")
    assert world.status("c") == "warning"
    await until(lambda: world.status("c") == "critical")
    assert world.output("c") == "TTL expired\nso so"


async def test_a_ttl_that_is_renewed_does_not_expire(running: Running) -> None:
    world = await running({"TTL": "300ms"})
    loop = asyncio.get_running_loop()
    end = loop.time() + 0.9
    while loop.time() < end:
        world.agent.update_ttl("c", "passing", "")
        await asyncio.sleep(0.02)
        assert world.status("c") == "passing"


async def test_a_local_alias_follows_its_target(world: Make) -> None:
    made = world()
    made.check(ID="alias", Name="alias", AliasService="web1")
    await made.agent.start()
    await until(lambda: made.output("alias") == "Service web1 could not be found")
    made.service(Name="web", ID="web1")
    await until(lambda: made.status("alias") == "passing")
    assert made.output("alias") == "No checks found."
    made.check(ID="t", Name="t", ServiceID="web1", TTL="1h", Status="warning")
    await until(lambda: made.status("alias") == "warning")
    assert made.output("alias").startswith('Aliased check "t" is warning')
    made.agent.update_ttl("t", "passing", "")
    await until(lambda: made.output("alias") == "All checks passing.")
    made.agent.set_node_maintenance("")
    await until(lambda: made.status("alias") == "critical")
    made.agent.set_node_maintenance(None)
    await until(lambda: made.status("alias") == "passing")


@pytest.mark.parametrize("owners", [("", ""), ("web", "db")])
async def test_aliases_of_each_other_come_back(world: Make, owners: tuple[str, str]) -> None:
    made = world()
    made.service(Name="web", Check={"CheckID": "w", "TTL": "1h", "Status": "passing"})
    made.service(Name="db", Check={"CheckID": "d", "TTL": "1h", "Status": "passing"})
    made.check(Name="of-web", AliasService="web", ServiceID=owners[1])
    made.check(Name="of-db", AliasService="db", ServiceID=owners[0])
    await made.agent.start()
    for check in ("w", "d"):
        await until(lambda: made.status("of-web") == made.status("of-db") == "passing")
        made.agent.update_ttl(check, "critical", "down")
        await until(lambda: made.status("of-web") == made.status("of-db") == "critical")
        assert made.output("of-web") == f'Aliased check "{NAMES[check]}" is critical: down'
        made.agent.update_ttl(check, "passing", "")
    await until(lambda: made.status("of-web") == made.status("of-db") == "passing")


async def test_an_alias_of_an_alias(world: Make) -> None:
    made = world()
    made.service(Name="web", Check={"CheckID": "w", "TTL": "1h", "Status": "passing"})
    made.service(Name="proxy", Check={"CheckID": "p", "AliasService": "web"})
    made.check(Name="top", AliasService="proxy")
    await made.agent.start()
    await until(lambda: made.status("top") == "passing")
    made.agent.update_ttl("w", "warning", "slow")
    await until(lambda: made.status("top") == "warning")
    assert made.output("top") == f'Aliased check "{NAMES["w"]}" is warning: slow'
    made.agent.deregister_service("web")
    await until(lambda: made.status("top") == "critical")
    assert made.output("top").endswith("Service web could not be found")


async def test_an_alias_of_another_node(world: Make) -> None:
    registry = MemoryRegistry()
    made = world(registry)
    made.check(ID="alias", Name="alias", AliasNode="n2", AliasService="db1")
    await made.agent.start()
    await until(lambda: made.output("alias") == "Node n2 could not be found")
    node = Node(name="n2", address="10.0.0.2")
    bad = Check(node="n2", id="c", name="c", status="warning", service_id="db1")
    await registry.write(Register(node, Service(node="n2", id="db1", name="db"), [bad]))
    await until(lambda: made.status("alias") == "warning")
    good = Check(node="n2", id="c", name="c", status="passing", service_id="db1")
    await registry.write(Register(node, None, [good]))
    await until(lambda: made.status("alias") == "passing")
    await registry.write(Deregister("n2", service_id="db1"))
    await until(lambda: made.status("alias") == "critical")
    assert made.output("alias") == "Service db1 could not be found on node n2"
