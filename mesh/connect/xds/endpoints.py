"""The instances of a cluster: the bytes of each are made once, and shared."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from mesh.connect.xds import wire
from mesh.connect.xds.blueprint import Endpoint
from mesh.connect.xds.messages import LbEndpoint, encoded
from mesh.connect.xds.snapshot import ENDPOINTS, Cause, Resource, digest

ENDPOINTS_KEPT = 65_536
_LOCALITY, _LOCALITY_ENDPOINTS, _LOCALITY_WEIGHT = 1, 2, 3
"""endpoint.v3.LocalityLbEndpoints."""
_REGION = 1
"""core.v3.Locality."""
_ONE = b"\x08\x01"
"""google.protobuf.UInt32Value."""
_CLUSTER_NAME, _LOCALITIES = 1, 2
"""endpoint.v3.ClusterLoadAssignment."""


def assignment(
    cluster: str, endpoints: Sequence[Endpoint], origin: str, region: str = ""
) -> Resource:
    """Where the requests to a cluster may go. gRPC wants a region, Envoy does not care."""
    ordered = sorted(set(endpoints), key=lambda one: (one.address, one.port, one.weight))
    locality = b"".join(wire.field(_LOCALITY_ENDPOINTS, _encoded(one)) for one in ordered)
    if region:
        place = wire.field(_LOCALITY, wire.field(_REGION, region.encode()))
        locality = place + locality + wire.field(_LOCALITY_WEIGHT, _ONE)
    content = wire.field(_CLUSTER_NAME, cluster.encode())
    if ordered:
        content += wire.field(_LOCALITIES, locality)
    return Resource(
        kind=ENDPOINTS,
        name=cluster,
        version=digest(content),
        packed=wire.message_any(ENDPOINTS, content),
        causes=(Cause(origin),),
    )


@lru_cache(ENDPOINTS_KEPT)
def _encoded(endpoint: Endpoint) -> bytes:
    where = {"address": endpoint.address, "port_value": endpoint.port}
    return encoded(
        LbEndpoint(
            endpoint={"address": {"socket_address": where}},
            health_status="HEALTHY" if endpoint.healthy else "UNHEALTHY",
            load_balancing_weight={"value": max(1, min(endpoint.weight, 128))},
        )
    )
