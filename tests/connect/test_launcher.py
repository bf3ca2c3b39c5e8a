from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from mesh.clock import SeededDice, SystemClock
from mesh.connect import admin
from mesh.connect.bootstrap import Bootstrap, bootstrap
from mesh.connect.launcher import Launcher, Options, Sidecar, short_folder
from mesh.connect.process import kill_left
from mesh.errors import Conflict, Unreachable

PROXY = "web-sidecar-proxy"
WORLD = (SystemClock(), SeededDice())
pytestmark = pytest.mark.together


def made(greeting: str = "one") -> dict[str, Any]:
    """A bootstrap without an agent: one listener that greets."""
    built = bootstrap(Bootstrap(proxy=PROXY, service="web", node="n1", agent="unix:///none"))
    built["dynamic_resources"] = {}
    built["static_resources"]["clusters"] = []
    kind = "type.googleapis.com/envoy.extensions.filters.network.direct_response.v3.Config"
    config = {"@type": kind, "response": {"inline_string": greeting}}
    listener = {
        "name": "greeting",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{"name": "greet", "typed_config": config}]}],
    }
    built["static_resources"]["listeners"] = [listener]
    return built


async def until(launcher: Launcher, true: Callable[[Sidecar], bool]) -> Sidecar:
    async with asyncio.timeout(60):
        while True:
            for one in launcher.sidecars():
                if true(one):
                    return one
            await asyncio.sleep(0.02)


async def greeting(sidecar: Sidecar) -> str:
    listeners = (await admin.ask(sidecar.admin, "/listeners")).decode()
    port = int(listeners.strip().rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    said = await reader.read()
    writer.close()
    return said.decode()


def exists(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


@pytest.fixture
async def launcher(tmp_path: Path) -> AsyncIterator[Launcher]:
    one = Launcher(tmp_path, Options(drain_seconds=0.2), WORLD)
    yield one
    await one.stop(keep=False)


async def test_an_envoy_runs_and_is_started_again_when_it_is_killed(launcher: Launcher) -> None:
    launcher.want(PROXY, made())
    first = await until(launcher, lambda one: one.state == "running")
    assert await greeting(first) == "one"
    os.kill(first.pid, signal.SIGKILL)
    second = await until(
        launcher, lambda one: one.state == "running" and one.pid not in {0, first.pid}
    )
    assert second.restarts == 1
    assert await greeting(second) == "one"
    launcher.drop(PROXY)
    async with asyncio.timeout(30):
        while launcher.sidecars():
            await asyncio.sleep(0.02)
    assert not exists(second.pid)


async def test_another_bootstrap_takes_over_the_sockets(launcher: Launcher) -> None:
    launcher.want(PROXY, made())
    first = await until(launcher, lambda one: one.state == "running")
    launcher.want(PROXY, made("two"))
    second = await until(
        launcher, lambda one: one.state == "running" and one.pid not in {0, first.pid}
    )
    assert second.restarts == 0
    assert await greeting(second) == "two"
    async with asyncio.timeout(60):
        while exists(first.pid):
            await asyncio.sleep(0.05)


async def test_an_envoy_outlives_its_agent_and_is_found_again(tmp_path: Path) -> None:
    before = Launcher(tmp_path, Options(drain_seconds=0.2), WORLD)
    before.want(PROXY, made())
    first = await until(before, lambda one: one.state == "running")
    await before.stop(keep=True)
    assert exists(first.pid)
    after = Launcher(tmp_path, Options(drain_seconds=0.2), WORLD)
    after.want(PROXY, made())
    assert (await until(after, lambda one: one.state == "running")).pid == first.pid
    await after.stop(keep=False)
    assert not exists(first.pid)


async def test_a_bootstrap_that_envoy_refuses_is_tried_again_with_the_next(
    launcher: Launcher,
) -> None:
    broken = made()
    broken["static_resources"]["listeners"][0]["name"] = 5
    launcher.want(PROXY, broken)
    failed = await until(launcher, lambda one: one.state == "failed")
    assert "see " in failed.why
    assert "envoy.log" in failed.why
    launcher.want(PROXY, made())
    assert await greeting(await until(launcher, lambda one: one.state == "running")) == "one"


async def test_without_an_envoy_it_says_so(tmp_path: Path) -> None:
    launcher = Launcher(tmp_path, Options(binary="/no-such-envoy"), WORLD)
    launcher.want(PROXY, made())
    failed = await until(launcher, lambda one: one.state == "failed")
    assert "/no-such-envoy is no program" in failed.why
    await launcher.stop(keep=False)


async def test_nobody_answers_on_a_socket_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="admin"):
        await admin.ask(str(tmp_path / "admin.sock"), "/ready")


def test_sockets_get_a_short_path_that_only_we_may_enter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert short_folder(Path("/run/mesh"), 20) == Path("/run/mesh")
    short = short_folder(tmp_path / ("x" * 120), 20)
    assert short.parent == tmp_path
    assert short.stat().st_mode & 0o777 == 0o700
    short.chmod(0o755)
    with pytest.raises(Conflict, match="not ours alone"):
        short_folder(tmp_path / ("x" * 120), 20)


async def test_what_was_left_running_for_a_proxy_that_is_gone_is_stopped(tmp_path: Path) -> None:
    before = Launcher(tmp_path, Options(drain_seconds=0.2), WORLD)
    before.want(PROXY, made())
    first = await until(before, lambda one: one.state == "running")
    await before.stop(keep=True)
    after = Launcher(tmp_path, Options(drain_seconds=0.2), WORLD)
    after.keep_only([PROXY])
    assert exists(first.pid)
    after.keep_only(["another"])
    async with asyncio.timeout(30):
        while exists(first.pid):
            await asyncio.sleep(0.02)
    await after.stop(keep=False)


def write_down_only_the_number(folder: Path, pid: int) -> None:
    (record,) = folder.glob("*/envoy-0.json")
    record.unlink()
    record.with_suffix(".pid").write_text(f"{pid}\n")


async def test_an_envoy_is_found_whose_agent_ended_before_it_wrote_it_down(tmp_path: Path) -> None:
    before = Launcher(tmp_path, Options(drain_seconds=0.2), WORLD)
    before.want(PROXY, made())
    first = await until(before, lambda one: one.state == "running")
    await before.stop(keep=True)
    write_down_only_the_number(tmp_path, first.pid)
    assert kill_left(tmp_path) == [first.pid]
    async with asyncio.timeout(30):
        while exists(first.pid):
            await asyncio.sleep(0.02)


def test_who_runs_an_envoy_is_remembered(tmp_path: Path) -> None:
    Launcher(tmp_path, Options(), WORLD).leave_alone(PROXY, alone=True)
    after = Launcher(tmp_path, Options(), WORLD)
    assert after.is_left_alone(PROXY)
    after.leave_alone(PROXY, alone=False)
    assert not Launcher(tmp_path, Options(), WORLD).is_left_alone(PROXY)
