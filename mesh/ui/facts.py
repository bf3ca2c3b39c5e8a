"""Facts: what is known of the cluster when somebody asks what is wrong now."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mesh.registry.authority import Report, Trust
from mesh.registry.checks import Check
from mesh.registry.maintenance import Maintenance
from mesh.registry.orders import Health
from mesh.registry.overview import Totals
from mesh.registry.refusals import Refusal
from mesh.registry.snapshots import Schedule


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A member of the pool, as the node asked sees it."""

    name: str
    failed: bool = False
    server: bool = False
    since: float = 0.0
    """When it failed, in Unix seconds; 0 when it did not."""
    damped_until: float = 0.0
    version: str = ""


class Freeze(msgspec.Struct, frozen=True, kw_only=True):
    """The mass-failure guard while it holds removals back."""

    since: float
    rule: str
    ends: str
    held: list[str] = []


class Sidecar(msgspec.Struct, frozen=True, kw_only=True):
    """A proxy of the node asked."""

    id: str
    state: str = ""
    """Of the Envoy that the agent runs; empty when somebody else runs it."""
    why: str = ""
    problems: list[str] = []
    refused: list[str] = []
    """What it would not take, and why."""


class Levels(msgspec.Struct, frozen=True):
    """The feature level, the highest that a server speaks, and who does not speak the next."""

    present: int
    highest: int
    waiting_for: list[str] = []


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known; None stands for what could not be asked, and does not apply."""

    now: float
    node: str = ""
    members: list[Member] = []
    freeze: Freeze | None = None
    failing: list[Check] = []
    totals: Totals | None = None
    maintenance: list[Maintenance] = []
    servers: Health | None = None
    trust: Trust | None = None
    reports: list[Report] = []
    schedules: list[Schedule] = []
    levels: Levels | None = None
    sidecars: list[Sidecar] = []
    ends: Mapping[str, float] = {}
    """When the TLS certificates of the node asked end, by the setting they come from."""
    keys: int = 0
    """Keys of gossip that the node asked holds."""
    refusals: list[Refusal] = []
    failures: Mapping[str, str] = {}
    """Why a source could not be asked, by its name."""
