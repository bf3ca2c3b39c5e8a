"""The filter that checks JSON web tokens before rules look at their claims."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from mesh.connect.xds.blueprint import Blueprint
from mesh.connect.xds.messages import (
    Cluster,
    JwtAuthentication,
    TypedExtensionConfig,
    UpstreamTlsContext,
    any_of,
    resource,
    seconds,
)
from mesh.connect.xds.rbac import JWT_FILTER, payload_key
from mesh.connect.xds.snapshot import Cause, Resource
from mesh.registry.intentions import JwtProvider

FILTER_NAME = JWT_FILTER
_FETCH_CONNECT_SECONDS = 5.0


def used(blueprint: Blueprint) -> list[JwtProvider]:
    """The providers whose tokens decide about anything here, by name."""
    needs = list(blueprint.policy.jwt)
    for intention in blueprint.policy.intentions:
        for permission in intention.permissions:
            needs += permission.jwt
    names = {need.provider for need in needs}
    return sorted((p for p in blueprint.jwt_providers if p.name in names), key=lambda p: p.name)


def authentication(blueprint: Blueprint) -> Resource:
    """Check every token there is, and refuse requests without one where all need one."""
    providers = used(blueprint)
    known = {provider.name for provider in providers}
    demanded = sorted({need.provider for need in blueprint.policy.jwt} & known)
    # Rules refuse what lacks a token they want: here a bad one counts as none. Where any of several
    # will do, the first that is good ends the search, though rules may look at the others too.
    alone = demanded if len(demanded) == 1 else []
    asked = [_any([name], optional=True) for name in sorted(known) if name not in alone]
    if demanded:
        asked.insert(0, _any(demanded, optional=False))
    rules: list[dict[str, Any]] = []
    if asked:
        requires = asked[0] if len(asked) == 1 else {"requires_all": {"requirements": asked}}
        rules.append({"match": {"prefix": "/"}, "requires": requires})
    found = JwtAuthentication(
        providers={one.name: _provider(one) for one in providers},
        rules=rules,
        bypass_cors_preflight=False,
    )
    config = TypedExtensionConfig(name=FILTER_NAME, typed_config=any_of(found))
    needs = [cluster_name(one) for one in providers if _fetched(one)]
    causes = [Cause("jwt-provider entries")]
    causes += [Cause(f"jwt-provider {one}", one) for one in sorted(known)]
    return resource(config, FILTER_NAME, needs=needs, causes=causes)


def cluster_name(provider: JwtProvider) -> str:
    """The cluster that the provider's keys are fetched from."""
    return f"jwks_cluster_{provider.name}"


def clusters(blueprint: Blueprint) -> list[Resource]:
    """Where keys are fetched from."""
    return [_keys_cluster(one, blueprint.public_roots) for one in used(blueprint) if _fetched(one)]


def _fetched(provider: JwtProvider) -> bool:
    return bool(provider.keys_uri and not provider.keys and not provider.keys_file)


def _any(names: list[str], *, optional: bool) -> dict[str, Any]:
    found: list[dict[str, Any]] = [{"provider_name": name} for name in names]
    if optional:
        found.append({"allow_missing_or_failed": {}})
    return found[0] if len(found) == 1 else {"requires_any": {"requirements": found}}


def _provider(provider: JwtProvider) -> dict[str, Any]:
    found: dict[str, Any] = {
        "issuer": provider.issuer,
        "audiences": provider.audiences,
        "payload_in_metadata": payload_key(provider.name),
        "clock_skew_seconds": provider.skew_seconds,
        "from_headers": [
            {"name": one.name, "value_prefix": one.prefix} for one in provider.headers
        ],
        "from_params": provider.parameters,
        "from_cookies": provider.cookies,
        "forward": any(one.forward for one in provider.headers),
        "forward_payload_header": provider.forward_header,
        "pad_forward_payload_header": provider.pad_forward,
    }
    if provider.keys:
        found["local_jwks"] = {"inline_string": provider.keys}
    elif provider.keys_file:
        found["local_jwks"] = {"filename": provider.keys_file}
    else:
        fetched: dict[str, Any] = {
            "http_uri": {
                "uri": provider.keys_uri,
                "cluster": cluster_name(provider),
                "timeout": seconds(provider.fetch_seconds or 1.0),
            },
            "async_fetch": {"fast_listener": True},
        }
        if provider.cache_seconds:
            fetched["cache_duration"] = seconds(provider.cache_seconds)
        found["remote_jwks"] = fetched
    return found


def _keys_cluster(provider: JwtProvider, roots: str) -> Resource:
    name = cluster_name(provider)
    parts = urlsplit(provider.keys_uri)
    secure = parts.scheme == "https"
    host = parts.hostname or "localhost"
    where = {"address": host, "port_value": parts.port or (443 if secure else 80)}
    found = Cluster(
        name=name,
        type="STRICT_DNS",
        connect_timeout=seconds(_FETCH_CONNECT_SECONDS),
        load_assignment={
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": where}}}]}],
        },
    )
    if secure:
        names = [{"san_type": "DNS", "matcher": {"exact": host}}]
        checks = {"trusted_ca": {"filename": roots}, "match_typed_subject_alt_names": names}
        tls = UpstreamTlsContext(sni=host, common_tls_context={"validation_context": checks})
        socket = {"name": "tls", "typed_config": any_of(tls)}
        found.transport_socket.CopyFrom(type(found.transport_socket)(**socket))
    return resource(found, name, causes=[Cause(f"jwt-provider {provider.name}")])
