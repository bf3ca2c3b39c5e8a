"""Instances of a cluster, whose bytes are joined by hand."""

from __future__ import annotations

import random

from mesh.connect.xds import messages
from mesh.connect.xds.blueprint import Endpoint
from mesh.connect.xds.endpoints import assignment

SEVERAL = [Endpoint("10.0.0.2", 1), Endpoint("10.0.0.1", 2, healthy=False), Endpoint("::1", 3)]


def _read(endpoints: list[Endpoint]) -> messages.Message:
    read = messages.ClusterLoadAssignment()
    packed = messages.Packed.FromString(assignment("payments", endpoints, "here").packed)
    assert packed.Unpack(read)
    return read


def test_joined_bytes_are_a_message() -> None:
    read = _read(SEVERAL)
    assert read.cluster_name == "payments"
    (locality,) = read.endpoints
    found = [
        (one.endpoint.address.socket_address.address, one.health_status)
        for one in locality.lb_endpoints
    ]
    assert found == [("10.0.0.1", 2), ("10.0.0.2", 1), ("::1", 1)]


def test_no_instance_is_no_locality() -> None:
    assert not _read([]).endpoints


def test_order_and_repetition_do_not_matter() -> None:
    version = assignment("payments", SEVERAL, "here").version
    for seed in range(10):
        shuffled = [*SEVERAL, SEVERAL[0]]
        random.Random(seed).shuffle(shuffled)
        assert assignment("payments", shuffled, "here").version == version
    assert assignment("payments", SEVERAL[:2], "here").version != version


def test_weights_are_what_envoy_takes() -> None:
    read = _read([Endpoint("10.0.0.1", 1, weight=0), Endpoint("10.0.0.2", 1, weight=70_000)])
    weights = [one.load_balancing_weight.value for one in read.endpoints[0].lb_endpoints]
    assert weights == [1, 128]
