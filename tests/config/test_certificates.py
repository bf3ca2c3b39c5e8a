"""Which certificate files count when several sections name some."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mesh.config import certificates
from mesh.config.load import validate
from mesh.config.schema import Config
from mesh.errors import Invalid


def read(folder: Path, **tls: dict[str, Any]) -> Config:
    file = folder / "tls.json"
    file.write_text(json.dumps({"tls": tls}))
    return validate([str(file)])


PAIR = {"cert_file": "c", "key_file": "k"}


@pytest.mark.parametrize(
    ("defaults", "internal_rpc", "key", "path"),
    [
        ({"ca_file": "a"}, {}, "tls.defaults.ca_file", "a"),
        ({"ca_path": "a"}, {}, "tls.defaults.ca_path", "a"),
        ({"ca_file": "a"}, {"ca_file": "b"}, "tls.internal_rpc.ca_file", "b"),
        # Whom other ports trust is not trusted here too.
        ({"ca_file": "a"}, {"ca_path": "b"}, "tls.internal_rpc.ca_path", "b"),
        ({"ca_path": "a"}, {"ca_file": "b"}, "tls.internal_rpc.ca_file", "b"),
        ({}, {}, "tls.defaults.ca_file", ""),
    ],
)
def test_the_server_port_trusts_what_its_own_section_names(
    tmp_path: Path, defaults: dict[str, str], internal_rpc: dict[str, str], key: str, path: str
) -> None:
    pair = PAIR if path else {}
    config = read(tmp_path, defaults=defaults | pair, internal_rpc=internal_rpc)
    assert certificates.authorities(config) == (key, path)
    assert not config.warnings


def test_a_folder_beside_a_file_is_said_to_be_unused(tmp_path: Path) -> None:
    config = read(tmp_path, defaults=PAIR | {"ca_file": "a", "ca_path": "b"})
    assert certificates.authorities(config).path == "a"
    (warning,) = config.warnings
    assert warning.endswith("tls.defaults.ca_path: is not used beside ca_file")


@pytest.mark.parametrize(
    ("tls", "why"),
    [
        ({}, "ports.dns_tls: needs tls.defaults.ca_file, cert_file and key_file"),
        (
            {"internal_rpc": {"plaintext": True}},
            "ports.dns_tls: cannot be set together with tls.internal_rpc.plaintext",
        ),
        ({"defaults": PAIR | {"ca_file": "a"}}, ""),
    ],
)
def test_dns_over_tls_needs_certificates(
    tmp_path: Path, tls: dict[str, dict[str, Any]], why: str
) -> None:
    file = tmp_path / "dns.json"
    file.write_text(json.dumps({"tls": tls, "ports": {"dns_tls": 853}}))
    if not why:
        assert validate([str(file)]).ports.dns_tls == 853
        return
    with pytest.raises(Invalid, match=why):
        validate([str(file)])
