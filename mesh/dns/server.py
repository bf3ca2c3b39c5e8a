"""The DNS server: the edge with a resolver that reads the registry and asks recursors."""

from __future__ import annotations

from mesh.clock import Clock, Dice
from mesh.dns.edge import DnsEdge
from mesh.dns.encrypted import Serving
from mesh.dns.options import Options
from mesh.dns.recursion import Recursion
from mesh.dns.resolver import Resolver
from mesh.registry.port import Registry

__all__ = ["DnsServer", "Options"]


class DnsServer(DnsEdge):
    """Answers DNS from a registry. See DnsEdge."""

    def __init__(
        self,
        registry: Registry,
        options: Options,
        clock: Clock,
        dice: Dice,
        serving: Serving | None = None,
        *,
        copies: int = 0,
    ) -> None:
        """Prepare. Raises Invalid when a domain in the options is not one."""
        self._recursion = Recursion(options, clock, dice)
        self.resolver = Resolver(registry, options, clock, dice, self._recursion)
        super().__init__(self.resolver, options, clock, serving, copies=copies)

    async def stop(self) -> None:
        """Stop answering and close every socket."""
        await super().stop()
        await self._recursion.stop()

    def reload(self, options: Options) -> None:
        """Answer by these options from now on; the addresses stay. Raises Invalid for bad ones."""
        self.resolver.reload(options)
        self._recursion.reload(options)
        super().reload(options)
