"""Who a workload is in the mesh: SPIFFE IDs and the server names that lead to services.

Sources: the SPIFFE-ID standard (sections 2 and 3), and the forms of Consul's connect that
dashboards, Envoy configurations and other tools know.
"""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import quote, unquote

import msgspec

from mesh.errors import Invalid

Role = Literal["service", "agent", "server", "gateway", "authority"]
URI_MAX_BYTES = 2048
"""SPIFFE-ID section 2.3."""
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_SEGMENT = re.compile(r"[A-Za-z0-9._~*!$&'()+,;=:@%-]+")


class Identity(msgspec.Struct, frozen=True):
    """What a SPIFFE ID says: a service, an agent, a server, a mesh gateway, or the authority."""

    trust_domain: str
    role: Role
    datacenter: str = ""
    name: str = ""
    """The service, or the node of an agent."""
    partition: str = "default"
    namespace: str = "default"

    @property
    def uri(self) -> str:
        """As it stands in certificates."""
        return f"spiffe://{self.trust_domain}{self._path()}"

    def _path(self) -> str:
        partition = "" if self.partition == "default" else f"/ap/{quote(self.partition, safe='')}"
        datacenter, name = quote(self.datacenter, safe=""), quote(self.name, safe="")
        match self.role:
            case "service":
                namespace = quote(self.namespace, safe="")
                return f"{partition}/ns/{namespace}/dc/{datacenter}/svc/{name}"
            case "agent":
                return f"{partition}/agent/client/dc/{datacenter}/id/{name}"
            case "server":
                return f"/agent/server/dc/{datacenter}"
            case "gateway":
                return f"{partition}/gateway/mesh/dc/{datacenter}"
            case _:
                return ""


def service(trust_domain: str, datacenter: str, name: str) -> Identity:
    """The identity of a service."""
    return Identity(trust_domain, "service", datacenter, name)


def parse(uri: str) -> Identity:
    """Read a SPIFFE ID. Raises Invalid for what is none, or none that mesh gives."""
    if len(uri.encode()) > URI_MAX_BYTES:
        raise Invalid(f"SPIFFE ID: longer than {URI_MAX_BYTES} bytes")
    scheme, found, rest = uri.partition("://")
    domain, slash, path = rest.partition("/")
    if not found or scheme.lower() != "spiffe" or not _TRUST_DOMAIN.fullmatch(domain.lower()):
        raise Invalid(f'SPIFFE ID: expected spiffe://<trust domain>/..., got "{uri[:128]}"')
    parts = path.split("/") if slash else []
    if not all(_SEGMENT.fullmatch(part) for part in parts):
        raise Invalid(f'SPIFFE ID: an empty or unreadable part in "{uri[:128]}"')
    read = _read(domain.lower(), [unquote(part) for part in parts])
    if read is None:
        raise Invalid(f'SPIFFE ID: not of a service, an agent or a gateway: "{uri[:128]}"')
    return read


def _read(domain: str, parts: list[str]) -> Identity | None:
    partition = "default"
    if len(parts) > 2 and parts[0] == "ap":
        partition, parts = parts[1], parts[2:]
    match parts:
        case []:
            return Identity(domain, "authority")
        case ["ns", namespace, "dc", datacenter, "svc", name]:
            return Identity(domain, "service", datacenter, name, partition, namespace)
        case ["agent", "client", "dc", datacenter, "id", name]:
            return Identity(domain, "agent", datacenter, name, partition)
        case ["agent", "server", "dc", datacenter]:
            return Identity(domain, "server", datacenter)
        case ["gateway", "mesh", "dc", datacenter]:
            return Identity(domain, "gateway", datacenter, partition=partition)
        case _:
            return None


def is_same(first: str, second: str) -> bool:
    """Whether two SPIFFE IDs are of one workload: names have no case. Raises Invalid for none."""
    one, other = (
        msgspec.structs.replace(found, name=found.name.lower())
        for found in (parse(first), parse(second))
    )
    return one == other


def name_pattern(name: str) -> str:
    """An expression for the name of a service as it stands in SPIFFE IDs, whatever its case.

    It is to be read ignoring case, which only leaves letters to it that are not of ASCII.
    """
    lower = name.lower()
    if lower.isascii():
        return re.escape(quote(lower, safe=""))
    pattern = "".join(_char_pattern(char) for char in lower)
    # A few letters become others in lower case, which have no way back.
    exact = quote(name, safe="")
    if re.fullmatch(pattern, exact, re.IGNORECASE):
        return pattern
    return f"(?:{pattern}|{re.escape(exact)})"


def _char_pattern(char: str) -> str:
    ways = {char} if char.isascii() else {char, char.upper()}
    found = sorted(re.escape(quote(one, safe="")) for one in ways if one.lower() == char)
    return found[0] if len(found) == 1 else f"(?:{'|'.join(found)})"


def server_name(service: str, datacenter: str, trust_domain: str, subset: str = "") -> str:
    """The SNI of a service, which is also the name of its Envoy cluster."""
    front = f"{subset}." if subset else ""
    return f"{front}{service}.default.{datacenter}.internal.{trust_domain}"
