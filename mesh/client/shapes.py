"""What the HTTP API answers, as structs: Consul's JSON with Python's names."""

from __future__ import annotations

from typing import Any

import msgspec

MEMBER_STATUSES = ("none", "alive", "leaving", "left", "failed")
WHOLE_WORDS = {"id": "ID", "pem": "PEM", "uri": "URI"}


def consul_name(field: str) -> str:
    """`service_id` as Consul writes it: `ServiceID`."""
    return "".join(WHOLE_WORDS.get(word, word.capitalize()) for word in field.split("_"))


class Shape(msgspec.Struct, frozen=True, kw_only=True, rename=consul_name):
    """A JSON object of the API. Fields that the server leaves out have their defaults."""


class Address(Shape, frozen=True):
    """Where an instance is reached from elsewhere."""

    address: str = ""
    port: int = 0


class Weights(Shape, frozen=True):
    """SRV weights by health."""

    passing: int = 1
    warning: int = 1


class Node(Shape, frozen=True):
    """A machine of the catalog."""

    name: str = msgspec.field(name="Node")
    id: str = ""
    address: str = ""
    datacenter: str = ""
    tagged_addresses: dict[str, str] = {}
    meta: dict[str, str] = {}
    create_index: int = 0
    modify_index: int = 0


class Service(Shape, frozen=True):
    """One instance of a service, on the node that the answer names elsewhere."""

    name: str = msgspec.field(name="Service")
    id: str = ""
    kind: str = ""
    tags: list[str] = []
    address: str = ""
    port: int = 0
    tagged_addresses: dict[str, Address] = {}
    meta: dict[str, str] = {}
    weights: Weights = Weights()
    enable_tag_override: bool = False
    socket_path: str = ""
    datacenter: str = ""
    content_hash: str = ""
    proxy: dict[str, Any] = {}
    connect: dict[str, Any] = {}
    create_index: int = 0
    modify_index: int = 0


class ServiceNode(Shape, frozen=True):
    """An instance and the node it runs on, in one flat object."""

    node: str
    id: str = ""
    address: str = ""
    """The node's address; `service_address` beats it when set."""
    datacenter: str = ""
    tagged_addresses: dict[str, str] = {}
    node_meta: dict[str, str] = {}
    service_kind: str = ""
    service_id: str = ""
    service_name: str = ""
    service_tags: list[str] = []
    service_address: str = ""
    service_port: int = 0
    service_tagged_addresses: dict[str, Address] = {}
    service_meta: dict[str, str] = {}
    service_weights: Weights = Weights()
    service_enable_tag_override: bool = False
    create_index: int = 0
    modify_index: int = 0


class NodeServices(Shape, frozen=True):
    """A node and its instances."""

    node: Node | None = None
    services: list[Service] = []


class Check(Shape, frozen=True):
    """The health of a node, or of an instance when `service_id` is set."""

    node: str = ""
    check_id: str = ""
    name: str = ""
    status: str = ""
    """`passing`, `warning` or `critical`."""
    notes: str = ""
    output: str = ""
    service_id: str = ""
    service_name: str = ""
    service_tags: list[str] = []
    type: str = ""
    interval: str = ""
    timeout: str = ""
    exposed_port: int = 0
    definition: dict[str, Any] = {}
    create_index: int = 0
    modify_index: int = 0


class Instance(Shape, frozen=True):
    """An instance, its node, and the checks that decide its health."""

    node: Node
    service: Service
    checks: list[Check] = []

    @property
    def status(self) -> str:
        """The worst of its checks: critical, warning or passing."""
        seen = {check.status for check in self.checks}
        return next((status for status in ("critical", "warning") if status in seen), "passing")

    @property
    def address(self) -> str:
        """Where it is reached: its own address, else its node's."""
        return self.service.address or self.node.address


class Pair(Shape, frozen=True):
    """A key and its value."""

    key: str
    value: bytes = b""
    flags: int = 0
    session: str = ""
    lock_index: int = 0
    create_index: int = 0
    modify_index: int = 0


