"""Encryption of the server port: certificates as the configuration names them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from mesh.clock import Clock
from mesh.config import certificates
from mesh.config.schema import Config
from mesh.errors import Conflict, Invalid
from mesh.raft.node import Node, Peer
from mesh.raft.transport import Streams, host_and_port
from mesh.registry.port import Command
from mesh.registry.revocations import All, Revocation, Revoke
from mesh.revocation import Listed, Revocations
from mesh.store.live import Answers
from mesh.tls import Credentials, Options, Setting, load

log = logging.getLogger(__name__)

WATCH_SECONDS = 12 * 3600.0


def options(config: Config) -> Options | None:
    """The files to use; None for plain TCP, which is for -dev or asked for by name.

    Raises Invalid when there are neither certificates nor such a wish.
    """
    trusted = certificates.authorities(config)
    if config.tls.internal_rpc.plaintext or (config.dev and not trusted.path):
        return None
    if not trusted.path:
        raise Invalid(_how_to_begin(config))
    return Options(
        authorities=Setting(*trusted),
        certificate=Setting(*certificates.given(config, "cert_file")),
        key=Setting(*certificates.given(config, "key_file")),
        node=config.node_name,
        datacenter=config.datacenter,
        domain=config.domain,
        server=config.server,
        oldest=certificates.oldest_version(config),
    )


def _how_to_begin(config: Config) -> str:
    kind = f"-server -node {config.node_name}" if config.server else "-client"
    if config.datacenter != "dc1":
        kind += f" -dc {config.datacenter}"
    name = config.domain.removesuffix(".")
    domain = "" if name == "mesh" else f" -domain {name}"
    return (
        f"no certificates for the server port: make them with `meshctl tls ca create{domain}` and "
        f"`meshctl tls cert create {kind}{domain}`, and set tls.defaults.ca_file, cert_file and "
        "key_file; on a network you trust, -plaintext-rpc does without"
    )


def credentials(config: Config, clock: Clock) -> Credentials | None:
    """What this node shows on the server port; None for plain TCP. Raises Invalid, in one line."""
    files = options(config)
    return None if files is None else Credentials(load(files), clock)


def secure(node: Node, credentials: Credentials, find: Callable[[Peer], str]) -> None:
    """Have the log speak over mutual TLS, and each server only with whom it means to."""

    async def dial(peer: Peer) -> Streams:
        return await credentials.connect(*host_and_port(find(peer)), peer.name)

    node.dialer = dial
    node.identity = credentials.server_node


async def watch(credentials: Credentials, clock: Clock) -> None:
    """Warn of certificates that expire soon, twice a day."""
    while True:
        await clock.sleep(WATCH_SECONDS)
        credentials.warn()


def enforce(answers: Answers, credentials: Credentials, changed: Callable[[], None]) -> None:
    """Have a server refuse what is revoked in its tables, from each commit that changes that on.

    `changed` hears of it, to look at connections that are open.
    """

    def look() -> None:
        credentials.distrust(_listed(answers.read(All()).value))
        changed()

    # Not within the commit, and before anything else happens.
    answers.listen(All(), lambda: _soon(look))
    look()


def _soon(act: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(act)


def _listed(rows: Iterable[Revocation]) -> Revocations:
    return Revocations(Listed(row.certificate, row.reason) for row in rows)


def spares(credentials: Credentials) -> Callable[[Command[Any]], None]:
    """A rule for the gate: the leader's own certificate is revoked by force only."""

    def rule(command: Command[Any]) -> None:
        if not isinstance(command, Revoke) or command.force:
            return
        if Revocations([Listed(command.certificate)]).has(credentials.own):
            raise Conflict(
                f"{command.serial} is the certificate of the leader, which others would refuse "
                "from then on: give it another one and reload, or hand leadership over first; "
                "force revokes it as it is"
            )

    return rule
