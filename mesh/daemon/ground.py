"""The ground: what every part of a node stands on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mesh.clock import Clock, Dice
from mesh.config.schema import Config
from mesh.daemon.calm import Calm
from mesh.daemon.distrusted import Distrusted
from mesh.daemon.membership import Membership
from mesh.daemon.wan import Wan
from mesh.datadir import DataDirectory
from mesh.gossip.driver import Gossip
from mesh.rpc.client import Client
from mesh.tls import Credentials


@dataclass(frozen=True)
class Ground:
    """What the parts of a node share. `fatal` ends the process when there is no safe way on."""

    config: Config
    directory: DataDirectory
    clock: Clock
    dice: Dice
    gossip: Gossip
    membership: Membership
    calm: Calm
    client: Client
    credentials: Credentials | None
    distrusted: Distrusted | None
    """Which certificates of others are refused; None where there are no credentials."""
    wan: Wan | None
    """The pool of all datacenters' servers; None for agents, and where it is off."""
    fatal: Callable[[BaseException], None]

    @property
    def node_id(self) -> str:
        """The UUID of this node."""
        return self.directory.node_id
