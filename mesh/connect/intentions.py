"""The evaluator of intentions: whether a call is allowed, by which rule. Everything asks this one.

It decides as Envoys with our configuration do. In requests:

- The path is brought into one form first (`paths`), and compared without its query.
- A regular expression must match the whole path or value.
- Names of headers are compared in any case. Of a header that is there several times each value is
  looked at by itself, and one that fits is enough; inverted, none may fit (Envoys before 1.38 join
  them by commas). One that is absent matches nothing, not even inverted, but for `present`.
- `host` and `:authority` are one header.

Services that call have the same name in any case, as in the catalog.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import msgspec

from mesh.connect.identity import Identity
from mesh.connect.paths import bare, normal_path
from mesh.connect.xds.blueprint import Normalization
from mesh.errors import Invalid
from mesh.patterns import Pattern
from mesh.registry.intentions import (
    ANY,
    HeaderMatch,
    HttpMatch,
    Intention,
    JwtNeed,
    Permission,
    Policy,
)

Why = Literal["intention", "permission", "default", "jwt", "request"]
AUTHORITY = ":authority"


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it arrives at the destination's sidecar."""

    method: str = "GET"
    path: str = "/"
    """With its query, as it stands in the request line."""
    headers: Sequence[tuple[str, str]] = ()
    tokens: Mapping[str, Mapping[str, Any]] = {}
    """The payloads of the valid tokens it carries, by the name of their jwt-provider."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a call is allowed, and what decided."""

    allowed: bool
    why: Why
    rule: str
    """What decided, for a person."""
    entry: str = ""
    """Where that stands: `service-intentions/db Sources[web].Permissions[0]`."""
    precedence: int = 0
    """Of the intention that decided; 0 for none."""
    dry_run: bool = False
    """Whether it is a dry run."""


def decide(
    policy: Policy,
    caller: Identity | str,
    request: Request | None,
    default_allow: bool,
    *,
    shadow: bool = False,
    normalization: Normalization | None = None,
) -> Decision:
    """Whether the caller may make the request; None: whether it may open a connection.

    Of a connection nothing is known that permissions or tokens are about, so these deny it: so it
    is for a destination that speaks tcp. With `shadow`, as if dry runs were enforced.
    """
    if request is not None:
        seen, refusal = _seen(request, normalization or Normalization())
        if refusal is not None:
            return refusal
        request = seen
    if policy.jwt and (request is None or not any(_has(request, one) for one in policy.jwt)):
        return Decision(
            allowed=False,
            why="jwt",
            rule=f"every request needs a token of {_providers(policy.jwt)}",
            entry=f"{_entry(policy.destination)} JWT",
        )
    one = deciding(policy, _name(caller), shadow=shadow)
    if one is not None:
        return _by(one, request, default_allow)
    return Decision(
        allowed=default_allow,
        why="default",
        rule=f"no intention is about this, and the default is {_word(default_allow)}",
    )


def deciding(policy: Policy, source: str, *, shadow: bool = False) -> Intention | None:
    """The intention about a caller, if there is one; with `shadow` a dry run counts too."""
    for one in policy.intentions:
        if (shadow or not one.dry_run) and _is_about(one, source):
            return one
    return None


def _by(one: Intention, request: Request | None, default_allow: bool) -> Decision:
    """What an intention says."""
    ends = f'"{one.source}" to "{one.destination}"'
    entry = f"{_entry(one.destination)} Sources[{one.source}]"
    if not one.permissions:
        allowed = one.action == "allow"
        return Decision(
            allowed=allowed,
            why="intention",
            rule=f"the intention from {ends} says {_word(allowed)}",
            entry=entry,
            precedence=one.precedence,
            dry_run=one.dry_run,
        )
    decision = Decision(
        allowed=False,
        why="permission",
        rule=f"the intention from {ends} has permissions, which need a request",
        entry=entry,
        precedence=one.precedence,
        dry_run=one.dry_run,
    )
    if request is None:
        return decision
    for place, permission in enumerate(one.permissions):
        if _matches(permission, request):
            allowed = permission.action == "allow"
            return msgspec.structs.replace(
                decision,
                allowed=allowed,
                rule=f"permission {place} of the intention from {ends} says {_word(allowed)}: "
                f"{describe(permission)}",
                entry=f"{entry}.Permissions[{place}]",
            )
    return msgspec.structs.replace(
        decision,
        allowed=default_allow,
        why="default",
        rule=f"no permission of the intention from {ends} matches, and the default is "
        f"{_word(default_allow)}",
    )


def describe(permission: Permission) -> str:
    """Which requests it is about, in a line."""
    parts = []
    if (http := permission.http) is not None:
        parts += http.methods and ["|".join(http.methods)]
        paths = {"": http.path_exact, "prefix ": http.path_prefix, "regex ": http.path_regex}
        parts += [f"path {how}{path}" for how, path in paths.items() if path]
        parts += [_describe_header(one) for one in http.headers]
    if permission.jwt:
        parts.append(f"token of {_providers(permission.jwt)}")
    return ", ".join(parts) or "every request"


