from pathlib import Path

import pytest

from mesh.client.settings import Endpoint, from_environment, parse_address
from mesh.errors import Invalid


@pytest.mark.parametrize(
    ("address", "endpoint"),
    [
        ("127.0.0.1:8500", Endpoint(host="127.0.0.1", port=8500)),
        ("node", Endpoint(host="node", port=8500)),
        ("http://node:80", Endpoint(host="node", port=80)),
        ("https://node", Endpoint(host="node", port=443, tls=True)),
        ("https://node:8501/", Endpoint(host="node", port=8501, tls=True)),
        ("[::1]:8500", Endpoint(host="::1", port=8500)),
        ("unix:///run/mesh.sock", Endpoint(socket_path="/run/mesh.sock")),
    ],
)
def test_addresses(address: str, endpoint: Endpoint) -> None:
    assert parse_address(address) == endpoint


@pytest.mark.parametrize("address", ["", "ftp://x", "a:b", "http://a/v1", "unix://", ":8500"])
def test_an_address_that_is_none_is_refused_in_words(address: str) -> None:
    with pytest.raises(Invalid, match="is not host:port"):
        parse_address(address)


def test_names_of_mesh_beat_those_of_consul() -> None:
    found = from_environment(
        {
            "CONSUL_HTTP_ADDR": "consul:8500",
            "MESH_HTTP_ADDR": "mesh:8500",
            "CONSUL_HTTP_TOKEN": "secret",
            "CONSUL_HTTP_SSL": "true",
            "CONSUL_HTTP_SSL_VERIFY": "0",
        }
    )
    assert found.address == "mesh:8500"
    assert found.token == "secret"
    assert found.tls
    assert not found.verify
    assert found.headers() == {"X-Consul-Token": "secret"}


def test_a_token_file_beats_a_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-file\n")
    environment = {"MESH_HTTP_TOKEN": "x", "MESH_HTTP_TOKEN_FILE": str(tmp_path / "token")}
    assert from_environment(environment).token == "from-file"


def test_values_that_make_no_sense_are_named() -> None:
    with pytest.raises(Invalid, match='MESH_HTTP_SSL: expected true or false, got "maybe"'):
        from_environment({"MESH_HTTP_SSL": "maybe"})
    with pytest.raises(Invalid, match="cannot read the token file /none: No such file"):
        from_environment({"MESH_HTTP_TOKEN_FILE": "/none"})
    with pytest.raises(Invalid, match="cannot use the TLS files /none"):
        from_environment({"MESH_CACERT": "/none"}).ssl_context()
