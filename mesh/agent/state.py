"""State: the options, services and checks of an agent, and what its parts may ask of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, Protocol, TypeAlias

import msgspec

from mesh.agent.checks import CriticalClock, Judge, Result
from mesh.agent.definitions import CheckDefinition, ServiceDefinition
from mesh.registry.catalog import Check, Node, Service
from mesh.registry.damping import Settings

Source: TypeAlias = Literal["api", "config"]


class Certificates(msgspec.Struct, frozen=True):
    """What checks over TLS show and trust [enable_agent_tls_for_checks]; empty: nothing own."""

    ca_file: str = ""
    ca_path: str = ""
    cert_file: str = ""
    key_file: str = ""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator decides about this node's services and checks."""

    node_name: str
    node_id: str
    datacenter: str
    address: str
    tagged_addresses: dict[str, str] = {}
    node_meta: dict[str, str] = {}
    data_dir: str = ""
    """Where registrations are kept; empty for memory only."""
    enable_script_checks: bool = False
    """Checks from files and from the API may run programs."""
    enable_local_script_checks: bool = False
    """Checks from files may run programs."""
    check_output_max_bytes: int = 4096
    discard_check_output: bool = False
    check_certificates: Certificates | None = None
    """What checks over TLS show and trust; None: they show nothing and trust what the system
    does."""
    sidecar_ports: tuple[int, int] = (21000, 21255)
    """Lowest and highest port for sidecars whose definition names none."""
    expose_ports: tuple[int, int] = (21500, 21755)
    """Lowest and highest port for checks that go through sidecars."""
    sidecar_address: str = "127.0.0.1"
    """Where this node reaches sidecars whose service has no address."""
    interval_min_seconds: float = 1.0
    """Shorter check intervals are raised to this."""
    deregister_min_seconds: float = 60.0
    """Shorter times until a critical service is deregistered are raised to this."""
    sweep_seconds: float = 30.0
    """How often services that were critical for too long are looked for."""
    sync_interval_seconds: float = 60.0
    """Between full comparisons with the catalog, in a pool of up to 128 members."""
    retry_first_seconds: float = 0.5
    """After a failed comparison; doubles up to retry_seconds."""
    retry_seconds: float = 15.0
    check_update_interval_seconds: float = 300.0
    """How long the mere output of a check with a steady status may differ in the catalog."""
    damping: Settings = Settings(enabled=False)
    """Of checks that flap."""


class LocalService(msgspec.Struct):
    """A service of this node."""

    row: Service
    definition: ServiceDefinition
    source: Source


class LocalCheck(msgspec.Struct):
    """A check of this node; without a definition it only holds a status (maintenance)."""

    row: Check
    source: Source
    definition: CheckDefinition | None
    judge: Judge
    clock: CriticalClock
    through: str = ""
    """The address:port by which it is run instead of its own target."""


class Here(Protocol):
    """The agent, as the parts that serve it see it."""

    options: Options

    def services(self) -> Mapping[str, LocalService]:
        """The services by id."""
        ...

    def checks(self) -> Mapping[str, LocalCheck]:
        """The checks by id."""
        ...

    def maintained(self, service_id: str) -> list[Check]:
        """The checks that cluster-wide maintenance puts on a service, or with "" on the node."""
        ...

    def node(self) -> Node:
        """This node, as the catalog should have it."""
        ...

    def report(self, check_id: str, result: Result, *, expires: float = 0.0) -> None:
        """What a run of a check found."""
        ...

    def lead(self, check_id: str, through: str, port: int) -> None:
        """Run a check through this address from now on; "": straight at its target."""
        ...

    @property
    def sequence(self) -> int:
        """The newest health sequence given here."""
        ...

    def witness(self, sequence: int) -> None:
        """A health sequence of this node seen elsewhere. What is so now gets higher ones."""
        ...

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call the listener after each change; returns what ends that."""
        ...
