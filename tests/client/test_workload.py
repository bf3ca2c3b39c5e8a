"""TLS of the mesh for Python programs, against a real agent, over real sockets."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import ssl
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from mesh.client import AsyncClient, Client, ca, tls
from mesh.client.ca import Step
from mesh.client.call import Call
from mesh.client.peers import Refused
from mesh.client.workload import Workload
from mesh.errors import Internal, Invalid, Unreachable
from tests.cluster.processes import eventually
from tests.connect import websites
from tests.connect.websites import ADDRESS, Pages, asked, openssl, serial
from tests.connect.workloads import Authority, Workloads, workloads

pytestmark = pytest.mark.together


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workloads]:
    with workloads(tmp_path_factory.mktemp("workloads")) as made:
        yield made


@pytest.fixture(scope="module")
def payments(mesh: Workloads) -> Iterator[Workload]:
    with tls("payments", mesh.settings) as found:
        yield found


@pytest.fixture(scope="module")
def web(mesh: Workloads) -> Iterator[Workload]:
    with tls("web", mesh.settings) as found:
        yield found


class Names(Pages):
    """Says who asks."""

    def get(self) -> bytes:
        assert isinstance(self.connection, ssl.SSLSocket)
        names = (self.connection.getpeercert() or {})["subjectAltName"]
        return str(names[0][1]).encode()


def website(context: ssl.SSLContext) -> AbstractContextManager[int]:
    return websites.website(Names, context)


def page(port: int, context: ssl.SSLContext) -> str:
    return websites.page(websites.secure(port, context))


def reached(port: int, context: ssl.SSLContext) -> bool:
    return websites.reached(websites.secure(port, context))


def test_servers_and_clients_of_the_standard_library_know_each_other(
    payments: Workload, web: Workload, mesh: Workloads
) -> None:
    calling = web.to("payments")
    with website(payments) as port:
        assert page(port, calling) == web.uri
        assert page(port, web.to("Payments")) == web.uri, "services have no case"
        opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=calling))
        with opener.open(f"https://{ADDRESS}:{port}/", timeout=60) as response:
            assert response.read().decode() == web.uri
    assert web.uri == f"spiffe://{mesh.authority.domain}/ns/default/dc/dc1/svc/web"


def test_another_service_than_the_called_one_is_refused(payments: Workload, web: Workload) -> None:
    with website(payments) as port, pytest.raises(Refused) as refused:
        page(port, web.to("billing"))
    billing = payments.uri.replace("payments", "billing")
    assert str(refused.value) == f"it is {payments.uri} that answered, and {billing} was called"
    with website(payments) as port, pytest.raises(Refused, match="/dc/dc2/svc/payments"):
        page(port, web.to("payments", "dc2"))
    with pytest.raises(Invalid, match="name the service"):
        web.to("")


def test_intentions_hold_for_new_connections_and_open_ones(
    payments: Workload, web: Workload, mesh: Workloads, caplog: pytest.LogCaptureFixture
) -> None:
    calling = web.to("payments")
    with website(payments) as port:
        held = websites.secure(port, calling)
        assert asked(held)
        mesh.say("deny", "web", "payments")
        eventually(lambda: not reached(port, calling))
        assert not asked(held)
        mesh.say("delete", "web", "payments")
        eventually(lambda: reached(port, calling))
    assert f"{web.uri} may not connect to payments" in caplog.text
    assert '"web" to "payments" says deny' in caplog.text


def test_others_are_not_troubled_by_a_deny(
    payments: Workload, web: Workload, mesh: Workloads
) -> None:
    with website(payments) as port, tls("batch", mesh.settings) as batch:
        mesh.say("deny", "batch", "payments")
        assert not reached(port, batch.to("payments"))
        assert reached(port, web.to("payments"))
        mesh.say("delete", "batch", "payments")


def last_word(port: int, context: ssl.SSLContext) -> str:
    """What a server says by closing. Nothing is sent, so that it is not lost in a reset."""
    with (
        socket.create_connection((ADDRESS, port), timeout=60) as plain,
        context.wrap_socket(plain) as secure,
        pytest.raises(ssl.SSLError) as refused,
    ):
        secure.recv(1)
    return str(refused.value.reason)


def test_strangers_are_refused_by_servers(
    payments: Workload, mesh: Workloads, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours, foreign = mesh.authority, Authority(tmp_path, "elsewhere.consul")
    abroad = foreign.calling(foreign.leaf("web"), trusting=ours.root_file)
    with website(payments) as port:
        assert "CERTIFICATE_REQUIRED" in last_word(port, ours.calling(None))
        assert "UNKNOWN_CA" in last_word(port, abroad)
        assert "EXPIRED" in last_word(port, ours.calling(ours.leaf("web", ended=True)))
        assert not reached(port, ours.calling(ours.leaf("web", domain="elsewhere.consul")))
        assert "payments: it is of another trust domain" in caplog.text
        assert reached(port, ours.calling(ours.leaf("web")))


def test_strangers_are_refused_by_clients(web: Workload, mesh: Workloads, tmp_path: Path) -> None:
    ours, foreign = mesh.authority, Authority(tmp_path, "elsewhere.consul")
    for context, error, words in (
        (foreign.listening(foreign.leaf("payments")), ssl.SSLCertVerificationError, "self-signed"),
        (
            ours.listening(ours.leaf("payments", ended=True)),
            ssl.SSLCertVerificationError,
            "certificate has expired",
        ),
        (
            ours.listening(ours.leaf("payments", domain="elsewhere.consul")),
            Refused,
            "it is spiffe://elsewhere",
        ),
    ):
        with website(context) as port, pytest.raises(error, match=words):
            page(port, web.to("payments"))


def test_who_speaks_no_tls_gets_nothing(payments: Workload, web: Workload) -> None:
    with website(payments) as port:
        with socket.create_connection((ADDRESS, port), timeout=60) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            with plain.makefile("rb") as answer:
                assert b"HTTP/1.1" not in answer.read()
        assert reached(port, web.to("payments"))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_nothing_is_read_before_the_check_even_without_a_handshake(
    payments: Workload, mesh: Workloads, version: ssl.TLSVersion
) -> None:
    """OpenSSL shakes hands by itself at the first read, and knows nothing of names."""
    ours = mesh.authority
    caller = ours.calling(ours.leaf("web", domain="elsewhere.consul"))
    caller.maximum_version = version
    with socket.create_server((ADDRESS, 0)) as listening:
        listener = payments.wrap_socket(listening, server_side=True, do_handshake_on_connect=False)
        with listener:
            port = listener.getsockname()[1]
            thread = threading.Thread(target=lambda: reached(port, caller))
            thread.start()
            connection, _ = listener.accept()
            with connection, pytest.raises(Refused):
                connection.recv(1)
            thread.join()


def test_leaves_are_renewed_in_a_living_context(
    payments: Workload, web: Workload, mesh: Workloads
) -> None:
    calling = web.to("payments")
    with website(payments) as port:
        held = websites.secure(port, calling)
        assert asked(held)
        before = serial(port, calling)
        mesh.reissue("payments")
        eventually(lambda: serial(port, calling) != before)
        held.request("GET", "/")
        assert held.getresponse().read().decode() == web.uri
        held.close()
        assert payments.leaf.serial_number.replace(":", "").upper() == serial(port, calling)


def test_what_is_set_on_a_context_survives_renewal(
    payments: Workload, web: Workload, mesh: Workloads
) -> None:
    calling = web.to("payments")

    def agreed() -> tuple[str | None, str | None]:
        with (
            socket.create_connection((ADDRESS, port), timeout=60) as plain,
            calling.wrap_socket(plain) as secure,
        ):
            return secure.selected_alpn_protocol(), secure.version()

    payments.set_alpn_protocols(["h2", "http/1.1"])
    calling.set_alpn_protocols(["http/1.1"])
    calling.maximum_version = ssl.TLSVersion.TLSv1_2
    with website(payments) as port:
        assert agreed() == ("http/1.1", "TLSv1.2")
        before = calling.leaf.serial_number, payments.leaf.serial_number
        mesh.reissue("payments")
        mesh.reissue("web")
        eventually(lambda: payments.leaf.serial_number != before[1])
        eventually(lambda: calling.leaf.serial_number != before[0])
        assert agreed() == ("http/1.1", "TLSv1.2")


async def test_asyncio_serves_and_calls(mesh: Workloads) -> None:
    async with AsyncClient(mesh.settings) as client:
        payments, web = await client.tls("payments"), await client.tls("web")

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line.upper())
        writer.close()

    server = await asyncio.start_server(echo, ADDRESS, 0, ssl=payments)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection(ADDRESS, port, ssl=web.to("payments"))
    writer.write(b"hello\n")
    assert await reader.readline() == b"HELLO\n"
    with pytest.raises(Refused, match="/svc/billing was called"):
        await asyncio.open_connection(ADDRESS, port, ssl=web.to("billing"))
    mesh.say("deny", "web", "payments")
    eventually(lambda: not _may(payments, web.uri))
    writer.write(b"again\n")
    assert await reader.readline() == b""
    writer.close()
    mesh.say("delete", "web", "payments")
    server.close()
    await asyncio.to_thread(payments.close)
    await asyncio.to_thread(web.close)


def _may(workload: Workload, caller: str) -> bool:
    verdict = workload._handle.member.verdicts.still(caller)
    return verdict is not None and verdict.authorized


def test_openssl_with_the_leaf_of_the_agent_is_a_client_like_any_other(
    payments: Workload, mesh: Workloads
) -> None:
    with website(payments) as port:
        done = openssl(mesh, port, "web")
    assert "/svc/web" in done.stdout, done.stderr


def test_roots_are_rotated_under_a_living_context(tmp_path: Path) -> None:
    with (
        workloads(tmp_path, 'test_ca_leaf_root_change_spread = "10ms"') as made,
        Client(made.settings) as client,
        tls("payments", made.settings) as payments,
        tls("web", made.settings) as web,
        website(payments) as port,
    ):
        calling, ours = web.to("payments"), made.authority
        with_old_root = ours.calling(ours.leaf("web"))
        held = websites.secure(port, calling)

        def done(step: Call[Step]) -> bool:
            assert asked(held)
            assert reached(port, calling)
            try:
                client.run(step)
            except Internal:  # Somebody has not acknowledged yet.
                return False
            return True

        for step in (ca.prepare(), ca.activate(), ca.retire()):
            eventually(lambda step=step: done(step))  # type: ignore[misc]
        eventually(lambda: last_word(port, with_old_root))
        assert reached(port, calling)
        held.close()


def test_while_the_agent_is_away_what_it_said_holds_and_nobody_new_comes_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with (
        workloads(tmp_path) as made,
        tls("payments", made.settings) as payments,
        tls("web", made.settings) as web,
        tls("batch", made.settings) as batch,
        website(payments) as port,
    ):
        assert reached(port, web.to("payments"))
        made.node.stop()
        assert reached(port, web.to("payments"))
        assert not reached(port, batch.to("payments"))
    assert f"{batch.uri} may not connect to payments: the agent has never said" in caplog.text
    with pytest.raises(Unreachable, match=r"is there an agent|refused"):
        tls("payments", made.settings)


def _children(work: Callable[[], bool]) -> bool:
    """What it gives in a child of this process."""
    child = os.fork()
    if child == 0:
        os._exit(0 if work() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_child_renews_too(mesh: Workloads, web: Workload) -> None:
    with tls("forking", mesh.settings) as forking:
        before = forking.leaf.serial_number

        def renewed() -> bool:
            forking.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
            mesh.reissue("forking")
            eventually(lambda: forking.leaf.serial_number != before)
            return True

        assert _children(renewed)


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_nothing_is_left_of_one_that_is_closed_or_forgotten(mesh: Workloads) -> None:
    with tls("closing", mesh.settings):
        assert "mesh leaf of closing" in threads()
        kept = [os.readlink(one) for one in Path("/proc/self/fd").iterdir() if one.is_symlink()]
        assert not [name for name in kept if "mesh-leaf" in name]
    assert "mesh leaf of closing" not in threads()
    calling = tls("forgotten", mesh.settings).to("payments")
    gc.collect()
    assert "mesh leaf of forgotten" in threads()
    del calling
    gc.collect()
    eventually(lambda: "mesh leaf of forgotten" not in threads())
