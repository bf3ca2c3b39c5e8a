import sys
from pathlib import Path

import pytest
import yaml

from mesh.cli import compose
from mesh.errors import Invalid

TOP = Path(__file__).parent.parent.parent


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "compose.yml"
    path.write_text(text)
    return path


def test_the_projects_file_is_three_servers_two_agents_and_the_shop() -> None:
    cluster = compose.processes(
        compose.read(TOP / "cluster-compose.yml"), "127.0.99", publish=False
    )
    assert [one.name for one in cluster.nodes] == [
        "server1",
        "server2",
        "server3",
        "agent1",
        "agent2",
    ]
    assert sum(one.is_server for one in cluster.nodes) == 3
    assert len(cluster.processes) == 9
    assert cluster.certified == [one.name for one in cluster.nodes]
    for one in cluster.nodes:
        assert f"certificates/{one.name}.json" in one.command
    assert len({one.address for one in cluster.processes}) == 9
    web = next(one for one in cluster.processes if one.name == "web")
    assert web.command[:3] == [sys.executable, "-m", "mesh.cli.shop"]
    assert web.environment == {"MESH_HTTP_ADDR": "127.0.99.21:8500"}
    everything = " ".join(word for one in cluster.processes for word in one.command)
    assert "10.77" not in everything


def test_published_ports_become_a_second_address() -> None:
    file = compose.read(TOP / "cluster-compose.yml")
    cluster = compose.processes(file, "127.0.99", publish=True)
    assert cluster.published
    both = [one.name for one in cluster.processes if "127.0.99.21 127.0.0.1" in one.command]
    assert both == ["agent1"]


def test_every_registered_service_is_a_container_and_every_definition_is_read() -> None:
    file = compose.read(TOP / "cluster-compose.yml")
    addresses = {
        box.networks["mesh"].ipv4_address for box in file.services.values() if box.networks
    }
    found = []
    for path in sorted((TOP / "demo").rglob("*.yaml")):
        for service in yaml.safe_load(path.read_text()).get("services", []):
            assert service["address"] in addresses
            assert f"//{service['address']}:{service['port']}/health" in service["check"]["http"]
            found.append(service["id"])
    assert found == ["web", "payments-1", "payments-2", "payments-3"]


def test_only_addresses_of_the_network_move() -> None:
    text = "10.77.0.11 10.77.1.11 http://10.77.0.5:80/ 110.77.0.11"
    expected = "127.0.88.11 10.77.1.11 http://127.0.88.5:80/ 110.77.0.11"
    assert compose.moved(text, {"10.77.0"}, "127.0.88") == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("services: {a: {command: meshd}}", "networks"),
        ("services: {a: {command: sh, networks: {n: {ipv4_address: 10.0.0.1}}}}", "start with"),
        ("services: {a: {command: meshd, networks: {n: {ipv4_address: x}}}}", "IPv4"),
        ("services: {a: {command: meshd, networks: {}}}", "one network"),
        ("services: {a: {secrets: [x], command: meshd, networks: {}}}", "secrets"),
        ("services: [", "cannot read"),
    ],
)
def test_what_the_demo_cannot_do_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        compose.processes(compose.read(written(tmp_path, text)), "127.0.99", publish=False)
