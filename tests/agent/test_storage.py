"""What is kept on disk across restarts, and what a damaged or full disk does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mesh.agent.storage import Storage
from mesh.clock import SystemClock
from mesh.errors import Internal, NotFound
from mesh.registry.catalog import Check
from tests.agent.conftest import World, until

Make = Callable[..., World]
TTL = {"TTL": "1h"}


async def restart(world: Make, made: World | None, folder: Path, **changes: Any) -> World:
    if made is not None:
        await made.agent.stop()
    made = world(data_dir=str(folder), **changes)
    await made.agent.start()
    return made


def numbers(rows: dict[str, Check]) -> list[Any]:
    return [row.sequence for row in rows.values()]


def unnumbered(rows: dict[str, Check]) -> dict[str, Check]:
    return {
        name: msgspec.structs.replace(row, sequence=msgspec.UNSET) for name, row in rows.items()
    }


async def test_a_restart_keeps_everything(world: Make, tmp_path: Path) -> None:
    made = await restart(world, None, tmp_path)
    made.service(Name="web", ID="web/1", Tags=["a"], Checks=[TTL | {"CheckID": "c"}, TTL])
    made.check(Name="node", TCP="127.0.0.1:1", Interval="1h")
    made.agent.update_ttl("c", "warning", "so so")
    made.agent.set_node_maintenance("disks")
    made.agent.set_service_maintenance("web/1", "")
    before = {name: check.row for name, check in made.agent.checks().items()}
    rows = {name: service.row for name, service in made.agent.services().items()}
    made = await restart(world, made, tmp_path)
    assert {name: service.row for name, service in made.agent.services().items()} == rows
    after = {name: check.row for name, check in made.agent.checks().items()}
    # What was said of them before the restart is older than all that is said from now on.
    assert min(numbers(after)) > max(numbers(before))
    assert unnumbered(after) == unnumbered(before)
    assert made.status("c") == "warning"
    made.agent.set_node_maintenance(None)
    made.agent.set_service_maintenance("web/1", None)
    made.agent.deregister_check("c")
    made = await restart(world, made, tmp_path)
    assert sorted(made.agent.checks()) == ["node", "service:web/1:2"]
    made.agent.deregister_service("web/1")
    made = await restart(world, made, tmp_path)
    assert (sorted(made.agent.checks()), dict(made.agent.services())) == (["node"], {})


async def test_checks_that_a_new_definition_left_out_stay(world: Make, tmp_path: Path) -> None:
    made = await restart(world, None, tmp_path)
    made.service(Name="web", Checks=[TTL | {"CheckID": "a"}, TTL | {"CheckID": "b"}])
    made.service(Name="web", Check=TTL | {"CheckID": "a"})
    made = await restart(world, made, tmp_path)
    assert sorted(made.agent.checks()) == ["a", "b"]


async def test_a_ttl_that_ended_meanwhile_is_critical(world: Make, tmp_path: Path) -> None:
    made = await restart(world, None, tmp_path)
    made.check(ID="short", Name="c", TTL="1ms")
    made.check(ID="long", Name="c", **TTL)
    for name in ("short", "long"):
        made.agent.update_ttl(name, "passing", "")
    await made.agent.stop()
    ended = SystemClock().wall() + 0.005
    await until(lambda: SystemClock().wall() > ended)
    made = await restart(world, None, tmp_path)
    assert (made.status("short"), made.status("long")) == ("critical", "passing")


async def test_renewing_a_ttl_is_kept_too(world: Make, tmp_path: Path) -> None:
    made = world(data_dir=str(tmp_path))
    made.check(ID="c", Name="c", TTL="10s")
    made.agent.update_ttl("c", "passing", "")
    (first,) = (tmp_path / "states").glob("*.json")
    before = first.read_bytes()
    made.agent.update_ttl("c", "passing", "")
    assert first.read_bytes() != before


async def test_files_win_over_what_was_kept(world: Make, tmp_path: Path) -> None:
    made = await restart(world, None, tmp_path)
    made.service(Name="web", Port=1, Check=TTL | {"CheckID": "old"})
    made.check(ID="extra", Name="extra", ServiceID="web", **TTL)
    await made.agent.stop()
    made = world(data_dir=str(tmp_path))
    made.service(source="config", Name="web", Port=2)
    made.check("config", ID="of-web", Name="of-web", ServiceID="web", **TTL)
    await made.agent.start()
    assert made.agent.services()["web"].row.port == 2
    assert sorted(made.agent.checks()) == ["extra", "of-web"]
    made = await restart(world, made, tmp_path)
    assert (dict(made.agent.services()), dict(made.agent.checks())) == ({}, {})


async def test_a_check_in_a_file_may_be_of_a_kept_service(world: Make, tmp_path: Path) -> None:
    made = await restart(world, None, tmp_path)
    made.service(Name="web")
    await made.agent.stop()
    made = world(data_dir=str(tmp_path))
    made.check("config", Name="c", ServiceID="web", **TTL)
    await made.agent.start()
    assert made.agent.checks()["c"].row.service_name == "web"


async def test_kept_scripts_do_not_run_where_they_are_off(world: Make, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    made = await restart(world, None, tmp_path, enable_script_checks=True)
    made.check(ID="c", Name="c", Args=["touch", str(proof)], Interval="20ms")
    await until(proof.exists)
    await made.agent.stop()
    proof.unlink()
    made = await restart(world, None, tmp_path)
    assert "c" not in made.agent.checks()
    made = await restart(world, made, tmp_path, enable_script_checks=True)
    await until(proof.exists)


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe", b"[]", b'{"service": {}}'])
async def test_a_damaged_file_is_put_aside(
    world: Make, tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    made = await restart(world, None, tmp_path)
    made.service(Name="web", Check=TTL)
    made.service(Name="db")
    await made.agent.stop()
    for file in (tmp_path / "services").glob("*.json"):
        if b'"web"' in file.read_bytes():
            file.write_bytes(damage)
    made = await restart(world, None, tmp_path)
    assert list(made.agent.services()) == ["db"]
    assert not made.agent.checks()
    (aside,) = (tmp_path / "services").glob("*.corrupt")
    assert aside.read_bytes() == damage
    assert "is damaged" in caplog.text
    with pytest.raises(NotFound):
        made.agent.deregister_service("web")


def test_a_damaged_file_that_cannot_be_moved_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = Storage(str(tmp_path))
    storage.save("x", "good", 1)
    bad = tmp_path / "x" / "bad.json"
    bad.write_bytes(b"{")
    (tmp_path / "x" / "bad.corrupt" / "in the way").mkdir(parents=True)
    assert storage.load("x", int) == [1]
    assert bad.exists()
    assert "stays where it is" in caplog.text


def test_a_disk_that_refuses_is_told_and_nothing_changes(world: Make, tmp_path: Path) -> None:
    (tmp_path / "services").write_text("in the way")
    made = world(data_dir=str(tmp_path))
    with pytest.raises(Internal, match="cannot keep web"):
        made.service(Name="web")
    assert not made.agent.services()


def test_a_disk_that_refuses_states_stops_no_check(
    world: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = world(data_dir=str(tmp_path))
    made.check(ID="c", Name="c", **TTL)
    (tmp_path / "states").write_text("in the way")
    made.agent.update_ttl("c", "passing", "")
    assert made.status("c") == "passing"
    assert "cannot keep c" in caplog.text


def test_files_are_private(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "a"))
    storage.save("x", "../../name", {"a": 1})
    (file,) = (tmp_path / "a" / "x").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "a" / "x").stat().st_mode & 0o777 == 0o700
    assert storage.load("x", dict) == [{"a": 1}]
    storage.remove("x", "../../name")
    assert storage.load("x", dict) == []
