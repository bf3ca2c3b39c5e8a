"""The benchmark of the mesh: how it counts, and that its processes still speak to each other."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator

import pytest

from bench.mesh import command, stage, streams
from bench.mesh.denying import Flip, lateness
from bench.mesh.loader import Row, load

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


@pytest.mark.parametrize("more", [[], ["--fresh"]])
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
