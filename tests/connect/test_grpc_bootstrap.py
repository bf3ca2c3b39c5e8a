"""What gRPC programs are started with."""

from __future__ import annotations

from mesh.connect.grpc_bootstrap import Bootstrap, bootstrap


def test_a_bootstrap_names_the_service_its_agent_and_its_certificates() -> None:
    made = bootstrap(
        Bootstrap(service="web", node="n1", datacenter="dc1", agent="unix:/x", folder="/y")
    )
    assert made["xds_servers"][0]["server_uri"] == "unix:/x"
    assert (made["node"]["id"], made["node"]["cluster"]) == ("grpc:web", "web")
    provider = made["certificate_providers"]["mesh"]
    assert provider["plugin_name"] == "file_watcher"
    assert provider["config"]["private_key_file"] == "/y/key.pem"
    assert made["server_listener_resource_name_template"].endswith("listening_address=%s")
