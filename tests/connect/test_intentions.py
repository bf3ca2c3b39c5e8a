"""Decisions about calls. Every case in tests/cases/intentions gives the output written in it.

A case is a policy as a service-intentions entry in YAML, then lines `CALLER [METHOD PATH [Name:
value; ...]]`, each with the decision as output; --update rewrites it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mesh.connect.identity import Identity, service
from mesh.connect.intentions import Decision, Request, decide
from mesh.connect.xds.blueprint import Normalization
from mesh.registry.entries import Entry
from mesh.registry.intentions import Intention, Permission, Policy, of_entry
from mesh.registry.kinds import parts, written
from mesh.registry.kinds import service_intentions as bodies

CASES = Path(__file__).parent.parent / "cases" / "intentions"


def policy_of(*documents: dict[str, Any]) -> Policy:
    """The policy of the first one's destination, by entries about it and about `*`."""
    every: list[Intention] = []
    for one in documents:
        body = written("service-intentions", one.pop("Name"), one)
        name = "db" if one is documents[0] else "*"
        every += of_entry(Entry(kind="service-intentions", name=name, body=body))
    return Policy(destination="db", intentions=every)


def answer(policy: Policy, line: str, document: dict[str, Any]) -> str:
    caller, _, rest = line.partition(" ")
    request = None
    if rest:
        method, _, rest = rest.partition(" ")
        path, _, given = rest.partition(" ")
        pairs = [one.partition(":")[::2] for one in given.split("; ") if one]
        headers = [(name.strip(), value.strip()) for name, value in pairs]
        request = Request(
            method=method, path=path, headers=headers, tokens=document.get("Tokens", {})
        )
    allow = document.get("Default", "deny") == "allow"
    normalization = msgspec.convert(document.get("Normalization", {}), Normalization)
    found = decide(policy, caller, request, allow, normalization=normalization)
    shadow = decide(policy, caller, request, allow, normalization=normalization, shadow=True)
    text = f"{'allow' if found.allowed else 'deny'} ({found.why} {found.precedence}) {found.rule}"
    if found.allowed != shadow.allowed:
        text += f"; with dry runs {'allow' if shadow.allowed else 'deny'}: {shadow.entry}"
    return text


def run(text: str) -> str:
    head, _, calls = text.partition("\n\n")
    documents = list(yaml.safe_load_all(head))
    own = {"Default", "Tokens", "Normalization"}
    extra = {key: one.pop(key) for one in documents for key in [*one] if key in own}
    policy = policy_of(*documents)
    lines = [line for line in calls.strip().splitlines() if not line.startswith("  ")]
    return "\n".join(f"{line}\n  {answer(policy, line, extra)}" for line in lines)


@pytest.mark.parametrize("path", sorted(CASES.glob("*.txt")), ids=lambda path: path.stem)
def test_cases(path: Path, request: pytest.FixtureRequest) -> None:
    text = path.read_text()
    cases = [one.strip("\n") for one in re.split(r"\n\n\n", text.strip("\n"))]
    heads = [one.partition("\n\n")[0] for one in cases]
    made = "\n\n\n".join(f"{head}\n\n{run(one)}" for head, one in zip(heads, cases, strict=True))
    if request.config.getoption("--update"):
        path.write_text(made + "\n")
    else:
        assert made + "\n" == text


def test_identities() -> None:
    policy = policy_of({"Name": "db", "Sources": [{"Name": "*", "Action": "deny"}]})
    web = service("a.consul", "dc1", "web")
    assert not decide(policy, web, None, True).allowed
    for other in (
        Identity("a.consul", "agent", "dc1", "web"),
        Identity("a.consul", "gateway", "dc1"),
        Identity("a.consul", "service", "dc1", "web", partition="other"),
        Identity("a.consul", "service", "dc1", "web", namespace="other"),
    ):
        assert decide(policy, other, None, True).why == "default"


NAMES = st.sampled_from(["web", "api", "*"])
ACTIONS = st.sampled_from(["allow", "deny"])
PATHS = st.sampled_from(["/", "/a", "/a/b", "/b"])
HTTP = st.one_of(
    st.fixed_dictionaries({"PathExact": PATHS}),
    st.fixed_dictionaries({"PathPrefix": PATHS, "Methods": st.just(["GET"])}),
    st.fixed_dictionaries({"PathRegex": st.sampled_from(["/a.*", "/[ab]"])}),
)
PERMISSIONS = st.lists(
    st.fixed_dictionaries({"Action": ACTIONS, "HTTP": HTTP}), min_size=1, max_size=3
)
SOURCES = st.lists(
    st.one_of(
        st.fixed_dictionaries({"Name": NAMES, "Action": ACTIONS}),
        st.fixed_dictionaries({"Name": NAMES, "Permissions": PERMISSIONS}),
    ),
    max_size=3,
    unique_by=lambda one: str(one["Name"]),
)
ALL = st.lists(
    st.fixed_dictionaries({"Name": NAMES, "Action": ACTIONS}),
    max_size=3,
    unique_by=lambda one: one["Name"],
)
REQUESTS = st.none() | st.builds(
    Request, method=st.sampled_from(["GET", "PUT"]), path=PATHS | st.just("/a/../b?x")
)


def made(sources: list[Any], every: list[Any]) -> Policy:
    found: list[Intention] = []
    for name, some in (("db", sources), ("*", every)):
        if some:
            body = parts.read(bodies.ServiceIntentions, {"Sources": some}).settled(name)
            found += of_entry(Entry(kind="service-intentions", name=name, body=parts.plain(body)))
    return Policy(destination="db", intentions=found)


@given(SOURCES, ALL, NAMES.filter(lambda name: name != "*"), REQUESTS, st.booleans())
def test_the_most_precise_intention_decides(
    sources: list[Any], every: list[Any], caller: str, request: Request | None, default: bool
) -> None:
    policy = made(sources, every)
    precedences = [one.precedence for one in policy.intentions]
    assert precedences == sorted(precedences, reverse=True)
    found = decide(policy, caller, request, default)
    about = [one for one in policy.intentions if one.source in {caller, "*"}]
    ranks = [one.precedence for one in about]
    assert len(set(ranks)) == len(ranks), "two of a caller have the same precedence"
    assert found.precedence == (max(ranks) if ranks else 0)
    assert found == decide(policy, caller, request, default)


def _denied(policy: Policy) -> list[Policy]:
    """The policy with one thing after the other that allows something turned into a deny."""
    turned = []
    for place, one in enumerate(policy.intentions):
        others = list(policy.intentions)
        if one.action == "allow":
            others[place] = msgspec.structs.replace(one, action="deny")
            turned.append(msgspec.structs.replace(policy, intentions=others))
        for number, permission in enumerate(one.permissions):
            if permission.action == "allow":
                some: list[Permission] = list(one.permissions)
                some[number] = msgspec.structs.replace(permission, action="deny")
                others = list(policy.intentions)
                others[place] = msgspec.structs.replace(one, permissions=some)
                turned.append(msgspec.structs.replace(policy, intentions=others))
    return turned


@given(SOURCES, ALL, NAMES.filter(lambda name: name != "*"), REQUESTS, st.booleans())
def test_a_deny_in_place_of_an_allow_never_opens_anything(
    sources: list[Any], every: list[Any], caller: str, request: Request | None, default: bool
) -> None:
    policy = made(sources, every)
    before = decide(policy, caller, request, default)
    for other in _denied(policy):
        after: Decision = decide(other, caller, request, default)
        assert before.allowed or not after.allowed
    if not default:
        assert before.allowed or not decide(policy, caller, request, False).allowed
