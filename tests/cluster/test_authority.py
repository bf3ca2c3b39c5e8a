"""The certificate authority on real processes: a killed leader, a sleeping agent, no servers."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.processes import Cluster, Meshd, cluster, eventually

pytestmark = pytest.mark.together
ROTATION = "/v1/connect/ca/rotation"


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("authority")
    connect = {"leaf_storage": "disk", "test_ca_leaf_root_change_spread": "1s"}
    with cluster(folder, servers=3, agents=2, connect=connect) as made:
        eventually(lambda: roots(made.agents[0])["ActiveRootID"])
        yield made


def roots(node: Meshd, *, own: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = node.get(f"/v1/connect/ca/roots{'?stale' if own else ''}")
    return found


def leaf(node: Meshd, service: str) -> dict[str, Any]:
    found: dict[str, Any] = node.get(f"/v1/agent/connect/ca/leaf/{service}")
    return found


def verified(node: Meshd, certificate: str, folder: Path) -> bool:
    """Whether OpenSSL believes it by the roots that the node knows."""
    trusted = "".join(root["RootCert"] for root in roots(node)["Roots"])
    first, _, chain = certificate.partition("-----END CERTIFICATE-----\n")
    texts = {"leaf": f"{first}-----END CERTIFICATE-----\n", "chain": chain, "roots": trusted}
    for name, text in texts.items():
        (folder / name).write_text(text)
    command = ["openssl", "verify", "-CAfile", "roots", "-untrusted", "chain", "leaf"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    return done.returncode == 0


def test_all_servers_have_the_same(three: Cluster, tmp_path: Path) -> None:
    first = roots(three.servers[0])
    for server in three.servers:
        eventually(lambda server=server: roots(server, own=True) == first)  # type: ignore[misc]
    web, db = leaf(three.agents[0], "web"), leaf(three.agents[1], "db")
    assert verified(three.agents[1], web["CertPEM"], tmp_path)
    assert verified(three.agents[0], db["CertPEM"], tmp_path)


def test_a_killed_leader_takes_nothing_with_it(three: Cluster, tmp_path: Path) -> None:
    before = roots(three.agents[0])
    leader = three.leader()
    leader.kill()
    made = eventually(lambda: leaf(three.agents[0], "after"))
    assert verified(three.agents[1], made["CertPEM"], tmp_path)
    assert roots(three.agents[0]) == before
    leader.start()
    three.wait_until_ready()


def test_a_rotation_waits_for_an_agent_that_sleeps(three: Cluster, tmp_path: Path) -> None:
    awake, asleep = three.agents
    old = leaf(asleep, "db")
    eventually(lambda: awake.get(ROTATION)["Workloads"] >= 2)
    assert asleep.process is not None
    asleep.signal(signal.SIGSTOP)
    try:
        done = awake.meshctl("connect", "ca", "rotate", "prepare")
        assert done.returncode == 0, done.stderr
        eventually(
            lambda: (
                awake.get(ROTATION)["Waiting"]
                and all(one.endswith(" on a2") for one in awake.get(ROTATION)["Waiting"])
            )
        )
        done = awake.meshctl("connect", "ca", "rotate", "activate")
        assert done.returncode == 1
        assert "leaf:db on a2" in done.stderr
    finally:
        asleep.signal(signal.SIGCONT)
    eventually(lambda: not awake.get(ROTATION)["Waiting"])
    done = awake.meshctl("connect", "ca", "rotate", "activate")
    assert done.returncode == 0, done.stderr
    eventually(lambda: not awake.get(ROTATION)["Waiting"])
    assert verified(awake, old["CertPEM"], tmp_path)
    done = awake.meshctl("connect", "ca", "rotate", "retire")
    assert done.returncode == 0, done.stderr
    eventually(lambda: len(roots(asleep)["Roots"]) == 1)
    assert verified(awake, leaf(asleep, "db")["CertPEM"], tmp_path)
    assert not verified(awake, old["CertPEM"], tmp_path)


def test_an_agent_that_restarts_without_servers_has_its_leaf(three: Cluster) -> None:
    agent = three.agents[0]
    before = leaf(agent, "web")
    for server in three.servers:
        server.kill()
    agent.kill()
    agent.start()
    assert eventually(lambda: leaf(agent, "web")) == before
    for server in three.servers:
        server.start()
    three.wait_until_ready()
    done = eventually(lambda: renewed(agent, "web"))
    assert done["SerialNumber"] != before["SerialNumber"]
    assert done["ServiceURI"] == before["ServiceURI"]


def renewed(agent: Meshd, service: str) -> dict[str, Any]:
    found: dict[str, Any] = agent.ask("POST", f"/v1/agent/connect/ca/leaf/{service}/reissue")
    return found