class Figures(Shape, frozen=True):
    """Why an agent thinks so of a member. Times are seconds, None when not known."""

    incarnation: int = 0
    state: str = ""
    """SWIM's: alive, suspect, dead, left or forgotten."""
    state_seconds: float | None = None
    rtt_seconds: float | None = None
    answered_seconds: float | None = None
    distance_seconds: float | None = None
    accusers: list[str] = []
    verdict_seconds: float | None = None
    """How long a suspect may still object."""
    score: int | None = None
    """The health score of the agent itself."""


class Member(Shape, frozen=True):
    """A node as gossip sees it."""

    name: str
    address: str = msgspec.field(name="Addr", default="")
    port: int = 0
    tags: dict[str, str] = {}
    status: int = 0
    protocol_min: int = 0
    protocol_max: int = 0
    protocol_cur: int = 0
    delegate_min: int = 0
    delegate_max: int = 0
    delegate_cur: int = 0
    frozen: bool = False
    """It failed, and stays in discovery while removals are frozen."""
    penalty: float = 0.0
    """How often it failed lately; halves in every half-life."""
    damped: bool = False
    """It is left out of discovery for that."""
    gossip: Figures | msgspec.UnsetType = msgspec.UNSET
    """Only where it was asked for in detail."""

    @property
    def state(self) -> str:
        """The status as a word: alive, leaving, left, failed or none."""
        known = 0 <= self.status < len(MEMBER_STATUSES)
        return MEMBER_STATUSES[self.status] if known else "none"

    @property
    def is_server(self) -> bool:
        """True when the member keeps the log."""
        return self.tags.get("role") == "consul"


class Damped(Shape, frozen=True):
    """A member that is left out of discovery for failing again and again."""

    name: str
    penalty: float = 0.0
    until: str = ""


class Guard(Shape, frozen=True):
    """Whether removals from discovery are frozen, by which rule, and until when (RFC 3339)."""

    frozen: bool = False
    rule: str = ""
    ends: str = ""
    since: str = ""
    ends_by: str = ""
    vanished: int = 0
    pool: int = 0
    members: list[str] = []
    damped: list[Damped] = []


class AgentConfig(Shape, frozen=True):
    """The few settings that an agent shows first."""

    datacenter: str = ""
    primary_datacenter: str = ""
    node_name: str = ""
    node_id: str = ""
    revision: str = ""
    server: bool = False
    version: str = ""
    build_date: str = ""


class AgentSelf(Shape, frozen=True):
    """An agent about itself."""

    config: AgentConfig = AgentConfig()
    debug_config: dict[str, Any] = {}
    member: Member | None = None
    stats: dict[str, dict[str, Any]] = {}
    meta: dict[str, str] = {}


class RequestError(Shape, frozen=True):
    """Why a request was refused."""

    code: str = ""
    message: str = ""


class Outcome(Shape, frozen=True):
    """What became of a request; `meaning` says it in words."""

    request: str = ""
    status: str = "unknown"
    """applied, refused, cancelled, not-applied (so far) or unknown."""
    index: int = 0
    """Where it stands in the log; 0 when that is not known."""
    value: Any = None
    error: RequestError | None = None
    meaning: str = ""


class UpgradeServer(Shape, frozen=True):
    """A server and the feature levels that its program speaks."""

    name: str = ""
    status: str = ""
    level_min: int = 1
    level_max: int = 1


class Upgrade(Shape, frozen=True):
    """The cluster's feature level."""

    level: int = 1
    level_max: int = 1
    """The highest that some server speaks."""
    servers: list[UpgradeServer] = []
    waiting_for: list[str] = []
    """The servers that do not speak the next level."""


class RaftPeer(Shape, frozen=True):
    """A server that keeps the log."""

    id: str
    node: str = ""
    address: str = ""
    leader: bool = False
    protocol_version: str = ""
    voter: bool = False
    last_index: int = 0
    barred: bool = False
    """An operator took its vote: only an operator gives it back."""


class RaftConfiguration(Shape, frozen=True):
    """Everyone who keeps the log. `index` counts the sets of voters there have been."""

    servers: list[RaftPeer] = []
    index: int = 0
    commit_index: int = 0


