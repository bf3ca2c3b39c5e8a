"""The certificate authority: chains that others believe, steps of a rotation, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from msgspec.structs import replace

from mesh.clock import SystemClock
from mesh.connect import ca, identity, signing
from mesh.connect.ca import LeafSigner
from mesh.connect.horizon import DAY
from mesh.connect.keys import new_key
from mesh.errors import Conflict, Denied, Invalid
from mesh.registry.authority import HOUR, Brought, Rules
from mesh.registry.workloads import Ack
from tests.connect.authority import (
    DOMAIN,
    START,
    Elsewhere,
    Office,
    openssl_verifies,
    outside_root,
    signed_by_openssl,
)


@pytest.mark.parametrize(("kind", "bits"), [("ec", 256), ("ec", 384), ("ec", 521), ("rsa", 2048)])
def test_openssl_believes_a_leaf(kind: str, bits: int) -> None:
    office = Office(Rules(private_key_type=kind, private_key_bits=bits))  # type: ignore[arg-type]
    leaf = office.sign()
    assert not openssl_verifies(leaf, [office.state.active.certificate], START)
    found = signing.facts(leaf.certificate)
    assert found.uris == [identity.service(DOMAIN, "dc1", "web").uri]
    assert (found.not_before, found.not_after) == (START - 300, START + 72 * HOUR)
    assert not found.authority


def test_a_stranger_does_not(office: Office) -> None:
    assert "unable to get" in openssl_verifies(
        office.sign(), [Office().state.active.certificate], START
    )


@pytest.fixture
def office() -> Office:
    return Office()


def test_who_knows_only_the_old_root_believes_leaves_of_the_new_ones(office: Office) -> None:
    first = office.state.active.certificate
    for _ in range(2):
        office.amend(ca.rotate(office.state, Rules(), Brought(), office.making, force=False))
    leaf = office.sign()
    assert len(office.state.past) == 2
    assert len(leaf.chain) == 3
    assert not openssl_verifies(leaf, [first], START)
    assert not openssl_verifies(leaf, [office.state.active.certificate], START)


def test_a_rotation_waits_for_proof(office: Office) -> None:
    old = office.state.active
    office.tell("n1", Ack(id="proxy:web", roots=[old.id], leaf=old.id))
    office.amend(ca.prepare(office.state, Rules(), Brought(), office.making))
    new = office.state.prepared
    assert new is not None
    assert new.id in {root.id for root in office.trust.roots}
    assert office.trust.active == old.id
    with pytest.raises(Conflict, match=r"0 of 1 workloads believe.*proxy:web on n1"):
        ca.activate(office.state, office.reports, 1.0, office.now)

    both = sorted([old.id, new.id])
    office.tell("n1", Ack(id="proxy:web", roots=both, leaf=old.id))
    office.amend(ca.activate(office.state, office.reports, 1.0, office.now))
    assert office.trust.active == new.id
    with pytest.raises(Conflict, match="0 of 1 workloads need no past root"):
        ca.retire(office.state, office.reports, 1.0, office.now)

    office.tell("n1", Ack(id="proxy:web", roots=both, leaf=new.id))
    office.amend(ca.retire(office.state, office.reports, 1.0, office.now))
    assert [root.id for root in office.trust.roots] == [new.id]
    assert set(office.state.keys) == {new.id}
    assert not office.state.active.crossed


def test_a_share_may_do_and_force_needs_nobody(office: Office) -> None:
    office.amend(ca.prepare(office.state, Rules(), Brought(), office.making))
    state = office.state
    assert state.prepared is not None
    known = sorted(state.roots)
    office.tell("n1", *(Ack(id=f"proxy:{n}", roots=known if n else []) for n in range(4)))
    with pytest.raises(Conflict, match="3 of 4"):
        ca.activate(state, office.reports, 0.8, office.now)
    ca.activate(state, office.reports, 0.75, office.now)
    ca.activate(state, office.reports, 1.0, office.now, force=True)


def test_leaves_that_are_over_keep_nobody_waiting(office: Office) -> None:
    office.amend(ca.prepare(office.state, Rules(), Brought(), office.making))
    both = sorted(office.state.roots)
    old = office.state.active.id
    office.tell("n1", Ack(id="proxy:web", roots=both, leaf=old))
    office.amend(ca.activate(office.state, office.reports, 1.0, office.now))
    office.now += 72 * HOUR - 1
    with pytest.raises(Conflict):
        ca.retire(office.state, office.reports, 1.0, office.now)
    office.now += 1
    assert ca.retire(office.state, office.reports, 1.0, office.now).dropped == [old]


def test_what_the_next_root_goes_by_counts_once_it_signs(office: Office) -> None:
    rules = Rules(leaf_cert_ttl=300 * HOUR, private_key_bits=384)
    office.amend(ca.prepare(office.state, rules, Brought(), office.making))
    assert office.trust.rules == Rules()
    assert office.sign().valid_before == START + 72 * HOUR
    settings = office.state.settings
    limited = replace(settings, rules=Rules(csr_max_concurrent=7))
    office.amend(ca.configure(office.state, limited))
    office.amend(ca.activate(office.state, office.reports, 1.0, office.now))
    assert office.trust.rules == replace(rules, csr_max_concurrent=7)
    assert office.state.active.leaf_ttl == 300 * HOUR
    assert office.sign().valid_before == START + 300 * HOUR


def test_a_root_that_is_taken_back_leaves_nothing_of_its_rules(office: Office) -> None:
    before = office.state.settings.rules
    rules = Rules(private_key_type="rsa", private_key_bits=2048)
    office.amend(ca.prepare(office.state, rules, Brought(), office.making))
    office.amend(ca.retire(office.state, office.reports, 1.0, office.now, force=True))
    assert office.state.settings.rules == before


def test_other_rules_go_with_those_of_the_next_root(office: Office) -> None:
    rules = Rules(leaf_cert_ttl=2000 * HOUR)
    office.amend(ca.prepare(office.state, rules, Brought(), office.making))
    shorter = Rules(intermediate_cert_ttl=300 * HOUR)
    settings = replace(office.state.settings, rules=shorter)
    with pytest.raises(Invalid, match="IntermediateCertTTL"):
        ca.configure(office.state, settings)


def test_intermediates_are_renewed_in_half_time(office: Office) -> None:
    before = office.state.active.intermediate
    leaf = office.sign()
    office.now += 8760 * HOUR / 2 - 600
    assert ca.renew(office.state, office.making) is None
    office.now += 600
    office.amend(ca.renew(office.state, office.making))
    assert office.state.active.intermediate != before
    assert not openssl_verifies(leaf, [office.state.active.certificate], START)
    now = office.now
    assert not openssl_verifies(office.sign(), [office.state.active.certificate], now)


def test_nothing_outlives_its_issuer() -> None:
    office = Office(
        Rules(leaf_cert_ttl=HOUR, intermediate_cert_ttl=3 * HOUR, root_cert_ttl=4 * HOUR)
    )
    office.now += 3 * HOUR
    office.amend(ca.renew(office.state, office.making))
    root = office.state.active
    assert root.intermediate_not_after == root.not_after
    assert ca.renew(office.state, office.making) is None
    office.now += HOUR - 60
    assert office.sign().valid_before == root.not_after
    office.now += 60
    with pytest.raises(Invalid, match="expired"):
        office.sign()


def test_an_expired_root_is_recovered_from(office: Office) -> None:
    old = office.state.active
    with pytest.raises(Conflict, match="has not expired"):
        ca.recover(office.state, office.making)
    office.now = old.not_after
    office.amend(ca.recover(office.state, office.making))
    new = office.state.active
    assert [root.id for root in office.trust.roots] == [new.id]
    assert not openssl_verifies(office.sign(), [new.certificate], office.now)


def test_past_roots_of_a_rotation_in_one_step_go_by_themselves(office: Office) -> None:
    old = office.state.active.id
    office.amend(ca.rotate(office.state, Rules(), Brought(), office.making, force=False))
    office.now += 2 * 72 * HOUR - 1
    assert ca.prune(office.state, office.now) is None
    office.now += 1
    office.amend(ca.prune(office.state, office.now))
    assert old not in office.state.roots


def test_a_root_that_signs_no_other_needs_force(office: Office) -> None:
    rules = Rules(disable_cross_signing=True)
    with pytest.raises(Conflict, match="cross-signing"):
        ca.rotate(office.state, rules, Brought(), office.making, force=False)
    office.amend(ca.rotate(office.state, rules, Brought(), office.making, force=True))
    assert not office.state.active.crossed


def test_two_who_change_it_at_once(office: Office) -> None:
    first = ca.prepare(office.state, Rules(), Brought(), office.making)
    second = ca.prepare(office.state, Rules(), Brought(), office.making)
    office.amend(first)
    with pytest.raises(Conflict, match="meanwhile"):
        office.amend(second)


def test_a_root_from_outside() -> None:
    key = new_key("rsa", 2048)
    pem = signing.make_root(key, DOMAIN, signing.Validity(START, 1e8))
    office = Office(brought=Brought(certificate=f"\r\n{pem}\n\n", key=key))
    assert office.state.active.certificate == pem
    assert not openssl_verifies(office.sign(), [pem], START)


def test_who_knows_only_the_old_root_believes_one_from_outside(office: Office) -> None:
    first, key = office.state.active.certificate, new_key("ec", 256)
    brought = Brought(certificate=outside_root(key, path_length=1), key=key)
    office.amend(ca.rotate(office.state, Rules(), brought, office.making, force=False))
    leaf = office.sign()
    assert not openssl_verifies(leaf, [first], START)
    assert not openssl_verifies(leaf, [brought.certificate], START)


@pytest.mark.parametrize(
    ("length", "signs", "why"),
    [(0, True, "path length is 0"), (1, False, "no certificate authority")],
)
def test_a_root_below_which_nobody_would_believe_a_leaf(
    office: Office, length: int, signs: bool, why: str
) -> None:
    key = new_key("ec", 256)
    pem = outside_root(key, path_length=length, signs=signs)
    with pytest.raises(Invalid, match=why):
        ca.prepare(office.state, Rules(), Brought(certificate=pem, key=key), office.making)


@pytest.mark.parametrize(("length", "rotations"), [(1, 0), (2, 1), (3, 2)])
def test_a_root_signs_no_more_authorities_than_it_allows(length: int, rotations: int) -> None:
    key = new_key("ec", 256)
    pem = outside_root(key, path_length=length)
    office = Office(brought=Brought(certificate=pem, key=key))
    for _ in range(rotations):
        office.amend(ca.rotate(office.state, Rules(), Brought(), office.making, force=False))
        assert not openssl_verifies(office.sign(), [pem], START)
    with pytest.raises(Conflict, match="ForceWithoutCrossSigning"):
        ca.rotate(office.state, Rules(), Brought(), office.making, force=False)
    office.amend(ca.prepare(office.state, Rules(), Brought(), office.making))
    assert office.state.prepared is not None
    assert not office.state.prepared.crossed


def test_a_root_whose_key_is_elsewhere() -> None:
    key = new_key("ec", 256)
    pem = signing.make_root(key, DOMAIN, signing.Validity(START, 1e9))
    office = Office()
    with pytest.raises(Invalid, match="PrivateKey"):
        ca.prepare(office.state, Rules(), Brought(certificate=pem), office.making)

    office.now = SystemClock().wall()  # As OpenSSL has it.
    making = ca.Making(office.now, partial(signed_by_openssl, pem, key))
    office.amend(ca.rotate(office.state, Rules(), Brought(certificate=pem), making, force=False))
    assert office.state.keys[office.state.active.id].root == ""
    office.now = SystemClock().wall()  # It may have taken its time.
    assert not openssl_verifies(office.sign(), [pem], office.now)


@pytest.mark.parametrize("service", ["ü" * 40, "w" * 200, "a" + "\N{GRINNING FACE}" * 30])
def test_a_name_that_is_longer_than_a_subject_may_be_is_cut(office: Office, service: str) -> None:
    leaf = office.sign(service)
    assert not openssl_verifies(leaf, [office.state.active.certificate], START)
    found = signing.facts(leaf.certificate)
    assert service.startswith(found.name)
    assert 60 < len(found.name.encode()) <= 64
    assert identity.parse(found.uris[0]).name == service


def test_an_intermediate_from_outside_is_replaced_from_there_only() -> None:
    elsewhere = Elsewhere()
    given = elsewhere.gives()
    office = Office(brought=given)
    active = office.state.active
    assert (active.intermediate, active.intermediate_brought) == (given.intermediate, True)
    assert office.state.keys[active.id].root == ""
    assert not openssl_verifies(office.sign(), [elsewhere.root], START)

    office.now = START + 300 * DAY
    assert not ca.is_renewal_due(office.state, office.now)
    assert ca.renew(office.state, office.making) is None
    assert ca.replace(office.state, given, office.now) is None
    following = elsewhere.gives(700)
    office.amend(ca.replace(office.state, following, office.now))
    assert office.state.active.intermediate == following.intermediate
    assert office.state.active.id == active.id
    assert not openssl_verifies(office.sign(), [elsewhere.root], office.now)
    with pytest.raises(Conflict, match="of another root"):
        ca.replace(office.state, Elsewhere().gives(), office.now)


def test_a_rotation_to_an_intermediate_from_outside(office: Office) -> None:
    given = Elsewhere().gives()
    office.amend(ca.rotate(office.state, Rules(), given, office.making, force=False))
    roots = [root.certificate for root in office.trust.roots]
    assert len(roots) == 2
    for root in roots:
        assert not openssl_verifies(office.sign(), [root], START)


def _leaf_as_authority() -> Brought:
    office, key = Office(), new_key("ec", 256)
    csr = signing.request_leaf(key, identity.service(DOMAIN, "dc1", "web").uri)
    leaf = LeafSigner(office.state, "dc1").sign(csr, START).certificate
    return Brought(certificate=leaf, intermediate=leaf, intermediate_key=key)


def _below_an_intermediate() -> Brought:
    """Under a certificate whose path length forbids it."""
    given = Elsewhere().gives()
    key, validity = new_key("ec", 256), signing.Validity(START, 1e6)
    signer = signing.Signer(given.intermediate, given.intermediate_key)
    made = signer.intermediate(key, DOMAIN, validity)
    return Brought(certificate=given.intermediate, intermediate=made, intermediate_key=key)


@pytest.mark.parametrize(
    ("brought", "why"),
    [
        (lambda: Elsewhere().gives(domain="other.consul"), "expected the URI spiffe://1111"),
        (lambda: replace(Elsewhere().gives(), certificate=Elsewhere().root), "not signed by root"),
        (lambda: Elsewhere(START - 10 * DAY).gives(1), "not valid now"),
        (lambda: Elsewhere(START + 1000).gives(), "not valid now"),
        (
            lambda: replace(_leaf_as_authority(), certificate=Elsewhere().root),
            "no certificate auth",
        ),
        (_below_an_intermediate, "path length is 0"),
        (lambda: replace(Elsewhere().gives(), intermediate_key=new_key("ec", 256)), "not the key"),
    ],
)
def test_a_bad_intermediate_from_outside_is_refused(
    office: Office, brought: Callable[[], Brought], why: str
) -> None:
    with pytest.raises(Invalid, match=why):
        ca.prepare(office.state, Rules(), brought(), office.making)


@pytest.mark.parametrize(
    ("uri", "kind", "why"),
    [
        (f"spiffe://{DOMAIN}/ns/default/dc/dc2/svc/web", Denied, "datacenter dc2"),
        ("spiffe://other.consul/ns/default/dc/dc1/svc/web", Denied, "trust domain other"),
        (f"spiffe://{DOMAIN}/ns/team/dc/dc1/svc/web", Denied, "namespaces"),
        (f"spiffe://{DOMAIN}/agent/server/dc/dc1", Denied, "for a server"),
        (f"spiffe://{DOMAIN}", Denied, "for a authority"),
        (f"SPIFFE://{DOMAIN}/ns/default/dc/dc1/svc/web", Denied, "spelled"),
        ("https://web", Invalid, "SPIFFE ID"),
    ],
)
def test_identities_of_others_are_not_signed(
    office: Office, uri: str, kind: type[Exception], why: str
) -> None:
    csr = signing.request_leaf(new_key("ec", 256), uri)
    with pytest.raises(kind, match=why):
        LeafSigner(office.state, "dc1").sign(csr, START)
