"""What a reload says that it changed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mesh.agent.reading import check_definition, service_definition
from mesh.agent.reloading import reload
from mesh.errors import Invalid, MeshError
from tests.agent.conftest import World, options

Make = Callable[..., World]
CHECK = {"id": "c", "name": "c", "http": "http://127.0.0.1/", "interval": "10s"}


def test_every_field_that_changed_with_old_and_new(world: Make) -> None:
    made = world()
    first = service_definition({"name": "web", "port": 80, "token": "hush", "check": CHECK})
    reload(made.agent, options(), [first], [])
    changed = CHECK | {"interval": "5s", "header": {"Authorization": ["hush"]}, "timeout": "1s"}
    second = service_definition({"name": "web", "port": 81, "token": "hush2", "check": changed})
    lines = list(map(str, reload(made.agent, options(), [second], [])))
    assert lines == [
        "service web: port: 80 -> 81",
        "service web: token: hidden -> hidden",
        "check c: interval: 10s -> 5s",
        "check c: timeout: none -> 1s",
        "check c: header: {} -> hidden",
    ]
    long = service_definition({"name": "web", "meta": {"k": "x" * 200}})
    found = reload(made.agent, options(), [long], [])
    change = next(one for one in found if one.field == "meta")
    assert (len(change.new), change.new[-3:]) == (80, "...")


def test_the_status_stays_when_a_definition_changes(world: Make) -> None:
    made = world()
    ttl = {"id": "c", "name": "c", "ttl": "1h"}
    reload(made.agent, options(), [], [check_definition(ttl)])
    made.agent.update_ttl("c", "passing", "well")
    reload(made.agent, options(), [], [check_definition(ttl | {"notes": "new"})])
    assert (made.status("c"), made.output("c")) == ("passing", "well")


@pytest.mark.parametrize(
    ("check", "text"),
    [
        ({"id": "s", "args": ["true"], "interval": "1s"}, "Scripts are disabled"),
        ({"id": "s", "ttl": "1s", "service_id": "x"}, 'check "s": ServiceID: this agent has no'),
        ({"ttl": "1s"}, "Name: a check needs a name"),
    ],
)
def test_what_is_not_allowed_changes_nothing(
    world: Make, check: dict[str, object], text: str
) -> None:
    made = world(sidecar_ports=(21000, 21000))
    good = service_definition({"name": "web"})
    with pytest.raises(MeshError, match=text):
        reload(made.agent, options(datacenter="dc9"), [good], [check_definition(check)])
    two = [
        service_definition({"name": name, "port": port, "connect": {"sidecar_service": {}}})
        for name, port in (("a", 21000), ("b", 1))
    ]
    made.service(Name="taken", Port=21000)
    with pytest.raises(Invalid, match="is in use"):
        reload(made.agent, options(datacenter="dc9", sidecar_ports=(21000, 21000)), two, [])
    assert list(made.agent.services()) == ["taken"]
    assert made.agent.options.datacenter == "dc1"
