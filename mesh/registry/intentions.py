"""Intentions: which service may call which, as service-intentions entries say it.

The names of services are those of the catalog, which ignores case, and so is it done here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import ClassVar, Literal

import msgspec

from mesh.errors import Invalid
from mesh.registry.entries import INTENTIONS, TABLE, Entry, find
from mesh.registry.kinds import jwt_provider, parts
from mesh.registry.kinds import service_intentions as bodies
from mesh.registry.levels import MESH
from mesh.registry.port import Query
from mesh.registry.settings import seconds_of
from mesh.store.database import View

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
    owner: str = ""
    """Only who writes under this name may change it; empty: everybody."""
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
    problems: list[str] = []
    """What of its permissions nobody can understand, and where; see `_understood`."""


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


class Matching(Query[Policy], frozen=True, tag="intentions.matching"):
    """All that decides who may call a service; `*`: only what holds for all."""

    answer = Policy
    needs: ClassVar[int] = MESH
    destination: str

    def run(self, view: View) -> Policy:
        """Read the entries of the destination and of `*`, and no other bucket."""
        own = find(view, INTENTIONS, self.destination)
        every = find(view, INTENTIONS, ANY) if self.destination != ANY else None
        body = body_of(own) if own is not None else bodies.ServiceIntentions()
        return Policy(
            destination=own.name if own is not None else self.destination,
            intentions=[*of_entry(own), *of_entry(every)],
            jwt=_needs(body.jwt),
        )


class All(Query[list[Intention]], frozen=True, tag="intentions.all"):
    """Every intention, by precedence, then by destination and source."""

    answer = list[Intention]
    needs: ClassVar[int] = MESH

    def run(self, view: View) -> list[Intention]:
        """Read the kind's bucket."""
        entries = view.select(TABLE, "kind", INTENTIONS)
        return ordered(one for entry in entries for one in of_entry(entry))


class OfSource(Query[list[Intention]], frozen=True, tag="intentions.of_source"):
    """The intentions whose source a service is, by its name or as one of all."""

    answer = list[Intention]
    needs: ClassVar[int] = MESH
    source: str

    def run(self, view: View) -> list[Intention]:
        """Read the buckets of both names."""
        names = {self.source.lower(), ANY}
        entries = {
            entry.name: entry for name in names for entry in view.select(TABLE, "source", name)
        }
        return ordered(
            one
            for entry in entries.values()
            for one in of_entry(entry)
            if one.source.lower() in names
        )


class Exact(Query[Intention | None], frozen=True, tag="intentions.exact"):
    """The one with just this source and destination, or None."""

    answer = Intention | None
    needs: ClassVar[int] = MESH
    source: str
    destination: str
    dry_run: bool = False

    def run(self, view: View) -> Intention | None:
        """Read the destination's entry."""
        for one in of_entry(find(view, INTENTIONS, self.destination)):
            if one.source.lower() == self.source.lower() and one.dry_run == self.dry_run:
                return one
        return None


class Get(Query[Intention | None], frozen=True, tag="intentions.get"):
    """One by the id that the older API gave it, or None."""

    answer = Intention | None
    needs: ClassVar[int] = MESH
    id: str

    def run(self, view: View) -> Intention | None:
        """Read the id's bucket."""
        for entry in view.select(TABLE, "intention", self.id.lower()):
            for one in of_entry(entry):
                if one.id == self.id.lower():
                    return one
        return None


class Providers(Query[list[JwtProvider]], frozen=True, tag="intentions.providers"):
    """Those of these jwt-provider entries that there are, by name."""

    answer = list[JwtProvider]
    needs: ClassVar[int] = MESH
    names: tuple[str, ...]

    def run(self, view: View) -> list[JwtProvider]:
        """Look them up."""
        found = (view.get(TABLE, (jwt_provider.KIND, name)) for name in sorted(set(self.names)))
        made = (_provider(entry) for entry in found if entry is not None)
        return [one for one in made if one is not None]


def named_providers(policy: Policy) -> list[str]:
    """The jwt-provider entries that a policy needs, by name."""
    needs = [*policy.jwt]
    for one in policy.intentions:
        needs += [need for permission in one.permissions for need in permission.jwt]
    return sorted({need.provider for need in needs})


def problems_of(policy: Policy) -> list[str]:
    """What of a policy nobody can understand, and where it stands; such rules deny."""
    return [
        f"service-intentions/{one.destination} Sources[{one.source}].{problem}"
        for one in policy.intentions
        for problem in one.problems
    ]


def ordered(intentions: Iterable[Intention]) -> list[Intention]:
    """By precedence, then by names; a dry run before what it may replace."""
    return sorted(
        intentions,
        key=lambda one: (-one.precedence, one.destination, one.source.lower(), not one.dry_run),
    )


def of_entry(entry: Entry | None) -> list[Intention]:
    """The intentions of an entry, by precedence; None: none."""
    if entry is None:
        return []
    body = body_of(entry)
    return ordered(_intention(entry, body, source) for source in body.sources)


def body_of(entry: Entry) -> bodies.ServiceIntentions:
    """The body of an entry about intentions, however it came there."""
    try:
        found = msgspec.convert(entry.body, type=bodies.ServiceIntentions)
        if all(one.precedence for one in found.sources):
            return found
    except (msgspec.ValidationError, ValueError):
        pass
    try:
        return parts.read(bodies.ServiceIntentions, entry.body).settled(entry.name)
    except Invalid:
        return _fail_closed(entry).settled(entry.name)


