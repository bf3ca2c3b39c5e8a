"""The kind proxy-defaults: what holds for all sidecars. Its one entry is called `global`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import msgspec

from mesh.registry.kinds.parts import Body, Fault, Part
from mesh.registry.kinds.service_defaults import ExposePart, MeshGatewayPart

KIND = "proxy-defaults"
NAME = "global"
PROTOCOLS = ("tcp", "http", "http2", "grpc")


class AccessLogsPart(Part, frozen=True, kw_only=True):
    """Where sidecars log requests and connections."""

    enabled: bool = False
    disable_listener_logs: bool = False
    type: Literal["", "stdout", "stderr", "file"] = ""
    path: str = ""
    json_format: str = ""
    text_format: str = ""

    def faults(self) -> Iterator[Fault]:
        """A path for files, and one format."""
        if (self.type == "file") != bool(self.path):
            yield "Path", "must be given when Type is file, and only then"
        if self.json_format and self.text_format:
            yield "TextFormat", "contradicts JSONFormat: at most one of them"
        if self.json_format:
            try:
                msgspec.json.decode(self.json_format, type=dict[str, Any])
            except (msgspec.MsgspecError, RecursionError):
                yield "JSONFormat", "expected a JSON object as text"


class ProxyDefaults(Body, frozen=True, kw_only=True):
    """What holds for all sidecars."""

    only_name: ClassVar[str] = NAME
    later: ClassVar[tuple[str, ...]] = (
        "TransparentProxy",
        "EnvoyExtensions",
        "FailoverPolicy",
        "PrioritizeByLocality",
    )
    config: dict[str, Any] = {}
    """Opaque options, under the names that proxies know."""
    mode: Literal["", "direct"] = ""
    mutual_tls_mode: Literal["", "strict"] = ""
    mesh_gateway: MeshGatewayPart = MeshGatewayPart()
    expose: ExposePart = ExposePart()
    access_logs: AccessLogsPart = AccessLogsPart()

    def faults(self) -> Iterator[Fault]:
        """The protocol is one there is."""
        protocol = self.config.get("protocol", "tcp")
        if protocol not in PROTOCOLS:
            yield "Config.protocol", f'expected {" or ".join(PROTOCOLS)}, got "{protocol!s:.64}"'
