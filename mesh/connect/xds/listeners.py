"""Listeners: where others reach the application, and where it reaches its upstreams."""

from __future__ import annotations

import ipaddress
from typing import Any

from mesh.connect.xds import access_logs, clusters, http, rbac, refusals, routes, secrets, tokens
from mesh.connect.xds.blueprint import Blueprint, Exposed, Inbound, Upstream
from mesh.connect.xds.messages import (
    ADS,
    ConnectionLimit,
    Filter,
    HttpConnectionManager,
    Listener,
    NetworkRbac,
    TcpProxy,
    TypedExtensionConfig,
    any_of,
    parsed,
    resource,
    seconds,
    value,
)
from mesh.connect.xds.snapshot import FILTER, Cause, Ref, Resource
from mesh.errors import Invalid

PUBLIC, EXPOSED = "public_listener", "exposed_path_"
_TCP_PROXY = "envoy.filters.network.tcp_proxy"
_RBAC = "envoy.filters.network.rbac"
_MANAGER = "envoy.filters.network.http_connection_manager"
_ALPN = ["h2", "http/1.1"]
_HERE = ({"address_prefix": "127.0.0.0", "prefix_len": {"value": 8}},)
_HERE6 = ({"address_prefix": "::1", "prefix_len": {"value": 128}},)


# Inbound.


def public(inbound: Inbound, blueprint: Blueprint, mark: str = "") -> Resource:
    """Where other sidecars connect: mutual TLS, then rules, then the application.

    The mark is that of the rules for connections that nobody looks into (`reach`).
    """
    name = f"{PUBLIC}:{inbound.address}:{inbound.port}"
    web = inbound.protocol != "tcp"
    custom = blueprint.config.get("envoy_public_listener_json")
    if custom:
        origin = f"{blueprint.proxy}: envoy_public_listener_json"
        found = parsed(str(custom), Listener(), origin)
        found.name = name
        if not found.HasField("address"):
            found.address.CopyFrom(type(found.address)(**_address(inbound)))
        if not found.filter_chains:
            raise Invalid(f"{origin}: filter_chains: expected at least one")
    else:
        origin = f"{blueprint.proxy}: public listener"
        found = _plain(inbound, blueprint, name)
    found.traffic_direction = "INBOUND"
    _alone(found)
    chains = [*found.filter_chains]
    if custom and found.HasField("default_filter_chain"):
        chains.append(found.default_filter_chain)
    for chain in chains:
        if web:
            _protect(chain, inbound, blueprint, origin)
        else:
            _protect_connections(chain, blueprint, mark)
    filters = (tokens.FILTER_NAME, http.RBAC_NAME) if web else (_marked(mark),)
    children = [*secrets.refs(blueprint.bundle), *(Ref(FILTER, one) for one in filters)]
    needs = [] if custom else [clusters.LOCAL_APP]
    return resource(found, name, children=children, needs=needs, causes=[Cause(origin)])


def guards(blueprint: Blueprint) -> list[Resource]:
    """What the rules of an HTTP listener are, apart from it: they change while it stays."""
    rules = rbac.rules(blueprint, http=True)
    return [tokens.authentication(blueprint), http.rbac_filter(rules)]


def guard_of_connections(blueprint: Blueprint, mark: str) -> Resource:
    """The same of a listener that does not look into connections."""
    rules = rbac.rules(blueprint, http=False)
    config = NetworkRbac(stat_prefix="connect_authz", rules=rules.enforced)
    if rules.shadow is not None:
        config.shadow_rules.CopyFrom(rules.shadow)
        config.shadow_rules_stat_prefix = rbac.SHADOW_PREFIX
    name = _marked(mark)
    found = TypedExtensionConfig(name=name, typed_config=any_of(config))
    return resource(found, name, causes=rules.causes)


def _address(inbound: Inbound) -> dict[str, Any]:
    socket: dict[str, Any] = {"address": inbound.address, "port_value": inbound.port}
    if inbound.address == "::":
        socket["ipv4_compat"] = True
    return {"socket_address": socket}


