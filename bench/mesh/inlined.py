"""`python -m bench.mesh.inlined agent ...`: meshd, but the rules of HTTP services are in listeners.

All is built as ever. Just before sidecars are told, what a listener's filters refer to is put into
the listener itself, as other meshes have it: so each change of a rule is a change of the listener,
which drains. With `HTTP1` in the environment sidecars speak HTTP/1.1 to each other, not HTTP/2.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from mesh.connect.xds import control, resources
from mesh.connect.xds.messages import (
    Cluster,
    HttpConnectionManager,
    HttpProtocolOptions,
    Listener,
    Packed,
    TypedExtensionConfig,
    any_of,
    resource,
)
from mesh.connect.xds.snapshot import CLUSTER, FILTER, LISTENER, Resource, Snapshot
from mesh.daemon.main import main

HTTP1 = "MESH_BENCH_HTTP1"
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def inlined(made: Snapshot, *, http1: bool = False) -> Snapshot:
    """The same, with nothing that listeners refer to for their filters of requests."""
    filters = made.of(FILTER)
    found = dict(made.resources)
    found[LISTENER] = {one.name: _whole(one, filters) for one in made.of(LISTENER).values()}
    used = {ref.name for one in found[LISTENER].values() for ref in one.children}
    found[FILTER] = {name: one for name, one in filters.items() if name in used}
    if http1:
        found[CLUSTER] = {one.name: _older(one) for one in made.of(CLUSTER).values()}
    return replace(made, resources=found)


def _whole(given: Resource, filters: Mapping[str, Resource]) -> Resource:
    used: set[str] = set()
    listener = Listener.FromString(Packed.FromString(given.packed).value)
    for chain in listener.filter_chains:
        for one in chain.filters:
            manager = HttpConnectionManager()
            if one.typed_config.Unpack(manager):
                used |= _filled(manager, filters)
                one.typed_config.CopyFrom(any_of(manager))
    if not used:
        return given
    inside = [filters[name] for name in sorted(used)]
    return resource(
        listener,
        given.name,
        children=[one for one in given.children if one.kind != FILTER or one.name not in used],
        needs=[*given.needs, *(need for one in inside for need in one.needs)],
        causes=[*given.causes, *(cause for one in inside for cause in one.causes)],
    )


def _filled(manager: Any, filters: Mapping[str, Resource]) -> set[str]:
    """Put in what filters of the manager refer to; their names."""
    used = set()
    for one in manager.http_filters:
        if one.HasField("config_discovery"):
            used.add(one.name)
            content = Packed.FromString(filters[one.name].packed).value
            one.typed_config.CopyFrom(TypedExtensionConfig.FromString(content).typed_config)
    return used


def _older(given: Resource) -> Resource:
    cluster = Cluster.FromString(Packed.FromString(given.packed).value)
    if _OPTIONS not in cluster.typed_extension_protocol_options:
        return given
    box = cluster.typed_extension_protocol_options[_OPTIONS]
    options = HttpProtocolOptions()
    box.Unpack(options)
    options.explicit_http_config.http_protocol_options.SetInParent()
    box.CopyFrom(any_of(options))
    return resource(
        cluster, given.name, children=given.children, needs=given.needs, causes=given.causes
    )


def _build(*given: Any, **more: Any) -> Snapshot:
    return inlined(resources.build(*given, **more), http1=HTTP1 in os.environ)


if __name__ == "__main__":
    if vars(control).get("build") is not resources.build:
        raise SystemExit(f"{control.__name__}: what sidecars are told is not built as it was")
    vars(control)["build"] = _build
    sys.exit(main())
