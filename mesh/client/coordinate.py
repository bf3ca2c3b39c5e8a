"""Calls about coordinates: where nodes are in the network."""

from __future__ import annotations

from mesh import codec
from mesh.client.call import (
    Answer,
    Call,
    ReadOptions,
    Response,
    answer,
    blocking_seconds,
    decode_json,
    path_of,
    reading,
    writing,
)
from mesh.client.shapes import Coord, DatacenterCoords, NodeCoord

LATEST = ReadOptions()


def nodes(options: ReadOptions = LATEST) -> Call[Answer[list[NodeCoord]]]:
    """Every node that told where it is."""
    return reading("/v1/coordinate/nodes", list[NodeCoord], options)


def node(name: str, options: ReadOptions = LATEST) -> Call[Answer[NodeCoord | None]]:
    """One node, or None when it told nothing."""

    def decode(response: Response) -> Answer[NodeCoord | None]:
        found = decode_json(response.body, list[NodeCoord]) if response.status == 200 else []
        return answer(response, found[0] if found else None)

    return Call(
        method="GET",
        path=path_of("coordinate/node", name),
        decode=decode,
        params=options.params(),
        accepts=(200, 404),
        wait_seconds=blocking_seconds(options),
    )


def datacenters() -> Call[list[DatacenterCoords]]:
    """The servers of every datacenter, as a server knows them."""
    return Call(
        method="GET",
        path="/v1/coordinate/datacenters",
        decode=lambda response: decode_json(response.body, list[DatacenterCoords]),
    )


def update(node: str, coord: Coord) -> Call[None]:
    """Tell where a node is that no agent looks after."""
    body = codec.to_json({"Node": node, "Coord": coord})
    return writing("/v1/coordinate/update", body=body)
