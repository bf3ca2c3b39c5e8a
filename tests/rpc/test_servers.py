"""Server tags: what a server tells of itself in gossip is what others read."""

from __future__ import annotations

import pytest

from mesh import __version__
from mesh.rpc.servers import ServerTags, agent_tags, endpoint, read_tags


@pytest.mark.parametrize(
    "told",
    [
        ServerTags("id1", "dc1", 8300, build=__version__),
        ServerTags("id1", "dc1", 8300, 3, "p", "c", read_replica=True, build="9.9"),
    ],
)
def test_tags_survive_gossip(told: ServerTags) -> None:
    assert read_tags(told.tags()) == told


def test_what_is_no_server() -> None:
    tags = ServerTags("id1", "dc1", 8300).tags()
    assert read_tags(agent_tags("id1", "dc1")) is None
    for port in ("", "x", "65536", "-1", "٣"):
        assert read_tags(tags | {"port": port}) is None
    odd = read_tags(tags | {"expect": "x", "read_replica": "yes", "build": "1.2:abc"})
    assert odd is not None
    assert (odd.expect, odd.read_replica, odd.build) == (0, False, "1.2")
    assert endpoint("::1", 1) == "[::1]:1"
