"""By what a call may have been judged that a sidecar tells of."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from mesh.connect.xds.control import POLICIES_KEPT, Control
from mesh.connect.xds.messages import StreamAccessLogsMessage
from mesh.connect.xds.seen import Held, Seen
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
    assert told[0] == list("98765432")
    assert told[1] == list("76543298")
    assert len(told) == 2
