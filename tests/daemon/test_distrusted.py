"""What an agent refuses outlives its restart, also when no server is there to tell it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mesh.clock import SystemClock
from mesh.daemon.distrusted import NAME, Distrusted
from mesh.registry.levels import HIGHEST, Found
from mesh.registry.revocations import Revoke, Unrevoke
from mesh.tasks import Tasks
from mesh.tls import Credentials
from tests.certificates import Certificates
from tests.cluster.processes import Meshd, eventually
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
        await until(lambda: "believes what was revoked until a server says" in caplog.text)
        assert not credentials.believes(theirs)
    finally:
        await tasks.stop()
