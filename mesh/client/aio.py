"""The client that awaits: the same calls as the blocking one, over aiohttp."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Concatenate, ParamSpec, TypeVar

import aiohttp
from yarl import URL

from mesh.client import (
    agent,
    ca,
    catalog,
    config,
    coordinate,
    dns,
    doctor,
    event,
    health,
    history,
    intention,
    kv,
    maintenance,
    operator,
    proxies,
    query,
    session,
    settings,
    snapshot,
    status,
    trouble,
    txn,
)
from mesh.client.call import Answer, Call, Newest, Response, failure, keyed
from mesh.client.watching import Change, Watching
from mesh.client.workload import Workload
from mesh.errors import MeshError

P = ParamSpec("P")
T = TypeVar("T")
LINE_MAX_BYTES = 1024 * 1024


class AsyncClient:
    """Speaks with one agent, with as many requests at a time as you like. Use `async with`.

    Without settings they come from the environment: MESH_HTTP_ADDR, MESH_HTTP_TOKEN and so on.
    Every method raises a MeshError whose message is meant for a person.
    """

    def __init__(self, configured: settings.Settings | None = None) -> None:
        self.settings = configured or settings.from_environment()
        self.endpoint = self.settings.endpoint()
        self._session: aiohttp.ClientSession | None = None
        self._newest = Newest()
        self.kv = KV(self)
        self.txn = Txn(self)
        self.query = Query(self)
        self.config = Config(self)
        self.intention = Intention(self)
        self.session = Session(self)
        self.catalog = Catalog(self)
        self.ca = CA(self)
        self.health = Health(self)
        self.agent = Agent(self)
        self.history = History(self)
        self.dns = DNS(self)
        self.coordinate = Coordinate(self)
        self.maintenance = Maintenance(self)
        self.proxies = Proxies(self)
        self.event = Event(self)
        self.status = Status(self)
        self.operator = Operator(self)
        self.snapshot = Snapshot(self)

    async def __aenter__(self) -> AsyncClient:
        """Nothing is opened before the first request."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close all connections."""
        await self.close()

    async def close(self) -> None:
        """Drop the connections; the next request opens others."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def run(self, call: Call[T]) -> T:
        """Send the call and return its value, or raise the error it came to."""
        call, known = keyed(call), self._newest.before(call)
        try:
            async with self._request(call, self.settings.timeout_seconds) as response:
                whole = await _whole(response)
        except (OSError, aiohttp.ClientError) as error:
            raise self._error(call, error, known) from error
        self._newest.hear(call, whole)
        return call.finish(whole)

    async def tls(self, service: str) -> Workload:
        """Be this service: as `mesh.client.tls`, with the settings of this client."""
        return await asyncio.to_thread(Workload, service, self.settings)

    async def follow(self, call: Call[Answer[T]]) -> AsyncIterator[Answer[T]]:
        """The answer now, then again whenever it changes. Ends only by an error."""
        answer = await self.run(call)
        yield answer
        while True:
            newer = await self.run(call.newer_than(answer.index) if answer.index else call)
            if newer.index != answer.index:
                yield newer
            # An index that goes back means that the server's data was restored: start afresh.
            answer = newer if newer.index >= answer.index else await self.run(call)

    async def watch(self, call: Call[Answer[T]]) -> AsyncIterator[Change[T]]:
        """What the read gives now, then every change of it, for as long as you ask.

        It resumes by index, and after restarts, elections and lost connections with growing pauses.
        Raises only what will not pass by itself: Denied, Invalid.
        """
        watching = Watching(call)
        while True:
            try:
                change = watching.heard(await self.run(watching.call))
            except MeshError as error:
                await _pause(watching.failed(error))
                continue
            if change is not None:
                yield change

    async def stream(self, call: Call[bytes]) -> AsyncIterator[bytes]:
        """The lines of a response as they come, until the agent ends it."""
        try:
            async with self._request(call, None) as response:
                if response.status not in call.accepts:
                    raise failure(await _whole(response))
                async for line in response.content:
                    yield line
        except (OSError, aiohttp.ClientError) as error:
            raise self._error(call, error, self._newest.before(call)) from error

    async def download(self, call: Call[bytes]) -> AsyncIterator[bytes]:
        """The body of a response in portions as they come. Raises when it ends too early."""
        try:
            async with self._request(call, None) as response:
                if response.status not in call.accepts:
                    raise failure(await _whole(response))
                async for portion in response.content.iter_any():
                    yield portion
        except (OSError, aiohttp.ClientError) as error:
            raise self._error(call, error, 0) from error

    async def upload(self, call: Call[T], body: AsyncIterator[bytes]) -> T:
        """Send the call with a body that is made while it is sent."""
        call, known = keyed(call), self._newest.before(call)
        try:
            async with self._request(call, None, body) as response:
                whole = await _whole(response)
        except (OSError, aiohttp.ClientError) as error:
            raise self._error(call, error, known) from error
        return call.finish(whole)

    def _request(
        self,
        call: Call[T],
        timeout_seconds: float | None,
        body: AsyncIterator[bytes] | None = None,
    ) -> aiohttp.client._RequestContextManager:
        total = None if timeout_seconds is None else timeout_seconds + call.wait_seconds
        return self._open_session().request(
            call.method,
            URL(self.endpoint.url + call.target, encoded=True),
            data=call.body if body is None else body,
            headers=self.settings.headers() | call.headers(),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=total, sock_connect=self.settings.timeout_seconds),
        )

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=self._connector(), read_bufsize=LINE_MAX_BYTES
            )
        return self._session

    def _connector(self) -> aiohttp.BaseConnector:
        if self.endpoint.socket_path:
            return aiohttp.UnixConnector(self.endpoint.socket_path)
        if not self.endpoint.tls:
            return aiohttp.TCPConnector()
        return aiohttp.TCPConnector(ssl=self.settings.ssl_context())

    def _error(self, call: Call[T], error: Exception, known: int) -> Exception:
        if isinstance(error, aiohttp.ClientConnectorError):
            cause = error.os_error if error.__cause__ is None else error.__cause__
            assert isinstance(cause, Exception)
            return trouble.unreachable(self.endpoint, cause)
        return trouble.interrupted(self.endpoint, call, error, known)


async def _pause(seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()


async def _whole(response: aiohttp.ClientResponse) -> Response:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Response(response.status, headers, await response.read())


class _Noun:
    """Some of the API's endpoints, bound to a client."""

    def __init__(self, client: AsyncClient) -> None:
        self.client = client


