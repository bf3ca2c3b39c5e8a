"""What a node runs: defaults, re-registration, maintenance, deregistration, reload."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mesh.agent.checks import Result
from mesh.agent.reading import check_definition, service_definition
from mesh.agent.reloading import reload
from mesh.errors import Denied, Invalid, NotFound
from mesh.registry.catalog import TaggedAddress
from tests.agent.conftest import World, options, until

Make = Callable[..., World]
TTL = {"TTL": "1h"}


def test_default_ids_names_and_addresses(world: Make) -> None:
    made = world()
    made.service(Name="web", Address="10.0.0.9", Port=80, Check=TTL)
    made.service(Name="db", ID="db1", Checks=[TTL, TTL | {"CheckID": "own", "Name": "x"}, TTL])
    checks = made.agent.checks()
    assert sorted(checks) == ["own", "service:db1:1", "service:db1:3", "service:web"]
    assert checks["service:web"].row.name == "Service 'web' check"
    row = checks["service:db1:1"].row
    assert (row.service_id, row.service_name, row.status, row.kind) == (
        "db1",
        "db",
        "critical",
        "ttl",
    )
    address = TaggedAddress("10.0.0.9", 80)
    tagged = made.agent.services()["web"].row.tagged_addresses
    assert tagged == {"lan_ipv4": address, "wan_ipv4": address}


def test_registering_again_keeps_statuses_and_other_checks(world: Make) -> None:
    made = world()
    made.service(Name="web", Checks=[TTL | {"CheckID": "a"}, TTL | {"CheckID": "b"}])
    made.agent.update_ttl("a", "passing", "fine")
    made.service(Name="web", Tags=["v2"], Check=TTL | {"CheckID": "a", "Notes": "new"})
    assert (made.status("a"), made.output("a")) == ("passing", "fine")
    assert made.agent.checks()["a"].row.notes == "new"
    assert made.agent.checks()["b"].row.service_tags == ["v2"]
    made.agent.set_service_maintenance("web", "")
    made.service(replace=True, Name="web", Check=TTL | {"CheckID": "a"})
    assert sorted(made.agent.checks()) == ["_service_maintenance:web", "a"]


def test_what_is_not_there(world: Make) -> None:
    agent = world().agent
    with pytest.raises(NotFound, match='Unknown service ID "x"'):
        agent.deregister_service("x")
    with pytest.raises(NotFound, match='Unknown check ID "x"'):
        agent.deregister_check("x")
    with pytest.raises(NotFound, match="Unknown check"):
        agent.update_ttl("x", "passing", "")
    with pytest.raises(NotFound, match="Unknown service"):
        agent.set_service_maintenance("x", "")
    with pytest.raises(NotFound, match='no service "x"'):
        agent.register_check(check_definition({"Name": "c", "TTL": "1s", "ServiceID": "x"}))


def test_only_ttl_checks_are_set(world: Make) -> None:
    made = world()
    made.check(Name="c", TCP="127.0.0.1:1", Interval="1h")
    with pytest.raises(Invalid, match="not a TTL check"):
        made.agent.update_ttl("c", "passing", "")


@pytest.mark.parametrize(
    ("source", "given", "allowed"),
    [
        ("api", {}, False),
        ("config", {}, False),
        ("api", {"enable_local_script_checks": True}, False),
        ("config", {"enable_local_script_checks": True}, True),
        ("api", {"enable_script_checks": True}, True),
        ("config", {"enable_script_checks": True}, True),
    ],
)
def test_scripts_are_off_unless_enabled(
    world: Make, source: str, given: dict[str, Any], allowed: bool
) -> None:
    made = world(**given)
    script = {"Args": ["true"], "Interval": "1h"}
    if allowed:
        made.check(source, Name="c", **script)
        made.service(source=source, Name="s", Check=script)
        return
    with pytest.raises(Denied, match="enable_script_checks"):
        made.check(source, Name="c", **script)
    with pytest.raises(Denied, match="enable_script_checks"):
        made.service(source=source, Name="s", Check=script)
    assert not made.agent.services()
    assert not made.agent.checks()


def test_short_times_are_raised(world: Make, caplog: pytest.LogCaptureFixture) -> None:
    made = world(interval_min_seconds=1.0, deregister_min_seconds=60.0)
    after = {"DeregisterCriticalServiceAfter": "1s"}
    made.service(Name="s", Check={"TCP": "127.0.0.1:1", "Interval": "10ms", "CheckID": "c"} | after)
    assert made.agent.checks()["c"].row.interval == "1s"
    assert "Interval: raised to 1s" in caplog.text
    assert "DeregisterCriticalServiceAfter: raised to 60 s" in caplog.text


@pytest.mark.parametrize(
    ("name", "warned"),
    [("web-2", 0), ("w" * 63, 0), ("w" * 64, 1), ("web_2", 1), ("web.2", 1), ("-web", 1)],
)
def test_a_name_that_dns_cannot_ask_for_is_warned_about(
    world: Make, caplog: pytest.LogCaptureFixture, name: str, warned: int
) -> None:
    agent = world()
    agent.service(Name=name)
    assert name in agent.agent.services()
    assert len([one for one in caplog.records if "no DNS name" in one.message]) == warned


def test_output_limits(world: Make) -> None:
    made = world(check_output_max_bytes=20)
    made.check(ID="c", Name="c", OutputMaxSize=5, **TTL)
    made.agent.update_ttl("c", "passing", "0123456789")
    assert made.output("c") == "01234 (captured 5 of 10 bytes)"
    made.check(ID="d", Name="d", OutputMaxSize=5000, **TTL)
    made.agent.report("d", Result("passing", "x" * 30 + "end"))
    assert made.output("d").startswith("Captured 20 of 33 bytes")
    silent = world(discard_check_output=True)
    silent.check(ID="c", Name="c", **TTL)
    silent.agent.update_ttl("c", "passing", "0123456789")
    assert (silent.status("c"), silent.output("c")) == ("passing", "")


def test_maintenance(world: Make) -> None:
    made = world()
    made.service(Name="web")
    made.agent.set_node_maintenance("disks")
    made.agent.set_node_maintenance("fans")
    made.agent.set_service_maintenance("web", "")
    node = made.agent.checks()["_node_maintenance"].row
    assert (node.name, node.status, node.notes, node.kind) == (
        "Node Maintenance Mode",
        "critical",
        "fans",
        "maintenance",
    )
    row = made.agent.checks()["_service_maintenance:web"].row
    assert (row.name, row.service_name) == ("Service Maintenance Mode", "web")
    assert "no reason" in row.notes
    for _ in range(2):
        made.agent.set_node_maintenance(None)
    made.agent.deregister_check("_service_maintenance:web")
    assert not made.agent.checks()


async def test_a_service_that_is_critical_for_too_long_goes(world: Make) -> None:
    made = world()
    after = {"DeregisterCriticalServiceAfter": "50ms"}
    made.service(Name="bad", Checks=[TTL | after, TTL])
    made.service(Name="good", Check=TTL | after | {"Status": "passing"})
    made.service(Name="patient", Check=TTL)
    made.check(Name="node", **TTL, **after)
    await made.agent.start()
    await until(lambda: "bad" in made.listed())
    await until(lambda: "bad" not in made.agent.services())
    await until(lambda: "bad" not in made.listed())
    assert sorted(made.agent.services()) == ["good", "patient"]
    assert sorted(made.checked()) == ["node", "service:good", "service:patient"]


def test_registering_again_does_not_start_the_critical_time_anew(world: Make) -> None:
    made = world()
    check = TTL | {"CheckID": "c", "DeregisterCriticalServiceAfter": "1h"}
    made.service(Name="s", Check=check)
    since = made.agent.checks()["c"].clock.since
    made.service(Name="s", Check=check)
    assert made.agent.checks()["c"].clock.since == since


def test_a_reload_replaces_what_files_define(world: Make) -> None:
    made = world(enable_local_script_checks=True)
    made.service(source="config", Name="a", Check=TTL | {"CheckID": "a1"})
    made.service(source="config", Name="b")
    made.service(Name="api", Check=TTL)
    made.check("config", Name="alone", **TTL)
    made.check("config", Name="of-a", ServiceID="a", **TTL)
    made.check(Name="extra", ServiceID="a", **TTL)
    made.agent.update_ttl("a1", "passing", "")
    services = [
        service_definition({"name": "a", "tags": ["new"], "check": TTL | {"id": "a1"}}),
        service_definition({"name": "c"}),
    ]
    checks = [check_definition({"name": "other", "ttl": "5s"})]
    changed = reload(made.agent, options(node_meta={"x": "y"}), services, checks)
    assert list(map(str, changed)) == [
        "service b removed",
        "check alone removed",
        "check of-a removed",
        'service a: tags: [] -> ["new"]',
        "service c added",
        "check other added",
    ]
    assert sorted(made.agent.services()) == ["a", "api", "c"]
    assert sorted(made.agent.checks()) == ["a1", "extra", "other", "service:api"]
    assert made.status("a1") == "passing"
    assert made.agent.node().meta == {"x": "y"}
    assert reload(made.agent, options(), services, checks) == []


def test_a_reload_that_is_not_allowed_changes_nothing(world: Make) -> None:
    made = world()
    made.service(source="config", Name="a")
    script = check_definition({"name": "s", "args": ["true"], "interval": "1s"})
    stray = check_definition({"name": "s", "ttl": "1s", "service_id": "none"})
    for wrong in (script, stray):
        with pytest.raises((Denied, NotFound)):
            reload(made.agent, options(datacenter="dc9"), [], [wrong])
    assert sorted(made.agent.services()) == ["a"]
    assert made.agent.options.datacenter == "dc1"


async def test_a_reload_that_disables_scripts_ends_them(world: Make) -> None:
    made = world(enable_script_checks=True)
    made.check(ID="c", Name="c", Args=["true"], Interval="20ms")
    await made.agent.start()
    await until(lambda: made.status("c") == "passing")
    reload(made.agent, options(), [], [])
    assert made.status("c") == "critical"
    assert "enable_script_checks" in made.output("c")
