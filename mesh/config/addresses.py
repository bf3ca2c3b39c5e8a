"""IP addresses of this machine, and the templates in which a configuration asks for them."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from mesh.config.schema import Config
from mesh.errors import Invalid

IP = ipaddress.IPv4Address | ipaddress.IPv6Address

_TEMPLATE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_CALL = re.compile(r"""-?\s*(\w+)(?:\s+["`]([^"`]*)["`])?\s*-?""")
_SUPPORTED = "GetPrivateIP, GetPrivateIPs, GetPublicIP, GetPublicIPs and GetInterfaceIP"
_SIOCGIFADDR = 0x8915


CLIENT_LISTENERS = ("dns", "http", "https", "grpc", "grpc_tls")
"""Listeners for clients, at client_addr unless `addresses` says otherwise."""


def bound(config: Config, name: str) -> list[str]:
    """IP addresses, or unix:// paths, that a listener binds; its name is that of its port.

    What to listen on is these at `config.ports`' port of that name, unless that is -1.
    """
    if name == "dns_tls":
        name = "dns"
    if name in CLIENT_LISTENERS:
        own: str = getattr(config.addresses, name)
        return (own or config.client_addr).split()
    gossip = {"serf_lan": config.serf_lan, "serf_wan": config.serf_wan}
    return [gossip.get(name) or config.bind_addr]


def parse_ip(text: str) -> IP | None:
    """The IP address in a text, or None when it is not exactly one."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def recursor(text: str) -> tuple[str, int]:
    """The IP address and the port, 53 unless told, of another DNS server.

    Raises Invalid for what is not one: `8.8.8.8`, `8.8.8.8:53`, `::1` or `[::1]:53`.
    """
    bracketed = re.fullmatch(r"\[(.*)\](?::(\d{1,5}))?|([\d.]+):(\d{1,5})", text)
    host, port = text, 53
    if bracketed is not None:
        host = bracketed[1] or bracketed[3]
        port = int(bracketed[2] or bracketed[4] or 53)
    address = parse_ip(host or "")
    if address is None or not 0 < port < 65_536:
        raise Invalid(f"{text} is not an IP address with or without port")
    return str(address), port


def resolve(text: str) -> str:
    """Replace templates such as {{ GetPrivateIP }} by addresses of this machine.

    Raises Invalid for other templates, and when this machine has no such address.
    """
    if "{{" not in text:
        return text
    return _TEMPLATE.sub(lambda match: _answer(match[1].strip()), text).strip()


def advertised(config: Config) -> str:
    """The one IP address other nodes reach this one by: advertise_addr, else bind_addr, else ours.

    Raises Invalid when bind_addr is any address and this machine has several private ones.
    """
    chosen = config.advertise_addr or config.advertise_addr_ipv4 or config.advertise_addr_ipv6
    bound = parse_ip(config.serf_lan or config.bind_addr)
    if chosen or (bound is not None and not bound.is_unspecified):
        return chosen or str(bound)
    version = 4 if bound is None else bound.version
    usable = [address for _, address in interfaces() if not address.is_loopback]
    mine = [address for address in usable if address.version == version]
    private = [address for address in mine if address.is_private]
    candidates = [str(address) for address in private or mine]
    if len(candidates) > 1:
        raise Invalid(
            f"bind_addr is {bound} and this machine has the addresses {', '.join(candidates)}: "
            "choose one of them as bind_addr or advertise_addr"
        )
    return candidates[0] if candidates else "127.0.0.1"


def advertised_wan(config: Config) -> str:
    """The IP address that other datacenters reach this node by; raises as `advertised` does."""
    chosen = (
        config.advertise_addr_wan
        or config.advertise_addr_wan_ipv4
        or config.advertise_addr_wan_ipv6
    )
    bound = parse_ip(config.serf_wan)
    own = config.advertise_addr or config.advertise_addr_ipv4 or config.advertise_addr_ipv6
    if chosen or own or bound is None or bound.is_unspecified:
        return chosen or advertised(config)
    return str(bound)


def interfaces() -> list[tuple[str, IP]]:
    """Interfaces and their addresses: the first IPv4 address of each, then global IPv6 ones.

    The interface of the default route comes first.
    """
    first = _default_interface()
    return sorted([*_ipv4(), *_ipv6()], key=lambda item: (item[1].version, item[0] != first))


def _default_interface() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/route").read_text().splitlines()[1:]:
            name, destination = line.split()[:2]
            if destination == "00000000":
                return name
    return ""


def _ipv4() -> Iterator[tuple[str, IP]]:
    try:
        import fcntl  # noqa: PLC0415  # Not on every system.
    except ImportError:
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            with contextlib.suppress(OSError):
                answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request)
                yield name, ipaddress.IPv4Address(answer[20:24])


def _ipv6() -> Iterator[tuple[str, IP]]:
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/if_inet6").read_text().splitlines():
            digits, _, _, scope, _, name = line.split()
            if scope == "00":
                yield name, ipaddress.IPv6Address(bytes.fromhex(digits))


def _answer(call: str) -> str:
    match = _CALL.fullmatch(call)
    name, argument = match.groups() if match else ("", None)
    ipv4 = [item for item in interfaces() if item[1].version == 4 and not item[1].is_loopback]
    if name in {"GetPrivateIP", "GetPrivateIPs"} and argument is None:
        found = [address for _, address in ipv4 if address.is_private]
    elif name in {"GetPublicIP", "GetPublicIPs"} and argument is None:
        found = [address for _, address in ipv4 if address.is_global]
    elif name in {"GetInterfaceIP", "GetInterfaceIPs"} and argument:
        found = [address for interface, address in interfaces() if interface == argument]
    else:
        raise Invalid(f"cannot resolve {{{{ {call} }}}}; mesh knows {_SUPPORTED}")
    if not found:
        raise Invalid(f"{{{{ {call} }}}} finds no address on this machine")
    return " ".join(map(str, found)) if name.endswith("s") else str(found[0])
