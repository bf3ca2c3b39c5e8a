import pytest

from mesh.client import agent, catalog, coordinate, event, health, kv, operator
from mesh.client.call import ReadOptions, Response, failure
from mesh.client.shapes import Coord
from mesh.errors import Busy, Denied, Internal, Invalid, MeshError, NoLeader, NotFound


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, "Invalid index", Invalid),
        (403, "Permission denied: needs key:write", Denied),
        (404, "unknown service", NotFound),
        (429, "slow down", Busy),
        (500, "No cluster leader", NoLeader),
        (500, "boom", Internal),
        (301, "", Internal),
    ],
)
def test_a_status_becomes_an_error_with_the_servers_words(
    status: int, body: str, kind: type[MeshError]
) -> None:
    error = failure(Response(status, {}, body.encode()))
    assert type(error) is kind
    assert body in str(error)


def test_an_instance_of_the_agent_is_waited_for_by_its_hash() -> None:
    call = agent.service("web/1")
    assert call.target == "/v1/agent/service/web%2F1"
    body = b'{"Service": "web", "ID": "web/1", "ContentHash": "00ffeeddccbbaa99"}'
    found = call.decode(Response(200, {}, body))
    assert found.value.id == "web/1"
    assert call.newer_than(found.index).target.endswith("?hash=00ffeeddccbbaa99")


def test_options_become_the_query_string() -> None:
    options = ReadOptions(
        index=7,
        wait_seconds=1.5,
        consistency="stale",
        datacenter="dc2",
        filter='Status == "passing"',
        node_meta={"rack": "a"},
    )
    assert catalog.nodes(options).target == (
        "/v1/catalog/nodes?index=7&wait=1500ms&dc=dc2&filter=Status+%3D%3D+%22passing%22"
        "&stale&node-meta=rack%3Aa"
    )


def test_names_are_quoted_and_keys_keep_their_folders() -> None:
    assert health.service("a/b c", passing=True).target == "/v1/health/service/a%2Fb%20c?passing"
    assert kv.get("a/b c?").target == "/v1/kv/a/b%20c%3F"
    assert kv.keys("a/", "/").target == "/v1/kv/a/?keys&separator=%2F"


def test_nulls_count_as_absent() -> None:
    body = b'[{"Node": "n1", "Meta": null, "TaggedAddresses": null, "Added": [null]}]'
    answer = catalog.nodes().finish(Response(200, {"x-consul-index": "9"}, body))
    assert answer.value[0].name == "n1"
    assert answer.value[0].meta == {}
    assert answer.index == 9


def test_an_answer_of_another_shape_is_an_error_in_words() -> None:
    with pytest.raises(Internal, match="the answer is not what was expected"):
        catalog.nodes().finish(Response(200, {}, b'{"a": 1}'))


def test_calls_about_the_pool() -> None:
    assert event.fire("a b", b"x", node="^n", datacenter="dc2").target == (
        "/v1/event/fire/a%20b?node=%5En&dc=dc2"
    )
    assert event.listed("a", ReadOptions(index=7)).target == "/v1/event/list?name=a&index=7"
    fired = event.fire("a").finish(Response(200, {}, b'{"ID": "1", "Payload": null, "LTime": 9}'))
    assert (fired.id, fired.payload, fired.l_time) == ("1", b"", 9)
    told = coordinate.update("n", Coord(vec=(1.0,)))
    assert told.body == (
        b'{"Node":"n","Coord":{"Vec":[1.0],"Error":1.5,"Adjustment":0.0,"Height":0.00001}}'
    )
    nobody = coordinate.node("a/b")
    assert nobody.target == "/v1/coordinate/node/a%2Fb"
    assert nobody.finish(Response(404, {"x-consul-index": "3"}, b"")).value is None
    assert operator.remove_key("k", relay_factor=2).target == "/v1/operator/keyring?relay-factor=2"
    assert agent.reachability(wait_seconds=2).wait_seconds == 2
