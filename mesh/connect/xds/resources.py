"""Blueprints to snapshots: all of a sidecar's configuration, as one pure function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from msgspec.structs import replace

from mesh.connect.xds import (
    access_logs,
    clusters,
    endpoints,
    listeners,
    rbac,
    reach,
    secrets,
    tokens,
)
from mesh.connect.xds.blueprint import Blueprint, Inbound, Upstream
from mesh.connect.xds.reach import Judged
from mesh.connect.xds.snapshot import Resource, Snapshot, grouped
from mesh.errors import Invalid


class Part(NamedTuple):
    """Resources, and all that they follow from."""

    name: str
    given: Any
    make: Callable[[], list[Resource]]
    plain: Callable[[], list[Resource]] | None = None
    """Without what the user wrote for just this, for when that cannot be read."""


def build(
    blueprint: Blueprint, before: Snapshot | None = None, known: Judged | None = None
) -> Snapshot:
    """What the sidecar is to have. What did not change is taken over from the snapshot before.

    `known` is what its connections were judged by where there is none.
    """
    problems: dict[str, str] = {}
    try:
        access_logs.requests(blueprint.access_log)
    except Invalid as error:
        problems["access log"] = error.message
        blueprint = replace(blueprint, access_log=None)
    judged = before.judged if before else known
    if blueprint.inbound is not None and blueprint.inbound.protocol == "tcp":
        judged = reach.judged(rbac.reach(blueprint), judged)
    found = assembled(_parts(blueprint, judged), before, problems)
    return replace(found, judged=judged)


def assembled(
    wanted: Iterable[Part], before: Snapshot | None, problems: dict[str, str]
) -> Snapshot:
    """A snapshot of these parts. What cannot be read is left out, and is added to the problems."""
    parts: dict[str, tuple[Any, tuple[Resource, ...]]] = {}
    known = before.parts if before is not None else {}
    for part in wanted:
        old = known.get(part.name)
        if old is not None and old[0] == part.given:
            parts[part.name] = old
            if before is not None and part.name in before.problems:
                problems[part.name] = before.problems[part.name]
            continue
        try:
            made = part.make()
        except (Invalid, ValueError, TypeError) as error:
            # Whatever is wrong with one part is no reason to leave out the others.
            problems[part.name] = error.message if isinstance(error, Invalid) else str(error)
            made = _plain(part)
        parts[part.name] = (part.given, tuple(made))
    resources = {(one.kind, one.name): one for _, made in parts.values() for one in made}
    found = grouped([*resources.values()])
    return Snapshot(resources=found, parts=parts, problems=problems)


def _plain(part: Part) -> list[Resource]:
    try:
        return part.plain() if part.plain else []
    except (Invalid, ValueError, TypeError):
        return []


def _parts(blueprint: Blueprint, judged: Judged | None) -> Iterator[Part]:
    leaf = blueprint.leaf
    if leaf is None:
        return  # Nothing could be opened or called without one.
    bundle = blueprint.bundle
    yield Part("leaf", leaf, lambda: [secrets.leaf_secret(leaf)])
    yield Part("roots", bundle, lambda: [secrets.roots_secret(bundle)])
    if blueprint.inbound is not None:
        yield from _inbound(blueprint, blueprint.inbound, judged.mark if judged else "")
    for place, upstream in enumerate(blueprint.upstreams):
        yield from _upstream(blueprint, upstream, f"upstream {place}")


def _inbound(blueprint: Blueprint, inbound: Inbound, mark: str) -> Iterator[Part]:
    without = replace(blueprint, config={})
    bare = replace(inbound, exposed=[], agent_addresses=[])
    settings = (_settings(blueprint), blueprint.config, bare, blueprint.incoming)
    used = tokens.used(blueprint)
    policy = (blueprint.policy, blueprint.default_allow, used)
    if inbound.protocol == "tcp":
        rules = (policy, blueprint.bundle.trust_domain, mark)
        yield Part("rules", rules, lambda: [listeners.guard_of_connections(blueprint, mark)])
    else:
        yield Part(
            "rules",
            (policy, blueprint.bundle.trust_domain, blueprint.public_roots),
            lambda: [*listeners.guards(blueprint), *tokens.clusters(blueprint)],
            # Then nobody has a token, and whoever is denied without one is denied nonetheless.
            lambda: listeners.guards(replace(blueprint, jwt_providers=[])),
        )
    yield Part(
        "application",
        settings,
        lambda: [clusters.local_app(inbound, blueprint)],
        lambda: [clusters.local_app(inbound, without)],
    )
    yield Part(
        "public listener",
        (settings, mark),
        lambda: [listeners.public(inbound, blueprint, mark)],
        lambda: [listeners.public(inbound, without, mark)],
    )

    def exposed() -> list[Resource]:
        found = []
        for one in inbound.exposed:
            found.append(listeners.exposed_path(one, inbound, blueprint))
            if listeners.exposed_cluster(one, inbound) != clusters.LOCAL_APP:
                found.append(clusters.exposed_app(one, inbound))
        return found

    yield Part("exposed paths", (settings, inbound.exposed, inbound.agent_addresses), exposed)


def _upstream(blueprint: Blueprint, upstream: Upstream, part: str) -> Iterator[Part]:
    bare = replace(upstream, endpoints=[])
    without = replace(bare, config={})

    def make(wanted: Upstream) -> list[Resource]:
        return [
            clusters.upstream_cluster(wanted, blueprint),
            listeners.upstream(wanted, blueprint),
        ]

    yield Part(
        part,
        (_settings(blueprint), bare, blueprint.outgoing),
        lambda: make(bare),
        lambda: make(without),
    )
    name = clusters.cluster_name(blueprint, upstream)
    origin = f"instances of {upstream.service}"
    yield Part(
        f"{part}: instances",
        (name, upstream.endpoints),
        lambda: [endpoints.assignment(name, upstream.endpoints, origin)],
    )


def _settings(blueprint: Blueprint) -> tuple[Any, ...]:
    """What every listener and cluster may follow from."""
    return (
        blueprint.proxy,
        blueprint.datacenter,
        blueprint.bundle.trust_domain,
        blueprint.access_log,
        blueprint.normalization,
        blueprint.sanitize_client_cert,
    )
