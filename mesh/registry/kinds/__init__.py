"""The kinds of config entries that there are, and the bodies of each."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from mesh.errors import Invalid
from mesh.registry.kinds import (
    jwt_provider,
    mesh,
    parts,
    proxy_defaults,
    service_defaults,
    service_intentions,
)
from mesh.registry.kinds.parts import Body

KINDS: dict[str, type[Body]] = {
    jwt_provider.KIND: jwt_provider.JwtProviderBody,
    mesh.KIND: mesh.Mesh,
    proxy_defaults.KIND: proxy_defaults.ProxyDefaults,
    service_defaults.KIND: service_defaults.ServiceDefaults,
    service_intentions.KIND: service_intentions.ServiceIntentions,
}
LATER = (
    "api-gateway",
    "exported-services",
    "file-system-certificate",
    "http-route",
    "ingress-gateway",
    "inline-certificate",
    "service-resolver",
    "service-router",
    "service-splitter",
    "tcp-route",
    "terminating-gateway",
)
"""Kinds that Consul has and that mean nothing yet: an import keeps them, and they can be read."""


def check_kind(kind: str) -> None:
    """Raise Invalid for a kind that nobody knows."""
    if kind not in KINDS and kind not in LATER:
        near = get_close_matches(kind.lower().replace("_", "-"), [*KINDS, *LATER], 1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(KINDS)}"
        raise Invalid(f'Kind: unknown kind "{kind[:64]}"{hint}')


def name_of(kind: str, name: str) -> str:
    """The name that is meant: there is one entry of some kinds, and so no need to name it."""
    body = KINDS.get(kind)
    return name or (body.only_name if body is not None else "")


def read(kind: str, name: str, body: dict[str, Any]) -> Body:
    """The body of an entry as it is meant. Raises Invalid, naming the place."""
    check_kind(kind)
    if kind not in KINDS:
        known = ", ".join(KINDS)
        raise Invalid(f"Kind: {kind} entries mean nothing yet; kinds that can be written: {known}")
    found = parts.read(KINDS[kind], body)
    for where, text in found.faults_of(name):
        raise Invalid(f"{where}: {text}")
    return found.settled(name)


def written(kind: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
    """The body as it is stored. Raises Invalid, naming the place."""
    return parts.plain(read(kind, name, body))
