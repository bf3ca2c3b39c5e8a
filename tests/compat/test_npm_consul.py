"""The npm client `consul`, unmodified, against a real node: every part that it covers.

Version 2 of the client has no locks of its own; sessions and keys are driven as its users do.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.dev import DevNode, dev_node

FOLDER = Path(__file__).parent / "node"
DRIVER = FOLDER / "drive.js"
PARTS = re.findall(r"^  async (\w+)\(\) \{$", DRIVER.read_text(), re.MULTILINE)

pytestmark = [
    pytest.mark.skipif(
        not (FOLDER / "node_modules" / "consul").is_dir(),
        reason="the npm client is not installed: ./dev test does it where node and npm are",
    ),
    pytest.mark.together,
]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevNode]:
    with dev_node(tmp_path_factory.mktemp("npm")) as started:
        yield started


@pytest.mark.parametrize("part", PARTS)
def test_npm_client_drives(node: DevNode, part: str) -> None:
    command = ["node", str(DRIVER), str(node.http), part]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_part_is_there() -> None:
    assert {"kv", "agent", "catalog", "health", "session", "event", "status"} <= {*PARTS}
    assert {"transaction", "query", "watch"} <= {*PARTS}
