"""For whom the authority signs leaves, and by which reason others are counted."""

from __future__ import annotations

import pytest

from mesh.connect.admission import REFUSED, NotSigned, admitted
from mesh.errors import Denied, Invalid

DOMAIN = "11111111-2222-3333-4444-555555555555.consul"
SERVICE = f"spiffe://{DOMAIN}/ns/default/dc/dc1/svc/web"


def test_services_and_agents_of_this_datacenter_are_admitted() -> None:
    assert admitted(SERVICE, DOMAIN, "dc1").name == "web"
    agent = f"spiffe://{DOMAIN}/agent/client/dc/dc1/id/n1"
    assert admitted(agent, DOMAIN, "dc1").role == "agent"


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        (SERVICE.replace("11111111", "99999999"), "trust_domain"),
        (SERVICE.replace("dc1", "dc2"), "datacenter"),
        (SERVICE.replace("ns/default", "ns/other"), "partition"),
        (SERVICE.replace("spiffe", "SPIFFE"), "spelling"),
        (f"spiffe://{DOMAIN}", "role"),
    ],
)
def test_others_are_refused_and_the_reason_is_named(uri: str, reason: str) -> None:
    with pytest.raises(NotSigned, match="CSR: ") as refused:
        admitted(uri, DOMAIN, "dc1")
    assert refused.value.reason == reason
    assert reason in REFUSED
    assert isinstance(refused.value, Denied)


def test_what_is_no_identity_is_invalid() -> None:
    with pytest.raises(Invalid):
        admitted("web", DOMAIN, "dc1")
