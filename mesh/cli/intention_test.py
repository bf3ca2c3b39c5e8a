"""meshctl intention test: compare intentions with what a file expects of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import yaml

from mesh.cli import definitions, documents
from mesh.cli.command import FAILED, OK, Command, Example
from mesh.cli.flags import DATACENTER, Argument, Flag, Usage
from mesh.cli.invocation import Invocation
from mesh.client.intention import Asked, Verdict
from mesh.connect.intentions import Request, decide
from mesh.connect.paths import normalization_of
from mesh.errors import Invalid, MeshError
from mesh.registry import config, intentions, settings
from mesh.registry.kinds import jwt_provider
from mesh.registry.requests import TABLES
from mesh.store.database import Database

CASES_MAX = 10_000
ORDER = (jwt_provider.KIND, "proxy-defaults", "service-defaults", "mesh")
"""What others need is read first."""
FIELDS = {"source", "destination", "method", "path", "headers", "tokens"}


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A call, and whether it is expected to be allowed."""

    expected: bool
    source: str
    destination: str
    method: str = ""
    path: str = ""
    headers: dict[str, str] = {}
    tokens: dict[str, dict[str, Any]] = {}

    @property
    def request(self) -> str:
        """What is asked for, in a few words."""
        if not (self.method or self.path or self.headers or self.tokens):
            return "connection"
        headers = [f"{name}: {value}" for name, value in self.headers.items()]
        tokens = [f"token of {name}" for name in self.tokens]
        return ", ".join([f"{self.method or 'GET'} {self.path or '/'}", *headers, *tokens])


def test(invocation: Invocation) -> int:
    """Ask about each call of the file, and show those that come out otherwise."""
    parsed, out = invocation.parsed, invocation.out
    cases = _cases(documents.read(invocation, parsed.arguments[0]))
    policies = parsed.many("policy")
    dry_run = parsed.switch("dry-run")
    if policies:
        allow = parsed.text("default") != "deny"
        judge = _offline(_database(invocation, policies), allow, dry_run)
    else:
        if parsed.text("default"):
            raise Usage("--default is for --policy: the cluster has its own")
        judge = _online(invocation, dry_run)
    rows, differing = [], []
    for case in cases:
        found = judge(case)
        if found.allowed != case.expected:
            got = _word(found.allowed)
            ends = f"{case.source} => {case.destination}"
            rows.append((ends, case.request, _word(case.expected), got, found.reason))
            differing.append({"Case": msgspec.structs.asdict(case), "Verdict": found})
    if rows or out.as_json:
        out.table(differing, ("Call", "Request", "Expected", "Got", "Because"), rows)
    out.note(f"{len(cases) - len(rows)} of {len(cases)} calls come out as expected.")
    return FAILED if rows else OK


def _word(allowed: bool) -> str:
    return "allow" if allowed else "deny"


def _cases(document: Any) -> list[Case]:
    if not isinstance(document, dict) or not document.keys() <= {"allow", "deny"} or not document:
        raise Usage("expected a file with the lists allow and deny")
    found = []
    for word in ("allow", "deny"):
        listed = document.get(word) or []
        if not isinstance(listed, list) or len(listed) > CASES_MAX:
            raise Usage(f"{word}: expected a list of at most {CASES_MAX} calls")
        found += [
            _case(one, f"{word}[{place}]", word == "allow") for place, one in enumerate(listed)
        ]
    return found


def _case(one: Any, where: str, expected: bool) -> Case:
    """`web payments`, `web payments GET /v1`, or an object with the fields."""
    if isinstance(one, str):
        words = one.split()
        if len(words) not in {2, 4}:
            raise Usage(f'{where}: expected "SOURCE DESTINATION" or "... METHOD PATH", got "{one}"')
        one = dict(zip(("source", "destination", "method", "path"), words, strict=False))
    if not isinstance(one, dict):
        raise Usage(f"{where}: expected an object with some of {', '.join(sorted(FIELDS))}")
    if unknown := [key for key in one if key not in FIELDS]:
        raise Usage(f'{where}: unknown key "{unknown[0]}"; there are {", ".join(sorted(FIELDS))}')
    try:
        case: Case = msgspec.convert({**one, "expected": expected}, Case)
    except msgspec.ValidationError as error:
        raise Usage(f"{where}: {error}") from error
    if case.path and not case.path.startswith("/"):
        raise Usage(f'{where}: path: must begin with /, got "{case.path}"')
    return case


