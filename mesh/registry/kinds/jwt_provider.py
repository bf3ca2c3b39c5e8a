"""The kind jwt-provider: whose tokens are believed, and how they are checked."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Any, ClassVar
from urllib.parse import urlsplit

import msgspec

from mesh.registry.kinds.parts import Body, Duration, Fault, Part

KIND = "jwt-provider"
SKEW_SECONDS = 30


class LocalPart(Part, frozen=True, kw_only=True):
    """A key set that is given here, or lies on the sidecar's machine."""

    jwks: str = ""
    """JSON in base64."""
    filename: str = ""

    def faults(self) -> Iterator[Fault]:
        """One of them, and a key set that is one."""
        if bool(self.jwks) == bool(self.filename):
            yield "", "exactly one of JWKS and Filename must be given"
        if self.jwks and not key_set(self.jwks):
            yield "JWKS", "expected a JSON web key set with its keys, in base64"


class BackoffPart(Part, frozen=True, kw_only=True):
    """Between attempts."""

    base_interval: Duration = ""
    max_interval: Duration = ""


class RetryPart(Part, frozen=True, kw_only=True):
    """When a key set could not be fetched."""

    num_retries: int = 0
    retry_policy_back_off: BackoffPart | None = None


class RemotePart(Part, frozen=True, kw_only=True):
    """A key set that is fetched."""

    later: ClassVar[tuple[str, ...]] = ("JWKSCluster",)
    uri: str = ""
    request_timeout_ms: int = 0
    cache_duration: Duration = ""
    fetch_asynchronously: bool = False
    use_sni: bool = False
    retry_policy: RetryPart | None = None

    def faults(self) -> Iterator[Fault]:
        """Where from."""
        if not _is_fetched_from(self.uri):
            yield "URI", f'expected http:// or https:// and a host, got "{self.uri[:64]}"'


class KeySetPart(Part, frozen=True, kw_only=True):
    """The keys that sign tokens."""

    local: LocalPart | None = None
    remote: RemotePart | None = None

    def faults(self) -> Iterator[Fault]:
        """One place."""
        if (self.local is None) == (self.remote is None):
            yield "", "exactly one of Local and Remote must be given"


class HeaderLocation(Part, frozen=True, kw_only=True):
    """A header with a token behind a prefix."""

    name: str = ""
    value_prefix: str = ""
    forward: bool = False


class NameLocation(Part, frozen=True, kw_only=True):
    """A query parameter or a cookie with a token."""

    name: str = ""


class LocationPart(Part, frozen=True, kw_only=True):
    """Where a token is found."""

    header: HeaderLocation | None = None
    query_param: NameLocation | None = None
    cookie: NameLocation | None = None

    def faults(self) -> Iterator[Fault]:
        """One place, with a name."""
        given = {"Header": self.header, "QueryParam": self.query_param, "Cookie": self.cookie}
        places = {name: one for name, one in given.items() if one is not None}
        if len(places) != 1:
            yield "", "exactly one of Header, QueryParam and Cookie must be given"
        for name, one in places.items():
            if not one.name:
                yield f"{name}.Name", "must not be empty"


class ForwardingPart(Part, frozen=True, kw_only=True):
    """The header in which the application gets the payload."""

    header_name: str = ""
    pad_forward_payload_header: bool = False

    def faults(self) -> Iterator[Fault]:
        """It has a name."""
        if not self.header_name:
            yield "HeaderName", "must not be empty"


class CachePart(Part, frozen=True, kw_only=True):
    """How many checked tokens are remembered."""

    size: int = 0


class JwtProviderBody(Body, frozen=True, kw_only=True):
    """Whose tokens are believed."""

    json_web_key_set: KeySetPart | None = None
    issuer: str = ""
    audiences: list[str] = []
    locations: list[LocationPart] = []
    forwarding: ForwardingPart | None = None
    clock_skew_seconds: int = 0
    cache_config: CachePart | None = None

    def faults(self) -> Iterator[Fault]:
        """Keys are there."""
        if self.json_web_key_set is None:
            yield "JSONWebKeySet", "must be given"


def _is_fetched_from(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def key_set(text: str) -> str:
    """The key set that base64 stands for, as JSON; empty when it is none."""
    try:
        found = base64.b64decode(text, validate=True)
        keys: Any = msgspec.json.decode(found)
    except (binascii.Error, ValueError, msgspec.MsgspecError, RecursionError):
        return ""
    if not isinstance(keys, dict) or not isinstance(keys.get("keys"), list) or not keys["keys"]:
        return ""
    return found.decode(errors="replace")
