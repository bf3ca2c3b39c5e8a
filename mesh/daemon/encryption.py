"""Encryption of the server port: certificates as the configuration names them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from mesh.clock import Clock
from mesh.config import certificates
from mesh.config.schema import Config
from mesh.daemon.distrusted import Distrusted
from mesh.errors import Conflict, Invalid
from mesh.raft.node import Node, Peer
from mesh.raft.transport import Streams, host_and_port
from mesh.registry.port import Command
from mesh.registry.revocations import All, Revoke
from mesh.revocation import Listed, Named, Revocations, read
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


Certificates: TypeAlias = Mapping[str, Named | None]
"""By server; None for one that is not known."""


def secure(
    node: Node, credentials: Credentials, find: Callable[[Peer], str]
) -> Callable[[], Certificates]:
    """Have the log speak over mutual TLS, and each server only with whom it means to.

    Returns what tells the certificates of those with a vote, by node name, as each showed its own
    when it was last connected to from here.
    """
    shown: dict[str, Named | None] = {}

    async def dial(peer: Peer) -> Streams:
        streams = await credentials.connect(*host_and_port(find(peer)), peer.name)
        shown[peer.id] = read(streams[1].get_extra_info("ssl_object").getpeercert(True))
        return streams

    def certificates() -> Certificates:
        known = {**shown, node.me.id: credentials.own}
        return {peer.name: known.get(peer.id) for peer in node.voters}

    node.dialer = dial
    node.identity = credentials.server_node
    return certificates


async def watch(credentials: Credentials, clock: Clock) -> None:
    """Warn of certificates that expire soon, twice a day."""
    while True:
        await clock.sleep(WATCH_SECONDS)
        credentials.warn()


def enforce(answers: Answers, distrusted: Distrusted, changed: Callable[[], None]) -> None:
    """Have a server refuse what is revoked in its tables, from each commit that changes that on.

    `changed` hears of it, to look at connections that are open.
    """

    def look() -> None:
        distrusted.refuse(*answers.once(All()))
        changed()

    # Not within the commit, and before anything else happens.
    answers.listen(All(), lambda: _soon(look))
    look()


def _soon(act: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(act)


def spares(
    credentials: Credentials, certificates: Callable[[], Certificates] = dict
) -> Callable[[Command[Any]], None]:
    """A rule for the gate of the leader: what would end the log is revoked by force only.

    That is its own certificate, and one without which fewer than a majority of the servers with a
    vote are believed. One whose certificate is not known counts as believed.
    """

    def rule(command: Command[Any]) -> None:
        if not isinstance(command, Revoke) or command.force:
            return
        refused = Revocations([Listed(command.certificate)])
        if refused.has(credentials.own):
            raise Conflict(
                f"{command.serial} is the certificate of the leader, which others would refuse "
                "from then on: give it another one and reload, or hand leadership over first; "
                "force revokes it as it is"
            )
        servers = certificates()
        before = [name for name, one in servers.items() if one is None or credentials.believes(one)]
        after = [name for name in before if (one := servers[name]) is None or not refused.has(one)]
        if len(after) < len(before) and len(after) <= len(servers) // 2:
            raise Conflict(_too_few(command.serial, servers, before, after))

    return rule


def _too_few(
    serial: str, servers: Iterable[str], before: Sequence[str], after: Sequence[str]
) -> str:
    gone = ", ".join(sorted(set(before) - set(after)))
    revoked = ", ".join(sorted(set(servers) - set(before)))
    already = f", and {revoked} is revoked already" if revoked else ""
    total = len(list(servers))
    return (
        f"{serial} is the certificate of {gone}{already}: of {total} servers {len(after)} would be "
        f"left that others believe ({', '.join(sorted(after))}), where {total // 2 + 1} are needed "
        "to write anything, as `unrevoke` is; give each another certificate and restart it first "
        "(by a reload alone the leader is not shown it); force revokes it as it is"
    )
