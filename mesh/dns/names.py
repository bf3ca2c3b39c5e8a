"""Names asked for: each becomes a typed lookup."""

from __future__ import annotations

import ipaddress
import re
from typing import TypeAlias

import msgspec

from mesh.dns.message import AXFR, IXFR, NS, SOA, SRV, Name, name_from

# The label that says what the labels on its left are; the first from the right decides.
FORMS = frozenset(("service", "connect", "virtual", "ingress", "node", "query", "addr"))


class Zones(msgspec.Struct, frozen=True):
    """The domains we answer for, in lower case."""

    primary: Name
    every: tuple[Name, ...]
    """Longest first, so that the more particular one is found."""


class ServiceLookup(msgspec.Struct, frozen=True):
    """Healthy instances of a service. Empty tag: any; empty datacenter: ours."""

    zone: Name
    service: str
    tag: str = ""
    datacenter: str = ""
    connected: bool = False
    """By which the mesh reaches it: its sidecars, and itself where it needs none."""


class PreparedLookup(msgspec.Struct, frozen=True):
    """What a prepared query finds, by its name or id. Empty datacenter: ours."""

    zone: Name
    name: str
    datacenter: str = ""


class VirtualLookup(msgspec.Struct, frozen=True):
    """The address that stands for a service in the mesh: no service has one yet."""

    zone: Name
    service: str


class NodeLookup(msgspec.Struct, frozen=True):
    """A node. Empty datacenter: ours."""

    zone: Name
    node: str
    datacenter: str = ""


class AddressLookup(msgspec.Struct, frozen=True):
    """The address that the name itself spells, 4 or 16 bytes."""

    zone: Name
    address: bytes


class ReverseLookup(msgspec.Struct, frozen=True):
    """Who has an IP address (RFC 1035 section 3.5, RFC 3596 section 2.5)."""

    zone: Name
    address: str


class ZoneLookup(msgspec.Struct, frozen=True):
    """The domain itself: its SOA and NS records. Names that only lead to others are part of it."""

    zone: Name


class Transfer(msgspec.Struct, frozen=True):
    """A zone transfer, which we do not do."""

    zone: Name


class Malformed(msgspec.Struct, frozen=True):
    """A name in our domain that can mean nothing."""

    zone: Name
    reverse: bool = False
    """It is below `arpa`, where others may know it."""


class NotOurs(msgspec.Struct, frozen=True):
    """A name outside our domains."""


Lookup: TypeAlias = (
    ServiceLookup
    | VirtualLookup
    | PreparedLookup
    | NodeLookup
    | AddressLookup
    | ReverseLookup
    | ZoneLookup
    | Transfer
    | Malformed
    | NotOurs
)


def zones_of(domain: str, alt_domain: str) -> Zones:
    """Read the configured domains. Raises Invalid when one is not a domain name."""
    primary = name_from(domain.lower())
    every = {primary, name_from(alt_domain.lower())} if alt_domain else {primary}
    return Zones(primary, tuple(sorted(every, key=lambda zone: (-len(zone), zone))))


def find(name: Name, kind: int, zones: Zones) -> Lookup:
    """What a question for this name and type looks for. Case does not matter."""
    lower = tuple(label.lower() for label in name)
    if lower[-2:] in {("in-addr", "arpa"), ("ip6", "arpa")}:
        return _reverse(lower, zones.primary)
    for zone in zones.every:
        cut = len(lower) - len(zone)
        if cut >= 0 and lower[cut:] == zone:
            return _inside(lower[:cut], kind, name[cut:])
    return NotOurs()


def _reverse(name: Name, zone: Name) -> Lookup:
    digits = name[-3::-1]
    if name[-2] == "ip6":
        nibbles = "".join(digits)
        text = ":".join(nibbles[at : at + 4] for at in range(0, len(nibbles), 4))
        if any(len(digit) != 1 for digit in digits):
            return Malformed(zone, reverse=True)
    else:
        text = ".".join(digits)
    try:
        return ReverseLookup(zone, str(ipaddress.ip_address(text)))
    except ValueError:
        return Malformed(zone, reverse=True)


def _inside(labels: Name, kind: int, zone: Name) -> Lookup:
    if kind in {AXFR, IXFR}:
        return Transfer(zone)
    if kind in {SOA, NS} or not labels:
        return ZoneLookup(zone)
    for at in range(len(labels) - 1, -1, -1):
        if labels[at] in FORMS:
            return _form(labels[at], labels[:at], labels[at + 1 :], zone)
    if kind == SRV and _is_rfc2782(labels[:2]):
        return _service(labels[:2], labels[2:], zone)
    return Malformed(zone)


def _form(form: str, subject: Name, locality: Name, zone: Name) -> Lookup:
    if form == "addr":
        return _address(subject, zone)
    if not subject:
        # Something exists below it, so the name does too (RFC 8020): a resolver that is told
        # otherwise may stop asking for every service.
        return ZoneLookup(zone)
    if form in _MAKERS:
        return _MAKERS[form](subject, locality, zone)
    datacenter = _datacenter(locality)
    if datacenter is None or form not in {"connect", "node"}:
        return Malformed(zone)
    if form == "node":
        return NodeLookup(zone, ".".join(subject), datacenter)
    service = subject[0][1:] if _is_rfc2782(subject) else subject[-1]
    return ServiceLookup(zone, service, "", datacenter, connected=True)


def _service(subject: Name, locality: Name, zone: Name) -> Lookup:
    datacenter = _datacenter(locality)
    if _is_rfc2782(subject):
        service, tag = subject[0][1:], subject[1][1:]
        if tag == "tcp":
            tag = ""
    else:
        service, tag = subject[-1], ".".join(subject[:-1])
    if datacenter is None or not service:
        return Malformed(zone)
    return ServiceLookup(zone, service, tag, datacenter)


def _prepared(subject: Name, locality: Name, zone: Name) -> Lookup:
    name = subject[0][1:] if _is_rfc2782(subject) else ".".join(subject)
    if not name or len(locality) > 1:
        return Malformed(zone)
    return PreparedLookup(zone, name, "".join(locality))


def _virtual(subject: Name, locality: Name, zone: Name) -> Lookup:
    # What follows names a peer, not a datacenter.
    if len(locality) > 2 or locality[1:] not in {(), ("peer",)}:
        return Malformed(zone)
    return VirtualLookup(zone, subject[-1])


_MAKERS = {"service": _service, "query": _prepared, "virtual": _virtual}


def _is_rfc2782(labels: Name) -> bool:
    return len(labels) == 2 and all(label.startswith("_") for label in labels)


def _datacenter(locality: Name) -> str | None:
    """Which datacenter the labels after the form name; None when they mean something else."""
    if not locality:
        return ""
    if len(locality) == 1 or (len(locality) == 2 and locality[1] == "dc"):
        return locality[0]
    return None


def _address(subject: Name, zone: Name) -> Lookup:
    if len(subject) == 1 and re.fullmatch("[0-9a-f]{8}|[0-9a-f]{32}", subject[0]):
        return AddressLookup(zone, bytes.fromhex(subject[0]))
    return Malformed(zone)
