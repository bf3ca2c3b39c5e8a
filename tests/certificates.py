"""Certificates for tests: an authority, and files that it signed."""

from __future__ import annotations

import copy
from pathlib import Path

from mesh.clock import Clock, SystemClock
from mesh.connect.certs import Authority, Pair, Role, Subject
from mesh.tls import Credentials, Options, Setting, load

CLOCK = SystemClock()
DAY = 86400.0


class AtTime:
    """A clock that is off by some seconds."""

    def __init__(self, off: float) -> None:
        self._off = off

    def wall(self) -> float:
        return CLOCK.wall() + self._off

    def monotonic(self) -> float:
        return CLOCK.monotonic()

    async def sleep(self, seconds: float) -> None:
        await CLOCK.sleep(seconds)


class Certificates:
    """An authority in a folder, and what it signed there."""

    def __init__(self, folder: Path, clock: Clock = CLOCK, days: int = 1825) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        pair = Authority.make(clock, days=days)
        self.authority = Authority.read(*pair)
        self.ca = folder / "mesh-agent-ca.pem"
        self.ca.write_bytes(pair.certificate)

    def beside(self, folder: Path) -> Certificates:
        """The same authority, which signs into another folder."""
        other = copy.copy(self)
        other.folder = folder
        return other

    def issue(
        self, role: Role, node: str = "", clock: Clock = CLOCK, *, days: int = 60, dc: str = "dc1"
    ) -> Pair:
        return self.authority.issue(Subject(role, dc, "mesh", node), clock, days)

    def files(self, name: str, pair: Pair) -> tuple[Path, Path]:
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}-key.pem"
        certificate.write_bytes(pair.certificate)
        key.write_bytes(pair.key)
        key.chmod(0o600)
        return certificate, key

    def options(self, role: Role, node: str, pair: Pair | None = None, dc: str = "dc1") -> Options:
        """What the node with this name uses."""
        pair = pair or self.issue(role, node, dc=dc)
        certificate, key = self.files(
            f"{role}-{node}" if dc == "dc1" else f"{role}-{node}-{dc}", pair
        )
        return Options(
            Setting("tls.defaults.ca_file", str(self.ca)),
            Setting("tls.defaults.cert_file", str(certificate)),
            Setting("tls.defaults.key_file", str(key)),
            node,
            dc,
            "mesh.",
            role == "server",
        )

    def credentials(
        self, role: Role, node: str, pair: Pair | None = None, dc: str = "dc1"
    ) -> Credentials:
        return Credentials(load(self.options(role, node, pair, dc)), CLOCK)

    def config(
        self, role: Role, node: str, pair: Pair | None = None, dc: str = "dc1"
    ) -> dict[str, object]:
        """The same, as the section `tls` of a configuration."""
        made = self.options(role, node, pair, dc)
        return {
            "defaults": {
                "ca_file": made.authorities.path,
                "cert_file": made.certificate.path,
                "key_file": made.key.path,
            }
        }
