import io
import json
import os
import pty
from pathlib import Path

import pytest

from mesh.cli.output import Output
from mesh.errors import OutcomeUnknown

ROWS = [("n1", "alive"), ("[red]n2", "failed")]


def on_terminal(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm-256color")
    leader, follower = pty.openpty()
    with open(follower, "w", encoding="utf-8") as stream:
        Output(stream, io.StringIO(), environment).table(None, ("Node", "Status"), ROWS)
        stream.flush()
        shown = os.read(leader, 10_000).decode()
    os.close(leader)
    return shown


def test_a_terminal_gets_a_table_with_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = on_terminal({}, monkeypatch)
    assert "\x1b[32malive" in shown
    assert "[red]n2" in shown
    assert "───" in shown


def test_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = on_terminal({"NO_COLOR": "1"}, monkeypatch)
    assert "\x1b[3" not in shown
    assert "alive" in shown


def test_a_pipe_gets_aligned_columns(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w+") as stream:
        Output(stream, io.StringIO(), {}).table(None, ("Node", "Status"), ROWS)
        stream.seek(0)
        assert stream.read() == "Node     Status\nn1       alive\n[red]n2  failed\n"


def test_json_of_an_unknown_outcome_has_what_is_needed_to_ask() -> None:
    stderr = io.StringIO()
    out = Output(io.StringIO(), stderr, {})
    out.as_json = True
    out.error(OutcomeUnknown("lost", "order-17", 8))
    told = json.loads(stderr.getvalue())["Error"]
    assert (told["Code"], told["Request"], told["Since"]) == ("outcome-unknown", "order-17", 8)
