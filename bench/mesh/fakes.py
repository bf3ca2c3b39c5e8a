"""`python -m bench.mesh.fakes ADDRESS COUNT`: streams as Envoys have them, that accept all.

Each has a connection of its own and subscribes as Envoy does: to clusters and listeners first, to
what they name when they are there. The names are read from standard input, as JSON by kind; the
process ends with that input.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import grpc
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
)

from mesh.connect.xds.snapshot import CLUSTER, ENDPOINTS, FILTER, LISTENER, SECRET

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
CHILDREN = {CLUSTER: (ENDPOINTS,), LISTENER: (SECRET, FILTER)}
STARTING = 20
"""So many begin at once."""
_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 16 << 20)]


async def _stream(address: str, proxy: str, names: dict[str, list[str]], ready: Any) -> None:
    async with grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:
        call = channel.stream_stream(METHOD)()
        first = DeltaDiscoveryRequest(type_url=CLUSTER)
        first.node.id = proxy
        await call.write(first.SerializeToString())
        await call.write(DeltaDiscoveryRequest(type_url=LISTENER).SerializeToString())
        asked = {CLUSTER, LISTENER}
        while (told := await call.read()) is not grpc.aio.EOF:
            response = DeltaDiscoveryResponse.FromString(told)
            accepted = DeltaDiscoveryRequest(
                type_url=response.type_url, response_nonce=response.nonce
            )
            await call.write(accepted.SerializeToString())
            for kind in CHILDREN.get(response.type_url, ()):
                if kind in asked or not names.get(kind):
                    continue
                asked.add(kind)
                request = DeltaDiscoveryRequest(type_url=kind, resource_names_subscribe=names[kind])
                await call.write(request.SerializeToString())
            if response.type_url == FILTER:
                ready.release()
    raise SystemExit(f"the stream of {proxy} ended: {await call.code()}")


async def _run(address: str, count: int) -> None:
    names = json.loads(sys.stdin.readline())
    ready = asyncio.Semaphore(STARTING)
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            await ready.acquire()
            group.create_task(_stream(address, f"proxy-{number}", names, ready))
        await asyncio.to_thread(sys.stdin.read)
        raise SystemExit(0)


if __name__ == "__main__":
    asyncio.run(_run(sys.argv[1], int(sys.argv[2])))