def _plain(inbound: Inbound, blueprint: Blueprint, name: str) -> Any:
    filters: list[Any] = []
    if inbound.max_connections:
        limit = ConnectionLimit(
            stat_prefix="inbound_connection_limit",
            max_connections=value(inbound.max_connections),
        )
        filters.append(
            {"name": "envoy.filters.network.connection_limit", "typed_config": any_of(limit)}
        )
    if inbound.protocol == "tcp":
        filters.append(_proxy(PUBLIC, clusters.LOCAL_APP, blueprint))
    else:
        action = routes.limits(inbound.request_seconds, inbound.idle_seconds)
        config = routes.everything(PUBLIC, clusters.LOCAL_APP, action)
        found = http.manager(PUBLIC, config, [], blueprint, inbound.protocol)
        filters.append(http.as_network_filter(found))
    return _listener(
        name, _address(inbound), filters, blueprint, balance=inbound.balance_connections
    )


def _protect(chain: Any, inbound: Inbound, blueprint: Blueprint, origin: str) -> None:
    """Put mutual TLS and the rules around whatever a chain does with requests."""
    _secure(chain, blueprint, _ALPN)
    managers = [one for one in chain.filters if one.name == _MANAGER or _is_manager(one)]
    if not managers:
        raise Invalid(f"{origin}: no HTTP connection manager, which the rules would go into")
    for one in managers:
        _guard(one, inbound, blueprint)


def _protect_connections(chain: Any, blueprint: Blueprint, mark: str) -> None:
    """The same where nobody looks into connections."""
    _secure(chain, blueprint, [])
    kept = [*chain.filters]
    del chain.filters[:]
    source = {"config_source": ADS, "type_urls": [any_of(NetworkRbac()).type_url]}
    rules = Filter(name=_marked(mark), config_discovery=source)
    chain.filters.extend([rules, *map(_told, kept)])


def _marked(mark: str) -> str:
    return f"{_RBAC}.{mark}"


def _secure(chain: Any, blueprint: Blueprint, alpn: list[str]) -> None:
    socket = secrets.inbound(blueprint.bundle, blueprint.incoming, alpn)
    chain.transport_socket.CopyFrom(type(chain.transport_socket)(**socket))


def _is_manager(found: Any) -> bool:
    return bool(found.typed_config.Is(HttpConnectionManager.DESCRIPTOR))


def _guard(found: Any, inbound: Inbound, blueprint: Blueprint) -> None:
    manager = HttpConnectionManager()
    found.typed_config.Unpack(manager)
    kept = [*manager.http_filters]
    del manager.http_filters[:]
    filters = http.guards()
    if inbound.protocol == "grpc":
        # What counts calls and translates them stands before what refuses them.
        filters = [*kept[:-1], *filters, *kept[-1:]]
    else:
        filters = [*filters, *http.caller_metadata(), *kept]
    manager.http_filters.extend(filters)
    manager.access_log.append(refusals.of_requests())
    http.normalise(manager, blueprint.normalization)
    http.tell_caller(manager, blueprint)
    found.typed_config.CopyFrom(any_of(manager))


def _told(found: Any) -> Any:
    """The filter, with what is refused told to us if it is the one that ends connections.

    Always, and whether or not there is anything to try: rules come and go without it.
    """
    if not found.typed_config.Is(TcpProxy.DESCRIPTOR):
        return found
    proxy = TcpProxy()
    found.typed_config.Unpack(proxy)
    if not proxy.HasField("access_log_options"):
        # Connections may last for long. The other logs hear of their ends, as without this.
        proxy.access_log_options.access_log_flush_interval.FromTimedelta(
            seconds(refusals.CONNECTION_SECONDS)
        )
        for one in proxy.access_log:
            if not one.HasField("filter"):
                periodic = {"types": ["TcpPeriodic"], "exclude": True}
                one.filter.CopyFrom(type(one.filter)(log_type_filter=periodic))
    proxy.access_log.extend([refusals.of_connections(), refusals.of_ends()])
    found.typed_config.CopyFrom(any_of(proxy))
    return found


# Exposed paths.


def exposed_path(exposed: Exposed, inbound: Inbound, blueprint: Blueprint) -> Resource:
    """A path of the application that is open to plain connections."""
    mark = "".join(one if one.isalnum() else "_" for one in exposed.path.strip("/"))
    name = f"{EXPOSED}{mark}:{inbound.address}:{exposed.listener_port}"
    cluster = exposed_cluster(exposed, inbound)
    config = routes.one_path(f"exposed_path_filter_{mark}", exposed.path, cluster)
    prefix = f"exposed_path_filter_{mark}_{exposed.listener_port}"
    manager = http.manager(prefix, config, [], blueprint, exposed.protocol)
    http.normalise(manager, blueprint.normalization)
    address = {"socket_address": {"address": inbound.address, "port_value": exposed.listener_port}}
    found = _listener(name, address, [http.as_network_filter(manager)], blueprint)
    found.traffic_direction = "INBOUND"
    if exposed.for_checks:
        match = found.filter_chains[0].filter_chain_match
        for source in [*_HERE, *_HERE6, *_hosts(inbound.agent_addresses)]:
            match.source_prefix_ranges.add(**source)
    origin = f"exposed path {exposed.path} of {blueprint.proxy}"
    return resource(found, name, needs=[cluster], causes=[Cause(origin)])


