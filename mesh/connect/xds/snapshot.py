"""What a proxy is to have, as encoded resources, and what depends on what among them."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from mesh.connect.xds.reach import Judged

_TYPES = "type.googleapis.com/"
SECRET = f"{_TYPES}envoy.extensions.transport_sockets.tls.v3.Secret"
CLUSTER = f"{_TYPES}envoy.config.cluster.v3.Cluster"
ENDPOINTS = f"{_TYPES}envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = f"{_TYPES}envoy.config.listener.v3.Listener"
ROUTES = f"{_TYPES}envoy.config.route.v3.RouteConfiguration"
FILTER = f"{_TYPES}envoy.config.core.v3.TypedExtensionConfig"
KINDS = (SECRET, CLUSTER, ENDPOINTS, LISTENER, ROUTES, FILTER)
"""In the order in which they are sent."""
WHOLE = frozenset({CLUSTER, LISTENER})
"""Of these the state of the world is told whole: what is left out is removed."""
SHORT = {
    SECRET: "secrets",
    CLUSTER: "clusters",
    ENDPOINTS: "endpoints",
    LISTENER: "listeners",
    ROUTES: "routes",
    FILTER: "filters",
}


class Ref(NamedTuple):
    """Names a resource."""

    kind: str
    name: str


class Cause(NamedTuple):
    """What in the users' configuration (a part of) a resource follows from."""

    origin: str
    """For people: "upstream payments", "service-intentions payments: Sources[0]"."""
    quoted: str = ""
    """What an error about just this part would quote; empty: the origin of the whole."""


class Resource(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A message of Envoy's configuration, encoded."""

    kind: str
    name: str
    version: str
    """A digest of the bytes."""
    packed: bytes
    """As a google.protobuf.Any."""
    children: tuple[Ref, ...] = ()
    """What a proxy subscribes to by name because of it, and wants again whenever it changes."""
    needs: tuple[str, ...] = ()
    """The clusters that it sends requests to."""
    causes: tuple[Cause, ...] = ()

    def origin(self, error: str = "") -> str:
        """What the resource follows from; by an error about it, as exactly as that tells."""
        exact = [cause.origin for cause in self.causes if cause.quoted and cause.quoted in error]
        whole = [cause.origin for cause in self.causes if not cause.quoted]
        return "; ".join(dict.fromkeys(exact or whole))


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All resources of a proxy. Newer ones replace it; none is ever queued."""

    resources: Mapping[str, Mapping[str, Resource]]
    """By kind and name; names in order."""
    parts: dict[str, tuple[Any, tuple[Resource, ...]]] = {}
    """What was built of which part of the blueprint, for the next one to take over."""
    problems: dict[str, str] = {}
    """What was left out because it cannot be read, by part of the blueprint."""
    judged: Judged | None = None
    """What open connections were judged by, where nobody looks into them, or did not once."""

    def of(self, kind: str) -> Mapping[str, Resource]:
        """Those of one kind."""
        return self.resources.get(kind, {})


def snapshot(resources: list[Resource]) -> Snapshot:
    """A snapshot of just these."""
    return Snapshot(resources=grouped(resources))


def grouped(resources: list[Resource]) -> dict[str, dict[str, Resource]]:
    """By kind and name, in order of names."""
    found: dict[str, dict[str, Resource]] = {kind: {} for kind in KINDS}
    for resource in sorted(resources, key=lambda one: one.name):
        found[resource.kind][resource.name] = resource
    return found


def digest(content: bytes) -> str:
    """A version for this content: the same for the same bytes."""
    return blake2b(content, digest_size=12).hexdigest()
