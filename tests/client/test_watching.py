"""A watch resumes by index, resets when it goes back, and outlives the agent."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mesh.client import AsyncClient, Client, Settings, kv
from mesh.client.call import Answer
from mesh.client.shapes import Pair
from mesh.client.watching import PAUSE_SECONDS, Change, Watching
from mesh.errors import Denied, Unreachable
from tests.cluster.processes import PLAIN, Meshd, eventually


def watching() -> Watching[Pair | None]:
    return Watching(kv.get("a"))


def test_only_what_differs_is_a_change() -> None:
    one = Watching(kv.keys("a"))
    assert "index" not in dict(one.call.params)
    assert one.heard(Answer(["a"], 5)) == Change(["a"], None, 5)
    assert dict(one.call.params)["index"] == "5"
    assert one.heard(Answer(["a"], 5)) is None, "time was out"
    assert one.heard(Answer(["a"], 7)) is None, "something else moved the index"
    assert one.heard(Answer(["a", "b"], 8)) == Change(["a", "b"], ["a"], 8)


def test_an_index_that_goes_back_is_a_reset() -> None:
    one = Watching(kv.keys("a"))
    one.heard(Answer(["a"], 9))
    assert one.heard(Answer(["a"], 3)) == Change(["a"], ["a"], 3, reset=True)
    assert "index" not in dict(one.call.params)
    assert one.heard(Answer(["a"], 3)) is None
    assert dict(one.call.params)["index"] == "3"


def test_pauses_grow_and_some_errors_end_it() -> None:
    one, (first, longest) = watching(), PAUSE_SECONDS
    pauses = [one.failed(Unreachable("gone")) for _ in range(20)]
    assert first / 2 <= pauses[0] <= first * 1.5
    assert all(longest / 2 <= pause <= longest * 1.5 for pause in pauses[10:])
    one.heard(Answer(None, 3))
    assert one.failed(Unreachable("gone")) <= first * 1.5
    with pytest.raises(Denied):
        one.failed(Denied("no"))


@pytest.mark.parametrize("awaits", [True, False], ids=["async", "sync"])
def test_a_watch_outlives_a_restart(tmp_path: Path, awaits: bool) -> None:
    config = {"server": True, "bootstrap_expect": 1, "tls": PLAIN}
    node = Meshd("s1", "127.0.0.1", tmp_path / "s1", config)
    settings = Settings(address=f"127.0.0.1:{node.http}", timeout_seconds=5)
    seen: list[Change[Pair | None]] = []

    async def follow() -> None:
        async with AsyncClient(settings) as client:
            async for change in client.watch(kv.get("a")):
                seen.append(change)
                if change.value is not None and change.value.value == b"3":
                    return

    def follow_blocking() -> None:
        with Client(settings) as client:
            for change in client.watch(kv.get("a")):
                seen.append(change)
                if change.value is not None and change.value.value == b"3":
                    return

    def written(value: bytes) -> bool:
        return node.put("/v1/kv/a", value) is True

    node.start()
    try:
        eventually(lambda: written(b"1"))
        with ThreadPoolExecutor() as pool:
            work = pool.submit((lambda: asyncio.run(follow())) if awaits else follow_blocking)
            eventually(lambda: len(seen) == 1)
            written(b"2")
            eventually(lambda: len(seen) == 2)
            node.kill()
            node.start()
            eventually(lambda: written(b"3"))
            work.result(60)
    finally:
        node.kill()
    values = [change.value.value for change in seen if change.value is not None]
    assert values == [b"1", b"2", b"3"]
