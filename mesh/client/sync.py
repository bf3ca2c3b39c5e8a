"""The client that blocks: one kept-alive connection, nothing but the standard library."""

from __future__ import annotations

import functools
import select
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from types import TracebackType
from typing import Concatenate, ParamSpec, TypeVar

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
from mesh.client.connections import NamedConnection, UnixConnection
from mesh.client.watching import Change, Watching
from mesh.errors import MeshError

P = ParamSpec("P")
T = TypeVar("T")
RESPONSE_MAX_BYTES = 256 * 1024 * 1024
PORTION_BYTES = 64 * 1024


class Client:
    """Speaks with one agent. Use one client per thread, and close it when done.

    Without settings they come from the environment: MESH_HTTP_ADDR, MESH_HTTP_TOKEN and so on.
    Every method raises a MeshError whose message is meant for a person.
    """

    def __init__(self, configured: settings.Settings | None = None) -> None:
        self.settings = configured or settings.from_environment()
        self.endpoint = self.settings.endpoint()
        self._connection: HTTPConnection | None = None
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

    def __enter__(self) -> Client:
        """Nothing is opened before the first request."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Drop the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def interrupt(self) -> None:
        """For another thread: have the request that waits fail now, as if the agent were gone."""
        connection = self._connection
        if connection is not None and (sock := connection.sock) is not None:
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # Of TLS only what is under it.

    def run(self, call: Call[T]) -> T:
        """Send the call and return its value, or raise the error it came to."""
        response = self._exchange(keyed(call))
        self._newest.hear(call, response)
        return call.finish(response)

    def follow(self, call: Call[Answer[T]]) -> Iterator[Answer[T]]:
        """The answer now, then again whenever it changes. Ends only by an error."""
        answer = self.run(call)
        yield answer
        while True:
            newer = self.run(call.newer_than(answer.index) if answer.index else call)
            if newer.index != answer.index:
                yield newer
            # An index that goes back means that the server's data was restored: start afresh.
            answer = newer if newer.index >= answer.index else self.run(call)

    def watch(self, call: Call[Answer[T]]) -> Iterator[Change[T]]:
        """What the read gives now, then every change of it, for as long as you ask.

        It resumes by index, and after restarts, elections and lost connections with growing pauses.
        Raises only what will not pass by itself: Denied, Invalid. Meanwhile the client's connection
        is in use: take another client for other calls.
        """
        watching, pause = Watching(call), threading.Event()
        while True:
            try:
                change = watching.heard(self.run(watching.call))
            except MeshError as error:
                pause.wait(watching.failed(error))
                continue
            if change is not None:
                yield change

    def stream(self, call: Call[bytes]) -> Iterator[bytes]:
        """The lines of a response as they come, until the agent ends it."""
        connection = self._open(None)
        try:
            response = self._send(connection, call)
            if response.status not in call.accepts:
                raise failure(_whole(response))
            while line := response.readline():
                yield line
        except (OSError, HTTPException) as error:
            raise trouble.interrupted(
                self.endpoint, call, error, self._newest.before(call)
            ) from error
        finally:
            connection.close()

    def download(self, call: Call[bytes]) -> Iterator[bytes]:
        """The body of a response in portions as they come. Raises when it ends too early."""
        connection = self._open(self.settings.timeout_seconds + call.wait_seconds)
        try:
            response = self._send(connection, call)
            if response.status not in call.accepts:
                raise failure(_whole(response))
            while portion := response.read(PORTION_BYTES):
                yield portion
        except (OSError, HTTPException) as error:
            raise trouble.interrupted(self.endpoint, call, error, 0) from error
        finally:
            connection.close()

    def upload(self, call: Call[T], body: Iterable[bytes]) -> T:
        """Send the call with a body that is made while it is sent."""
        call, known = keyed(call), self._newest.before(call)
        connection = self._open(self.settings.timeout_seconds + call.wait_seconds)
        try:
            headers = self.settings.headers() | call.headers()
            # An agent that refuses early answers and reads no further.
            with suppress(ConnectionError):
                connection.request(call.method, call.target, body, headers, encode_chunked=True)
            response = _whole(connection.getresponse())
        except (OSError, HTTPException) as error:
            raise trouble.interrupted(self.endpoint, call, error, known) from error
        finally:
            connection.close()
        return call.finish(response)

    def _exchange(self, call: Call[T]) -> Response:
        connection = self._usable_connection()
        seconds = self.settings.timeout_seconds + call.wait_seconds
        try:
            assert connection.sock is not None, "a usable connection is open"
            connection.sock.settimeout(seconds)
            raw = self._send(connection, call)
            response = _whole(raw)
        except (OSError, HTTPException) as error:
            self.close()
            raise trouble.interrupted(
                self.endpoint, call, error, self._newest.before(call)
            ) from error
        except BaseException:
            self.close()  # Half a response is left on it.
            raise
        if raw.will_close:
            self.close()
        return response

    def _send(self, connection: HTTPConnection, call: Call[T]) -> HTTPResponse:
        headers = self.settings.headers() | call.headers()
        connection.request(call.method, call.target, call.body, headers)
        return connection.getresponse()

    def _usable_connection(self) -> HTTPConnection:
        kept = self._connection
        # An idle connection that can be read has been closed by the other side.
        if kept is not None and (kept.sock is None or select.select([kept.sock], [], [], 0)[0]):
            self.close()
        if self._connection is None:
            self._connection = self._open(self.settings.timeout_seconds)
        return self._connection

    def _open(self, timeout_seconds: float | None) -> HTTPConnection:
        connection = self._new_connection(self.settings.timeout_seconds)
        try:
            connection.connect()
        except OSError as error:
            raise trouble.unreachable(self.endpoint, error) from error
        if connection.sock is not None:
            connection.sock.settimeout(timeout_seconds)
        return connection

    def _new_connection(self, timeout_seconds: float) -> HTTPConnection:
        target = self.endpoint
        if target.socket_path:
            return UnixConnection(target.socket_path, timeout_seconds)
        if not target.tls:
            return HTTPConnection(target.host, target.port, timeout=timeout_seconds)
        context = self.settings.ssl_context()
        if name := self.settings.tls_server_name:
            return NamedConnection(target.host, target.port, name, context, timeout_seconds)
        return HTTPSConnection(target.host, target.port, timeout=timeout_seconds, context=context)


def _whole(response: HTTPResponse) -> Response:
    headers = {name.lower(): value for name, value in response.getheaders()}
    body = response.read(RESPONSE_MAX_BYTES + 1)
    if len(body) > RESPONSE_MAX_BYTES:
        raise HTTPException(f"the answer is larger than {RESPONSE_MAX_BYTES} bytes")
    return Response(response.status, headers, body)


class _Noun:
    """Some of the API's endpoints, bound to a client."""

    def __init__(self, client: Client) -> None:
        self.client = client


