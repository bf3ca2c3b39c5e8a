"""Operations: what the HTTP API may ask of the node as a whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

import msgspec

from mesh.agent.differences import Change
from mesh.agent.events import Events
from mesh.agent.explained import Asking, Explanation
from mesh.agent.reachability import Reachability
from mesh.connect.launcher import Sidecar
from mesh.connect.leaves import Leaves
from mesh.connect.xds.seen import Held, Seen
from mesh.gossip.diagnosis import Examination
from mesh.gossip.figures import Figures
from mesh.registry.port import Answer, Query
from mesh.registry.refusals import Refusal
from mesh.telemetry.metrics import Metrics

T = TypeVar("T")


class MemberInfo(msgspec.Struct, frozen=True):
    """A member of the pool. `status` is Serf's number; versions are (lowest, highest, in use)."""

    name: str
    address: str
    port: int
    tags: dict[str, str]
    status: int
    protocol: tuple[int, int, int]
    delegate: tuple[int, int, int]
    frozen: bool = False
    """It failed, and stays in discovery for now (the mass-failure guard)."""
    penalty: float = 0.0
    """How often it fell lately; halves in every half-life."""
    damped_until: float | None = None
    """Unix time until which it is left out of discovery for that."""


class DampedInfo(msgspec.Struct, frozen=True):
    """A member that fell too often."""

    name: str
    penalty: float
    until: float
    """Unix time."""


class GuardInfo(msgspec.Struct, frozen=True):
    """What the mass-failure guard does and whom flap damping leaves out; Unix times."""

    frozen: bool
    rule: str
    ends: str
    """When a freeze ends, in words."""
    damped: list[DampedInfo]
    since: float = 0.0
    latest: float = 0.0
    """When the freeze ends at the latest."""
    vanished: int = 0
    """Members that seemed to vanish when it began ..."""
    pool: int = 0
    """... of so many."""
    held: list[str] = []
    """Members that failed and stay in discovery."""


class KeyringInfo(msgspec.Struct, frozen=True):
    """The keys of one pool in base64, each with how many members have it, or use it."""

    wan: bool
    datacenter: str
    members: int
    """How many answered or should have."""
    keys: dict[str, int] = {}
    primary_keys: dict[str, int] = {}
    messages: dict[str, str] = {}
    """What is wrong with a member, by its name."""


class SecretsInfo(msgspec.Struct, frozen=True):
    """How long this node's TLS certificates are good, and how many keys its gossip has."""

    ends: dict[str, float] = {}
    """Unix times, by the setting that names the file."""
    keys: int = 0
    """Of the LAN pool; 0 where it is not encrypted."""


KeyAct: TypeAlias = Literal["list", "install", "use", "remove"]


class ProxyInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A proxy of this node."""

    id: str
    service: str
    port: int
    managed: bool
    """The agent runs its Envoy itself."""
    envoy: Sidecar | None
    problems: list[str]
    """Why it has not been told what is wanted of it."""
    streams: list[Any]
    """Of `connect.xds.status.ProxyStatus`, which is loaded only where there are proxies."""


class MeshOperations(Protocol):
    """The node's part in the mesh."""

    def proxies(self) -> list[ProxyInfo]:
        """Its proxies, by id."""
        ...

    def last(self, query: Query[T]) -> Answer[T] | None:
        """The last answer to what its proxies follow from; None if this is none of that."""
        ...

    def refusals(self, told: Iterable[Refusal] = ()) -> list[Refusal]:
        """What its sidecars refused, or would by dry runs; `told` is this node's row by now."""
        ...

    def saw(self, held: Sequence[Held], seen: Seen) -> None:
        """A proxy tells of a call, and was probably told to enforce the first of these."""
        ...

    def bootstrap(
        self,
        proxy: str,
        *,
        admin_bind: str,
        grpc_addr: str,
        ready_bind: str,
        prometheus_backend_port: str,
        prometheus_scrape_path: str,
    ) -> dict[str, Any]:
        """What an Envoy is started with to be this proxy. Raises NotFound or Invalid."""
        ...

    async def grpc_bootstrap(self, service: str, grpc_addr: str) -> dict[str, Any]:
        """What a gRPC program of a service here is started with. Raises NotFound, Unreachable."""
        ...

    async def manage(self, proxy: str, *, enable: bool) -> None:
        """Run the Envoy of a proxy, or drain, stop and leave it to others. Raises NotFound."""
        ...


class NodeOperations(Protocol):
    """The node, for whoever may steer it."""

    events: Events
    leaves: Leaves

    @property
    def mesh(self) -> MeshOperations | None:
        """Its part in the mesh; None where that is off, and until it is up."""
        ...

    async def meshed(self) -> MeshOperations:
        """Its part in the mesh, as soon as that is up. Raises Invalid where it is off."""
        ...

    def members(self, wan: bool) -> list[MemberInfo]:
        """Every member of the LAN or the WAN pool."""
        ...

    def figures(self, wan: bool) -> dict[str, Figures]:
        """What this node's gossip knows about each of them."""
        ...

    async def join(self, addresses: Sequence[str], wan: bool) -> int:
        """Join the pool through these addresses; how many answered. Raises Unreachable."""
        ...

    async def reach(self, seconds: float | None, relay_factor: int) -> Reachability:
        """Ask everybody for an acknowledgement; None: as long as Serf's formula says."""
        ...

    def shows(self, serial: str, issuer: str) -> bool:
        """Whether this node's certificate on the server port is this one (of any issuer if "")."""
        ...

    async def keyring(self, act: KeyAct, key: bytes, relay_factor: int) -> list[KeyringInfo]:
        """Have every member of every pool do this about the key; what they say.

        Raises Conflict when gossip is not encrypted, Invalid for a key of a wrong size.
        """
        ...

    async def leave(self) -> None:
        """Leave the pool; the process ends afterwards."""
        ...

    async def force_leave(self, name: str, prune: bool, wan: bool) -> None:
        """Take a failed member for left; with wan only in the WAN pool, else in both.

        Raises NotFound, or Invalid where there is no WAN pool.
        """
        ...

    def guard(self) -> GuardInfo:
        """What the mass-failure guard and flap damping do."""
        ...

    async def release_guard(self) -> bool:
        """End a freeze here and at all other members; False when there is none here."""
        ...

    async def examine_network(self, names: Sequence[str]) -> Examination:
        """Have these members, or all, test the paths between them. Raises Invalid or Busy."""
        ...

    async def explain(self, asking: Asking) -> Explanation:
        """How this node's DNS answers a question. Raises Invalid when it cannot be asked."""
        ...

    async def reload(self) -> list[Change]:
        """Read the configuration anew; what changed. Raises Invalid with its errors."""
        ...

    def secrets(self) -> SecretsInfo:
        """What this node shows and encrypts with, as far as it needs care."""
        ...

    def metrics(self) -> Metrics:
        """What every part counts and measures."""
        ...

    def self_info(self) -> dict[str, Any]:
        """The body of /v1/agent/self."""
        ...

    def listen_logs(
        self, listener: Callable[[int, str, str], None], since: float = math.inf
    ) -> Callable[[], None]:
        """Call the listener with (level, text, JSON) of each log line; returns what ends that.

        First come the latest ones that are not older than `since` (Unix seconds).
        """
        ...
