"""Encryption of the server port: certificates as the configuration names them."""

from __future__ import annotations

from collections.abc import Callable

from mesh.clock import Clock
from mesh.config import certificates
from mesh.config.schema import Config
from mesh.errors import Invalid
from mesh.raft.node import Node, Peer
from mesh.raft.transport import Streams, host_and_port
from mesh.tls import Credentials, Options, Setting, load

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
