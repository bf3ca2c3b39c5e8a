"""The benchmark of the mesh: how it counts, and that its processes still speak to each other."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from bench.mesh import beside, command, stage, streams
from bench.mesh.denying import Flip, lateness
from bench.mesh.inlined import inlined
from bench.mesh.loader import Row, load
from mesh.connect.xds.messages import readable
from mesh.connect.xds.resources import build
from mesh.connect.xds.snapshot import CLUSTER, FILTER, LISTENER
from tests.connect.xds.test_resources import read

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Answering(socketserver.StreamRequestHandler):
    """Says yes to whatever ends like a request."""

    def handle(self) -> None:
        for line in self.rfile:
            if not line.strip():
                self.wfile.write(ANSWER)


@pytest.fixture
def port() -> Iterator[int]:
    with socketserver.ThreadingTCPServer((stage.HERE, 0), Answering) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_lateness_is_of_the_last_answer_by_the_old_rule_on_each_connection() -> None:
    flips = [Flip("deny", 10.0, 10.5), Flip("allow", 20.0, 20.5), Flip("deny", 30.0, 30.5)]
    rows = [
        Row(0, 9.0, 9.1, 200),
        Row(0, 10.4, 10.7, 200),  # Sent before the answer to the PUT, and answered after it.
        Row(0, 11.0, 11.1, 403),
        Row(1, 10.0, 10.25, 200),
        Row(1, 11.0, 11.1, 0),
        Row(0, 20.6, 20.75, 403),
        Row(0, 21.0, 21.1, 200),
    ]
    assert lateness(flips, rows, "deny") == pytest.approx([0.2, -0.25, -9.4])
    assert lateness(flips, rows, "allow") == pytest.approx([0.25, -9.4])


def test_counted_is_what_was_asked_after_the_denial_and_answered_by_the_old_rule() -> None:
    flips = [Flip("deny", 10.0, 10.5), Flip("allow", 20.0, 20.5)]
    rows = [
        Row(0, 10.4, 10.7, 200),  # Sent before the answer to the PUT.
        Row(0, 11.0, 11.1, 200),
        Row(0, 12.0, 12.1, 403),
        Row(1, 14.0, 14.5, 200),
        Row(1, 20.6, 20.7, 200),  # Allowed again.
    ]
    found = beside.late(flips, rows)
    assert found.seconds == pytest.approx([0.6, 4.0])
    assert found.served == 2


@pytest.mark.parametrize("name", ["rules-deny-one", "jwt-keys-fetched"])
def test_rules_are_put_into_the_listener_and_nothing_else_changes(name: str) -> None:
    made = build(read(name))
    assert made.of(FILTER)
    found = inlined(made)
    assert not found.of(FILTER)
    for called, was in made.of(LISTENER).items():
        before, after = readable(was), readable(found.of(LISTENER)[called])
        filled = 0
        for one in _filters(before):
            if "config_discovery" in one:
                del one["config_discovery"]
                kept = readable(made.of(FILTER)[one["name"]])
                one["typed_config"] = kept["typed_config"]
                filled += 1
        assert after == before
        assert not [ref for ref in found.of(LISTENER)[called].children if ref.kind == FILTER]
        assert filled == len([ref for ref in was.children if ref.kind == FILTER])
    assert found.of(CLUSTER) == made.of(CLUSTER)


def test_sidecars_may_be_told_to_speak_http_1_1_to_each_other() -> None:
    made = build(read("upstream-http"))
    found = inlined(made, http1=True)
    assert found.of(LISTENER) == made.of(LISTENER)
    changed = [one for one in found.of(CLUSTER).values() if one not in made.of(CLUSTER).values()]
    (options,) = readable(changed[0])["typed_extension_protocol_options"].values()
    assert options["explicit_http_config"] == {"http_protocol_options": {}}


def _filters(listener: dict[str, Any]) -> list[dict[str, Any]]:
    chains = [one for chain in listener["filter_chains"] for one in chain["filters"]]
    return [one for chain in chains for one in chain["typed_config"].get("http_filters", [])]


@pytest.mark.parametrize("more", [[], ["--fresh"], ["--together"]])
def test_the_load_asks_on_every_connection_until_it_is_ended(port: int, more: list[str]) -> None:
    with load(port, 3, 300.0, *more) as asked:
        pass
    assert {row.connection for row in asked.rows} == {0, 1, 2}
    assert {row.status for row in asked.rows} == {200}
    assert all(row.sent <= row.answered for row in asked.rows)


def test_streams_are_served_and_hear_of_changes(capsys: pytest.CaptureFixture[str]) -> None:
    streams.measure([2], 2, idle=0.1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[-5] == "2"
    assert lines[-1].startswith("   2 streams")


def test_parts_that_are_not_there_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["walks"])
    assert "there are deny, hops, rules, streams, start" in capsys.readouterr().err
