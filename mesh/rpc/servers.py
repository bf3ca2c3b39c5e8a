"""Server tags: how members say in gossip that they are servers, and where to reach them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mesh import __version__

ROLE_SERVER = "consul"
ROLE_AGENT = "node"


class ServerTags(msgspec.Struct, frozen=True):
    """What a server tells of itself in its gossip tags."""

    id: str
    datacenter: str
    port: int
    expect: int = 0
    """Voters it waits for before the first election; 0 when it never starts a cluster."""
    proposal: str = ""
    """Digest of the first voters it would agree to; see `server.bootstrap`."""
    cluster: str = ""
    """Id of the cluster whose log it holds; empty before the first election."""
    level_min: int = 1
    """Lowest feature level it speaks; see `registry.levels`."""
    level_max: int = 1
    """Highest one. The first mesh said nothing about it."""
    read_replica: bool = False
    """It follows the log and never votes."""
    build: str = ""
    """Version of its program."""
    wan_join_port: int = 0
    """Where it gossips with servers of other datacenters; 0 when it does not."""

    def tags(self) -> dict[str, str]:
        """The tags, for gossip."""
        tags = {
            "role": ROLE_SERVER,
            "dc": self.datacenter,
            "id": self.id,
            "port": str(self.port),
            "build": self.build or __version__,
        }
        optional = {
            "expect": str(self.expect) if self.expect else "",
            "proposal": self.proposal,
            "cluster": self.cluster,
            "level_min": str(self.level_min),
            "level_max": str(self.level_max),
            "read_replica": "1" if self.read_replica else "",
            "wan_join_port": str(self.wan_join_port) if self.wan_join_port else "",
        }
        return tags | {name: value for name, value in optional.items() if value}


def agent_tags(node_id: str, datacenter: str) -> dict[str, str]:
    """What a client agent tells of itself."""
    return {"role": ROLE_AGENT, "dc": datacenter, "id": node_id, "build": __version__}


def read_tags(tags: Mapping[str, str]) -> ServerTags | None:
    """The server behind these tags; None for agents and for tags that make no sense."""
    if tags.get("role") != ROLE_SERVER:
        return None
    port = tags.get("port", "")
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        return None
    return ServerTags(
        id=tags.get("id", ""),
        datacenter=tags.get("dc", ""),
        port=int(port),
        expect=_number(tags, "expect", 0),
        proposal=tags.get("proposal", ""),
        cluster=tags.get("cluster", ""),
        level_min=_number(tags, "level_min", 1),
        level_max=_number(tags, "level_max", 1),
        read_replica=tags.get("read_replica", "") == "1",
        build=tags.get("build", "").partition(":")[0],
        wan_join_port=_number(tags, "wan_join_port", 0),
    )


def _number(tags: Mapping[str, str], name: str, absent: int) -> int:
    text = tags.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else absent


def endpoint(address: str, port: int) -> str:
    """`ip:port`, with brackets around an IPv6 address (RFC 3986 section 3.2.2)."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
