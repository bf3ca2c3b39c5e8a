"""Sessions and locks on real processes: leaders die, holders vanish, and nobody overlaps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mesh.client import Client, Settings
from mesh.client.lock import Lock, Semaphore
from mesh.client.recipes import HoldOptions
from mesh.client.session import Terms
from mesh.errors import MeshError
from tests.cluster.processes import TOP, Cluster, Meshd, cluster, eventually

pytestmark = pytest.mark.together
TTL = 4.0
ALONE = Terms(ttl_seconds=TTL, node_checks=[])


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path, servers=3, agents=1, session_ttl_min="1s") as made:
        yield made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Meshd]:
    folder = tmp_path_factory.mktemp("locks")
    with cluster(folder, servers=1, agents=0, session_ttl_min="1s") as made:
        # The leader's own node bears sessions once gossip has said that it lives.
        eventually(lambda: made.servers[0].put("/v1/session/create", {}))
        yield made.servers[0]


def client(node: Meshd) -> Client:
    return Client(Settings(address=f"{node.address}:{node.http}", timeout_seconds=20.0))


def meshctl(node: Meshd, *words: str, **more: Any) -> subprocess.Popen[str]:
    """Start meshctl against this node."""
    more = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "stdin": subprocess.DEVNULL,
    } | more
    return subprocess.Popen(
        [sys.executable, "-m", "mesh.cli.main", *words],
        cwd=TOP,
        text=True,
        env=os.environ | {"MESH_HTTP_ADDR": f"{node.address}:{node.http}"},
        **more,
    )


def finish(process: subprocess.Popen[str], text: str | None = None) -> tuple[int, str, str]:
    out, err = process.communicate(text, timeout=60)
    return process.returncode, out, err


def renewing(node: Meshd, session: str, stop: threading.Event) -> str:
    """Renew it every half second; says when it was gone."""
    with client(node) as asked:
        while not stop.wait(0.5):
            try:
                if asked.session.renew(session) is None:
                    return "gone"
            except MeshError:
                continue
    return ""


def test_no_session_ends_before_its_ttl_though_leaders_die(three: Cluster) -> None:
    agent, stop = three.agents[0], threading.Event()
    with client(agent) as asked, ThreadPoolExecutor(4) as threads:
        kept = [asked.session.create(ALONE) for _ in range(4)]
        watched = [threads.submit(renewing, agent, session, stop) for session in kept]
        for _ in range(2):
            began = time.monotonic()
            left = {asked.session.create(ALONE) for _ in range(5)}
            leader = three.leader()
            leader.kill()
            while left:
                found = eventually(lambda: tried(lambda: asked.session.listed().index))
                assert found
                there = {one.id for one in asked.session.listed().value}
                if left - there:
                    assert time.monotonic() - began >= TTL, "a session ended too early"
                left &= there
            leader.start()
            three.wait_until_ready()
        stop.set()
        assert [one.result() for one in watched] == [""] * len(kept)
        assert set(kept) <= {one.id for one in asked.session.listed().value}


def tried(ask: Any) -> Any:
    try:
        return ask()
    except MeshError as error:
        raise AssertionError(error.message) from error


def test_a_lock_delay_outlasts_the_leader(three: Cluster) -> None:
    agent = three.agents[0]
    with client(agent) as asked:
        other = asked.session.create(Terms(node_checks=[]))
        holds = asked.session.create(Terms(node_checks=[], lock_delay_seconds=60.0))
        assert agent.put(f"/v1/kv/lock?acquire={holds}", b"1")
        asked.session.destroy(holds)
        three.leader().kill()
        answers = [eventually(lambda: [agent.put(f"/v1/kv/lock?acquire={other}")])[0]]
        three.leader()
        answers.append(agent.put(f"/v1/kv/lock?acquire={other}"))
        assert answers == [False, False]


def test_who_holds_the_lock_is_alone_though_leaders_die(three: Cluster, tmp_path: Path) -> None:
    """Each holder makes a folder that must not be there, and takes it away again."""
    agent, room = three.agents[0], tmp_path / "room"
    work = (
        f"mkdir {room} || echo overlap >> {tmp_path}/wrong; sleep 0.1; rmdir {room}; "
        f"echo $MESH_LOCK_FENCE >> {tmp_path}/done"
    )

    def contend(_: int) -> list[int]:
        runs = [meshctl(agent, "lock", "service/job", work) for _ in range(3)]
        return [finish(run)[0] for run in runs]

    with ThreadPoolExecutor(2) as threads:
        running = [threads.submit(contend, number) for number in range(2)]
        eventually((tmp_path / "done").exists)
        leader = three.leader()
        leader.kill()
        codes = [code for one in running for code in one.result()]
    assert codes == [0] * 6
    assert not (tmp_path / "wrong").exists()
    fences = [int(line) for line in (tmp_path / "done").read_text().split()]
    assert len(fences) == 6
    assert fences == sorted(set(fences))


def test_threads_with_locks_and_semaphores(server: Meshd) -> None:
    inside: dict[str, int] = {"lock": 0, "places": 0}
    most = dict(inside)
    guard = threading.Lock()

    def count(what: str, change: int) -> None:
        with guard:
            inside[what] += change
            most[what] = max(most[what], inside[what])

    def contend(number: int) -> None:
        options = HoldOptions(retry_seconds=0.1)
        with client(server) as own:
            what = "lock" if number % 2 else "places"
            held = (
                Lock(own, "threads/lock", options)
                if number % 2
                else Semaphore(own, "threads/places", 3, options)
            )
            with held:
                count(what, 1)
                assert own.kv.put(f"work/{number}", b"done")
                count(what, -1)

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(contend, range(32)))
    assert most["lock"] == 1
    assert most["places"] <= 3
    with client(server) as own:
        assert len(own.kv.keys("work/").value) == 32


def test_the_shortest_ttl_is_an_option_of_servers(server: Meshd) -> None:
    with pytest.raises(OSError, match=r"500 TTL: expected 1s \[session_ttl_min\] to 24h"):
        server.put("/v1/session/create", {"TTL": "900ms"})
    made = server.put("/v1/session/create", {"TTL": "1s"})["ID"]
    assert server.put(f"/v1/session/renew/{made.upper()}")[0]["ID"] == made
    eventually(lambda: server.get(f"/v1/session/info/{made}") == [])
    with pytest.raises(OSError, match="404 Session id"):
        server.put(f"/v1/session/renew/{made}")


def test_the_command_runs_with_the_lock(server: Meshd) -> None:
    shown = 'echo "$CONSUL_LOCK_HELD $MESH_LOCK_HELD $MESH_LOCK_KEY"; cat'
    code, out, err = finish(meshctl(server, "lock", "-verbose", "a/b", shown))
    assert (code, out) == (0, "true true a/b/.lock\n")
    assert "The lock is held, with fencing token" in err
    assert "its key is deleted" in err
    assert tried(lambda: server.get("/v1/kv/?keys=a/")) is not None
    passed = meshctl(server, "lock", "-pass-stdin", "a/b", "cat", stdin=subprocess.PIPE)
    assert finish(passed, "hello") == (0, "hello", "")
    plain = meshctl(server, "lock", "-shell=false", "a/b", "echo", "$HOME", "-n")
    assert finish(plain) == (0, "$HOME -n\n", "")
    shown_as_json = finish(meshctl(server, "lock", "--format", "json", "a/b", "exit 3"))
    assert shown_as_json == (0, '{\n  "Prefix": "a/b",\n  "Held": true,\n  "Exit": 3\n}\n', "")


def test_exit_codes(server: Meshd) -> None:
    assert finish(meshctl(server, "lock", "codes", "exit 7"))[0] == 0
    assert finish(meshctl(server, "lock", "-child-exit-code", "codes", "exit 7"))[0] == 2
    assert finish(meshctl(server, "lock", "-child-exit-code", "codes", "true"))[0] == 0
    code, _, err = finish(meshctl(server, "lock", "codes"))
    assert (code, "lock needs COMMAND" in err) == (2, True)
    code, _, err = finish(meshctl(server, "lock", "-n", "0", "codes", "true"))
    assert (code, "at least 1 holder" in err) == (2, True)
    code, _, err = finish(meshctl(server, "lock", "-shell=false", "codes", "no-such-program"))
    assert (code, "there is no program" in err) == (2, True)
    with client(server) as own, Lock(own, "codes/.lock"):
        code, out, err = finish(meshctl(server, "lock", "-timeout", "300ms", "codes", "echo ran"))
    assert (code, out, "was not free in time" in err) == (1, "", True)


def test_places(server: Meshd, tmp_path: Path) -> None:
    """Two of three are inside together, the third only after one of them left."""
    work = f"echo in >> {tmp_path}/in; while [ ! -e {tmp_path}/out ]; do sleep 0.05; done"
    running = [meshctl(server, "lock", "-n", "2", "places", work) for _ in range(3)]
    try:
        eventually(lambda: len((tmp_path / "in").read_text().split()) == 2)
        with client(server) as own:
            eventually(lambda: len(own.kv.keys("places/").value) == 4)  # A key each, and .lock.
        assert len((tmp_path / "in").read_text().split()) == 2
    finally:
        (tmp_path / "out").touch()
        codes = [finish(one)[0] for one in running]
    assert codes == [0, 0, 0]
    assert len((tmp_path / "in").read_text().split()) == 3


def test_who_loses_the_lock_ends_the_command(server: Meshd, tmp_path: Path) -> None:
    work = f"trap 'echo ended > {tmp_path}/ended; exit' TERM; touch {tmp_path}/in; sleep 60 & wait"
    running = meshctl(server, "lock", "lose", work)
    eventually((tmp_path / "in").exists)
    with client(server) as own:
        pair = own.kv.get("lose/.lock").value
        assert pair is not None
        own.session.destroy(pair.session)
    code, _, err = finish(running)
    assert code == 1
    assert "the lock is lost" in err
    assert (tmp_path / "ended").read_text() == "ended\n"


def test_a_command_that_ignores_sigterm_is_killed(server: Meshd, tmp_path: Path) -> None:
    work = f"trap '' TERM; echo $$ > {tmp_path}/pid; while true; do sleep 0.1; done"
    running = meshctl(server, "lock", "--monitor-retry", "0", "stubborn", work)
    child = int(eventually(lambda: (tmp_path / "pid").read_text().strip()))
    with client(server) as own:
        own.kv.delete("stubborn/.lock")
    assert finish(running)[0] == 1
    assert not Path(f"/proc/{child}").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_command_and_gives_the_lock_back(
    server: Meshd, tmp_path: Path, number: signal.Signals
) -> None:
    work = f"trap 'echo ended > {tmp_path}/ended; exit' TERM; touch {tmp_path}/in; sleep 60 & wait"
    running = meshctl(server, "lock", "stop", work)
    eventually((tmp_path / "in").exists)
    with client(server) as own:

        def sessions() -> set[str]:
            return {one.id for one in own.session.of_node(server.name).value}

        before = sessions()
        waits = meshctl(server, "lock", "stop", "echo never")
        eventually(lambda: sessions() - before)
        waits.send_signal(number)
        code, out, err = finish(waits)
        assert (code, out, "stopped while waiting" in err) == (1, "", True), err
        running.send_signal(number)
        assert finish(running)[0] == 0
        assert (tmp_path / "ended").exists()
        assert own.kv.get("stop/.lock").value is None
        # An orderly release: there is no lock-delay.
        assert finish(meshctl(server, "lock", "-timeout", "5s", "stop", "true"))[0] == 0


def test_a_command_dies_with_meshctl(server: Meshd, tmp_path: Path) -> None:
    work = f"echo $$ > {tmp_path}/pid; while true; do sleep 0.05; done"
    running = meshctl(server, "lock", "die", work)
    eventually(lambda: (tmp_path / "pid").read_text().strip())
    child = int((tmp_path / "pid").read_text())
    running.kill()
    # Its output is the command's too: that it ends says that the command did.
    assert finish(running)[0] == -signal.SIGKILL
    eventually(lambda: not Path(f"/proc/{child}").exists() or zombie(child))


def zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_who_loses_the_lock_ends_all_that_a_command_with_input_started(
    server: Meshd, tmp_path: Path
) -> None:
    work = f"sleep 300 & echo $! > {tmp_path}/pid; wait"
    running = meshctl(server, "lock", "-pass-stdin", "input", work, stdin=subprocess.PIPE)
    child = int(eventually(lambda: (tmp_path / "pid").read_text().strip()))
    with client(server) as own:
        own.kv.delete("input/.lock")
    assert finish(running)[0] == 1
    eventually(lambda: not Path(f"/proc/{child}").exists() or zombie(child))
