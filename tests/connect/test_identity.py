from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.connect.identity import Identity, Role, is_same, name_pattern, parse, server_name, service
from mesh.errors import Invalid

DOMAIN = "11111111-2222-3333-4444-555555555555.consul"


@pytest.mark.parametrize(
    ("identity", "path"),
    [
        (service(DOMAIN, "dc1", "web"), "/ns/default/dc/dc1/svc/web"),
        (Identity(DOMAIN, "agent", "dc1", "n1"), "/agent/client/dc/dc1/id/n1"),
        (Identity(DOMAIN, "server", "dc1"), "/agent/server/dc/dc1"),
        (Identity(DOMAIN, "gateway", "dc1"), "/gateway/mesh/dc/dc1"),
        (Identity(DOMAIN, "authority"), ""),
        (
            Identity(DOMAIN, "service", "dc1", "web", partition="p"),
            "/ap/p/ns/default/dc/dc1/svc/web",
        ),
        (service(DOMAIN, "dc1", "a/b"), "/ns/default/dc/dc1/svc/a%2Fb"),
    ],
)
def test_identities_have_the_forms_that_consul_gives_them(identity: Identity, path: str) -> None:
    assert identity.uri == f"spiffe://{DOMAIN}{path}"
    assert parse(identity.uri) == identity


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "https://example.com/ns/default/dc/dc1/svc/web",
        "spiffe:///ns/default/dc/dc1/svc/web",
        "spiffe://a b/ns/default/dc/dc1/svc/web",
        f"spiffe://{DOMAIN}/",
        f"spiffe://{DOMAIN}/ns/default/dc/dc1/svc/",
        f"spiffe://{DOMAIN}/ns/default/dc/dc1/svc/web/more",
        f"spiffe://{DOMAIN}/sa/web",
        f"spiffe://{DOMAIN}/ns/default/dc/dc1/svc/{'w' * 2048}",
    ],
)
def test_what_is_no_identity_is_refused(uri: str) -> None:
    with pytest.raises(Invalid, match="SPIFFE ID"):
        parse(uri)


@given(st.sampled_from(["service", "agent"]), st.text(min_size=1, max_size=60))
def test_any_name_comes_back(role: Role, name: str) -> None:
    given_one = Identity(DOMAIN, role, "dc1", name)
    assert parse(given_one.uri) == given_one


@given(st.text(max_size=120))
def test_any_text_is_an_identity_or_refused(text: str) -> None:
    try:
        found = parse(text)
    except Invalid:
        return
    assert parse(found.uri) == found


def segment(name: str) -> str:
    return service(DOMAIN, "dc1", name).uri.rpartition("/")[2]


@pytest.mark.parametrize("name", ["web", "Web.v2", "d/e f", "Straße", "ÜBER-Api", "İ"])
def test_a_pattern_is_of_a_name_in_any_case(name: str) -> None:
    pattern = f"(?i:{name_pattern(name)})"
    for one in {name, name.lower(), name.title(), name.swapcase()}:
        same = one.lower() == name.lower()
        assert bool(re.fullmatch(pattern, segment(one))) == same, one
        uris = [service(DOMAIN, "dc1", each).uri for each in (one, name)]
        assert is_same(*uris) == same
    for other in (f"{name}x", f"x{name}", "other"):
        assert not re.fullmatch(pattern, segment(other))
        assert not is_same(*(service(DOMAIN, "dc1", each).uri for each in (other, name)))


def test_the_server_name_leads_to_a_service() -> None:
    assert server_name("web", "dc1", DOMAIN) == f"web.default.dc1.internal.{DOMAIN}"
    assert server_name("web", "dc1", DOMAIN, "v2") == f"v2.web.default.dc1.internal.{DOMAIN}"
