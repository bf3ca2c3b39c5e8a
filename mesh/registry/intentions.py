"""Intentions: which service may call which, as service-intentions entries say it."""

from __future__ import annotations

from typing import Literal

import msgspec

Action = Literal["allow", "deny"]
ANY = "*"


class HeaderMatch(msgspec.Struct, frozen=True, kw_only=True):
    """A condition on a header; exactly one of the ways to match is given."""

    name: str
    present: bool = False
    exact: str = ""
    prefix: str = ""
    suffix: str = ""
    contains: str = ""
    regex: str = ""
    invert: bool = False
    ignore_case: bool = False


class HttpMatch(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions on a request, all of which must hold; at most one of the paths is given."""

    path_exact: str = ""
    path_prefix: str = ""
    path_regex: str = ""
    headers: list[HeaderMatch] = []
    methods: list[str] = []


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A claim that a token must have: where it stands in the payload, and its value."""

    path: list[str]
    value: str


class JwtNeed(msgspec.Struct, frozen=True, kw_only=True):
    """A token of this provider (a jwt-provider entry), with all of these claims."""

    provider: str
    claims: list[Claim] = []


class Permission(msgspec.Struct, frozen=True, kw_only=True):
    """What to do with requests that match; the first permission that does decides."""

    action: Action
    http: HttpMatch | None = None
    jwt: list[JwtNeed] = []
    """A token of any of these; none: no token is needed."""


class Intention(msgspec.Struct, frozen=True, kw_only=True):
    """What one source may do at one destination: an action, or permissions."""

    source: str
    """A service, or `*` for all."""
    destination: str
    action: Action | None = None
    permissions: list[Permission] = []
    """With these there is no action; a request that none matches gets the default."""
    peer: str = ""
    description: str = ""
    dry_run: bool = False
    """Evaluated and reported, but not enforced."""
    precedence: int = 0
    """9 exact to exact, 8 `*` to exact, 6 exact to `*`, 5 `*` to `*`."""
    id: str = ""
    """A UUID, for intentions made through the older API."""
    meta: dict[str, str] = {}
    created: float = 0.0
    updated: float = 0.0
    """Seconds since the Unix epoch."""
    create_index: int = 0
    modify_index: int = 0


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides who may call a service."""

    destination: str
    intentions: list[Intention] = []
    """Those about this destination or `*`, by precedence, then by source: the first one whose
    source is the caller decides."""
    jwt: list[JwtNeed] = []
    """Every request to the destination needs a token of any of these; none: no token is needed."""


class JwtHeader(msgspec.Struct, frozen=True, kw_only=True):
    """Where a token is found: a header, behind a prefix."""

    name: str
    prefix: str = ""
    forward: bool = False


class JwtProvider(msgspec.Struct, frozen=True, kw_only=True):
    """Whose tokens are believed, and how they are checked: a jwt-provider entry."""

    name: str
    issuer: str = ""
    audiences: list[str] = []
    keys: str = ""
    """The JSON web key set itself; empty when it is fetched."""
    keys_file: str = ""
    """Where the sidecar's machine has the key set."""
    keys_uri: str = ""
    """Where the key set is fetched from."""
    fetch_seconds: float = 1.0
    cache_seconds: float = 0.0
    headers: list[JwtHeader] = []
    parameters: list[str] = []
    cookies: list[str] = []
    forward_header: str = ""
    """The payload goes to the application in this header, base64url."""
    pad_forward: bool = False
    skew_seconds: int = 30
