"""Allowances: each network has its own, and memory stays what it is."""

import pytest

from mesh.dns import allowance
from mesh.dns.allowance import Allowance


@pytest.fixture(autouse=True)
def _apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """No two networks of these tests share a place but by the rarest chance."""
    monkeypatch.setattr(allowance, "PLACES", 1 << 20)


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        ("192.0.2.1", "192.0.2.255", "192.0.3.1"),
        ("2001:db8::1", "2001:db8:0:ff:ffff::9", "2001:db8:0:100::1"),
        ("fe80::1%lo", "fe80::2", "fe80:0:0:100::1"),
    ],
)
def test_a_network_shares_what_it_gets(one: str, same: str, other: str) -> None:
    given = Allowance(100)
    assert given.take(one, 60)
    assert not given.take(same, 60)
    assert given.take(same, 40)
    assert not given.take(one, 1)
    assert given.take(other, 100)
    given.renew()
    assert given.take(one, 100)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1"])
def test_loopback_has_no_limit(host: str) -> None:
    assert all(Allowance(1).take(host, 1000) for _ in range(3))


def test_no_limit_and_a_new_one() -> None:
    given = Allowance(0)
    assert all(given.take("192.0.2.1", 10**9) for _ in range(3))
    given.most = 1
    assert given.take("192.0.2.1", 1)
    assert not given.take("192.0.2.1", 1)


def test_many_networks_take_no_memory() -> None:
    given = Allowance(100)
    places = len(given._taken)
    for number in range(5000):
        given.take(f"10.{number >> 8}.{number & 255}.1", 1)
    assert len(given._taken) == places