def _fail_closed(entry: Entry) -> bodies.ServiceIntentions:
    """Of a body that an import left, and that cannot be understood, what can be: else nobody may.

    Peers cannot call yet, so what is said about them is left out.
    """
    given = entry.body.get("Sources")
    sources: list[bodies.SourcePart] = []
    for source in given if isinstance(given, list) else [None]:
        if isinstance(source, dict) and source.get("Peer"):
            continue
        try:
            sources.append(parts.read(bodies.SourcePart, source))
        except Invalid as error:
            name = source.get("Name") if isinstance(source, dict) else None
            sources.append(
                bodies.SourcePart(
                    name=name if isinstance(name, str) and name else ANY,
                    action="deny",
                    description=f"cannot be understood: {error.message}",
                )
            )
    try:
        jwt = parts.read(bodies.JwtPart, entry.body["JWT"]) if entry.body.get("JWT") else None
    except Invalid:
        # A provider of no name, so of no tokens.
        jwt = bodies.JwtPart(providers=[bodies.ProviderPart()])
    return bodies.ServiceIntentions(sources=sources, jwt=jwt)


def _intention(
    entry: Entry, body: bodies.ServiceIntentions, source: bodies.SourcePart
) -> Intention:
    permissions, problems = _understood([_permission(one) for one in source.permissions])
    return Intention(
        source=source.name,
        destination=entry.name,
        action=source.action or None,
        permissions=permissions,
        problems=problems,
        description=source.description,
        dry_run=source.dry_run,
        owner=source.owner,
        precedence=source.precedence,
        id=source.legacy_id,
        meta=source.legacy_meta if source.legacy_id else body.meta,
        created=_time(source.legacy_create_time),
        updated=_time(source.legacy_update_time),
        create_index=entry.create_index,
        modify_index=entry.modify_index,
    )


def _understood(given: list[Permission]) -> tuple[list[Permission], list[str]]:
    """Permissions without expressions that no Envoy takes, as imports may leave them.

    With one of these, Envoy would refuse all that comes with it. Nothing more is allowed than could
    have been meant: a permission that allows is left out, one that denies loses the condition.
    """
    found: list[Permission] = []
    problems: list[str] = []
    for place, one in enumerate(given):
        wrong = [] if one.http is None else list(_misspelled(one.http))
        problems += [f"Permissions[{place}].HTTP.{where}: {text}" for where, text in wrong]
        if not wrong:
            found.append(one)
        elif one.action == "deny":
            found.append(msgspec.structs.replace(one, http=_without(one.http)))
    return found, problems


def _misspelled(http: HttpMatch) -> Iterator[parts.Fault]:
    yield from parts.regex_faults("PathRegex", http.path_regex)
    for place, header in enumerate(http.headers):
        yield from parts.regex_faults(f"Header[{place}].Regex", header.regex)


def _without(http: HttpMatch | None) -> HttpMatch | None:
    """The conditions but for expressions that nobody can read; None when there are no others."""
    if http is None:
        return None
    left = msgspec.structs.replace(
        http,
        path_regex="" if parts.regex_problem(http.path_regex) else http.path_regex,
        headers=[one for one in http.headers if not parts.regex_problem(one.regex)],
    )
    return left if left != HttpMatch() else None


def _permission(part: bodies.PermissionPart) -> Permission:
    http = part.http
    return Permission(
        action="allow" if part.action == "allow" else "deny",
        http=None
        if http is None
        else HttpMatch(
            path_exact=http.path_exact,
            path_prefix=http.path_prefix,
            path_regex=http.path_regex,
            headers=[
                msgspec.convert(one, HeaderMatch, from_attributes=True) for one in http.header
            ],
            methods=http.methods,
        ),
        jwt=_needs(part.jwt),
    )


def _needs(part: bodies.JwtPart | None) -> list[JwtNeed]:
    return [
        JwtNeed(
            provider=one.name,
            claims=[Claim(path=claim.path, value=claim.value) for claim in one.verify_claims],
        )
        for one in (part.providers if part is not None else ())
    ]


def _time(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp() if text else 0.0
    except (ValueError, OverflowError):
        return 0.0


def time_text(seconds: float) -> str:
    """A time as entries have it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _provider(entry: Entry) -> JwtProvider | None:
    try:
        body = parts.read(jwt_provider.JwtProviderBody, entry.body)
    except Invalid:
        return None  # An import left it, and no token of its can be checked.
    keys = body.json_web_key_set
    local, remote = (keys.local, keys.remote) if keys is not None else (None, None)
    forwarding = body.forwarding or jwt_provider.ForwardingPart()
    headers = [one.header for one in body.locations if one.header is not None]
    return JwtProvider(
        name=entry.name,
        issuer=body.issuer,
        audiences=body.audiences,
        keys=jwt_provider.key_set(local.jwks) if local is not None else "",
        keys_file=local.filename if local is not None else "",
        keys_uri=remote.uri if remote is not None else "",
        fetch_seconds=(remote.request_timeout_ms if remote is not None else 0) / 1000 or 1.0,
        cache_seconds=seconds_of(remote.cache_duration if remote is not None else "") or 0.0,
        headers=[
            JwtHeader(name=one.name, prefix=one.value_prefix, forward=one.forward)
            for one in headers
        ],
        parameters=_names(one.query_param for one in body.locations),
        cookies=_names(one.cookie for one in body.locations),
        forward_header=forwarding.header_name,
        pad_forward=forwarding.pad_forward_payload_header,
        skew_seconds=body.clock_skew_seconds or jwt_provider.SKEW_SECONDS,
    )


def _names(found: Iterator[jwt_provider.NameLocation | None]) -> list[str]:
    return [one.name for one in found if one is not None]
