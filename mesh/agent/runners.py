"""Runners: they run the checks, each in a task of its own, and report what they find."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Awaitable, Callable, Mapping

import aiohttp

from mesh.agent import scripts
from mesh.agent.checks import Result
from mesh.agent.definitions import CheckDefinition
from mesh.agent.state import Here
from mesh.clock import Clock, Dice
from mesh.errors import MeshError
from mesh.registry.catalog import Check, NodeNamed, NodeServices
from mesh.registry.health import NodeChecks, worst
from mesh.registry.port import ReadOptions, Registry
from mesh.tasks import Tasks

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10.0
SCRIPT_TIMEOUT_SECONDS = 30.0
FIRST_RUN_SECONDS = 1.0
ALIAS_SECONDS = 60.0
OUTPUT_MAX_BYTES = 1024 * 1024
HEADERS = {
    "User-Agent": "Consul Health Check",
    "Accept": "text/plain, text/*, */*",
    "Accept-Encoding": "identity",
}


class Runners:
    """The running checks of one agent."""

    def __init__(self, here: Here, registry: Registry, clock: Clock, dice: Dice) -> None:
        self._here, self._registry = here, registry
        self._clock, self._dice = clock, dice
        self._tasks = Tasks()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._renewed: dict[str, asyncio.Event] = {}
        self._session: aiohttp.ClientSession | None = None

    def run(self, check_id: str) -> None:
        """Begin to run a check, or begin anew after it changed."""
        self.end(check_id)
        definition = self._here.checks()[check_id].definition
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
        interval = max(definition.interval, self._here.options.interval_min_seconds)
        # Spread, but a new service does not wait long for its first verdict.
        await self._clock.sleep(self._dice.uniform(0, min(interval, FIRST_RUN_SECONDS)))
        while True:
            try:
                result = await probe(definition)
            except Exception as error:
                # A check that stopped would keep its last status for ever.
                log.exception("check %s cannot run", check_id)
                result = Result("critical", f"the check cannot run: {error!r}")
            self._here.report(check_id, result)
            await self._clock.sleep(interval)

    async def _ttl(self, check_id: str, definition: CheckDefinition) -> None:
        renewed = self._renewed[check_id]
        while True:
            try:
                async with asyncio.timeout(definition.ttl):
                    await renewed.wait()
            except TimeoutError:
                output = self._here.checks()[check_id].row.output
                text = output if output.startswith("TTL expired") else f"TTL expired\n{output}"
                expired = Result("critical", text.rstrip("\n"), keep="head")
                self._here.report(check_id, expired)
                await renewed.wait()
            renewed.clear()

    # Alias

    async def _alias(self, check_id: str, definition: CheckDefinition) -> None:
        if not self._is_local(definition):
            await self._alias_remote(check_id, definition)
            return
        changed = asyncio.Event()
        end = self._here.listen(changed.set)
        try:
            while True:
                changed.clear()
                self._here.report(check_id, self._local_target(check_id, definition))
                try:
                    async with asyncio.timeout(ALIAS_SECONDS):
                        await changed.wait()
                except TimeoutError:
                    pass
        finally:
            end()

    def _is_local(self, alias: CheckDefinition) -> bool:
        return alias.alias_node.lower() in {"", self._here.options.node_name.lower()}

    def _has_target(self, alias: CheckDefinition) -> bool:
        return not alias.alias_service or alias.alias_service in self._here.services()

    def _local_target(self, check_id: str, definition: CheckDefinition) -> Result:
        if not self._has_target(definition):
            return Result("critical", f"Service {definition.alias_service} could not be found")
        return _mirror(self._behind(check_id, definition))

    def _behind(self, check_id: str, definition: CheckDefinition) -> list[Check]:
        """The checks an alias mirrors; other aliases count as the checks behind them.

        By their own status, aliases that mirror each other would keep each other critical.
        """
        found: list[Check] = []
        seen, waiting = {check_id}, [definition]
        while waiting:
            owners = {"", waiting.pop().alias_service}
            for other, check in self._here.checks().items():
                if other in seen or check.row.service_id not in owners:
                    continue
                seen.add(other)
                alias = check.definition if check.row.kind == "alias" else None
                if alias is not None and self._is_local(alias) and self._has_target(alias):
                    waiting.append(alias)
                else:
                    found.append(check.row)
        return found

    async def _alias_remote(self, check_id: str, definition: CheckDefinition) -> None:
        index = 0
        while True:
            try:
                # Waits for a change of its checks; the service may go without one.
                options = ReadOptions(consistency="stale", index=index, wait=ALIAS_SECONDS)
                answer = await self._registry.read(NodeChecks(definition.alias_node), options)
                result = await self._remote_target(definition, answer.value)
            except MeshError as error:
                log.debug("alias check %s: %s", check_id, error)
                index = 0
                await self._clock.sleep(self._dice.uniform(1.0, 2.0))
                continue
            self._here.report(check_id, result)
            index = answer.index

    async def _remote_target(self, definition: CheckDefinition, checks: list[Check]) -> Result:
        node, target = definition.alias_node, definition.alias_service
        stale = ReadOptions(consistency="stale")
        found: NodeServices | None = (await self._registry.read(NodeNamed(node), stale)).value
        if found is None or found.node.name.lower() != node.lower():
            return Result("critical", f"Node {node} could not be found")
        if target and target not in {service.id for service in found.services}:
            return Result("critical", f"Service {target} could not be found on node {node}")
        return _mirror([check for check in checks if check.service_id in {"", target}])

    # HTTP

    async def _http(self, definition: CheckDefinition) -> Result:
        if self._session is None:
            connector = aiohttp.TCPConnector(force_close=True, limit=0)
            self._session = aiohttp.ClientSession(
                connector=connector,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
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
                ssl=not definition.tls_skip_verify,
                server_hostname=definition.tls_server_name or None,
            ) as response:
                text = await _body(response)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Result("critical", f"{method} {definition.http}: {_reason(error)}")
        status = "passing" if 200 <= response.status < 300 else "critical"
        if response.status == 429:
            status = "warning"
        line = f"HTTP {method} {definition.http}: {response.status} {response.reason}"
        return Result(status, f"{line} Output: {text}")


async def _body(response: aiohttp.ClientResponse) -> str:
    kept = bytearray()
    async for data in response.content.iter_any():
        kept.extend(data)
        del kept[:-OUTPUT_MAX_BYTES]
    return kept.decode(errors="replace")


def _mirror(rows: list[Check]) -> Result:
    if not rows:
        return Result("passing", "No checks found.")
    status = worst(rows)
    if status == "passing":
        return Result("passing", "All checks passing.")
    status = "critical" if status == "maintenance" else status
    bad = next(row for row in rows if row.status == status)
    return Result(status, f'Aliased check "{bad.name}" is {status}: {bad.output}')


def _reason(error: Exception) -> str:
    """Why a request failed, in the words of the system rather than of the library."""
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        return os.strerror(number) if number and number > 0 else str(error.os_error.strerror)
    return str(error) or "timed out"


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
    return await scripts.run(definition.args, definition.timeout or SCRIPT_TIMEOUT_SECONDS)
