from __future__ import annotations

import random
import uuid

from mesh.clock import SeededDice


def test_uuids_are_those_of_the_standard_library() -> None:
    dice, bits = SeededDice(5), random.Random(5)
    for _ in range(1000):
        assert dice.uuid() == str(uuid.UUID(int=bits.getrandbits(128), version=4))
