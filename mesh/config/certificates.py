"""Which certificate files the server port uses, and what is wrong with how they are given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mesh.config.problems import shown
from mesh.config.schema import Config
from mesh.config.shape import value_at

FILES = ("ca_file", "ca_path", "cert_file", "key_file")
VERSIONS = ("TLSv1_2", "TLSv1_3")
_SECTIONS = ("tls.internal_rpc", "tls.defaults")
_VERIFY = ("verify_incoming", "verify_outgoing", "verify_server_hostname")


class Given(NamedTuple):
    """A path, and the key that gave it; the path is empty when none did."""

    key: str
    path: str


def given(config: Config, name: str) -> Given:
    """What applies to the server port: `tls.internal_rpc`, else `tls.defaults`."""
    for section in _SECTIONS:
        if path := value_at(config, f"{section}.{name}"):
            return Given(f"{section}.{name}", path)
    return Given(f"tls.defaults.{name}", "")


def authorities(config: Config) -> Given:
    """The file or the directory of certificates to trust, from the section that wins.

    A directory there is not widened by a file that `tls.defaults` names for other ports.
    """
    for section in _SECTIONS:
        for name in ("ca_file", "ca_path"):
            if path := value_at(config, f"{section}.{name}"):
                return Given(f"{section}.{name}", path)
    return Given("tls.defaults.ca_file", "")


def oldest_version(config: Config) -> str:
    """The stricter of both."""
    return max(str(value_at(config, f"{section}.tls_min_version")) for section in _SECTIONS)


def problems(config: Config) -> Iterator[tuple[str, str]]:
    """What keeps the files from being used together."""
    for section in _SECTIONS:
        version = value_at(config, f"{section}.tls_min_version")
        if version not in VERSIONS:
            expected = " or ".join(VERSIONS)
            yield f"{section}.tls_min_version", f"expected {expected}, got {shown(version)}"
    yield from _for_dns(config)
    if config.tls.internal_rpc.plaintext:
        yield from _beside_plaintext(config)
        return
    names = ("cert_file", "key_file")
    there = [one.key for one in (given(config, name) for name in names) if one.path]
    trusted = authorities(config)
    if trusted.path:
        there.append(trusted.key)
    if not there:
        return
    for name in names:
        if not (missing := given(config, name)).path:
            yield missing.key, f"required together with {there[0]}"
    if not trusted.path:
        yield given(config, "ca_file").key, f"required together with {there[0]}"


def _for_dns(config: Config) -> Iterator[tuple[str, str]]:
    """DNS over TLS shows the certificate of the server port."""
    if config.ports.dns_tls >= 0:
        if config.tls.internal_rpc.plaintext:
            yield "ports.dns_tls", "cannot be set together with tls.internal_rpc.plaintext"
        elif not authorities(config).path:
            yield "ports.dns_tls", "needs tls.defaults.ca_file, cert_file and key_file"


def _beside_plaintext(config: Config) -> Iterator[tuple[str, str]]:
    keys = [f"tls.internal_rpc.{name}" for name in (*FILES, *_VERIFY)]
    keys += [f"tls.defaults.{name}" for name in _VERIFY]
    for key in keys:
        if value_at(config, key):
            yield key, "cannot be set together with tls.internal_rpc.plaintext"


def warnings(config: Config) -> Iterator[tuple[str, str]]:
    """What is set and does nothing."""
    for section in _SECTIONS:
        if value_at(config, f"{section}.ca_file") and value_at(config, f"{section}.ca_path"):
            yield f"{section}.ca_path", "is not used beside ca_file"
