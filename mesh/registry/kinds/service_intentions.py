"""The kind service-intentions: who may call a service, or any (`*`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Literal

import msgspec

from mesh.registry.kinds.parts import (
    META_VALUE_MAX,
    Body,
    Fault,
    Part,
    meta_faults,
    regex_faults,
)

KIND = "service-intentions"
ANY = "*"
_METHOD = re.compile(r"[A-Z0-9!#$%&'*+.^_`|~-]{1,64}")
_HEADER = re.compile(r":?[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}")
_HOW = ("Present", "Exact", "Prefix", "Suffix", "Contains", "Regex")


class HeaderPart(Part, frozen=True, kw_only=True):
    """A condition on a header."""

    name: str = ""
    present: bool = False
    exact: str = ""
    prefix: str = ""
    suffix: str = ""
    contains: str = ""
    regex: str = ""
    invert: bool = False
    ignore_case: bool = False

    def faults(self) -> Iterator[Fault]:
        """Exactly one way to match."""
        if not _HEADER.fullmatch(self.name):
            yield "Name", f'expected the name of a header, got "{self.name[:64]}"'
        given = [how for how in _HOW if getattr(self, how.lower())]
        if len(given) != 1:
            what = "none" if not given else " and ".join(given)
            yield "", f"exactly one of {', '.join(_HOW)} must be given, and there is {what}"
        if self.ignore_case and given[0] in {"Present", "Regex"}:
            yield "IgnoreCase", f"has no meaning with {given[0]}"
        yield from regex_faults("Regex", self.regex)


class HttpPart(Part, frozen=True, kw_only=True):
    """Conditions on a request."""

    path_exact: str = ""
    path_prefix: str = ""
    path_regex: str = ""
    header: list[HeaderPart] = []
    methods: list[str] = []

    def faults(self) -> Iterator[Fault]:
        """At most one path, and something at all."""
        paths = {
            "PathExact": self.path_exact,
            "PathPrefix": self.path_prefix,
            "PathRegex": self.path_regex,
        }
        given = [name for name, path in paths.items() if path]
        if len(given) > 1:
            yield given[1], f"contradicts {given[0]}: at most one of them"
        for name in ("PathExact", "PathPrefix"):
            if paths[name] and not paths[name].startswith("/"):
                yield name, f'must begin with /, got "{paths[name][:64]}"'
        yield from regex_faults("PathRegex", self.path_regex)
        seen: set[str] = set()
        for place, method in enumerate(self.methods):
            upper = method.upper()
            if not _METHOD.fullmatch(upper):
                yield f"Methods[{place}]", f'expected an HTTP method, got "{method[:64]}"'
            if upper in seen:
                yield f"Methods[{place}]", f"{upper} is there twice"
            seen.add(upper)
        if not given and not self.header and not self.methods:
            yield "", "must not be empty: give a path, Header or Methods"


class ClaimPart(Part, frozen=True, kw_only=True):
    """A claim that a token must have."""

    path: list[str] = []
    value: str = ""

    def faults(self) -> Iterator[Fault]:
        """Both are needed."""
        if not self.path or not all(self.path):
            yield "Path", "must name the claim, each step of the way not empty"
        if not self.value:
            yield "Value", "must not be empty"


class ProviderPart(Part, frozen=True, kw_only=True):
    """Whose token, and what must stand in it."""

    name: str = ""
    verify_claims: list[ClaimPart] = []

    def faults(self) -> Iterator[Fault]:
        """It has a name."""
        if not self.name:
            yield "Name", "must be the name of a jwt-provider entry"


class JwtPart(Part, frozen=True, kw_only=True):
    """Tokens, one of which a request must have."""

    providers: list[ProviderPart] = []

    def faults(self) -> Iterator[Fault]:
        """There are some, each once."""
        if not self.providers:
            yield "Providers", "must not be empty"
        names = [one.name for one in self.providers]
        for place, name in enumerate(names):
            if name in names[:place]:
                yield f"Providers[{place}].Name", f'"{name}" is there twice'


class PermissionPart(Part, frozen=True, kw_only=True):
    """What becomes of requests that match."""

    action: Literal["", "allow", "deny"] = ""
    http: HttpPart | None = None
    jwt: JwtPart | None = None

    def faults(self) -> Iterator[Fault]:
        """It says what, and to which requests."""
        if not self.action:
            yield "Action", "must be allow or deny"
        if self.http is None and self.jwt is None:
            yield "", "must have HTTP or JWT, else it is an Action of the source itself"


class SourcePart(Part, frozen=True, kw_only=True):
    """What one source may do."""

    later: ClassVar[tuple[str, ...]] = ("Peer", "SamenessGroup")
    name: str = ""
    action: Literal["", "allow", "deny"] = ""
    permissions: list[PermissionPart] = []
    precedence: int = 0
    """Follows from the names; what is given is ignored."""
    type: Literal["", "consul"] = ""
    description: str = ""
    dry_run: bool = False
    """Evaluated and reported, but not enforced."""
    owner: str = ""
    """Only who writes under this name may change the intention."""
    legacy_id: str = ""
    legacy_meta: dict[str, str] = {}
    legacy_create_time: str = ""
    legacy_update_time: str = ""

    def faults(self) -> Iterator[Fault]:
        """A name, and an action or permissions."""
        yield from name_faults("Name", self.name)
        if bool(self.action) == bool(self.permissions):
            both = "contradicts Permissions: " if self.action else ""
            yield "Action", f"{both}exactly one of Action and Permissions must be given"
        if len(self.description) > META_VALUE_MAX:
            yield "Description", f"longer than {META_VALUE_MAX} characters"
        if len(self.owner) > META_VALUE_MAX:
            yield "Owner", f"longer than {META_VALUE_MAX} characters"
        yield from meta_faults(self.legacy_meta, "LegacyMeta")


class ServiceIntentions(Body, frozen=True, kw_only=True):
    """All intentions about one destination."""

    sources: list[SourcePart] = []
    jwt: JwtPart | None = None
    """Every request needs one of these tokens, whatever its source."""

    def faults(self) -> Iterator[Fault]:
        """Sources are there, each once."""
        if not self.sources and self.jwt is None:
            yield "Sources", "must not be empty"
        seen: set[tuple[str, bool]] = set()
        for place, source in enumerate(self.sources):
            if (key := key_of(source)) in seen:
                again = " with DryRun" if source.dry_run else ""
                yield f"Sources[{place}].Name", f'"{source.name}" is there twice{again}'
            seen.add(key)

    def faults_of(self, name: str) -> Iterator[Fault]:
        """All services have no permissions in common."""
        yield from name_faults("Name", name)
        for place, source in enumerate(self.sources):
            if name == ANY and source.permissions:
                yield f"Sources[{place}].Permissions", "not allowed when the destination is *"
        if name == ANY and self.jwt is not None:
            yield "JWT", "not allowed when the destination is *"
        yield from meta_faults(self.meta)

    def settled(self, name: str) -> ServiceIntentions:
        """With precedences, in their order, and methods in capitals."""
        sources = [_settled(source, name) for source in self.sources]
        sources.sort(key=lambda one: (-one.precedence, one.name.lower(), not one.dry_run))
        return ServiceIntentions(meta=self.meta, sources=sources, jwt=self.jwt)


def key_of(source: SourcePart) -> tuple[str, bool]:
    """What only one source of an entry has: who it is, in any case, and whether it is tried."""
    return source.name.lower(), source.dry_run


def precedence(source: str, destination: str) -> int:
    """Of an intention: the more exact, the higher."""
    if destination == ANY:
        return 5 if source == ANY else 6
    return 8 if source == ANY else 9


def needs_http(body: ServiceIntentions) -> str:
    """What in a body can only be judged in requests; empty when nothing is."""
    for place, source in enumerate(body.sources):
        if source.permissions:
            return f"Sources[{place}].Permissions"
    return "JWT" if body.jwt is not None else ""


def providers(body: ServiceIntentions) -> dict[str, str]:
    """The jwt-provider entries that a body names, each with a place where it does."""
    found: dict[str, str] = {}
    _note(found, body.jwt, "JWT")
    for place, source in enumerate(body.sources):
        for number, permission in enumerate(source.permissions):
            _note(found, permission.jwt, f"Sources[{place}].Permissions[{number}].JWT")
    return found


def name_faults(where: str, name: str) -> Iterator[Fault]:
    """A service, or `*` alone."""
    if not name:
        yield where, "must not be empty"
    if ANY in name and name != ANY:
        yield where, f'a wildcard stands for the whole name: expected *, got "{name[:64]}"'


def _settled(source: SourcePart, destination: str) -> SourcePart:
    permissions = [
        msgspec.structs.replace(one, http=_upper(one.http)) for one in source.permissions
    ]
    return msgspec.structs.replace(
        source,
        permissions=permissions,
        precedence=precedence(source.name, destination),
        type="consul",
    )


def _upper(http: HttpPart | None) -> HttpPart | None:
    if http is None or all(method.isupper() for method in http.methods):
        return http
    return msgspec.structs.replace(http, methods=[method.upper() for method in http.methods])


def _note(found: dict[str, str], jwt: JwtPart | None, path: str) -> None:
    for place, provider in enumerate(jwt.providers if jwt is not None else ()):
        found.setdefault(provider.name, f"{path}.Providers[{place}].Name")
