"""Identities: the certificates of this node's services, and what is wrong with them as checks."""

from __future__ import annotations

from mesh.agent.local import Agent
from mesh.connect.acks import Acks
from mesh.connect.leaves import SPREAD_SECONDS, Leaves, Trouble
from mesh.connect.vault import Vault
from mesh.daemon.ground import Ground
from mesh.registry.health import LEAF_HEALTH
from mesh.registry.port import Registry

NAME = "Mesh certificate"


class Identities:
    """Has leaves for whoever asks; services whose leaf ends are unhealthy."""

    def __init__(self, ground: Ground, registry: Registry, agent: Agent) -> None:
        self._agent = agent
        config, world = ground.config, (ground.clock, ground.dice)
        knobs, vault = config.connect, None
        if knobs.leaf_storage == "disk":
            vault = Vault(ground.directory.folder("leaves"))
        spread = knobs.test_ca_leaf_root_change_spread or SPREAD_SECONDS
        self.acks = Acks(registry, config.node_name, world)
        self.leaves = Leaves(registry, config.datacenter, self.acks, world, vault, spread)
        self.leaves.tell = self._tell
        self.leaves.enabled = knobs.enabled

    async def start(self) -> None:
        """Follow the roots, renew leaves."""
        self._agent.listen(self._look)
        await self.leaves.start()

    async def stop(self) -> None:
        """End all renewals."""
        await self.leaves.stop()

    def _tell(self, service: str, trouble: Trouble | None) -> None:
        show(self._agent, service, trouble)

    def _look(self) -> None:
        """Something changed here: an instance that is new has the same trouble."""
        for service, trouble in self.leaves.troubles().items():
            show(self._agent, service, trouble)


def show(agent: Agent, service: str, trouble: Trouble | None) -> None:
    """What is wrong with the leaf of a service is wrong with its instances and sidecars here."""
    for local in list(agent.services().values()):
        row = local.row
        if service not in {row.name, row.destination}:
            continue
        check_id = f"{LEAF_HEALTH}:{row.id}"
        if trouble is not None:
            agent.tell(check_id, NAME, trouble.status, trouble.reason, service_id=row.id)
        elif check_id in agent.checks():
            agent.deregister_check(check_id)