def exposed_port(name: str) -> int:
    """The port of a listener for an exposed path; 0 for any other listener."""
    return int(name.rpartition(":")[2]) if name.startswith(EXPOSED) else 0


def exposed_cluster(exposed: Exposed, inbound: Inbound) -> str:
    """Where requests for the path go."""
    other = exposed.protocol == "http2" and inbound.protocol in {"tcp", "http"}
    if exposed.local_port == inbound.local_port and not other:
        return clusters.LOCAL_APP
    return clusters.exposed_name(exposed)


def _hosts(addresses: list[str]) -> list[dict[str, Any]]:
    found = []
    for one in sorted(set(addresses)):
        length = ipaddress.ip_address(one).max_prefixlen
        found.append({"address_prefix": one, "prefix_len": {"value": length}})
    return found


# Outbound.


def upstream_name(upstream: Upstream, blueprint: Blueprint) -> str:
    """What listeners and routes call the upstream."""
    elsewhere = upstream.datacenter != blueprint.datacenter
    return f"{upstream.service}?dc={upstream.datacenter}" if elsewhere else upstream.service


def upstream(wanted: Upstream, blueprint: Blueprint) -> Resource:
    """Where the application connects to reach a service."""
    called = upstream_name(wanted, blueprint)
    origin = f"upstream {wanted.service}"
    if wanted.socket_path:
        place = wanted.socket_path
        pipe: dict[str, Any] = {"path": place}
        if wanted.socket_mode:
            pipe["mode"] = int(wanted.socket_mode, 8)
        address: dict[str, Any] = {"pipe": pipe}
    else:
        place = f"{wanted.address}:{wanted.port}"
        address = {"socket_address": {"address": wanted.address, "port_value": wanted.port}}
    name = f"{called}:{place}"
    cluster = clusters.cluster_name(blueprint, wanted)
    custom = wanted.config.get("envoy_listener_json")
    if custom:
        origin = f"{origin}: envoy_listener_json"
        found = parsed(str(custom), Listener(), origin)
        found.name = name
        if not found.HasField("address"):
            found.address.CopyFrom(type(found.address)(**address))
    else:
        filters = [_outbound(wanted, blueprint, called, cluster)]
        found = _listener(name, address, filters, blueprint, balance=wanted.balance_connections)
    found.traffic_direction = "OUTBOUND"
    _alone(found)
    return resource(found, name, needs=[cluster], causes=[Cause(origin)])


def _outbound(wanted: Upstream, blueprint: Blueprint, called: str, cluster: str) -> dict[str, Any]:
    prefix = f"upstream.{wanted.service}.default.default.{wanted.datacenter}"
    if wanted.protocol == "tcp":
        return _proxy(prefix, cluster, blueprint)
    config = routes.everything(called, cluster, routes.unseen_retries())
    return http.as_network_filter(http.manager(prefix, config, [], blueprint, wanted.protocol))


def _proxy(prefix: str, cluster: str, blueprint: Blueprint) -> dict[str, Any]:
    config = TcpProxy(
        stat_prefix=prefix,
        cluster=cluster,
        access_log=access_logs.requests(blueprint.access_log),
    )
    return {"name": _TCP_PROXY, "typed_config": any_of(config)}


def _alone(found: Any) -> None:
    """Or two listeners on one port, of two proxies, would share its connections silently."""
    # Always the same, since Envoy refuses an update that changes it.
    found.enable_reuse_port.value = False


def _listener(
    name: str,
    address: dict[str, Any],
    filters: list[Any],
    blueprint: Blueprint,
    *,
    balance: bool = False,
) -> Any:
    found = Listener(
        name=name,
        address=address,
        filter_chains=[{"filters": filters}],
        access_log=access_logs.listener(blueprint.access_log),
    )
    _alone(found)
    if balance:
        found.connection_balance_config.exact_balance.SetInParent()
    return found
