"""Watching with real handlers: programs, and a URL on loopback."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh.agent.watches import read_watch
from mesh.agent.watching import Heard, Watching
from mesh.clock import SystemClock
from mesh.errors import Unreachable
from tests.agent.conftest import until
from tests.client.scripted import Scripted


class Api:
    """Answers as an HTTP API with one value, blocking while its index is what was asked for."""

    def __init__(self) -> None:
        self.heard = Heard(200, 5, b"[1]")
        self.asked: list[str] = []
        self.error: Unreachable | None = None
        self.changed = asyncio.Event()
        self.time_out = asyncio.Event()

    def set(self, index: int, body: bytes) -> None:
        self.heard = Heard(200, index, body)
        self.changed.set()

    async def ask(self, target: str) -> Heard:
        self.asked.append(target)
        if self.error is not None:
            raise self.error
        if target.endswith(f"index={self.heard.index}"):
            self.changed.clear()
            waits = [asyncio.ensure_future(one.wait()) for one in (self.changed, self.time_out)]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for one in waits:
                one.cancel()
            self.time_out.clear()
        return self.heard


class World:
    def __init__(self) -> None:
        self.api = Api()
        self.watching = Watching(self.api.ask, SystemClock())

    async def follow(self, *given: dict[str, Any]) -> None:
        await self.watching.follow([read_watch({"type": "nodes"} | one) for one in given])


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.watching.stop()


@pytest.fixture
def hook() -> Iterator[Scripted]:
    with Scripted() as server:
        yield server


async def test_a_program_gets_the_news_and_the_index(world: World, tmp_path: Path) -> None:
    said = tmp_path / "said"
    script = f'cat >> {said}; echo " $CONSUL_INDEX" >> {said}'
    await world.follow({"args": ["/bin/sh", "-c", script]})
    await until(lambda: said.exists() and said.read_text() == "[1] 5\n")
    await until(lambda: len(world.api.asked) == 2)
    world.api.time_out.set()
    await until(lambda: len(world.api.asked) == 3)
    world.api.set(9, b"[2]")
    await until(lambda: said.read_text() == "[1] 5\n[2] 9\n")
    await until(lambda: world.watching.counters == {"told": 2})
    assert world.api.asked[1].endswith("?index=5")


async def test_a_url_gets_the_news_and_the_index(world: World, hook: Scripted) -> None:
    hook.on("PUT", "/hook", "")
    config = {"path": f"http://{hook.address}/hook", "method": "PUT", "header": {"X-A": ["b"]}}
    await world.follow({"handler_type": "http", "http_handler_config": config})
    await until(lambda: world.watching.counters["told"] == 1)
    (said,) = hook.said
    assert (said.method, said.body) == ("PUT", b"[1]")
    assert said.headers["x-consul-index"] == "5"
    assert said.headers["content-type"] == "application/json"
    assert said.headers["x-a"] == "b"


@pytest.mark.parametrize(
    "handler",
    [
        {"args": ["/no/such"]},
        {"args": ["false"]},
        {"args": ["sleep", "60"], "timeout": "100ms"},
        {"handler_type": "http", "http_handler_config": {"path": "http://127.0.0.1:1/"}},
        {"handler_type": "http", "http_handler_config": {"path": "HOOK"}},
    ],
)
async def test_a_handler_that_fails_hears_the_next_news_all_the_same(
    world: World, hook: Scripted, handler: dict[str, Any]
) -> None:
    hook.on("POST", "/", "", status=500)
    if handler.get("http_handler_config", {}).get("path") == "HOOK":
        handler = handler | {"http_handler_config": {"path": f"http://{hook.address}/"}}
    await world.follow(handler)
    await until(lambda: world.watching.counters["handler_failures"] == 1)
    world.api.set(6, b"[2]")
    await until(lambda: world.watching.counters["handler_failures"] == 2)


async def test_answers_that_fail_are_asked_for_again_from_the_start(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh.agent.watching.RETRY_SECONDS", 0.01)
    await world.follow({"args": ["/bin/sh", "-c", f"cat >> {tmp_path}/said"]})
    await until(lambda: world.watching.counters["told"] == 1)
    await until(lambda: len(world.api.asked) == 2)
    world.api.error = Unreachable("no servers")
    world.api.set(6, b"[2]")
    await until(lambda: world.watching.counters["failures"] > 2)
    assert world.api.asked[-1] == "/v1/catalog/nodes"
    world.api.error = None
    await until(lambda: world.watching.counters["told"] == 2)
    assert (tmp_path / "said").read_bytes() == b"[1][2]"


async def test_whoever_is_followed_no_more_is_told_nothing(world: World, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    await world.follow({"args": ["/bin/sh", "-c", f"echo $$ > {pid}; sleep 300"]})
    await until(lambda: pid.exists() and pid.read_text().strip())
    running = int(pid.read_text())
    await world.follow({"args": ["true"]})
    await until(lambda: not Path(f"/proc/{running}").exists())
    await until(lambda: world.watching.counters["told"] == 1)
    await world.watching.stop()


async def test_a_watch_outlives_a_process_without_files_to_open(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> tuple[int, int]:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("mesh.agent.scripts.os.pipe", full)
    await world.follow({"args": ["true"]})
    await until(lambda: world.watching.counters["handler_failures"] == 1)
    monkeypatch.undo()
    world.api.set(6, b"[2]")
    await until(lambda: world.watching.counters["told"] == 1)