def _describe_header(one: HeaderMatch) -> str:
    no = "not " if one.invert else ""
    if one.present:
        return f"header {one.name} {no}present"
    for how in ("exact", "prefix", "suffix", "contains", "regex"):
        if value := getattr(one, how):
            return f"header {one.name} {no}{how} {value}"
    return f"header {one.name}"


def _seen(request: Request, normalization: Normalization) -> tuple[Request, Decision | None]:
    """The request as rules see it, or why it does not come to that."""
    found = normal_path(request.path, normalization)
    if found.verdict != "continue":
        what = "refused" if found.verdict == "reject" else "redirected to its normal form"
        return request, _refused(f"the path is {what} before any rule is asked")
    headers = request.headers
    if normalization.underscores in {"REJECT_REQUEST", "DROP_HEADER"}:
        kept = [one for one in headers if "_" not in one[0]]
        if len(kept) < len(headers) and normalization.underscores == "REJECT_REQUEST":
            return request, _refused("a header with an underscore is refused")
        headers = kept
    return msgspec.structs.replace(request, path=found.path, headers=headers), None


def _refused(rule: str) -> Decision:
    return Decision(allowed=False, why="request", rule=rule, entry="mesh/mesh HTTP.Incoming")


def _name(caller: Identity | str) -> str:
    """The service that calls; empty for what is none, or of a partition that is not here."""
    if isinstance(caller, str):
        return caller
    here = caller.partition == caller.namespace == "default"
    return caller.name if caller.role == "service" and here else ""


def _is_about(one: Intention, name: str) -> bool:
    return bool(name) and not one.peer and (one.source == ANY or _is_same(one.source, name))


def _is_same(name: str, other: str) -> bool:
    return name == other or name.lower() == other.lower()


def _matches(permission: Permission, request: Request) -> bool:
    if permission.http is not None and not _fits(permission.http, request):
        return False
    return not permission.jwt or any(_has(request, one) for one in permission.jwt)


def _fits(http: HttpMatch, request: Request) -> bool:
    path = bare(request.path)
    return (
        (not http.path_exact or path == http.path_exact)
        and (not http.path_prefix or path.startswith(http.path_prefix))
        and (not http.path_regex or _is_whole(http.path_regex, path))
        and (not http.methods or request.method in http.methods)
        and all(_header_fits(one, request) for one in http.headers)
    )


def _header_fits(one: HeaderMatch, request: Request) -> bool:
    values = header_values(request, one.name)
    if one.present:
        return bool(values) != one.invert
    if not values:
        return False
    return any(_value_fits(one, value) for value in values) != one.invert


def _value_fits(one: HeaderMatch, value: str) -> bool:
    if one.regex:
        return _is_whole(one.regex, value)
    exact, prefix, suffix, contains = one.exact, one.prefix, one.suffix, one.contains
    if one.ignore_case:
        value, exact, prefix, suffix, contains = (
            _lower(text) for text in (value, exact, prefix, suffix, contains)
        )
    return (
        (not exact or value == exact)
        and (not prefix or value.startswith(prefix))
        and (not suffix or value.endswith(suffix))
        and (not contains or contains in value)
    )


def header_values(request: Request, name: str) -> list[str]:
    """What a rule sees of a header, one by one."""
    wanted = _lower(name)
    if wanted == ":method":
        return [request.method]
    if wanted == ":path":
        return [request.path]
    names = {"host", AUTHORITY} if wanted in {"host", AUTHORITY} else {wanted}
    return [value.strip(" \t") for given, value in request.headers if _lower(given) in names]


def _lower(text: str) -> str:
    """As Envoy: only letters of ASCII have a case."""
    return text.translate(_LOWER)


_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def _is_whole(expression: str, text: str) -> bool:
    """Whether it matches all of the text; one that makes no sense matches nothing."""
    pattern = _pattern(expression)
    return pattern is not None and pattern.found_in(text, len(text))


@lru_cache(maxsize=512)
def _pattern(expression: str) -> Pattern | None:
    try:
        return Pattern(expression, whole=True)
    except Invalid:
        return None


def _has(request: Request, need: JwtNeed) -> bool:
    """Whether there is such a token with all claims."""
    payload = request.tokens.get(need.provider)
    if payload is None:
        return False
    return all(_claim_fits(payload, one.path, one.value) for one in need.claims)


def _claim_fits(payload: Mapping[str, Any], path: Sequence[str], wanted: str) -> bool:
    """A claim is text with just this value."""
    found: Any = payload
    for step in path:
        if not isinstance(found, Mapping) or step not in found:
            return False
        found = found[step]
    return bool(found == wanted)


def _providers(needs: Sequence[JwtNeed]) -> str:
    return " or ".join(one.provider or "(unreadable)" for one in needs)


def _entry(destination: str) -> str:
    return f"service-intentions/{destination}"


def _word(allowed: bool) -> str:
    return "allow" if allowed else "deny"
