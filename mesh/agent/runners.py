"""Runners: they run the checks, each in a task of its own, and report what they find."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

import aiohttp

from mesh.agent.checks import Result
from mesh.agent.definitions import CheckDefinition
from mesh.clock import Clock, Dice
from mesh.errors import MeshError
from mesh.registry.catalog import Check
from mesh.registry.health import NodeChecks, worst
from mesh.registry.port import STALE, Registry
from mesh.tasks import Tasks

if TYPE_CHECKING:
    from mesh.agent.local import Agent

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10.0
SCRIPT_TIMEOUT_SECONDS = 30.0
FIRST_RUN_SECONDS = 1.0
ALIAS_SECONDS = 60.0
OUTPUT_MAX_BYTES = 1024 * 1024
HEADERS = {
    "User-Agent": "Consul Health Check",
    "Accept": "text/plain, text/*, */*",
}


class Runners:
    """The running checks of one agent."""

    def __init__(self, agent: Agent, registry: Registry, clock: Clock, dice: Dice) -> None:
        self._agent, self._registry = agent, registry
        self._clock, self._dice = clock, dice
        self._tasks = Tasks()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._renewed: dict[str, asyncio.Event] = {}
        self._session: aiohttp.ClientSession | None = None

    def run(self, check_id: str) -> None:
        """Begin to run a check, or begin anew after it changed."""
        self.end(check_id)
        definition = self._agent.checks()[check_id].definition
        if definition is None:
            return
        work = {"ttl": self._ttl, "alias": self._alias}.get(definition.kind, self._repeat)
        self._renewed[check_id] = asyncio.Event()
        self._running[check_id] = self._tasks.start(
            work(check_id, definition), name=f"check {check_id}"
        )

    def end(self, check_id: str) -> None:
        """Run the check no more."""
        self._renewed.pop(check_id, None)
        task = self._running.pop(check_id, None)
        if task is not None:
            task.cancel()

    def renew(self, check_id: str) -> None:
        """Begin the time of a TTL check anew."""
        if (renewed := self._renewed.get(check_id)) is not None:
            renewed.set()

    async def stop(self) -> None:
        """End every check."""
        await self._tasks.stop()
        if self._session is not None:
            await self._session.close()

    async def _repeat(self, check_id: str, definition: CheckDefinition) -> None:
        probes: Mapping[str, Callable[[CheckDefinition], Awaitable[Result]]] = {
            "http": self._http,
            "tcp": _tcp,
            "script": _script,
        }
        probe = probes[definition.kind]
        interval = max(definition.interval, self._agent.options.interval_min_seconds)
        # Spread, but a new service does not wait long for its first verdict.
        await self._clock.sleep(self._dice.uniform(0, min(interval, FIRST_RUN_SECONDS)))
        while True:
            self._agent.report(check_id, await probe(definition))
            await self._clock.sleep(interval)

    async def _ttl(self, check_id: str, definition: CheckDefinition) -> None:
        renewed = self._renewed[check_id]
        while True:
            try:
                async with asyncio.timeout(definition.ttl):
                    await renewed.wait()
            except TimeoutError:
                output = self._agent.checks()[check_id].row.output
                text = output if output.startswith("TTL expired") else f"TTL expired\n{output}"
                expired = Result("critical", text.rstrip("\n"), keep="head")
                self._agent.report(check_id, expired)
                await renewed.wait()
            renewed.clear()

    # Alias

    async def _alias(self, check_id: str, definition: CheckDefinition) -> None:
        own = self._agent.options.node_name.lower()
        if definition.alias_node and definition.alias_node.lower() != own:
            await self._alias_remote(check_id, definition)
            return
        changed = asyncio.Event()
        end = self._agent.listen(changed.set)
        try:
            while True:
                changed.clear()
                self._agent.report(check_id, self._local_target(check_id, definition))
                try:
                    async with asyncio.timeout(ALIAS_SECONDS):
                        await changed.wait()
                except TimeoutError:
                    pass
        finally:
            end()

    def _local_target(self, check_id: str, definition: CheckDefinition) -> Result:
        target = definition.alias_service
        if target and target not in self._agent.services():
            return Result("critical", f"Service {target} could not be found")
        rows = [
            check.row
            for other, check in self._agent.checks().items()
            if other != check_id and check.row.service_id in {"", target}
        ]
        return _mirror(rows)

    async def _alias_remote(self, check_id: str, definition: CheckDefinition) -> None:
        while True:
            try:
                async for answer in self._registry.watch(NodeChecks(definition.alias_node), STALE):
                    rows = [
                        row
                        for row in answer.value
                        if row.service_id in {"", definition.alias_service}
                    ]
                    missing = not answer.value
                    absent = Result("critical", f"Node {definition.alias_node} has no checks")
                    self._agent.report(check_id, absent if missing else _mirror(rows))
            except MeshError as error:
                log.debug("alias check %s: %s", check_id, error)
            await self._clock.sleep(self._dice.uniform(1.0, 2.0))

    # HTTP

    async def _http(self, definition: CheckDefinition) -> Result:
        if self._session is None:
            connector = aiohttp.TCPConnector(force_close=True, limit=0)
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        method = definition.method or "GET"
        headers = [*HEADERS.items()]
        for name, values in definition.header.items():
            headers = [pair for pair in headers if pair[0].lower() != name.lower()]
            headers += [(name, value) for value in values]
        timeout = aiohttp.ClientTimeout(total=definition.timeout or TIMEOUT_SECONDS)
        try:
            async with self._session.request(
                method,
                definition.http,
                headers=headers,
                data=definition.body or None,
                allow_redirects=not definition.disable_redirects,
                timeout=timeout,
                ssl=_tls(definition),
                server_hostname=definition.tls_server_name or None,
            ) as response:
                body = await response.content.read(OUTPUT_MAX_BYTES)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Result("critical", f"{method} {definition.http}: {str(error) or 'timed out'}")
        status = "passing" if response.ok and response.status < 300 else "critical"
        if response.status == 429:
            status = "warning"
        text = body.decode(errors="replace")
        line = f"HTTP {method} {definition.http}: {response.status} {response.reason}"
        return Result(status, f"{line} Output: {text}")


def _tls(definition: CheckDefinition) -> ssl.SSLContext | bool:
    return not definition.tls_skip_verify


def _mirror(rows: list[Check]) -> Result:
    if not rows:
        return Result("passing", "No checks found.")
    status = worst(rows)
    if status == "passing":
        return Result("passing", "All checks passing.")
    status = "critical" if status == "maintenance" else status
    bad = next(row for row in rows if row.status == status)
    return Result(status, f'Aliased check "{bad.name}" is {status}: {bad.output}')


async def _tcp(definition: CheckDefinition) -> Result:
    host, _, port = definition.tcp.rpartition(":")
    name = "TCP+TLS" if definition.tcp_use_tls else "TCP"
    context: ssl.SSLContext | None = None
    if definition.tcp_use_tls:
        context = ssl.create_default_context()
        if definition.tls_skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
    server_name = (definition.tls_server_name or None) if context else None
    try:
        async with asyncio.timeout(definition.timeout or TIMEOUT_SECONDS):
            _, writer = await asyncio.open_connection(
                host.strip("[]"), int(port), ssl=context, server_hostname=server_name
            )
    except (OSError, ValueError) as error:
        reason = error if str(error) else "timed out"
        return Result("critical", f"{name} connect {definition.tcp}: {reason}")
    writer.close()
    return Result("passing", f"{name} connect {definition.tcp}: Success")


async def _script(definition: CheckDefinition) -> Result:
    timeout = definition.timeout or SCRIPT_TIMEOUT_SECONDS
    try:
        process = await asyncio.create_subprocess_exec(
            *definition.args,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return Result("critical", f"{definition.args[0]}: {error}")
    assert process.stdout is not None, "asked for a pipe"
    kept = bytearray()

    async def read() -> int:
        assert process.stdout is not None, "asked for a pipe"
        while data := await process.stdout.read(65536):
            kept.extend(data)
            del kept[:-OUTPUT_MAX_BYTES]
        return await process.wait()

    try:
        async with asyncio.timeout(timeout):
            code = await read()
    except TimeoutError:
        return Result("critical", f"Timed out ({timeout:g}s) running check")
    finally:
        # The whole process tree, also what outlived its parent.
        if process.returncode is None:
            _kill(process.pid)
            await process.wait()
    status = {0: "passing", 1: "warning"}.get(code, "critical")
    return Result(status, kept.decode(errors="replace"))


def _kill(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
