"""Intentions as Envoy's rules: who may do what, in rules whose order does not matter.

Of intentions the first whose source is the caller decides, and of its permissions the first that
matches. Envoy's rules of one action have no order, so each says what those before it leave over.
All that look at nothing but the caller become one rule with one expression, and so do those with
the same permissions: Envoy tries rules one by one, and a thousand of them would cost more than all
the rest of a request.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from mesh.connect import identity
from mesh.connect.xds.blueprint import Blueprint
from mesh.connect.xds.messages import RBAC, Policy
from mesh.connect.xds.reach import Reach
from mesh.connect.xds.snapshot import Cause
from mesh.registry.intentions import (
    ANY,
    HeaderMatch,
    HttpMatch,
    Intention,
    JwtNeed,
    Permission,
)

LAYER4 = "consul-intentions-layer4"
LAYER7 = "consul-intentions-layer7"
TOKENS = "consul-intentions-jwt"
JWT_FILTER = "envoy.filters.http.jwt_authn"
SHADOW_PREFIX = "dry_run_"
"""Stands before the counters and notes of rules that are only tried."""
_EVERYTHING: dict[str, Any] = {"any": True}
_SERVICE = r"[^/]+"


class Rules(msgspec.Struct):
    """What to enforce and what to try only; None: everything is allowed."""

    enforced: Any
    shadow: Any
    causes: list[Cause] = []


def payload_key(provider: str) -> str:
    """Under which the claims of a provider's token are kept with the request."""
    return f"jwt_payload_{provider}"


def rules(blueprint: Blueprint, *, http: bool) -> Rules:
    """What the policy comes to, for requests, or for connections that nobody looks into."""
    intentions = [one for one in blueprint.policy.intentions if not one.peer]
    real = [one for one in intentions if not one.dry_run]
    trying = len(real) < len(intentions)
    return Rules(
        _rendered(blueprint, real, http=http),
        _rendered(blueprint, intentions, http=http) or RBAC(action="DENY") if trying else None,
        _causes(blueprint.policy.destination, intentions),
    )


def reach(blueprint: Blueprint) -> Reach:
    """Who may open connections that nobody looks into, by these rules."""
    intentions = blueprint.policy.intentions
    real = _deciding([one for one in intentions if not one.peer and not one.dry_run])
    verdicts = {source: _action(one, http=False) == "allow" for source, one in real.items()}
    strangers, others = blueprint.default_allow, verdicts.pop(ANY, blueprint.default_allow)
    if blueprint.policy.jwt:
        verdicts, strangers, others = {}, False, False
    return Reach(
        trust_domain=blueprint.bundle.trust_domain,
        strangers=strangers,
        others=others,
        named=frozenset(source for source, may in verdicts.items() if may != others),
    )


def members(blueprint: Blueprint) -> Any:
    """Every service of the trust domain, and nobody else."""
    everyone = {"permissions": [_EVERYTHING], "principals": [_callers(blueprint, _SERVICE)]}
    return RBAC(action="ALLOW", policies={"mesh": Policy(**everyone)})


def nobody() -> Any:
    """Rules that refuse all."""
    return RBAC(action="ALLOW")


def _causes(destination: str, intentions: list[Intention]) -> list[Cause]:
    found = [Cause(f"service-intentions {destination}")]
    for intention in intentions:
        whose = f"service-intentions {intention.destination}: source {intention.source}"
        for place, permission in enumerate(intention.permissions):
            where = f"{whose}: Permissions[{place}].HTTP"
            if permission.http is None:
                continue
            if permission.http.path_regex:
                found.append(Cause(f"{where}.PathRegex", permission.http.path_regex))
            for number, header in enumerate(permission.http.headers):
                if header.regex:
                    found.append(Cause(f"{where}.Header[{number}].Regex", header.regex))
    return found


def _rendered(blueprint: Blueprint, intentions: list[Intention], *, http: bool) -> Any:
    """The rules of these; None: everything is allowed."""
    if blueprint.policy.jwt and not http:
        return nobody()  # Of a connection no token is known.
    default = "allow" if blueprint.default_allow else "deny"
    listed = "deny" if blueprint.default_allow else "allow"
    deciding = _deciding(intentions)
    policies: dict[str, Any] = {}
    flat = [source for source, one in deciding.items() if _action(one, http=http) == listed]
    tokens = blueprint.policy.jwt
    for number, sources in _alike(deciding, http=http).items():
        wanted = _permissions(deciding[sources[0]].permissions, listed)
        if wanted:
            who = _principal(blueprint, sources, deciding)
            policies[f"{LAYER7}-{number}"] = {"permissions": wanted, "principals": [who]}
    if flat:
        who = _principal(blueprint, flat, deciding)
        policies[LAYER4] = {"permissions": [_EVERYTHING], "principals": [who]}
    if tokens:
        _demand(policies, tokens, default)
    if not policies and default == "allow":
        return None
    return RBAC(
        action=listed.upper(),
        policies={name: Policy(**policies[name]) for name in sorted(policies)},
    )


def _action(intention: Intention, *, http: bool) -> str:
    """What becomes of the caller's every request; empty where permissions decide."""
    if intention.permissions:
        # Of a connection nothing is known that permissions are about.
        return "" if http else "deny"
    return intention.action or "deny"


