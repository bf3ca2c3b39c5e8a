"""Calls about events: tell something to all agents, and read what one of them heard."""

from __future__ import annotations

from mesh.client.call import Answer, Call, ReadOptions, decode_json, path_of, reading
from mesh.client.shapes import Event

LATEST = ReadOptions()


def fire(
    name: str,
    payload: bytes = b"",
    *,
    node: str = "",
    service: str = "",
    tag: str = "",
    datacenter: str = "",
) -> Call[Event]:
    """Tell all agents, or those that the filters, expressions of RE2, let through.

    They look anywhere in the name of the node, the id of a service of its, and a tag of that.
    """
    given = {"node": node, "service": service, "tag": tag, "dc": datacenter}
    return Call(
        method="PUT",
        path=path_of("event/fire", name),
        decode=lambda response: decode_json(response.body, Event),
        params=tuple(pair for pair in given.items() if pair[1]),
        body=payload,
    )


def listed(name: str = "", options: ReadOptions = LATEST) -> Call[Answer[list[Event]]]:
    """The last events that the agent heard, the oldest first.

    The index only tells answers apart: it may go down.
    """
    params = [("name", name)] if name else []
    return reading("/v1/event/list", list[Event], options, params)
