"""What a node refuses outlives its restart, also when nobody is there to tell it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mesh.clock import SystemClock
from mesh.codec import to_json
from mesh.daemon.distrusted import _BYTES_MAX, NAME, Distrusted, _Entry
from mesh.registry.levels import HIGHEST, Found
from mesh.registry.revocations import ROWS_MAX, TEXT_MAX, Revocation, Revoke, Unrevoke
from mesh.revocation import SERIAL_DIGITS_MAX, Revocations
from mesh.tasks import Tasks
from mesh.tls import Credentials
from tests.certificates import Certificates
from tests.cluster.processes import Meshd, cluster, eventually
from tests.daemon.network import network
from tests.daemon.test_hearsay import until
from tests.daemon.test_main import running, server
from tests.registry_memory import MemoryRegistry

pytestmark = pytest.mark.together


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def agent(folder: Path, first: Meshd, made: Certificates) -> Meshd:
    config = {"retry_join": [first.joinable], "tls": made.config("client", "a1")}
    return Meshd("a1", network(10), folder / "a1", config)


def knows_leader(node: Meshd) -> bool:
    return bool(node.get("/v1/status/leader")) and bool(node.get("/v1/catalog/nodes"))


def test_an_agent_that_restarts_while_servers_are_down_refuses_whom_it_did(
    tmp_path: Path, made: Certificates
) -> None:
    first = server(tmp_path, tls=made.config("server", "s1"))
    second = agent(tmp_path, first, made)
    with running(first, second):
        eventually(lambda: knows_leader(second))
        file = str(made.folder / "server-s1.pem")
        done = first.meshctl("tls", "revoke", file, "-force", "-reason", "key copied")
        assert done.returncode == 0, done.stderr
        kept = Path(second.config["data_dir"], "tls", NAME)
        eventually(lambda: "key copied" in kept.read_text())
        assert (first.stop(), second.stop()) == (0, 0)
        # Somebody with its key, who says that nothing is revoked, is all that the agent meets.
        assert "a part failed" not in second.log()
        shutil.rmtree(first.config["data_dir"])
        first.start()
        second.start()
        eventually(lambda: len(second.get("/v1/agent/members")) == 2)
        eventually(lambda: first.get("/v1/status/leader"))
        with pytest.raises(OSError, match=r"cannot connect.* is revoked: key copied"):
            second.get("/v1/catalog/nodes?consistent")
        assert "key copied" in kept.read_text()


def test_a_server_that_restarts_without_a_leader_refuses_whom_it_did(tmp_path: Path) -> None:
    with cluster(tmp_path, 2, 1) as found:
        one, agent = found.servers[0], found.agents[0]
        own = str(agent.config["tls"]["defaults"]["cert_file"])
        done = one.meshctl("tls", "revoke", own, "-reason", "laptop stolen")
        assert done.returncode == 0, done.stderr
        eventually(lambda: refuses(agent))
        kept = Path(one.config["data_dir"], "tls", NAME)
        eventually(lambda: "laptop stolen" in kept.read_text())
        for node in found.nodes:
            assert node.stop() == 0
        # What the log has since the last snapshot is known only with the other one.
        one.start()
        agent.start()
        eventually(lambda: len(agent.get("/v1/agent/members")) >= 2)
        eventually(lambda: refuses(agent))
        assert "laptop stolen" in kept.read_text()
        # Both are there again: what is taken back is believed, and forgotten.
        found.servers[1].start()
        eventually(lambda: not one.meshctl("tls", "unrevoke", own).returncode)
        eventually(lambda: agent.get("/v1/catalog/nodes"))
        eventually(lambda: "laptop stolen" not in kept.read_text())


def refuses(agent: Meshd) -> bool:
    try:
        agent.get("/v1/catalog/nodes?stale")
    except OSError as error:
        return "is revoked: laptop stolen" in str(error)
    return False


async def test_a_server_without_a_leader_may_have_forgotten(
    tmp_path: Path, made: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh.daemon.distrusted.LEADERLESS_SECONDS", 0.01)
    credentials, registry, tasks = made.credentials("client", "a1"), MemoryRegistry(), Tasks()
    theirs, others = (made.credentials("server", name).own for name in ("s1", "s2"))
    await registry.write(Found(HIGHEST))
    await registry.write(Revoke(others.serial))
    one = Distrusted(str(tmp_path), credentials)
    one.refuse([Revocation(serial=theirs.serial)])
    registry.known_leader = False
    tasks.start(one.learn(registry, SystemClock()), name="learning")
    try:
        await until(lambda: not credentials.believes(others))
        assert not credentials.believes(theirs)
        registry.known_leader = True
        await until(lambda: credentials.believes(theirs))
        assert not credentials.believes(others)
    finally:
        await tasks.stop()


async def test_tables_from_before_a_revocation_do_not_undo_it(
    tmp_path: Path, made: Certificates
) -> None:
    credentials = made.credentials("server", "s1")
    theirs, others = (made.credentials("client", name).own for name in ("a1", "a2"))
    rows = [Revocation(serial=one.serial, issuer=one.issuer) for one in (theirs, others)]

    def believed() -> list[bool]:
        return [credentials.believes(one) for one in (theirs, others)]

    one, tasks = Distrusted(str(tmp_path), credentials), Tasks()
    tasks.start(one.keep_up(), name="keeping up")
    one.refuse(rows, 50)
    await until((tmp_path / NAME).exists)
    await tasks.stop()
    again = Distrusted(str(tmp_path), credentials)
    credentials.distrust(Revocations())
    again.recall()
    assert believed() == [False, False]
    again.refuse([], 49)
    assert believed() == [False, False]
    again.refuse(rows[:1], 50)
    assert believed() == [False, True]
    again.refuse([], 51)
    assert believed() == [True, True]


def test_the_longest_list_can_be_read_again() -> None:
    text = "\x01" * TEXT_MAX
    longest = _Entry("F" * SERIAL_DIGITS_MAX, text, text, 2**63 - 1)
    assert len(to_json([longest], indent=2)) * ROWS_MAX < _BYTES_MAX


async def test_what_servers_say_is_remembered(tmp_path: Path, made: Certificates) -> None:
    theirs, other = (made.credentials("server", name).own for name in ("s1", "s2"))
    registry, tasks = MemoryRegistry(), Tasks()
    await registry.write(Found(HIGHEST))
    await registry.write(Revoke(theirs.serial, theirs.issuer, "key copied"))
    one = Distrusted(str(tmp_path), made.credentials("client", "a1"))
    tasks.start(one.learn(registry, SystemClock()), name="learning")

    def recalled() -> Credentials:
        found = made.credentials("client", "a1")
        Distrusted(str(tmp_path), found).recall()
        return found

    try:
        await until(lambda: not recalled().believes(theirs))
        assert recalled().believes(other)
        await registry.write(Unrevoke(theirs.serial))
        await until(lambda: recalled().believes(theirs))
    finally:
        await tasks.stop()


@pytest.mark.parametrize("content", [b"", b"{}", b'[{"serial": 1}]', b"\xff", b"[" * 100_000])
def test_a_damaged_file_is_said_and_put_aside(
    tmp_path: Path, made: Certificates, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / NAME
    file.write_bytes(content)
    credentials = made.credentials("client", "a1")
    Distrusted(str(tmp_path), credentials).recall()
    assert credentials.believes(made.credentials("server", "s1").own)
    assert f"{file} is damaged" in caplog.text
    assert not file.exists()
    assert file.with_suffix(".corrupt").read_bytes() == content


async def test_what_cannot_be_read_or_written_is_said(
    tmp_path: Path, made: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / NAME).mkdir()
    credentials, theirs = made.credentials("client", "a1"), made.credentials("server", "s1").own
    one = Distrusted(str(tmp_path), credentials)
    one.recall()
    assert "cannot be read: Is a directory" in caplog.text
    registry, tasks = MemoryRegistry(), Tasks()
    await registry.write(Found(HIGHEST))
    await registry.write(Revoke(theirs.serial))
    tasks.start(one.learn(registry, SystemClock()), name="learning")
    try:
        await until(lambda: "believes what was revoked until it hears" in caplog.text)
        assert not credentials.believes(theirs)
    finally:
        await tasks.stop()
