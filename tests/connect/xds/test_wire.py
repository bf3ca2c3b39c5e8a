"""Responses that are put together by hand are what protobuf itself would write."""

from __future__ import annotations

from mesh.connect.xds import messages, wire
from mesh.connect.xds.snapshot import CLUSTER

MADE = [
    messages.resource(messages.Cluster(name=name, connect_timeout=messages.seconds(seconds)), name)
    for name, seconds in (("a", 1.5), ("b" * 300, 60))
]


def test_a_delta_response() -> None:
    read = messages.DeltaDiscoveryResponse.FromString(
        wire.delta(CLUSTER, "7", MADE, ["gone", "away"])
    )
    assert (read.type_url, read.nonce, [*read.removed_resources]) == (
        CLUSTER,
        "7",
        ["gone", "away"],
    )
    for one, made in zip(read.resources, MADE, strict=True):
        cluster = messages.Cluster()
        assert one.resource.Unpack(cluster)
        assert (one.name, one.version, cluster.name) == (made.name, made.version, made.name)


def test_a_response_of_the_whole_form() -> None:
    read = messages.DiscoveryResponse.FromString(wire.whole(CLUSTER, "7", "v", MADE))
    assert (read.type_url, read.nonce, read.version_info) == (CLUSTER, "7", "v")
    names = []
    for one in read.resources:
        cluster = messages.Cluster()
        assert one.Unpack(cluster)
        names.append(cluster.name)
    assert names == [made.name for made in MADE]


def test_empty_responses() -> None:
    read = messages.DeltaDiscoveryResponse.FromString(wire.delta(CLUSTER, "1", [], []))
    assert (read.type_url, read.nonce) == (CLUSTER, "1")
