"""The proxy block of a service, as people register it, read into one struct.

Both spellings of keys are understood (DestinationServiceName and destination_service_name), and
what is under `config` stays as it is.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from mesh.errors import Invalid

PATHS_MAX = 128
UPSTREAMS_MAX = 1024
_OPAQUE = frozenset({"config"})
_LISTS = frozenset({"upstreams", "paths"})
"""Where one object stands for a list of it, as it comes from a block in HCL."""


class _Block(msgspec.Struct, frozen=True, kw_only=True, rename=lambda name: name.replace("_", "")):
    pass


class Upstream(_Block, frozen=True, kw_only=True):
    """A service that is called through the proxy, and where the application finds it."""

    destination_name: str = ""
    destination_type: str = ""
    """`service`, or empty for it."""
    destination_peer: str = ""
    datacenter: str = ""
    local_bind_address: str = ""
    local_bind_port: int = 0
    local_bind_socket_path: str = ""
    local_bind_socket_mode: str = ""
    config: dict[str, Any] = {}


class Path(_Block, frozen=True, kw_only=True):
    """A path of the application that is open without TLS."""

    path: str = ""
    local_path_port: int = 0
    listener_port: int = 0
    protocol: str = ""


class Expose(_Block, frozen=True, kw_only=True):
    """What is open without TLS."""

    checks: bool = False
    paths: list[Path] = []


class Proxy(_Block, frozen=True, kw_only=True):
    """A sidecar as registered."""

    destination_service_name: str = ""
    destination_service_id: str = ""
    local_service_address: str = ""
    local_service_port: int = 0
    local_service_socket_path: str = ""
    config: dict[str, Any] = {}
    upstreams: list[Upstream] = []
    expose: Expose = Expose()


def read(block: dict[str, Any]) -> Proxy:
    """Read a proxy block. Raises Invalid, naming the field, for a value of another kind."""
    try:
        return msgspec.convert(_folded(block), Proxy, strict=False)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        place = _spelled(where.rstrip("`"))
        raise Invalid(f"Proxy{place}: {what[0].lower()}{what[1:].replace('`', '')}") from None


def listed(block: Mapping[str, Any]) -> dict[str, Any]:
    """The same block, with lists of one where a single object stands for a list."""
    found = dict(block)
    for key, value in block.items():
        name = key.replace("_", "").lower()
        if isinstance(value, Mapping) and name in _LISTS:
            found[key] = [value]
        elif isinstance(value, Mapping) and name == "expose":
            found[key] = listed(value)
    return found


def problems(block: dict[str, Any]) -> list[str]:
    """Everything that is wrong with a proxy block, each beginning with the field at fault."""
    try:
        proxy = read(block)
    except Invalid as error:
        return [error.message]
    found = []
    if len(proxy.upstreams) > UPSTREAMS_MAX:
        found.append(f"Proxy.Upstreams: {len(proxy.upstreams)}; the limit is {UPSTREAMS_MAX}")
    if not 0 <= proxy.local_service_port <= 65535:
        found.append(f"Proxy.LocalServicePort: expected 0 to 65535, got {proxy.local_service_port}")
    taken: dict[tuple[str, int] | str, int] = {}
    for at, upstream in enumerate(proxy.upstreams):
        label = f"Proxy.Upstreams[{at}]"
        found += [f"{label}.{problem}" for problem in _upstream_problems(upstream)]
        place = upstream.local_bind_socket_path or (
            upstream.local_bind_address or "127.0.0.1",
            upstream.local_bind_port,
        )
        if taken.setdefault(place, at) != at:
            found.append(f"{label}.LocalBindPort: taken by Proxy.Upstreams[{taken[place]}]")
    return found + _path_problems(proxy.expose.paths)


def _upstream_problems(upstream: Upstream) -> list[str]:
    found = []
    if not upstream.destination_name:
        found.append("DestinationName: which service?")
    elif upstream.destination_name == "*":
        found.append("DestinationName: expected one service, got *")
    if (kind := upstream.destination_type) not in {"", "service", "prepared_query"}:
        found.append(f'DestinationType: expected service or prepared_query, got "{kind}"')
    socket, port = upstream.local_bind_socket_path, upstream.local_bind_port
    if not socket and not 1 <= port <= 65535:
        found.append(f"LocalBindPort: expected 1 to 65535, or a LocalBindSocketPath, got {port}")
    elif socket and (port or upstream.local_bind_address):
        found.append("LocalBindSocketPath: leave out LocalBindPort and LocalBindAddress with it")
    if upstream.local_bind_socket_mode and not _is_mode(upstream.local_bind_socket_mode):
        found.append(
            "LocalBindSocketMode: expected permissions such as 0600, got "
            f'"{upstream.local_bind_socket_mode}"'
        )
    if upstream.local_bind_address and not _is_address(upstream.local_bind_address):
        found.append(
            f'LocalBindAddress: expected an IP address, got "{upstream.local_bind_address}"'
        )
    return found


def _path_problems(paths: list[Path]) -> list[str]:
    found = []
    if len(paths) > PATHS_MAX:
        found.append(f"Proxy.Expose.Paths: {len(paths)}; the limit is {PATHS_MAX}")
    for at, path in enumerate(paths):
        label = f"Proxy.Expose.Paths[{at}]"
        if not path.path.startswith("/"):
            found.append(f'{label}.Path: expected a path that begins with /, got "{path.path}"')
        for name, port in (
            ("ListenerPort", path.listener_port),
            ("LocalPathPort", path.local_path_port),
        ):
            if not 1 <= port <= 65535:
                found.append(f"{label}.{name}: expected 1 to 65535, got {port}")
        if path.protocol not in {"", "http", "http2"}:
            found.append(f'{label}.Protocol: expected http or http2, got "{path.protocol}"')
    return found


def _is_mode(text: str) -> bool:
    return re.fullmatch("0?[0-7]{3}", text) is not None


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _folded(value: Any) -> Any:
    """The same with keys in lower case without underscores, but below opaque ones."""
    if isinstance(value, list):
        return [_folded(one) for one in value]
    if not isinstance(value, dict):
        return value
    found: dict[str, Any] = {}
    for key, given in value.items():
        inner = given
        name = key.replace("_", "").lower()
        if inner is None:
            continue
        if name in _LISTS and isinstance(inner, dict):
            inner = [inner]
        found[name] = inner if name in _OPAQUE else _folded(inner)
    return found


_SPELLING = {
    field.replace("_", ""): "".join(part.capitalize() for part in field.split("_"))
    for block in (Proxy, Upstream, Path, Expose)
    for field in block.__struct_fields__
}


def _spelled(place: str) -> str:
    """A path in the struct, `.upstreams[0].localbindport`, as people write it."""
    parts = place.split(".")
    return ".".join(
        f"{_SPELLING.get(name, name)}{bracket}{rest}"
        for name, bracket, rest in (part.partition("[") for part in parts)
    )
