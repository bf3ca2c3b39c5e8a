"""Which agent a command asks, as whom, and how it reads."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mesh.cli.flags import Parsed
from mesh.client import Client, ReadOptions
from mesh.client.settings import from_environment, read_token_file

FIELDS = {
    "http-addr": "address",
    "token": "token",
    "ca-file": "ca_file",
    "ca-path": "ca_path",
    "client-cert": "client_cert",
    "client-key": "client_key",
    "tls-server-name": "tls_server_name",
}


def open_client(parsed: Parsed, environment: Mapping[str, str]) -> Client:
    """A client from the flags, then the environment. Raises Invalid when they make no sense."""
    given = {field: parsed.text(flag) for flag, field in FIELDS.items() if parsed.text(flag)}
    if path := parsed.text("token-file"):
        given["token"] = read_token_file(path)
    known = dict(environment)
    if "token" in given:
        # The file that the environment names is not used then, and need not be readable.
        known = {name: value for name, value in known.items() if "HTTP_TOKEN" not in name}
    return Client(msgspec.structs.replace(from_environment(known), **given))


def read_options(parsed: Parsed) -> ReadOptions:
    """How to read, as the flags say that the command has."""

    def text(flag: str) -> str:
        return parsed.text(flag) if flag in parsed.given else ""

    return ReadOptions(
        consistency="stale" if text("stale") == "true" else "default",
        datacenter=text("datacenter"),
        filter=text("filter"),
        near=text("near"),
        node_meta=parsed.pairs("node-meta") if "node-meta" in parsed.given else {},
    )
