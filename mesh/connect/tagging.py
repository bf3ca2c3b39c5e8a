"""How Envoy reads tags off the names of its statistics.

Envoy takes the first group of an expression out of the name, and the second one for the value of
the tag (envoy.config.metrics.v3.TagSpecifier). The names of the tags are those of Consul's
sidecars, which dashboards know, but for one of ours.
"""

from __future__ import annotations

from collections.abc import Sequence

# Parts of a cluster's name: [hash~][subset.]service.namespace.[partition.]datacenter.internal…
_HASH = r"(?:{}~)?"
_LABEL = r"[^.~]+"
_DOMAIN = r"[^.]+\.consul"
_WHOLE = ("hash", "subset", "service", "namespace", "partition", "datacenter", "routing", "domain")
_FORMS = {
    "hash": (r"(?:", r"[^.~]+", r"~)?"),
    "subset": (r"(?:", _LABEL, r"\.)?"),
    "service": ("", _LABEL, r"\."),
    "namespace": ("", _LABEL, r"\."),
    "partition": (r"(?:", _LABEL, r"\.)?"),
    "datacenter": ("", _LABEL, r"\."),
    "routing": ("", r"(?:internal|internal-v1)", r"\."),
    "domain": ("", _DOMAIN, r"\."),
}
_PEERED = ("service", "namespace", "partition", "peer")
_UPSTREAM = ("service", "namespace", "partition", "datacenter")


def _cluster(parts: Sequence[str], value: Sequence[str]) -> str:
    """Finds the name of a cluster; its value is what these parts, which follow each other, say."""
    text = ""
    for part in parts:
        opening, core, closing = _FORMS[part]
        begins, ends = part == value[0], part == value[-1]
        if begins and ends:
            text += f"{opening}({core}){closing}"
        elif begins:
            text += f"({opening}{core}{closing}"
        elif ends:
            text += f"{opening}{core}){closing}"
        else:
            text += f"{opening}{core}{closing}"
    return rf"^cluster\.(?:passthrough~)?({text})"


def _inside(value: str) -> str:
    return _cluster(_WHOLE, [value])


def _upstream(value: str, *, peered: bool = False) -> str:
    names = _PEERED if peered else _UPSTREAM
    text = r"\.".join(rf"({_LABEL})" if name == value else _LABEL for name in names)
    prefix = "upstream_peered" if peered else "upstream"
    return rf"^(?:tcp|http)\.{prefix}\.({text}(?:\.|$))"


TAGS: dict[str, str] = {
    "consul.destination.custom_hash": _inside("hash"),
    "consul.destination.service_subset": _inside("subset"),
    "consul.destination.service": _inside("service"),
    "consul.destination.namespace": _inside("namespace"),
    "consul.destination.partition": _inside("partition"),
    "consul.destination.datacenter": _inside("datacenter"),
    "consul.destination.routing_type": _inside("routing"),
    "consul.destination.trust_domain": _inside("domain"),
    "consul.destination.peer": (
        rf"^cluster\.({_LABEL}\.{_LABEL}\.(?:{_LABEL}\.)?({_LABEL})\.external\.{_DOMAIN}\.)"
    ),
    "consul.destination.target": _cluster(_WHOLE, _WHOLE[1:6]),
    "consul.destination.full_target": _cluster(_WHOLE, _WHOLE[1:]),
    "consul.upstream.service": (
        rf"^(?:tcp|http)\.upstream(?:_peered)?\.(({_LABEL})\.{_LABEL}\.{_LABEL}\.{_LABEL}(?:\.|$))"
    ),
    "consul.upstream.namespace": _upstream("namespace"),
    "consul.upstream.partition": _upstream("partition"),
    "consul.upstream.datacenter": _upstream("datacenter"),
    "consul.upstream.peer": _upstream("peer", peered=True),
    # The names of rules for connections come and go; those of figures had better not.
    "mesh.rules": (
        r"^extension_config_discovery\.network_filter\.envoy\.filters\.network\.rbac"
        r"(\.([0-9a-f]{16}))\."
    ),
}
