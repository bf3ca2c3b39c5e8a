import socket
from pathlib import Path

import pytest

from mesh.client import Client, ReadOptions, Settings, agent, kv
from mesh.client.shapes import Pair
from mesh.errors import OutcomeUnknown, Unreachable
from tests.client.scripted import Scripted

PAIR = '[{"Key":"a","Value":"Yg==","Flags":3,"LockIndex":0,"CreateIndex":4,"ModifyIndex":5}]'


def test_reads_writes_and_sends_the_token() -> None:
    with Scripted() as server, Client(Settings(address=server.address, token="t")) as client:
        server.on("GET", "/v1/kv/a", PAIR, headers={"X-Consul-Index": "5"})
        server.on("PUT", "/v1/kv/a?cas=5", "false")
        answer = client.kv.get("a")
        assert answer.value == Pair(key="a", value=b"b", flags=3, create_index=4, modify_index=5)
        assert answer.index == 5
        assert client.kv.put("a", "c", cas=5) is False
        assert server.said[1].body == b"c"
        assert server.said[1].headers["x-consul-token"] == "t"


def test_a_missing_key_is_none_and_a_missing_prefix_is_empty() -> None:
    with Scripted() as server, Client(Settings(address=server.address)) as client:
        assert client.kv.get("a").value is None
        assert client.kv.under("a/").value == []


def test_a_connection_closed_while_idle_is_replaced() -> None:
    with Scripted() as server, Client(Settings(address=server.address)) as client:
        server.on("GET", "/v1/status/leader", '"127.0.0.1:8300"')
        server.on("PUT", "/v1/kv/a", "true")
        client.status.leader()
        connection = client._connection
        assert connection is not None
        assert connection.sock is not None
        connection.sock.shutdown(socket.SHUT_RD)
        assert client.kv.put("a", b"")
        assert client._connection is not connection


def test_unix_sockets(tmp_path: Path) -> None:
    with (
        Scripted(str(tmp_path / "mesh.sock")) as server,
        Client(Settings(address=server.address)) as client,
    ):
        server.on("GET", "/v1/status/leader", '"127.0.0.1:8300"')
        assert client.status.leader() == "127.0.0.1:8300"


def test_nobody_there_is_said_in_words(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(Unreachable) as refused:
            Client(Settings(address=address)).status.leader()
    assert str(refused.value) == (
        f"cannot reach the mesh agent at {address}: connection refused. Is meshd running? "
        "Set MESH_HTTP_ADDR or --http-addr to ask another one."
    )
    with pytest.raises(Unreachable, match="there is no such socket"):
        Client(Settings(address=f"unix://{tmp_path}/none")).status.leader()


def test_a_write_that_was_cut_off_may_have_happened() -> None:
    with Scripted() as server, Client(Settings(address=server.address)) as client:
        server.on("PUT", "/v1/kv/a", hang_up=True)
        server.on("GET", "/v1/kv/a", hang_up=True)
        with pytest.raises(OutcomeUnknown, match="may or may not have happened") as unknown:
            client.kv.put("a", b"")
        key = unknown.value.request
        assert server.said[-1].headers["idempotency-key"] == key
        assert unknown.value.message.endswith(f"meshctl operator request {key}")
        with pytest.raises(Unreachable, match="did not answer: the connection was closed"):
            client.kv.get("a")


def test_a_write_is_repeated_under_its_key() -> None:
    with Scripted() as server, Client(Settings(address=server.address)) as client:
        server.on("GET", "/v1/kv/a", "[]", headers={"X-Consul-Index": "5"})
        server.on("PUT", "/v1/kv/a", hang_up=True)
        server.on("PUT", "/v1/kv/a", "true")
        client.kv.get("a")
        write = kv.put("a", b"1").once("order-17")
        with pytest.raises(OutcomeUnknown, match="--since 5 order-17") as unknown:
            client.run(write)
        assert "idempotency-since" not in server.said[-1].headers
        assert client.run(write.once(unknown.value.request, unknown.value.since))
        assert server.said[-1].headers["idempotency-key"] == "order-17"
        assert server.said[-1].headers["idempotency-since"] == "5"


def test_what_is_known_of_one_log_says_nothing_about_that_of_another_datacenter() -> None:
    there = ReadOptions(datacenter="dc2")
    with Scripted() as server, Client(Settings(address=server.address)) as client:
        server.on("GET", "/v1/kv/a", "[]", headers={"X-Consul-Index": "900"})
        server.on("PUT", "/v1/kv/a?dc=dc2", hang_up=True)
        server.on("GET", "/v1/kv/a?dc=dc2", "[]", headers={"X-Consul-Index": "5"})
        server.on("PUT", "/v1/kv/a?dc=dc2", hang_up=True)
        write = kv.put("a", b"1", datacenter="dc2").once("k")
        client.kv.get("a")
        with pytest.raises(OutcomeUnknown, match=r"request --datacenter dc2 k$") as unknown:
            client.run(write)
        assert unknown.value.since == 0
        client.kv.get("a", there)
        with pytest.raises(OutcomeUnknown, match=r"--since 5 --datacenter dc2 k$"):
            client.run(write)


def test_an_unknown_outcome_from_the_agent_has_its_key() -> None:
    with Scripted() as server, Client(Settings(address=server.address)) as client:
        told = {"Idempotency-Key": "k", "Idempotency-Since": "7"}
        server.on("PUT", "/v1/kv/a", "the leader changed", status=500, headers=told)
        with pytest.raises(OutcomeUnknown, match="the leader changed") as unknown:
            client.kv.put("a", b"")
        assert (unknown.value.request, unknown.value.since) == ("k", 7)


def test_follow_waits_for_the_next_index() -> None:
    with Scripted() as server, Client(Settings(address=server.address)) as client:
        first = "/v1/kv/a?wait=1000ms"
        server.on("GET", first, PAIR, headers={"X-Consul-Index": "5"})
        server.on("GET", f"{first}&index=5", PAIR, headers={"X-Consul-Index": "5"})
        server.on("GET", f"{first}&index=5", PAIR, headers={"X-Consul-Index": "8"})
        answers = client.follow(kv.get("a", ReadOptions(wait_seconds=1)))
        assert [next(answers).index, next(answers).index] == [5, 8]
        assert len(server.said) == 3


def test_stream_yields_lines() -> None:
    with Scripted() as server, Client(Settings(address=server.address)) as client:
        server.on("GET", "/v1/agent/monitor?loglevel=info", "one\ntwo\n")
        assert list(client.stream(agent.monitor())) == [b"one\n", b"two\n"]
