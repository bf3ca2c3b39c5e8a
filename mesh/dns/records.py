"""Records of nodes and instances: their names, addresses, targets and TTLs."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from functools import lru_cache

from mesh.dns.message import (
    AAAA,
    ANY,
    CNAME,
    SRV,
    TXT,
    A,
    Name,
    Record,
    fits,
    name_from,
    text_data,
)
from mesh.dns.options import Options
from mesh.errors import Invalid
from mesh.registry.catalog import Node
from mesh.registry.health import Instance

BYTES = {A: 4, AAAA: 16}
"""How many an address has, by the type of the record that holds it."""


@lru_cache(maxsize=65_536)
def packed(text: str) -> bytes:
    """The 4 or 16 bytes of an IP address; empty when the text is not one."""
    try:
        return ipaddress.ip_address(text).packed
    except ValueError:
        return b""


@lru_cache(maxsize=4096)
def name_or_none(text: str, zone: Name = ()) -> Name | None:
    """The name that these dotted labels make in the zone; None when it cannot be written."""
    try:
        name = name_from(text) + zone
    except Invalid:
        return None
    return name if fits(name) else None


def of_address(name: Name, address: bytes, ttl: int) -> Record:
    """The A or AAAA record of 4 or 16 bytes."""
    return Record(name, A if len(address) == 4 else AAAA, ttl, address)


def of_host(name: Name, place: str, ttl: int, kind: int = ANY) -> list[Record]:
    """The record that leads from a name to an IP address, or to a host name as a CNAME.

    None when the address is of the other family than `kind` wants, or is neither.
    """
    address = packed(place)
    if address:
        record = of_address(name, address, ttl)
        return [record] if kind in {record.kind, ANY} else []
    host = name_or_none(place)
    return [Record(name, CNAME, ttl, host)] if host else []


def of_meta(name: Name, node: Node, ttl: int) -> list[Record]:
    """A node's metadata as TXT records, one each pair (RFC 1464).

    A key that begins with `rfc1035-` gives its value as it is.
    """
    return [
        Record(name, TXT, ttl, text_data(_attribute(key, value)))
        for key, value in sorted(node.meta.items())
    ]


def _attribute(key: str, value: str) -> str:
    if key.startswith("rfc1035-"):
        return value
    bare = key.replace("`", "``").replace("=", "`=")
    lead = len(bare) - len(bare.lstrip(" \t"))
    trail = len(bare) - max(len(bare.rstrip(" \t")), lead)
    middle = bare[lead : len(bare) - trail]
    quoted = ["".join(f"`{space}" for space in bare[:lead]), middle]
    quoted += [f"`{space}" for space in bare[len(bare) - trail :]] if trail else []
    return f"{''.join(quoted)}={value}"


def node_name(node: Node, zone: Name, datacenter: str) -> Name | None:
    """`<node>.node.<datacenter>.<zone>`; None when that cannot be written."""
    return name_or_none(f"{node.name}.node.{node.datacenter or datacenter}", zone)


def node_address(node: Node, kind: int, options: Options) -> str:
    """The address of a node that suits the type asked for, if it has one, else its main one."""
    tagged = node.tagged_addresses
    side = _side(node, options)
    main = tagged.get("wan", "") if side == "wan" else ""
    return _suiting(main or node.address, kind, tagged, side)


def instance_address(instance: Instance, kind: int, options: Options) -> str:
    """The address of an instance that suits the type asked for, if it has one, else its main one.

    The instance's own, else its node's.
    """
    service = instance.service
    side = _side(instance.node, options)
    wide = service.tagged_addresses.get(side)
    if not service.address and (side == "lan" or wide is None):
        return node_address(instance.node, kind, options)
    main = wide.address if wide is not None and side == "wan" else service.address
    if kind == SRV or not service.tagged_addresses:
        return main
    tagged = {key: tagged.address for key, tagged in service.tagged_addresses.items()}
    return _suiting(main, kind, tagged, side)


def instance_port(instance: Instance, options: Options) -> int:
    """The port of an instance, as seen from our datacenter."""
    wide = instance.service.tagged_addresses.get("wan")
    port = instance.service.port
    if wide is not None and wide.port and _side(instance.node, options) == "wan":
        port = wide.port
    return min(max(port, 0), 0xFFFF)


def _side(node: Node, options: Options) -> str:
    """Which tagged addresses hold: `wan` across datacenters when they are to be translated."""
    abroad = node.datacenter and node.datacenter.lower() != options.datacenter.lower()
    return "wan" if options.translate_wan_addresses and abroad else "lan"


def _suiting(main: str, kind: int, tagged: Mapping[str, str], side: str) -> str:
    wanted = BYTES.get(kind, 0)
    if not wanted or not tagged or len(packed(main)) == wanted:
        return main
    other = tagged.get(f"{side}_ipv4" if kind == A else f"{side}_ipv6", "")
    return other if len(packed(other)) == wanted else main


def target(instance: Instance, place: str, zone: Name, options: Options) -> Name | None:
    """What an SRV record points at: the node, or the address as a name, or the host name.

    A node whose name cannot be written is pointed at by its address. None when nothing can be.
    """
    node = instance.node
    datacenter = (node.datacenter or options.datacenter).lower()
    found = None
    if place == node.address:
        found = node_name(node, zone, datacenter) if not instance.service.address else None
    if found is None:
        address = packed(place)
        text = f"{address.hex()}.addr.{datacenter}" if address else place
        found = name_or_none(text, zone if address else ())
    return found or None


def service_ttl(service: str, ttls: Mapping[str, int]) -> int:
    """Seconds for a service: by its exact name, else by the longest `prefix*`, else 0."""
    rule = ttl_rule(service, ttls) if ttls else ""
    return ttls[rule] if rule else 0


def ttl_rule(service: str, ttls: Mapping[str, int]) -> str:
    """The name or the pattern that decides how long a service's answers hold; empty for none."""
    if service in ttls:
        return service
    matching = [one for one in ttls if one.endswith("*") and service.startswith(one[:-1])]
    return max(matching, key=len, default="")
