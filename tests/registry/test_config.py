"""Config entries as users write them: what is stored, what is refused and where, what depends.

Every case in tests/cases/entries gives the output written in it; --update rewrites it.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.connect.intentions import Request, decide
from mesh.errors import Conflict, Invalid, MeshError
from mesh.patterns import PROGRAM_MAX, Pattern
from mesh.registry import config, entries, imports, intentions, kinds, settings
from mesh.registry.entries import Entry
from mesh.registry.intention_writes import Put
from tests.registry.world import World

CASES = Path(__file__).parent.parent / "cases" / "entries"
KEYS = "eyJrZXlzIjpbeyJrdHkiOiJvY3QifV19"


def write(world: World, kind: str, name: str, body: Any, **more: Any) -> bool:
    return world.do(config.Write.of(kind, name, body, **more))


def run(world: World, text: str) -> str:
    """One block: `write KIND NAME [owner=] [force]` with a body below it, `delete ...`, `show`."""
    first, _, rest = text.partition("\n")
    verb, kind, name, *flags = shlex.split(first)
    body = yaml.safe_load(rest)
    options = {key: value or True for key, _, value in (flag.partition("=") for flag in flags)}
    try:
        if verb == "show":
            found = world.ask(entries.Get(kind, name))
            return yaml.safe_dump(found.body if found else None, sort_keys=False).rstrip(".\n")
        if verb == "delete":
            return str(world.do(config.Erase(kind, name, **options))).lower()  # type: ignore[arg-type]
        return str(write(world, kind, name, {} if body is None else body, **options)).lower()
    except MeshError as error:
        return f"{error.code}: {error.message}"


@pytest.mark.parametrize("path", sorted(CASES.glob("*.txt")), ids=lambda path: path.stem)
def test_cases(path: Path, request: pytest.FixtureRequest) -> None:
    world, made = World(), []
    for case in path.read_text().split("\n\n\n"):
        entered, _, _ = case.partition("\n----")
        made.append(f"{entered.strip()}\n----\n{run(world, entered.strip())}")
    text = "\n\n\n".join(made) + "\n"
    if request.config.getoption("--update"):
        path.write_text(text)
    assert path.read_text() == text


def test_what_is_equal_is_no_change() -> None:
    world = World()
    body = {"sources": [{"name": "b", "action": "allow"}, {"Name": "*", "Action": "deny"}]}
    assert write(world, "service-intentions", "db", body)
    before = world.database.index
    same = {"Sources": [*reversed(body["sources"])], "Kind": "service-intentions", "Hash": 3}
    assert write(world, "service-intentions", "db", same)
    found = world.ask(entries.Get("service-intentions", "db"))
    assert found is not None
    assert found.modify_index == before
    assert [one["Precedence"] for one in found.body["Sources"]] == [9, 8]


def test_conditions() -> None:
    world = World()
    assert write(world, "mesh", "", {}, check_index=0)
    assert not write(world, "mesh", "mesh", {"ValidateClusters": True}, check_index=0)
    found = world.ask(entries.Get("mesh", "mesh"))
    assert found is not None
    assert not world.do(config.Erase("mesh", "mesh", found.modify_index + 1))
    assert world.do(config.Erase("mesh", "mesh", found.modify_index))
    assert world.do(config.Create(config.Write.of("mesh", "mesh", {})))
    assert not world.do(config.Create(config.Write.of("mesh", "mesh", {"ValidateClusters": True})))
    assert world.ask(settings.Mesh()) == settings.MeshSettings()


def test_only_the_stored_form_lies_in_the_log() -> None:
    with pytest.raises(Invalid, match="form"):
        config.Write("mesh", "mesh", {"validate_clusters": True}).validate()


def test_kinds_that_mean_nothing_yet_can_be_deleted_and_read() -> None:
    world = World()
    world.do(imports.Merge(entries=[Entry(kind="service-router", name="web", body={"a": 1})]))
    with pytest.raises(Invalid, match="kinds that can be written: jwt-provider, mesh"):
        write(world, "service-router", "web", {})
    assert world.do(config.Erase("service-router", "web"))
    with pytest.raises(Invalid, match="did you mean service-defaults"):
        kinds.check_kind("service_default")


def test_only_readers_of_the_destination_are_woken() -> None:
    world = World()
    view = world.database.view()
    intentions.Matching("db").run(view)
    touched = {bucket[2] for bucket in view.touched}
    assert touched == {("service-intentions", "db"), ("service-intentions", "*")}
    view = world.database.view()
    settings.Service("db").run(view)
    assert {bucket[2] for bucket in view.touched} == {
        ("proxy-defaults", "global"),
        ("service-defaults", "db"),
    }


def test_settings_of_a_service() -> None:
    world = World()
    write(
        world,
        "proxy-defaults",
        "global",
        {
            "Config": {"protocol": "http", "a": {}},
            "AccessLogs": {"Enabled": True, "Type": "stderr"},
        },
    )
    assert world.ask(settings.Service("any")).protocol == "http"
    body = {
        "Protocol": "GRPC",
        "LocalConnectTimeoutMs": 1500,
        "MaxInboundConnections": 7,
        "BalanceInboundConnections": "exact_balance",
        "Expose": {
            "Checks": True,
            "Paths": [{"Path": "/m", "ListenerPort": 1, "LocalPathPort": 2}],
        },
        "UpstreamConfig": {
            "Defaults": {"ConnectTimeoutMs": 500, "Limits": {"MaxConnections": 3}},
            "Overrides": [{"Name": "db", "PassiveHealthCheck": {"Interval": "5s"}}],
        },
    }
    write(world, "service-defaults", "web", body)
    found = world.ask(settings.Service("web"))
    assert (found.protocol, found.connect_seconds, found.max_inbound_connections) == (
        "grpc",
        1.5,
        7,
    )
    assert found.balance_connections
    assert found.expose_paths == [settings.Path(path="/m", listener_port=1, local_port=2)]
    assert found.access_logs == settings.AccessLogs(enabled=True, kind="stderr")
    assert found.config == {"protocol": "http", "a": {}}
    upstream = found.upstream("db")
    assert upstream.connect_seconds == 0.5
    assert upstream.limits == settings.Limits(connections=3)
    assert upstream.passive == settings.PassiveCheck(interval_seconds=5.0)
    assert found.upstream("other").passive is None


def test_what_an_import_left_and_nobody_understands_fails_closed() -> None:
    world = World()
    sources: list[Any] = [
        {"Name": "web", "Action": "allow", "Unknown": 1},
        {"Name": "api", "action": "allow"},
        {"Name": "far", "Action": "allow", "Peer": "dc9"},
        "what",
    ]
    body = {"Sources": sources, "JWT": {"Providers": "none"}}
    rows = [Entry(kind="service-intentions", name="db", body=body)]
    rows.append(Entry(kind="service-defaults", name="db", body={"Protocol": "http", "X": 1}))
    world.do(imports.Merge(entries=rows))
    policy = world.ask(intentions.Matching("db"))
    found = {one.source: one.action for one in policy.intentions}
    assert found == {"web": "deny", "api": "allow", "*": "deny"}
    assert [one.provider for one in policy.jwt] == [""]
    assert world.ask(settings.Service("db")).protocol == "http"
    assert {one.source for one in world.ask(intentions.OfSource("web"))} == {"web", "*"}
    # Such an entry can be replaced and deleted.
    world.do(config.Erase("service-intentions", "db"))


@pytest.mark.parametrize("key", ["Peer", "SamenessGroup"])
@pytest.mark.parametrize("value", ["default", "none"])
def test_what_is_about_others_is_never_about_those_here(key: str, value: str) -> None:
    world, sources = World(), [{"Name": "web", "Action": "allow"}]
    with pytest.raises(Invalid, match=rf"Sources\[0\].{key}: not available yet"):
        write(world, "service-intentions", "db", {"Sources": [{**sources[0], key: value}]})
    write(world, "service-intentions", "db", {"Sources": [{**sources[0], key: ""}]})
    body = {"TransparentProxy": {"MeshGateway": {"Mode": "none"}}}
    write(world, "service-defaults", "db", body)


def test_an_expression_that_fits_only_without_its_ends_is_refused() -> None:
    world, long = World(), "a" * (PROGRAM_MAX - 1)
    Pattern(long)
    write(world, "service-defaults", "db", {"Protocol": "http"})
    permission = {"Action": "deny", "HTTP": {"PathRegex": long}}
    body = {"Sources": [{"Name": "web", "Permissions": [permission]}]}
    with pytest.raises(Invalid, match=r"PathRegex: not a regular expression of RE2: .* steps"):
        write(world, "service-intentions", "db", body)


def test_names_are_the_same_in_any_case() -> None:
    world, sources = World(), [{"Name": "web", "Action": "allow"}]
    write(world, "service-defaults", "DB", {"Protocol": "http"})
    write(world, "service-intentions", "Db", {"Sources": sources})
    for name in ("db", "DB"):
        assert world.ask(settings.Service(name)).protocol == "http"
        found = world.ask(entries.Get("service-intentions", name))
        assert found is not None
        assert found.name == "Db"
    with pytest.raises(Conflict, match=r"service-intentions/db: there is service-intentions/Db"):
        write(world, "service-intentions", "db", {"Sources": sources})
    again = config.Write.of("service-intentions", "db", {"Sources": sources})
    assert not world.do(config.Create(again))
    imported = Entry(kind="service-intentions", name="db", body={"Sources": sources})
    with pytest.raises(Conflict, match="service-intentions/Db"):
        world.do(imports.Merge(entries=[imported]))
    both = {"Sources": [*sources, {"Name": "WEB", "Action": "deny"}]}
    with pytest.raises(Invalid, match=r'Sources\[1\].Name: "WEB" is there twice'):
        write(world, "service-intentions", "x", both)
    overrides = [{"Name": "dB", "Protocol": "http", "ConnectTimeoutMs": 500}]
    write(world, "service-defaults", "web", {"UpstreamConfig": {"Overrides": overrides}})
    assert world.ask(settings.Service("Web")).upstream("db").connect_seconds == 0.5
    with pytest.raises(Invalid, match="calls this service with http"):
        write(world, "service-defaults", "DB", {"Protocol": "tcp"})
    permission = {"Action": "deny", "HTTP": {"PathExact": "/"}}
    needy = {"Sources": [{"Name": "web", "Permissions": [permission]}]}
    write(world, "service-intentions", "DB".title(), needy)
    world.do(config.Erase("service-defaults", "WEB"))
    with pytest.raises(Conflict, match="would speak tcp"):
        write(world, "service-defaults", "DB", {"Protocol": "tcp"})
    assert world.do(config.Erase("service-intentions", "DB"))
    assert not world.ask(entries.List("service-intentions"))


@pytest.mark.parametrize(
    ("option", "value", "wrong"),
    [
        ("local_connect_timeout_ms", "soon", "a number from 0 to 2147483647, got 'soon'"),
        ("local_request_timeout_ms", -1, "a number from 0"),
        ("local_idle_timeout_ms", [5], "a number from 0"),
        ("max_inbound_connections", True, "a number from 0"),
        ("bind_port", 70000, "a number from 0 to 65535, got 70000"),
        ("balance_inbound_connections", "best", "exact_balance, got 'best'"),
        ("envoy_public_listener_json", "}", "a JSON object as text: "),
        ("envoy_tracing_json", {"http": {}}, "JSON as text, got {'http': {}}"),
        ("envoy_extra_static_clusters_json", '{"a": 1} {', "JSON objects as text: "),
    ],
)
def test_options_that_sidecars_know_make_sense_to_them(option: str, value: Any, wrong: str) -> None:
    with pytest.raises(Invalid) as found:
        write(World(), "proxy-defaults", "global", {"Config": {option: value}})
    assert found.value.message.startswith(f"Config.{option}: expected {wrong}")


def test_other_options_are_left_alone() -> None:
    config = {
        "local_connect_timeout_ms": "500",
        "max_inbound_connections": 10.0,
        "envoy_public_listener_json": "",
        "envoy_extra_static_clusters_json": '{"a": 1}, {"b": 2}',
        "envoy_extra_stats_sinks_json": '[{"a": 1}]',
        "something_else": {"bind_port": "x"},
    }
    world = World()
    assert write(world, "proxy-defaults", "global", {"Config": config})
    assert world.ask(settings.Service("db")).config == config
    for name in ("EnvoyListenerJSON", "EnvoyClusterJSON"):
        body = {"UpstreamConfig": {"Defaults": {name: "{]"}}}
        with pytest.raises(Invalid, match=f"UpstreamConfig.Defaults.{name}: expected a JSON obj"):
            write(world, "service-defaults", "db", body)


def test_expressions_that_nobody_can_read_allow_nothing() -> None:
    world = World()
    write(world, "service-defaults", "db", {"Protocol": "http"})
    bad = {"PathRegex": "(", "Methods": ["GET"]}
    header = {"Name": "x-a", "Regex": "[", "Invert": True}
    permissions = [
        {"Action": "allow", "HTTP": bad},
        {"Action": "deny", "HTTP": bad},
        {"Action": "deny", "HTTP": {"Header": [header]}},
        {"Action": "allow", "HTTP": {"PathPrefix": "/"}},
    ]
    sources = [
        {"Name": "api", "Permissions": permissions[:1], "Precedence": 9},
        {"Name": "web", "Permissions": permissions, "Precedence": 9},
    ]
    imported = Entry(kind="service-intentions", name="db", body={"Sources": sources})
    world.do(imports.Merge(entries=[imported]))
    policy = world.ask(intentions.Matching("db"))
    api, web = policy.intentions
    assert (api.permissions, api.action) == ([], None), "which denies"
    assert web.permissions == [
        intentions.Permission(action="deny", http=intentions.HttpMatch(methods=["GET"])),
        intentions.Permission(action="deny"),
        intentions.Permission(action="allow", http=intentions.HttpMatch(path_prefix="/")),
    ]
    said = [
        one.partition(": not a regular expression")[0] for one in intentions.problems_of(policy)
    ]
    where = "service-intentions/db Sources"
    assert said == [
        f"{where}[api].Permissions[0].HTTP.PathRegex",
        f"{where}[web].Permissions[0].HTTP.PathRegex",
        f"{where}[web].Permissions[1].HTTP.PathRegex",
        f"{where}[web].Permissions[2].HTTP.Header[0].Regex",
    ]
    assert not decide(policy, "api", Request(), default_allow=True).allowed
    # It stays as it is when something else is written into the entry.
    world.do(Put("db", {"Name": "x", "Action": "deny"}))
    kept = world.ask(entries.Get("service-intentions", "db"))
    assert kept is not None
    assert [one["HTTP"] for one in kept.body["Sources"][1]["Permissions"][:2]] == [bad, bad]


def test_providers() -> None:
    world = World()
    write(world, "jwt-provider", "okta", {"JSONWebKeySet": {"Local": {"JWKS": KEYS}}})
    (found,) = world.ask(intentions.Providers(("okta", "none")))
    assert found.keys == '{"keys":[{"kty":"oct"}]}'
    assert (found.skew_seconds, found.fetch_seconds) == (30, 1.0)
