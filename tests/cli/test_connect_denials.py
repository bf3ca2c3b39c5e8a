"""Whom intentions refuse, as an agent is told of it."""

from __future__ import annotations

import asyncio
import json

import pytest

from mesh.cli.connect_denials import Denials
from mesh.client import Settings
from mesh.client.connect import CALLERS_MAX
from mesh.clock import SystemClock
from mesh.connect.proxy import Verdict
from tests.client.scripted import Scripted

NO = Verdict(False, "the rule of the test")
PATH = "/v1/agent/connect/refused"


def told(agent: Scripted) -> list[dict[str, int]]:
    """By caller, each time something was told."""
    bodies = [json.loads(said.body) for said in agent.said]
    assert all(body["Target"] == "payments" for body in bodies)
    return [{one["ClientCertURI"]: one["Count"] for one in body["Callers"]} for body in bodies]


def denials(agent: Scripted) -> Denials:
    return Denials("payments", Settings(address=agent.address), SystemClock())


async def test_they_are_counted_by_caller_and_told_once() -> None:
    with Scripted() as agent:
        agent.on("PUT", PATH)
        made = denials(agent)
        assert await made.tell()
        for caller in ("a", "b", "a"):
            made.note(caller, NO)
        assert await made.tell()
        assert await made.tell()
        made.note("b", NO)
        assert await made.tell()
        assert told(agent) == [{"a": 2, "b": 1}, {"b": 1}]


async def test_what_an_agent_did_not_hear_is_told_again_with_what_came_since() -> None:
    with Scripted() as agent:
        agent.on("PUT", PATH, "no", status=500)
        agent.on("PUT", PATH)
        made = denials(agent)
        made.note("a", NO)
        assert not await made.tell()
        made.note("a", NO)
        assert await made.tell()
        assert told(agent)[-1] == {"a": 2}


async def test_there_are_no_more_callers_than_an_agent_hears_at_once() -> None:
    with Scripted() as agent:
        agent.on("PUT", PATH)
        made = denials(agent)
        for number in range(CALLERS_MAX + 5):
            made.note(str(number), NO)
        made.note("0", NO)
        assert await made.tell()
        (found,) = told(agent)
        assert len(found) == CALLERS_MAX
        assert found["0"] == 2


async def test_what_was_not_heard_and_came_since_is_no_more_than_an_agent_hears() -> None:
    with Scripted() as agent:
        agent.on("PUT", PATH, "no", status=500)
        agent.on("PUT", PATH)
        made = denials(agent)
        for number in range(CALLERS_MAX):
            made.note(f"before {number}", NO)
        telling = asyncio.create_task(made.tell())
        await asyncio.sleep(0)
        for number in range(CALLERS_MAX):
            made.note(f"since {number}", NO)
        assert not await telling
        assert await made.tell()
        assert len(told(agent)[-1]) == CALLERS_MAX


async def test_a_count_is_no_greater_than_an_agent_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.client.connect.COUNT_MAX", 3)
    with Scripted() as agent:
        agent.on("PUT", PATH, "no", status=500)
        agent.on("PUT", PATH)
        made = denials(agent)
        for _ in range(2):
            for _ in range(5):
                made.note("a", NO)
            await made.tell()
        assert told(agent)[-1] == {"a": 3}


async def test_an_older_agent_is_left_in_peace(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with Scripted() as agent:
        agent.on("PUT", PATH, "not found", status=404)
        made = denials(agent)
        made.note("a", NO)
        await made.run()
        made.note("a", NO)
        assert await made.tell()
        assert len(agent.said) == 1
    assert "too old" in caplog.text


async def test_what_dry_runs_say_is_told_of_each_outcome() -> None:
    with Scripted() as agent:
        agent.on("PUT", PATH)
        made = denials(agent)
        would, would_not = (
            Verdict(True, "", dry_run="denied"),
            Verdict(False, "", dry_run="allowed"),
        )
        for verdict in (NO, would, would_not, would):
            made.note("a", verdict)
        assert await made.tell()
        (said,) = agent.said
        plain = {"ClientCertURI": "a"}
        assert json.loads(said.body)["Callers"] == [
            plain | {"Count": 1},
            plain | {"Count": 2, "Allowed": True, "DryRun": "denied"},
            plain | {"Count": 1, "Allowed": False, "DryRun": "allowed"},
        ]