class RaftFigures(Shape, frozen=True):
    """What one server's consensus says of itself, or why it could not be asked."""

    id: str
    node: str = ""
    address: str = ""
    error: str = ""
    figures: dict[str, Any] = {}


class RaftStatus(Shape, frozen=True):
    """The figures of some servers."""

    servers: list[RaftFigures] = []


class Transferred(Shape, frozen=True):
    """Who leads now."""

    success: bool = False
    id: str = ""
    node: str = ""


class AutopilotSettings(Shape, frozen=True):
    """How the leader cares for the servers. Durations are Go's, as `200ms`."""

    cleanup_dead_servers: bool = True
    last_contact_threshold: str = "200ms"
    max_trailing_logs: int = 250
    min_quorum: int = 0
    server_stabilization_time: str = "10s"
    redundancy_zone_tag: str = ""
    disable_upgrade_migration: bool = False
    upgrade_version_tag: str = ""
    create_index: int = 0
    modify_index: int = 0


class ServerHealth(Shape, frozen=True):
    """How one server fares."""

    id: str
    name: str = ""
    address: str = ""
    serf_status: str = ""
    version: str = ""
    leader: bool = False
    last_contact: str = ""
    last_term: int = 0
    last_index: int = 0
    healthy: bool = False
    voter: bool = False
    stable_since: str = ""
    reason: str = ""


class AutopilotHealth(Shape, frozen=True):
    """How all servers fare."""

    healthy: bool = False
    failure_tolerance: int = 0
    servers: list[ServerHealth] = []


class ServerState(Shape, frozen=True):
    """One server in autopilot's state."""

    id: str
    name: str = ""
    address: str = ""
    node_status: str = ""
    version: str = ""
    last_contact: str = ""
    last_term: int = 0
    last_index: int = 0
    healthy: bool = False
    stable_since: str = ""
    read_replica: bool = False
    status: str = ""
    """`leader`, `voter` or `non-voter`."""
    node_type: str = ""
    meta: dict[str, str] = {}
    reason: str = ""


class AutopilotState(Shape, frozen=True):
    """How all servers fare, by id, and who votes."""

    healthy: bool = False
    failure_tolerance: int = 0
    optimistic_failure_tolerance: int = 0
    servers: dict[str, ServerState] = {}
    leader: str = ""
    voters: list[str] = []
    read_replicas: list[str] = []
    last_change: str = ""


class Coord(Shape, frozen=True):
    """A point of the network's map, in seconds; the error is relative."""

    vec: tuple[float, ...] = ()
    error: float = 1.5
    adjustment: float = 0.0
    height: float = 1e-5


class NodeCoord(Shape, frozen=True):
    """A node and where it is."""

    node: str = ""
    segment: str = ""
    coord: Coord = Coord()


class DatacenterCoords(Shape, frozen=True):
    """Where the servers of a datacenter are, among those of all datacenters."""

    datacenter: str = ""
    area_id: str = ""
    coordinates: list[NodeCoord] = []


class Event(Shape, frozen=True):
    """Something that was told to all agents."""

    id: str = ""
    name: str = ""
    payload: bytes = b""
    node_filter: str = ""
    service_filter: str = ""
    tag_filter: str = ""
    version: int = 0
    l_time: int = 0
    """When in the order of the pool, by its Lamport clock."""


class Keyring(Shape, frozen=True):
    """The keys of one pool: how many of its members have each."""

    wan: bool = msgspec.field(name="WAN", default=False)
    datacenter: str = ""
    segment: str = ""
    messages: dict[str, str] = {}
    """What members said that something was wrong, by name."""
    keys: dict[str, int] = {}
    primary_keys: dict[str, int] = {}
    num_nodes: int = 0


class Reachability(Shape, frozen=True):
    """Who of the pool acknowledged a question of this node."""

    node: str = ""
    acknowledged: list[str] = []
    missing: list[str] = []
    strangers: list[str] = []
    """They answered though gossip does not hold them for alive."""
    advice: list[str] = []
