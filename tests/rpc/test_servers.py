"""Server tags: what a server tells of itself in gossip is what others read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh import __version__
from mesh.rpc.servers import ServerTags, agent_tags, endpoint, read_tags


@pytest.mark.parametrize(
    "told",
    [
        ServerTags("id1", "dc1", 8300, build=__version__),
        ServerTags("id1", "dc1", 8300, 3, "p", "c", level_max=7, read_replica=True, build="9.9"),
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


@given(st.dictionaries(st.sampled_from(["port", "expect", "level_min", "level_max"]), st.text()))
def test_any_tags_are_read_or_refused(tags: dict[str, str]) -> None:
    found = read_tags({"role": "consul", **tags})
    assert found is None or 0 <= found.port < 65536


def test_the_first_mesh_spoke_level_1_and_did_not_say_so() -> None:
    found = read_tags({"role": "consul", "dc": "dc1", "id": "s1", "port": "8300"})
    assert found is not None
    assert (found.level_min, found.level_max) == (1, 1)
