"""The kind mesh: what holds for the whole mesh. Its one entry is called `mesh`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal, TypeAlias

from mesh.registry.kinds.parts import Body, Fault, Part

KIND = NAME = "mesh"
Version: TypeAlias = Literal["", "TLS_AUTO", "TLSv1_0", "TLSv1_1", "TLSv1_2", "TLSv1_3"]
_ORDER = ("TLSv1_0", "TLSv1_1", "TLSv1_2", "TLSv1_3")


class TlsPart(Part, frozen=True, kw_only=True):
    """Versions and ciphers of one direction."""

    tls_min_version: Version = ""
    tls_max_version: Version = ""
    cipher_suites: list[str] = []

    def faults(self) -> Iterator[Fault]:
        """The range is not empty, and has ciphers to choose."""
        low, high = self.tls_min_version, self.tls_max_version
        if low in _ORDER and high in _ORDER and _ORDER.index(low) > _ORDER.index(high):
            yield "TLSMinVersion", f"{low} contradicts TLSMaxVersion {high}"
        if self.cipher_suites and low == "TLSv1_3":
            yield "CipherSuites", "cannot be chosen when TLSMinVersion is TLSv1_3"


class TlsDirectionsPart(Part, frozen=True, kw_only=True):
    """Between sidecars."""

    incoming: TlsPart = TlsPart()
    outgoing: TlsPart = TlsPart()


class RequestNormalizationPart(Part, frozen=True, kw_only=True):
    """How paths and headers are read before intentions judge them."""

    insecure_disable_path_normalization: bool = False
    merge_slashes: bool = False
    path_with_escaped_slashes_action: Literal[
        "",
        "IMPLEMENTATION_SPECIFIC_DEFAULT",
        "KEEP_UNCHANGED",
        "REJECT_REQUEST",
        "UNESCAPE_AND_REDIRECT",
        "UNESCAPE_AND_FORWARD",
    ] = ""
    headers_with_underscores_action: Literal["", "ALLOW", "REJECT_REQUEST", "DROP_HEADER"] = ""


class IncomingPart(Part, frozen=True, kw_only=True):
    """Requests to sidecars."""

    request_normalization: RequestNormalizationPart = RequestNormalizationPart()


class MeshHttpPart(Part, frozen=True, kw_only=True):
    """Requests between sidecars."""

    sanitize_x_forwarded_client_cert: bool = False
    incoming: IncomingPart = IncomingPart()


class Mesh(Body, frozen=True, kw_only=True):
    """What holds for the whole mesh."""

    only_name: ClassVar[str] = NAME
    later: ClassVar[tuple[str, ...]] = (
        "TransparentProxy",
        "AllowEnablingPermissiveMutualTLS",
        "Peering",
    )
    validate_clusters: bool = False
    tls: TlsDirectionsPart = TlsDirectionsPart()
    http: MeshHttpPart = MeshHttpPart()
