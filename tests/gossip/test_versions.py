"""Versions: who would not be understood, dead or alive."""

import pytest

from mesh.gossip.messages import VERSIONS
from mesh.gossip.streams import ALIVE, DEAD, LEFT
from mesh.gossip.versions import misfit

HERE = ("here", ALIVE, VERSIONS)


@pytest.mark.parametrize(
    ("versions", "state", "problem"),
    [
        ("010502020504", ALIVE, ""),
        ("010503020504", ALIVE, ""),
        # Speaks what it alone understands; likewise above.
        ("010606020504", ALIVE, "there speaks version 6 of the protocol; .* understand 1 to 5"),
        ("010502020606", ALIVE, "there speaks version 6 of the protocol of the layer above"),
        # Understands nothing of what the others speak.
        ("030503020504", ALIVE, "here speaks version 2 of the protocol; .* understand 3 to 5"),
        # The window is that of the living; all must be within.
        ("030503020504", DEAD, ""),
        ("010500020504", DEAD, "there speaks version 0 of the protocol"),
        ("010509020504", LEFT, "there speaks version 9"),
        # Not taken over, so no reason to refuse the rest.
        ("", DEAD, ""),
        ("0105", ALIVE, ""),
    ],
)
def test_a_window_of_versions(versions: str, state: int, problem: str) -> None:
    found = misfit([HERE, ("there", state, bytes.fromhex(versions))])
    assert bool(found) == bool(problem)
    if problem:
        with pytest.raises(AssertionError, match=problem):
            raise AssertionError(found)


def test_nobody_fits() -> None:
    assert misfit([]) == ""