def _online(invocation: Invocation, dry_run: bool) -> Callable[[Case], Verdict]:
    def judge(case: Case) -> Verdict:
        if case.tokens:
            raise Usage("tokens can only be tried with --policy: the cluster is not told of them")
        asked = Asked(method=case.method, path=case.path, headers=list(case.headers.items()))
        return invocation.client.intention.check(
            case.source,
            case.destination,
            asked,
            dry_run=dry_run,
            datacenter=invocation.parsed.text("datacenter"),
        )

    return judge


def _offline(database: Database, allow: bool, dry_run: bool) -> Callable[[Case], Verdict]:
    def judge(case: Case) -> Verdict:
        view = database.view()
        policy = intentions.Matching(case.destination).run(view)
        request = None
        http = settings.protocol_of(view, case.destination) in settings.HTTP_LIKE
        if http and case.request != "connection":
            request = Request(
                method=case.method.upper() or "GET",
                path=case.path or "/",
                headers=list(case.headers.items()),
                tokens=case.tokens,
            )
        normalization = normalization_of(settings.Mesh().run(view))
        found = decide(
            policy, case.source, request, allow, shadow=dry_run, normalization=normalization
        )
        return Verdict(allowed=found.allowed, reason=found.rule, rule=found.entry)

    return judge


def _database(invocation: Invocation, paths: list[str]) -> Database:
    """The entries of files, written as servers write them. Raises Usage, naming the place."""
    database, entries = Database(TABLES), list[tuple[str, dict[str, Any]]]()
    for path in paths:
        for one in _documents(invocation, path):
            if not isinstance(one, dict):
                raise Usage(f"{path}: expected config entries, with Kind and Name")
            entries.append((path, one))
    entries.sort(key=lambda pair: _rank(_text(pair[1], "kind")))
    for path, body in entries:
        transaction = database.begin(database.index + 1)
        kind, name = _text(body, "kind"), _text(body, "name")
        try:
            config.Write.of(kind, name, body).apply(transaction)
        except MeshError as error:
            raise Usage(f"{path}: {kind}/{name}: {error.message}") from error
        transaction.commit()
    return database


def _documents(invocation: Invocation, path: str) -> list[Any]:
    if path.endswith((".yaml", ".yml")):
        try:
            with open(path, encoding="utf-8") as file:
                every = list(yaml.safe_load_all(file))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise Usage(f"cannot read {path}: {error}") from error
    elif path.endswith(".hcl"):
        try:
            every = [definitions.read_document(path)]
        except Invalid as error:
            raise Usage(error.message) from error
    else:
        every = [documents.read(invocation, path)]
    found: list[Any] = []
    for one in every:
        found += one if isinstance(one, list) else [one] if one is not None else []
    return found


def _rank(kind: str) -> int:
    return ORDER.index(kind) if kind in ORDER else len(ORDER)


def _text(body: dict[str, Any], name: str) -> str:
    return next((str(one) for key, one in body.items() if str(key).lower() == name), "")


COMMANDS = {
    "intention test": Command(
        test,
        about="Compare the intentions of the cluster with what FILE expects, or, with --policy,\n"
        "those of files with config entries, without a cluster. FILE is YAML with the lists\n"
        "allow and deny; each call in them is SOURCE DESTINATION, with METHOD PATH behind it\n"
        "if it is about a request, or an object with source, destination, method, path,\n"
        "headers and tokens (the payload of each, by its jwt-provider).",
        examples=(
            Example("intention test calls.yaml", "Is the cluster as it should be?"),
            Example("intention test --policy db.yaml calls.yaml", "Would these entries be?"),
        ),
        arguments=(Argument("FILE"),),
        flags=(
            Flag("policy", "a file of config entries instead of the cluster", "list", value="FILE"),
            Flag("default", "with --policy: what no intention is about", choices=("allow", "deny")),
            Flag("dry-run", "as if dry runs were enforced", "switch"),
            DATACENTER,
        ),
        exits=("1: a call comes out otherwise, or it failed",),
    ),
}