def _blocking(
    build: Callable[P, Call[T]],
) -> Callable[Concatenate[_Noun, P], T]:
    """Make a method of a function that builds a call: it sends the call and returns its value."""

    @functools.wraps(build)
    def method(noun: _Noun, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return noun.client.run(build(*args, **kwargs))

    return method


class KV(_Noun):
    """Keys and values."""

    get = _blocking(kv.get)
    under = _blocking(kv.under)
    keys = _blocking(kv.keys)
    put = _blocking(kv.put)
    delete = _blocking(kv.delete)
    delete_under = _blocking(kv.delete_under)


class Session(_Noun):
    """Sessions, which hold locks."""

    create = _blocking(session.create)
    destroy = _blocking(session.destroy)
    renew = _blocking(session.renew)
    info = _blocking(session.info)
    of_node = _blocking(session.of_node)
    listed = _blocking(session.listed)


class Txn(_Noun):
    """Several reads and writes, all or none of them."""

    apply = _blocking(txn.apply)


class Query(_Noun):
    """Prepared queries."""

    create = _blocking(query.create)
    update = _blocking(query.update)
    delete = _blocking(query.delete)
    listed = _blocking(query.listed)
    get = _blocking(query.get)
    execute = _blocking(query.execute)
    explain = _blocking(query.explain)


class Config(_Noun):
    """Config entries."""

    write = _blocking(config.write)
    read = _blocking(config.read)
    listed = _blocking(config.listed)
    delete = _blocking(config.delete)


class Intention(_Noun):
    """Intentions: which service may call which."""

    listed = _blocking(intention.listed)
    get = _blocking(intention.get)
    get_by_id = _blocking(intention.get_by_id)
    put = _blocking(intention.put)
    create = _blocking(intention.create)
    delete = _blocking(intention.delete)
    delete_by_id = _blocking(intention.delete_by_id)
    promote = _blocking(intention.promote)
    match = _blocking(intention.match)
    check = _blocking(intention.check)
    report = _blocking(intention.report)


class Catalog(_Noun):
    """Nodes, services and datacenters."""

    nodes = _blocking(catalog.nodes)
    services = _blocking(catalog.services)
    service = _blocking(catalog.service)
    node = _blocking(catalog.node)
    datacenters = _blocking(catalog.datacenters)
    register = _blocking(catalog.register)
    deregister = _blocking(catalog.deregister)


class Health(_Noun):
    """Instances with their checks."""

    service = _blocking(health.service)
    node = _blocking(health.node)
    checks = _blocking(health.checks)
    state = _blocking(health.state)


class Agent(_Noun):
    """The agent itself and what it looks after."""

    about = _blocking(agent.about)
    members = _blocking(agent.members)
    guard = _blocking(agent.guard)
    release_guard = _blocking(agent.release_guard)
    examine_network = _blocking(doctor.network)
    reachability = _blocking(agent.reachability)
    services = _blocking(agent.services)
    checks = _blocking(agent.checks)
    register = _blocking(agent.register)
    deregister = _blocking(agent.deregister)
    maintenance = _blocking(agent.maintenance)
    update_check = _blocking(agent.update_check)
    join = _blocking(agent.join)
    leave = _blocking(agent.leave)
    force_leave = _blocking(agent.force_leave)
    reload = _blocking(agent.reload)


class Maintenance(_Noun):
    """What is in maintenance for the whole cluster."""

    every = _blocking(maintenance.every)
    begin = _blocking(maintenance.begin)
    end = _blocking(maintenance.end)


class Proxies(_Noun):
    """The agent's proxies, and their Envoys."""

    every = _blocking(proxies.every)
    one = _blocking(proxies.one)
    bootstrap = _blocking(proxies.bootstrap)
    manage = _blocking(proxies.manage)
    grpc_bootstrap = _blocking(proxies.grpc_bootstrap)


class CA(_Noun):
    """The mesh's certificate authority."""

    roots = _blocking(ca.roots)
    leaf = _blocking(ca.leaf)
    reissue = _blocking(ca.reissue)
    configuration = _blocking(ca.configuration)
    configure = _blocking(ca.configure)
    rotation = _blocking(ca.rotation)
    prepare = _blocking(ca.prepare)
    activate = _blocking(ca.activate)
    retire = _blocking(ca.retire)
    recover = _blocking(ca.recover)


class History(_Noun):
    """Who changed what, and making it again what it was."""

    changes = _blocking(history.changes)
    diff = _blocking(history.diff)
    revert = _blocking(history.revert)


class DNS(_Noun):
    """How names are answered."""

    explain = _blocking(dns.explain)


class Coordinate(_Noun):
    """Where nodes are in the network."""

    nodes = _blocking(coordinate.nodes)
    node = _blocking(coordinate.node)
    datacenters = _blocking(coordinate.datacenters)
    update = _blocking(coordinate.update)


class Event(_Noun):
    """What is told to all agents."""

    fire = _blocking(event.fire)
    listed = _blocking(event.listed)


class Status(_Noun):
    """Who leads and who votes."""

    leader = _blocking(status.leader)
    peers = _blocking(status.peers)


class Operator(_Noun):
    """The servers and the log: who votes, how they fare, what became of a request."""

    raft_configuration = _blocking(operator.raft_configuration)
    raft_status = _blocking(operator.raft_status)
    add_peer = _blocking(operator.add_peer)
    remove_peer = _blocking(operator.remove_peer)
    transfer_leader = _blocking(operator.transfer_leader)
    usage = _blocking(operator.usage)
    autopilot_settings = _blocking(operator.autopilot_settings)
    set_autopilot_settings = _blocking(operator.set_autopilot_settings)
    autopilot_health = _blocking(operator.autopilot_health)
    autopilot_state = _blocking(operator.autopilot_state)
    keyring = _blocking(operator.keyring)
    install_key = _blocking(operator.install_key)
    use_key = _blocking(operator.use_key)
    remove_key = _blocking(operator.remove_key)
    request = _blocking(operator.request)
    cancel = _blocking(operator.cancel)
    upgrade = _blocking(operator.upgrade)
    finalize = _blocking(operator.finalize)
    revoked = _blocking(operator.revoked)
    revoke = _blocking(operator.revoke)
    unrevoke = _blocking(operator.unrevoke)


class Snapshot(_Noun):
    """All data in one file."""

    schedules = _blocking(snapshot.schedules)

    def save(self, *, stale: bool = False, datacenter: str = "") -> Iterator[bytes]:
        """A snapshot in portions. With stale any server may take it."""
        return self.client.download(snapshot.save(stale=stale, datacenter=datacenter))

    def restore(self, portions: Iterable[bytes], *, datacenter: str = "") -> None:
        """Put a snapshot in place of all data. Raises before anything has changed, or says so."""
        self.client.upload(snapshot.restore(datacenter=datacenter), portions)
