"""The kind proxy-defaults: what holds for all sidecars. Its one entry is called `global`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import msgspec

from mesh.registry.kinds.parts import WHOLE_MAX, Body, Fault, Part, json_faults
from mesh.registry.kinds.service_defaults import ExposePart, MeshGatewayPart

KIND = "proxy-defaults"
NAME = "global"
PROTOCOLS = ("tcp", "http", "http2", "grpc")
_NUMBERS = {
    "bind_port": 65535,
    "local_connect_timeout_ms": WHOLE_MAX,
    "local_idle_timeout_ms": WHOLE_MAX,
    "local_request_timeout_ms": WHOLE_MAX,
    "max_inbound_connections": WHOLE_MAX,
}
"""The opaque options that are numbers, and the greatest of each."""
_BALANCE = ("balance_inbound_connections", "balance_outbound_connections")
_JSON = re.compile(r"envoy_\w+_json")
_SEVERAL = re.compile(r"envoy_extra_\w+_json")


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
        """The options that sidecars know make sense to them; others are left alone."""
        protocol = self.config.get("protocol", "tcp")
        if protocol not in PROTOCOLS:
            yield "Config.protocol", f'expected {" or ".join(PROTOCOLS)}, got "{protocol!s:.64}"'
        for name, value in self.config.items():
            for text in _option_faults(name, value):
                yield f"Config.{name}", text


def _option_faults(name: str, value: Any) -> Iterator[str]:
    if value is None:
        return
    if name in _NUMBERS:
        if not _is_number(value, _NUMBERS[name]):
            yield f"expected a number from 0 to {_NUMBERS[name]}, got {value!r:.64}"
    elif name in _BALANCE:
        if value not in ("", "exact_balance"):
            yield f"expected exact_balance, got {value!r:.64}"
    elif _JSON.fullmatch(name):
        if not isinstance(value, str):
            yield f"expected JSON as text, got {value!r:.64}"
        else:
            several = _SEVERAL.fullmatch(name) is not None
            yield from (text for _, text in json_faults("", value, several=several))


def _is_number(value: Any, most: int) -> bool:
    """Also as text, as some write it."""
    try:
        return not isinstance(value, bool) and 0 <= float(value) <= most
    except (TypeError, ValueError, OverflowError):
        return False
