"""Profiles: memberlist's numbers."""

import pytest

from mesh.gossip.driver import Options
from mesh.gossip.profiles import LocalOptions, WanOptions

# Reference, 2.1: probe interval and timeout, helpers, suspicion, gossip interval and nodes,
# to the dead, push/pull, retransmissions, stream timeout.
TABLE: list[tuple[type[Options], tuple[float, ...]]] = [
    (Options, (1, 0.5, 3, 4, 0.2, 3, 30, 30, 4, 10)),
    (WanOptions, (5, 3, 3, 6, 0.5, 4, 60, 60, 4, 30)),
    (LocalOptions, (1, 0.2, 1, 3, 0.1, 3, 15, 15, 2, 1)),
]


@pytest.mark.parametrize(("kind", "numbers"), TABLE, ids=lambda one: getattr(one, "__name__", ""))
def test_the_timing_is_memberlists(kind: type[Options], numbers: tuple[float, ...]) -> None:
    options = kind(bind_address="127.0.0.1")
    assert (
        options.probe_interval_seconds,
        options.probe_timeout_seconds,
        options.indirect_checks,
        options.suspicion_mult,
        options.gossip_interval_seconds,
        options.gossip_nodes,
        options.gossip_to_the_dead_seconds,
        options.push_pull_interval_seconds,
        options.retransmit_mult,
        options.stream_timeout_seconds,
    ) == numbers
