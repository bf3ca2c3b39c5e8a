from __future__ import annotations

import re

import pytest

from mesh.connect.identity import server_name
from mesh.connect.tagging import TAGS

DOMAIN = "11111111-2222-3333-4444-555555555555.consul"
WEB = server_name("web", "dc1", DOMAIN)


def tags(name: str) -> dict[str, str]:
    """As Envoy reads them: the second group is the value."""
    found = {tag: re.search(regex, name) for tag, regex in TAGS.items()}
    return {tag.removeprefix("consul."): one[2] for tag, one in found.items() if one and one[2]}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (
            f"cluster.{WEB}.upstream_rq_total",
            {
                "destination.service": "web",
                "destination.namespace": "default",
                "destination.datacenter": "dc1",
                "destination.routing_type": "internal",
                "destination.trust_domain": DOMAIN,
                "destination.target": "web.default.dc1",
                "destination.full_target": WEB,
            },
        ),
        (
            f"cluster.c0ffee~v2.{WEB}.upstream_cx_total",
            {
                "destination.custom_hash": "c0ffee",
                "destination.service_subset": "v2",
                "destination.service": "web",
                "destination.namespace": "default",
                "destination.datacenter": "dc1",
                "destination.routing_type": "internal",
                "destination.trust_domain": DOMAIN,
                "destination.target": "v2.web.default.dc1",
                "destination.full_target": f"v2.{WEB}",
            },
        ),
        (
            "http.upstream.web.default.default.dc1.downstream_rq_total",
            {
                "upstream.service": "web",
                "upstream.namespace": "default",
                "upstream.partition": "default",
                "upstream.datacenter": "dc1",
            },
        ),
        ("tcp.upstream_peered.web.default.default.east.cx", {"upstream.peer": "east"}),
        (
            "extension_config_discovery.network_filter.envoy.filters.network.rbac."
            "0123456789abcdef.update_success",
            {"mesh.rules": "0123456789abcdef"},
        ),
        ("cluster.local_app.upstream_rq_total", {}),
        ("http.public_listener.downstream_rq_total", {}),
    ],
)
def test_tags_are_read_off_the_names_of_clusters_and_upstreams(
    name: str, wanted: dict[str, str]
) -> None:
    assert tags(name).items() >= wanted.items()
    assert bool(tags(name)) == bool(wanted)


def test_what_is_read_off_a_cluster_leaves_only_what_was_measured() -> None:
    name = f"cluster.v2.{WEB}.upstream_rq_total"
    for tag, regex in TAGS.items():
        if found := re.search(regex, name):
            assert name.replace(found[1], "") == "cluster.upstream_rq_total", tag
