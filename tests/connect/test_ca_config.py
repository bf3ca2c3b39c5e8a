"""The authority's configuration: what it refuses, so that nothing fails on it later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mesh.connect import ca_config
from mesh.errors import Invalid
from mesh.registry.authority import HOUR, Brought, Rules
from tests.certificates import Certificates


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"RootCertTTL": 1e21}, "RootCertTTL: .*at most 876000h"),
        ({"RootCertTTL": 10**400}, "RootCertTTL: expected a duration"),
        ({"RootCertTTL": float("nan")}, "RootCertTTL: expected a duration"),
        ({"RootCertTTL": "8759h"}, "RootCertTTL: .*at least IntermediateCertTTL"),
        ({"IntermediateCertTTL": 1e21}, "RootCertTTL"),
        ({"CSRMaxConcurrent": 10**400}, "CSRMaxConcurrent: expected a number"),
    ],
)
def test_numbers_beyond_the_limits(config: dict[str, Any], why: str) -> None:
    with pytest.raises(Invalid, match=why):
        ca_config.read(config, Rules())


def test_numbers_are_nanoseconds() -> None:
    found = ca_config.read({"RootCertTTL": 876000 * HOUR * 1e9}, Rules())
    assert found.rules.root_cert_ttl == 876000 * HOUR


def test_what_is_no_certificate_is_named(tmp_path: Path) -> None:
    root = Certificates(tmp_path).ca.read_text()
    for brought, name in (
        (Brought(certificate="x"), "RootCert"),
        (Brought(certificate=root, intermediate="x", intermediate_key="x"), "IntermediateCert"),
    ):
        with pytest.raises(Invalid, match=f"{name}: expected certificates in PEM form"):
            ca_config.check_brought(brought)
