"""By what a call may have been judged that a sidecar tells of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec.structs import replace

from mesh.connect.xds.control import POLICIES_KEPT, Control
from mesh.connect.xds.messages import StreamAccessLogsMessage
from mesh.connect.xds.seen import Held, Seen
from mesh.connect.xds.snapshot import FILTER
from mesh.registry.intentions import Intention, Policy
from tests.connect.hand import HandClock
from tests.connect.xds.test_resources import read


def message(at: float) -> Any:
    found = StreamAccessLogsMessage()
    found.http_logs.log_entry.add().common_properties.start_time.seconds = int(at)
    return found


async def test_the_newest_policy_before_the_call_is_the_likeliest() -> None:
    told: list[list[str]] = []

    def saw(held: list[Held], _: Seen) -> None:
        told.append([each.policy.intentions[0].source for each in held])

    clock = HandClock(1000.0)
    control = Control(clock, lambda _: None, saw)
    blueprint = read("rules-none-but-one")
    for number in range(POLICIES_KEPT + 2):
        one = Intention(source=str(number), destination="web", action="deny")
        for _ in range(2):
            control.put(replace(blueprint, policy=Policy(destination="web", intentions=[one])))
        await clock.advance(10.0)
    since = clock.wall() - 10.0
    control._read_log(blueprint.proxy, message(since + 1))
    control._read_log(blueprint.proxy, message(since - 15))
    control._read_log("stranger", message(since))
    assert control.unplaced == 1
    assert told[0] == list("98765432")
    assert told[1] == list("76543298")
    assert len(told) == 2


async def test_rules_for_connections_have_the_name_that_the_agent_before_gave_them(
    tmp_path: Path,
) -> None:
    clock = HandClock(1000.0)
    blueprint = read("rules-tcp-deny-one")
    nothing = Policy(destination="web")

    def life(folder: Path | None, *policies: Policy) -> list[str]:
        control = Control(clock, lambda _: None, lambda _, __: None, folder)
        found: list[str] = []
        for policy in policies:
            control.put(replace(blueprint, policy=policy))
            found += control._snapshots[blueprint.proxy].of(FILTER)
        return found

    denies = blueprint.policy
    first = life(tmp_path, denies, nothing)
    assert len(set(first)) == 1
    assert life(tmp_path, nothing) == first[:1]
    second = life(tmp_path, denies, nothing, denies)
    assert second[0] == second[1] not in {first[0], second[2]}
    assert life(tmp_path, denies) == second[2:]
    # Who does not know what was judged by what takes nothing for granted.
    names = life(None, denies)
    await clock.advance(1.0)
    assert life(None, denies) != names
