"""Server tags: what is shown in gossip comes back, and nonsense is no server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.rpc.servers import ServerTags, agent_tags, endpoint, read_tags

TEXT = st.text(max_size=12)
NUMBER = st.integers(0, 10**9 - 1)


@given(
    st.builds(
        ServerTags,
        id=TEXT,
        datacenter=TEXT,
        port=st.integers(0, 65535),
        expect=NUMBER,
        proposal=TEXT,
        cluster=TEXT,
        level_min=NUMBER,
        level_max=NUMBER,
    )
)
def test_what_a_server_shows_comes_back(shown: ServerTags) -> None:
    assert read_tags(shown.tags()) == shown


@given(st.dictionaries(st.sampled_from(["port", "expect", "level_min", "level_max"]), TEXT))
def test_any_tags_are_read_or_refused(tags: dict[str, str]) -> None:
    found = read_tags({"role": "consul", **tags})
    assert found is None or 0 <= found.port < 65536


def test_the_first_mesh_spoke_level_1_and_did_not_say_so() -> None:
    found = read_tags({"role": "consul", "dc": "dc1", "id": "s1", "port": "8300"})
    assert found is not None
    assert (found.level_min, found.level_max) == (1, 1)


@pytest.mark.parametrize("port", ["", "x", "-1", "65536", "٣"])
def test_agents_and_bad_ports_are_no_servers(port: str) -> None:
    assert read_tags(agent_tags("a1", "dc1")) is None
    assert read_tags({"role": "consul", "port": port}) is None


def test_an_address_of_ipv6_stands_in_brackets() -> None:
    assert endpoint("::1", 8300) == "[::1]:8300"
    assert endpoint("127.0.0.1", 8300) == "127.0.0.1:8300"