def _alike(deciding: dict[str, Intention], *, http: bool) -> dict[int, list[str]]:
    """The sources whose permissions decide, those with the same together; by the first's number."""
    found: dict[bytes, tuple[int, list[str]]] = {}
    for number, (source, one) in enumerate(deciding.items()):
        if not _action(one, http=http):
            permissions = msgspec.msgpack.encode(one.permissions)
            found.setdefault(permissions, (number, []))[1].append(source)
    return dict(found.values())


def _deciding(intentions: list[Intention]) -> dict[str, Intention]:
    """By source in lower case, the one that decides about it.

    What stands below one about all is left out.
    """
    found: dict[str, Intention] = {}
    for intention in intentions:
        if ANY not in found:
            found.setdefault(intention.source.lower(), intention)
    return found


# Who.


def _principal(
    blueprint: Blueprint, sources: list[str], deciding: dict[str, Intention]
) -> dict[str, Any]:
    """The callers with these sources; `*` are those that nothing more exact is about."""
    if ANY not in sources:
        return _callers(blueprint, _either(sources, deciding))
    others = sorted(one for one in deciding if one != ANY and one not in sources)
    everyone = _callers(blueprint, _SERVICE)
    if not others:
        return everyone
    but = {"not_id": _callers(blueprint, _either(others, deciding))}
    return {"and_ids": {"ids": [everyone, but]}}


def _either(sources: list[str], deciding: dict[str, Intention]) -> str:
    """The leaf of a caller has its name as it was registered, in whatever case."""
    names = [identity.name_pattern(deciding[one].source) for one in sorted(sources)]
    return f"(?i:{'|'.join(names)})"


def _callers(blueprint: Blueprint, services: str) -> dict[str, Any]:
    trust = re.escape(blueprint.bundle.trust_domain)
    expression = f"^spiffe://{trust}/ns/default/dc/[^/]+/svc/{services}$"
    return {"authenticated": {"principal_name": {"safe_regex": {"regex": expression}}}}


# What.


def _permissions(permissions: list[Permission], listed: str) -> list[dict[str, Any]]:
    """The requests with this outcome: each permission but for what those before it match."""
    found: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for permission in permissions:
        matches = _match(permission)
        if permission.action == listed:
            found.append(_all([matches, *({"not_rule": one} for one in others)]))
        else:
            others.append(matches)
    return found


def _match(permission: Permission) -> dict[str, Any]:
    conditions = _http(permission.http) if permission.http else []
    if permission.jwt:
        conditions.append({"or_rules": {"rules": [_token(need) for need in permission.jwt]}})
    return _all(conditions)


def _all(conditions: list[dict[str, Any]]) -> dict[str, Any]:
    conditions = [one for one in conditions if one != _EVERYTHING]
    if len(conditions) < 2:
        return conditions[0] if conditions else _EVERYTHING
    return {"and_rules": {"rules": conditions}}


def _http(match: HttpMatch) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if match.path_exact:
        found.append({"url_path": {"path": {"exact": match.path_exact}}})
    elif match.path_prefix:
        found.append({"url_path": {"path": {"prefix": match.path_prefix}}})
    elif match.path_regex:
        found.append({"url_path": {"path": {"safe_regex": {"regex": match.path_regex}}}})
    found += [{"header": _header(one)} for one in match.headers]
    if match.methods:
        methods = [
            {"header": {"name": ":method", "string_match": {"exact": one}}}
            for one in sorted(set(match.methods))
        ]
        found.append(methods[0] if len(methods) == 1 else {"or_rules": {"rules": methods}})
    return found


def _header(match: HeaderMatch) -> dict[str, Any]:
    found: dict[str, Any] = {"name": match.name, "invert_match": match.invert}
    for way in ("exact", "prefix", "suffix", "contains"):
        if wanted := getattr(match, way):
            found["string_match"] = {way: wanted, "ignore_case": match.ignore_case}
            return found
    if match.regex:
        found["string_match"] = {"safe_regex": {"regex": match.regex}}
    else:
        found["present_match"] = True
    return found


# Tokens.


def _token(need: JwtNeed) -> dict[str, Any]:
    """A valid token of the provider with all of the claims, as the JWT filter noted it."""
    return _all(_noted(need))


def _claims(need: JwtNeed) -> list[dict[str, Any]]:
    payload = {"key": payload_key(need.provider)}
    there = {"filter": JWT_FILTER, "path": [payload], "value": {"present_match": True}}
    found = [there]
    for claim in need.claims:
        path = [payload, *({"key": part} for part in claim.path)]
        exact = {"string_match": {"exact": claim.value}}
        found.append({"filter": JWT_FILTER, "path": path, "value": exact})
    return found


def _demand(policies: dict[str, Any], tokens: list[JwtNeed], default: str) -> None:
    """Every request needs one of the tokens, whatever else is said."""
    proof = {"or_ids": {"ids": [{"and_ids": {"ids": _noted(one)}} for one in tokens]}}
    if default == "allow":
        policies[TOKENS] = {"permissions": [_EVERYTHING], "principals": [{"not_id": proof}]}
        return
    for policy in policies.values():
        who = policy["principals"][0]
        policy["principals"] = [{"and_ids": {"ids": [who, proof]}}]


def _noted(need: JwtNeed) -> list[dict[str, Any]]:
    return [{"sourced_metadata": {"metadata_matcher": one}} for one in _claims(need)]
