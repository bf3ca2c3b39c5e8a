"""gRPC programs that are in the mesh without a sidecar: what they are told is what gRPC reads.

Certificates are named only: they lie in files, which the bootstrap of a program names (gRFC A29).
Rules stand in routes, which change under open connections; gRPC drains those of a listener that
changes (gRFC A36, A39, A41).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from mesh.connect import identity
from mesh.connect.grpc_bootstrap import CERTIFICATES, SERVER_LISTENER
from mesh.connect.xds import endpoints, http, rbac
from mesh.connect.xds.blueprint import Blueprint, Proxyless
from mesh.connect.xds.messages import (
    ADS,
    Cluster,
    DownstreamTlsContext,
    HttpConnectionManager,
    HttpFilter,
    HttpRbac,
    HttpRbacOfRoute,
    Listener,
    RouteConfiguration,
    Router,
    UpstreamTlsContext,
    any_of,
    resource,
)
from mesh.connect.xds.resources import Part, assembled
from mesh.connect.xds.snapshot import ENDPOINTS, ROUTES, Cause, Ref, Resource, Snapshot
from mesh.errors import Invalid
from mesh.registry.intentions import Policy

RULES = "mesh-intentions"
"""The routes of all listeners of a service: they hold its rules."""
_MEMBERS = "mesh.identity"
_INSTANCE = {"instance_name": CERTIFICATES}


def build(wanted: Proxyless, before: Snapshot | None = None) -> Snapshot:
    """What the programs of a service are to have, to be asked for by name."""
    problems: dict[str, str] = {}
    if _asks_for_tokens(wanted.policy):
        problems["rules"] = (
            f"service-intentions {wanted.service}: gRPC programs without a sidecar cannot check "
            "tokens (JWT); they refuse every call"
        )
    return assembled(_parts(wanted), before, problems)


def _parts(wanted: Proxyless) -> Iterator[Part]:
    trust = wanted.bundle.trust_domain
    for name, found in wanted.targets.items():
        given = (trust, wanted.datacenter)
        yield Part(f"target {name}", given, partial(_target, name, wanted))
        part = f"target {name}: instances"
        yield Part(part, (given, found), partial(_instances, name, wanted))
    if wanted.served:
        rules = (trust, wanted.policy, wanted.default_allow)
        yield Part("rules", rules, lambda: [_rules(wanted)])
    for place in wanted.served:
        yield Part(f"listener {place}", trust, partial(_served, place, wanted))


# Calling.


def _target(name: str, wanted: Proxyless) -> list[Resource]:
    cluster = identity.server_name(name, wanted.datacenter, wanted.bundle.trust_domain)
    causes = [Cause(f"service {name}")]
    route = {"match": {"prefix": ""}, "route": {"cluster": cluster}}
    hosts = [{"name": name, "domains": ["*"], "routes": [route]}]
    manager = HttpConnectionManager(
        route_config={"name": name, "virtual_hosts": hosts}, http_filters=[_router()]
    )
    listener = Listener(name=name, api_listener={"api_listener": any_of(manager)})
    return [
        resource(listener, name, needs=[cluster], causes=causes),
        resource(
            Cluster(
                name=cluster,
                type="EDS",
                eds_cluster_config={"eds_config": ADS},
                lb_policy="ROUND_ROBIN",
                transport_socket=_outbound(name, wanted),
            ),
            cluster,
            children=[Ref(ENDPOINTS, cluster)],
            causes=causes,
        ),
    ]


def _instances(name: str, wanted: Proxyless) -> list[Resource]:
    cluster = identity.server_name(name, wanted.datacenter, wanted.bundle.trust_domain)
    found, origin = wanted.targets[name], f"instances of {name}"
    return [endpoints.assignment(cluster, found, origin, region=wanted.datacenter)]


def _outbound(name: str, wanted: Proxyless) -> dict[str, Any]:
    uri = identity.service(wanted.bundle.trust_domain, wanted.datacenter, name).uri
    validation = {
        "ca_certificate_provider_instance": _INSTANCE,
        "match_subject_alt_names": [{"exact": uri}],
    }
    tls = UpstreamTlsContext(
        common_tls_context={
            "tls_certificate_provider_instance": _INSTANCE,
            "validation_context": validation,
        }
    )
    return {"name": "envoy.transport_sockets.tls", "typed_config": any_of(tls)}


# Serving.


def _served(place: str, wanted: Proxyless) -> list[Resource]:
    host, _, port = place.rpartition(":")
    if not port.isdecimal() or not host:
        raise Invalid(f"a gRPC server at {place}: expected an address and a port")
    name = SERVER_LISTENER.replace("%s", place)
    members = HttpRbac(rules=rbac.members(_plain(wanted)))
    manager = HttpConnectionManager(
        stat_prefix="server",
        rds={"config_source": ADS, "route_config_name": RULES},
        http_filters=[
            HttpFilter(name=_MEMBERS, typed_config=any_of(members)),
            HttpFilter(name=http.RBAC_NAME, typed_config=any_of(HttpRbac())),
            _router(),
        ],
    )
    tls = DownstreamTlsContext(
        common_tls_context={
            "tls_certificate_provider_instance": _INSTANCE,
            "validation_context": {"ca_certificate_provider_instance": _INSTANCE},
        },
        require_client_certificate={"value": True},
    )
    address = {"address": host.strip("[]"), "port_value": int(port)}
    found = Listener(
        name=name,
        address={"socket_address": address},
        filter_chains=[
            {
                "filters": [http.as_network_filter(manager)],
                "transport_socket": {
                    "name": "envoy.transport_sockets.tls",
                    "typed_config": any_of(tls),
                },
            }
        ],
        traffic_direction="INBOUND",
    )
    causes = [Cause(f"{wanted.service}: gRPC server at {place}")]
    return [resource(found, name, children=[Ref(ROUTES, RULES)], causes=causes)]


def _rules(wanted: Proxyless) -> Resource:
    found = rbac.rules(_plain(wanted), http=True)
    enforced = rbac.nobody() if _asks_for_tokens(wanted.policy) else found.enforced
    host: dict[str, Any] = {
        "name": RULES,
        "domains": ["*"],
        "routes": [{"match": {"prefix": ""}, "non_forwarding_action": {}}],
    }
    if enforced is not None:
        override = HttpRbacOfRoute(rbac=HttpRbac(rules=enforced))
        host["typed_per_filter_config"] = {http.RBAC_NAME: any_of(override)}
    config = RouteConfiguration(name=RULES, virtual_hosts=[host])
    return resource(config, RULES, causes=found.causes)


def _asks_for_tokens(policy: Policy) -> bool:
    """Whether what becomes of a call may depend on its token, of which gRPC sees nothing."""
    real = (one for one in policy.intentions if not one.dry_run)
    return bool(policy.jwt) or any(what.jwt for one in real for what in one.permissions)


def _plain(wanted: Proxyless) -> Blueprint:
    """As the blueprint of a sidecar, for who makes rules of it."""
    return Blueprint(
        proxy=wanted.proxy,
        service=wanted.service,
        node=wanted.node,
        datacenter=wanted.datacenter,
        bundle=wanted.bundle,
        leaf=None,
        inbound=None,
        policy=wanted.policy,
        default_allow=wanted.default_allow,
    )


def _router() -> Any:
    return HttpFilter(name="envoy.filters.http.router", typed_config=any_of(Router()))
