"""Which address a node binds and advertises."""

from ipaddress import ip_address

import pytest
from msgspec import structs

from mesh.config import addresses
from mesh.config.addresses import advertised, advertised_wan, bound, recursor, resolve
from mesh.config.edges import Addresses
from mesh.config.schema import Config
from mesh.errors import Invalid


def machine(monkeypatch: pytest.MonkeyPatch, *found: str) -> None:
    pairs = [pair.split("=") for pair in found]
    answer = [(name, ip_address(text)) for name, text in pairs]
    monkeypatch.setattr(addresses, "interfaces", lambda: answer)


def test_templates(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, "lo=127.0.0.1", "eth0=10.0.0.1", "eth1=8.8.8.8", "eth2=10.0.0.2")
    assert resolve("10.9.9.9") == "10.9.9.9"
    assert resolve("{{ GetPrivateIP }}") == "10.0.0.1"
    assert resolve("{{GetPrivateIPs}}") == "10.0.0.1 10.0.0.2"
    assert resolve("{{ GetPublicIP }}") == "8.8.8.8"
    assert resolve('127.0.0.1 {{ GetInterfaceIP "eth2" }}') == "127.0.0.1 10.0.0.2"
    assert resolve("{{ GetInterfaceIP `eth1` }}") == "8.8.8.8"


@pytest.mark.parametrize(
    "text", ["{{ GetInterfaceIP }}", '{{ GetInterfaceIP "x" }}', "{{}}", "{{ GetPrivateIP | x }}"]
)
def test_other_templates_are_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    machine(monkeypatch, "eth0=10.0.0.1")
    with pytest.raises(Invalid):
        resolve(text)


def test_one_private_address_is_advertised(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, "lo=127.0.0.1", "eth0=10.0.0.1", "eth1=8.8.8.8", "eth0=fd00::1")
    assert advertised(Config()) == "10.0.0.1"
    assert advertised(Config(bind_addr="::")) == "fd00::1"
    assert advertised(Config(serf_lan="10.0.0.7")) == "10.0.0.7"


def test_one_of_several_must_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, "eth0=10.0.0.1", "eth1=10.1.0.1")
    with pytest.raises(Invalid, match=r"10.0.0.1, 10.1.0.1: choose"):
        advertised(Config())
    assert advertised(Config(advertise_addr="1.2.3.4")) == "1.2.3.4"


def test_other_datacenters_get_an_address_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, "eth0=10.0.0.1")
    assert advertised_wan(Config()) == "10.0.0.1"
    assert advertised_wan(Config(serf_wan="192.0.2.7")) == "192.0.2.7"
    assert advertised_wan(Config(serf_wan="0.0.0.0")) == "10.0.0.1"
    config = Config(serf_wan="192.0.2.7", advertise_addr="1.2.3.4")
    assert advertised_wan(config) == "1.2.3.4"
    assert advertised_wan(structs.replace(config, advertise_addr_wan="5.6.7.8")) == "5.6.7.8"
    assert advertised_wan(structs.replace(config, advertise_addr_wan_ipv6="fd::1")) == "fd::1"


def test_a_machine_alone_advertises_the_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, "lo=127.0.0.1")
    assert advertised(Config()) == "127.0.0.1"


def test_this_machine_has_a_loopback() -> None:
    assert ("lo", ip_address("127.0.0.1")) in addresses.interfaces()


def test_bound() -> None:
    config = Config(client_addr="127.0.0.1 ::1", addresses=Addresses(http="unix:///x 10.0.0.1"))
    assert bound(config, "dns") == ["127.0.0.1", "::1"]
    assert bound(config, "http") == ["unix:///x", "10.0.0.1"]
    assert bound(config, "serf_lan") == bound(config, "server") == ["0.0.0.0"]
    assert bound(Config(serf_lan="10.0.0.1"), "serf_lan") == ["10.0.0.1"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.53", ("192.0.2.53", 53)),
        ("192.0.2.53:5353", ("192.0.2.53", 5353)),
        ("2001:db8::53", ("2001:db8::53", 53)),
        ("[2001:db8::53]", ("2001:db8::53", 53)),
        ("[2001:db8::53]:5353", ("2001:db8::53", 5353)),
    ],
)
def test_a_recursor_has_an_address_and_a_port(text: str, expected: tuple[str, int]) -> None:
    assert recursor(text) == expected


@pytest.mark.parametrize(
    "text", ["", "dns.example.org", "192.0.2.53:", "192.0.2.53:0", "192.0.2.53:65536", "[]:53", "1"]
)
def test_what_is_no_recursor_is_said(text: str) -> None:
    with pytest.raises(Invalid, match="not an IP address"):
        recursor(text)
