"""Docker checks: a command in a running container, through the API of the Docker daemon."""

from __future__ import annotations

import os
import shlex
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec

from mesh.agent.checks import Result
from mesh.agent.definitions import CheckDefinition
from mesh.agent.probes.target import reason
from mesh.agent.scripts import Tail
from mesh.durations import format_duration
from mesh.errors import Invalid

TIMEOUT_SECONDS = 30.0
HOST = "unix:///var/run/docker.sock"
ANSWER_MAX_BYTES = 64 * 1024
_STATUS = {0: "passing", 1: "warning"}
_HEAD_BYTES = 8


async def run(check: CheckDefinition) -> Result:
    """Exit code 0 passes, 1 warns, all else is critical."""
    limit = check.timeout or TIMEOUT_SECONDS
    try:
        connector, base = _door(os.environ.get("DOCKER_HOST") or HOST)
        timeout = aiohttp.ClientTimeout(total=limit)
        async with aiohttp.ClientSession(base, connector=connector, timeout=timeout) as session:
            return await _execute(session, check)
    except TimeoutError:
        return Result("critical", f"Timed out ({format_duration(limit)}) running check")
    except (aiohttp.ClientError, OSError, ValueError, Invalid, msgspec.DecodeError) as error:
        return Result("critical", f"Docker container {check.docker_container_id}: {reason(error)}")


def _door(host: str) -> tuple[aiohttp.BaseConnector, str]:
    """How to reach the daemon [DOCKER_HOST]. Raises Invalid."""
    scheme, separator, rest = host.partition("://")
    if separator and scheme == "unix":
        return aiohttp.UnixConnector(rest, force_close=True), "http://docker"
    if separator and scheme in {"tcp", "http"}:
        return aiohttp.TCPConnector(force_close=True), f"http://{rest}"
    raise Invalid(f'DOCKER_HOST: expected unix:///path or tcp://host:port, got "{host}"')


async def _execute(session: aiohttp.ClientSession, check: CheckDefinition) -> Result:
    container = quote(check.docker_container_id, safe="")
    wanted = {"AttachStdout": True, "AttachStderr": True, "Cmd": _command(check)}
    made = await _ask(session, "POST", f"/containers/{container}/exec", wanted)
    execution = quote(str(made.get("Id", "")), safe="")
    kept = Tail()
    start = {"Detach": False, "Tty": False}
    async with session.post(f"/exec/{execution}/start", json=start) as response:
        if response.status != 200:
            raise ValueError(await _complaint(response))
        await _hear(response.content.iter_any(), kept.add)
    ended = await _ask(session, "GET", f"/exec/{execution}/json", None)
    code = ended.get("ExitCode")
    if not isinstance(code, int):
        return Result("critical", f"the command did not end\n{kept.text}".rstrip())
    return Result(_STATUS.get(code, "critical"), kept.text)


def _command(check: CheckDefinition) -> list[str]:
    """The arguments, or a shell that is given them as one line."""
    if not check.shell:
        return check.args
    line = check.args[0] if len(check.args) == 1 else shlex.join(check.args)
    return [check.shell, "-c", line]


async def _ask(
    session: aiohttp.ClientSession, method: str, path: str, body: dict[str, Any] | None
) -> dict[str, Any]:
    async with session.request(method, path, json=body) as response:
        if response.status >= 300:
            raise ValueError(await _complaint(response))
        data = await _whole(response)
        return msgspec.json.decode(data, type=dict[str, Any])


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    """The body, or as much of it as an answer may have."""
    data = b""
    while len(data) < ANSWER_MAX_BYTES:
        part = await response.content.read(ANSWER_MAX_BYTES - len(data))
        if not part:
            break
        data += part
    return data


async def _complaint(response: aiohttp.ClientResponse) -> str:
    """What the daemon says is wrong."""
    data = await _whole(response)
    try:
        return str(msgspec.json.decode(data, type=dict[str, Any])["message"])
    except (msgspec.DecodeError, KeyError):
        return f"the Docker daemon answers with status {response.status}"


async def _hear(chunks: AsyncIterator[bytes], say: Callable[[bytes], None]) -> None:
    """The output: frames of standard output and error, each with a head that says how long."""
    waiting, left = bytearray(), 0
    async for chunk in chunks:
        waiting += chunk
        while waiting:
            if left == 0:
                if len(waiting) < _HEAD_BYTES:
                    break
                left = int.from_bytes(waiting[4:_HEAD_BYTES], "big")
                del waiting[:_HEAD_BYTES]
            part = bytes(waiting[:left])
            del waiting[:left]
            left -= len(part)
            say(part)
