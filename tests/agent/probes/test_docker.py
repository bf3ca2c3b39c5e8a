"""Docker checks against a small server on a unix socket that speaks the calls they make."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from mesh.agent.checks import Result
from mesh.agent.probes import docker
from tests.agent.probes.conftest import check

CONTAINER = {"DockerContainerID": "f972c95ebf0e", "Args": ["/check", "now"]}


class Daemon:
    """One container, in which every command ends as told."""

    def __init__(self) -> None:
        self.code: int | None = 0
        self.frames = [(1, b"all "), (2, b"well")]
        self.made: list[dict[str, Any]] = []
        self.silent = False

    async def create(self, request: web.Request) -> web.Response:
        if request.match_info["id"] != CONTAINER["DockerContainerID"]:
            message = f"No such container: {request.match_info['id']}"
            return web.json_response({"message": message}, status=404)
        self.made.append(await request.json())
        return web.json_response({"Id": "e1"}, status=201)

    async def start(self, request: web.Request) -> web.StreamResponse:
        assert (await request.json()) == {"Detach": False, "Tty": False}
        response = web.StreamResponse()
        await response.prepare(request)
        for kind, data in self.frames:
            head = bytes([kind, 0, 0, 0]) + len(data).to_bytes(4, "big")
            await response.write(head[:3])
            await response.write(head[3:] + data[:1])
            await response.write(data[1:])
        if self.silent:
            await asyncio.Event().wait()
        return response

    async def inspect(self, _: web.Request) -> web.Response:
        return web.json_response({"ExitCode": self.code, "Running": self.code is None})


@pytest.fixture
async def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Daemon]:
    made = Daemon()
    application = web.Application()
    handlers: list[tuple[str, str, Callable[[web.Request], Awaitable[web.StreamResponse]]]] = [
        ("POST", "/containers/{id}/exec", made.create),
        ("POST", "/exec/e1/start", made.start),
        ("GET", "/exec/e1/json", made.inspect),
    ]
    for method, path, handler in handlers:
        application.router.add_route(method, path, handler)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "docker.sock")).start()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    yield made
    await runner.cleanup()


@pytest.mark.parametrize(("code", "status"), [(0, "passing"), (1, "warning"), (2, "critical")])
async def test_the_exit_code_decides(daemon: Daemon, code: int, status: str) -> None:
    daemon.code = code
    assert await docker.run(check(**CONTAINER)) == Result(status, "all well")
    assert daemon.made == [{"AttachStdout": True, "AttachStderr": True, "Cmd": ["/check", "now"]}]


async def test_a_shell_gets_one_line(daemon: Daemon) -> None:
    await docker.run(check(**CONTAINER, Shell="/bin/sh"))
    await docker.run(check(**CONTAINER | {"Args": ["a | b"]}, Shell="/bin/sh"))
    lines = [made["Cmd"] for made in daemon.made]
    assert lines == [["/bin/sh", "-c", "/check now"], ["/bin/sh", "-c", "a | b"]]


async def test_long_output(daemon: Daemon) -> None:
    daemon.frames = [(1, b"x" * 300_000), (1, b""), (1, b"end")]
    result = await docker.run(check(**CONTAINER))
    assert (len(result.output), result.output[-4:]) == (300_003, "xend")


class Pieces:
    """A body of which each read gives a piece, as one that comes in several packets."""

    def __init__(self, *pieces: bytes) -> None:
        self.left = list(pieces)
        self.content = self

    async def read(self, most: int) -> bytes:
        piece = self.left.pop(0) if self.left else b""
        assert len(piece) <= most
        return piece


async def test_an_answer_that_comes_in_pieces_is_read_whole() -> None:
    pieces: Any = Pieces(b'{"ExitCode":', b" 0", b"}")
    assert await docker._whole(pieces) == b'{"ExitCode": 0}'
    pieces = Pieces(b"x" * docker.ANSWER_MAX_BYTES, b"more")
    assert len(await docker._whole(pieces)) == docker.ANSWER_MAX_BYTES


async def test_an_unknown_container(daemon: Daemon) -> None:
    result = await docker.run(check(**CONTAINER | {"DockerContainerID": "none/../x"}))
    assert result.status == "critical"
    assert result.output.endswith("No such container: none/../x")


async def test_a_command_that_hangs(daemon: Daemon) -> None:
    daemon.silent = True
    result = await docker.run(check(**CONTAINER, Timeout="100ms"))
    assert result == Result("critical", "Timed out (100ms) running check")


@pytest.mark.parametrize("host", ["unix:///nonexistent/docker.sock", "ssh://there", "here"])
async def test_no_daemon(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    result = await docker.run(check(**CONTAINER))
    assert result.status == "critical"
    assert result.output.startswith("Docker container f972c95ebf0e: ")
