"""The numbered scenarios of interoperation with Serf: each has its test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SCENARIOS = {
    1: "we join serf",
    2: "serf joins us",
    3: "a pool at rest is calm: score 0, no suspicion",
    4: "who dies has failed after the suspicion, on both sides",
    5: "who leaves has left, on both sides",
    6: "who comes back has a higher incarnation",
    7: "user events in both directions, each once",
    8: "events are replayed to who joins, unless it ignores old ones",
    9: "queries: acknowledgements, answers, filters, relays",
    10: "serf reachability and serf rtt",
    11: "tags change both ways",
    12: "force-leave of live and failed members, and prune",
    13: "encrypted pools with keys of 16, 24 and 32 bytes; wrong keys and plaintext are refused",
    14: "keys are rotated by serf's command line and by us; long lists are cut",
    15: "a frozen agent is suspected and refutes; frozen for longer, it fails and returns",
    16: "without datagrams a member lives by streams; without both it fails",
    17: "agents with and without compression in one pool",
    18: "a name taken twice: we answer the conflict query",
    19: "3,000 members in one push/pull, both ways",
    20: "timings of the profiles wan and local",
    21: "forged bytes leave us healthy; serf has no complaint about ours",
    22: "serf reads our snapshot file and we read its",
    23: "a pool of five splits, heals and converges",
    24: "golden vectors",
    25: "labels",
}


@pytest.mark.parametrize("number", SCENARIOS)
def test_the_scenario_has_a_test(number: int) -> None:
    name = re.compile(rf"^(?:async )?def test_t0?{number}_\w+\(", re.MULTILINE)
    files = sorted(Path(__file__).parent.parent.rglob("test_*.py"))
    assert any(name.search(file.read_text()) for file in files), SCENARIOS[number]