def _awaiting(
    build: Callable[P, Call[T]],
) -> Callable[Concatenate[_Noun, P], Awaitable[T]]:
    """Make a method of a function that builds a call: it sends the call and awaits its value."""

    @functools.wraps(build)
    def method(noun: _Noun, /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        return noun.client.run(build(*args, **kwargs))

    return method


class KV(_Noun):
    """Keys and values."""

    get = _awaiting(kv.get)
    under = _awaiting(kv.under)
    keys = _awaiting(kv.keys)
    put = _awaiting(kv.put)
    delete = _awaiting(kv.delete)
    delete_under = _awaiting(kv.delete_under)


class Session(_Noun):
    """Sessions, which hold locks."""

    create = _awaiting(session.create)
    destroy = _awaiting(session.destroy)
    renew = _awaiting(session.renew)
    info = _awaiting(session.info)
    of_node = _awaiting(session.of_node)
    listed = _awaiting(session.listed)


class Txn(_Noun):
    """Several reads and writes, all or none of them."""

    apply = _awaiting(txn.apply)


class Query(_Noun):
    """Prepared queries."""

    create = _awaiting(query.create)
    update = _awaiting(query.update)
    delete = _awaiting(query.delete)
    listed = _awaiting(query.listed)
    get = _awaiting(query.get)
    execute = _awaiting(query.execute)
    explain = _awaiting(query.explain)


class Config(_Noun):
    """Config entries."""

    write = _awaiting(config.write)
    read = _awaiting(config.read)
    listed = _awaiting(config.listed)
    delete = _awaiting(config.delete)


class Intention(_Noun):
    """Intentions: which service may call which."""

    listed = _awaiting(intention.listed)
    get = _awaiting(intention.get)
    get_by_id = _awaiting(intention.get_by_id)
    put = _awaiting(intention.put)
    create = _awaiting(intention.create)
    delete = _awaiting(intention.delete)
    delete_by_id = _awaiting(intention.delete_by_id)
    promote = _awaiting(intention.promote)
    match = _awaiting(intention.match)
    check = _awaiting(intention.check)
    report = _awaiting(intention.report)


class Catalog(_Noun):
    """Nodes, services and datacenters."""

    nodes = _awaiting(catalog.nodes)
    services = _awaiting(catalog.services)
    service = _awaiting(catalog.service)
    node = _awaiting(catalog.node)
    datacenters = _awaiting(catalog.datacenters)
    register = _awaiting(catalog.register)
    deregister = _awaiting(catalog.deregister)


class Health(_Noun):
    """Instances with their checks."""

    service = _awaiting(health.service)
    node = _awaiting(health.node)
    checks = _awaiting(health.checks)
    state = _awaiting(health.state)


class Agent(_Noun):
    """The agent itself and what it looks after."""

    about = _awaiting(agent.about)
    members = _awaiting(agent.members)
    guard = _awaiting(agent.guard)
    release_guard = _awaiting(agent.release_guard)
    examine_network = _awaiting(doctor.network)
    reachability = _awaiting(agent.reachability)
    services = _awaiting(agent.services)
    checks = _awaiting(agent.checks)
    register = _awaiting(agent.register)
    deregister = _awaiting(agent.deregister)
    maintenance = _awaiting(agent.maintenance)
    update_check = _awaiting(agent.update_check)
    join = _awaiting(agent.join)
    leave = _awaiting(agent.leave)
    force_leave = _awaiting(agent.force_leave)
    reload = _awaiting(agent.reload)


class Maintenance(_Noun):
    """What is in maintenance for the whole cluster."""

    every = _awaiting(maintenance.every)
    begin = _awaiting(maintenance.begin)
    end = _awaiting(maintenance.end)


class Proxies(_Noun):
    """The agent's proxies, and their Envoys."""

    every = _awaiting(proxies.every)
    one = _awaiting(proxies.one)
    bootstrap = _awaiting(proxies.bootstrap)
    manage = _awaiting(proxies.manage)
    grpc_bootstrap = _awaiting(proxies.grpc_bootstrap)


class CA(_Noun):
    """The mesh's certificate authority."""

    roots = _awaiting(ca.roots)
    leaf = _awaiting(ca.leaf)
    reissue = _awaiting(ca.reissue)
    configuration = _awaiting(ca.configuration)
    configure = _awaiting(ca.configure)
    rotation = _awaiting(ca.rotation)
    prepare = _awaiting(ca.prepare)
    activate = _awaiting(ca.activate)
    retire = _awaiting(ca.retire)
    recover = _awaiting(ca.recover)


class History(_Noun):
    """Who changed what, and making it again what it was."""

    changes = _awaiting(history.changes)
    diff = _awaiting(history.diff)
    revert = _awaiting(history.revert)


class DNS(_Noun):
    """How names are answered."""

    explain = _awaiting(dns.explain)


class Coordinate(_Noun):
    """Where nodes are in the network."""

    nodes = _awaiting(coordinate.nodes)
    node = _awaiting(coordinate.node)
    datacenters = _awaiting(coordinate.datacenters)
    update = _awaiting(coordinate.update)


class Event(_Noun):
    """What is told to all agents."""

    fire = _awaiting(event.fire)
    listed = _awaiting(event.listed)


class Status(_Noun):
    """Who leads and who votes."""

    leader = _awaiting(status.leader)
    peers = _awaiting(status.peers)


class Operator(_Noun):
    """The servers and the log: who votes, how they fare, what became of a request."""

    raft_configuration = _awaiting(operator.raft_configuration)
    raft_status = _awaiting(operator.raft_status)
    add_peer = _awaiting(operator.add_peer)
    remove_peer = _awaiting(operator.remove_peer)
    transfer_leader = _awaiting(operator.transfer_leader)
    usage = _awaiting(operator.usage)
    autopilot_settings = _awaiting(operator.autopilot_settings)
    set_autopilot_settings = _awaiting(operator.set_autopilot_settings)
    autopilot_health = _awaiting(operator.autopilot_health)
    autopilot_state = _awaiting(operator.autopilot_state)
    keyring = _awaiting(operator.keyring)
    install_key = _awaiting(operator.install_key)
    use_key = _awaiting(operator.use_key)
    remove_key = _awaiting(operator.remove_key)
    request = _awaiting(operator.request)
    cancel = _awaiting(operator.cancel)
    upgrade = _awaiting(operator.upgrade)
    finalize = _awaiting(operator.finalize)
    revoked = _awaiting(operator.revoked)
    revoke = _awaiting(operator.revoke)
    unrevoke = _awaiting(operator.unrevoke)


class Snapshot(_Noun):
    """All data in one file."""

    schedules = _awaiting(snapshot.schedules)

    def save(self, *, stale: bool = False, datacenter: str = "") -> AsyncIterator[bytes]:
        """A snapshot in portions. With stale any server may take it."""
        return self.client.download(snapshot.save(stale=stale, datacenter=datacenter))

    async def restore(self, portions: AsyncIterator[bytes], *, datacenter: str = "") -> None:
        """Put a snapshot in place of all data. Raises before anything has changed, or says so."""
        await self.client.upload(snapshot.restore(datacenter=datacenter), portions)
