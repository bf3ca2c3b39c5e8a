"""History: what the log changed, bounded and the same everywhere; what was, and how it returns."""

import contextlib
from hashlib import sha256
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.codec import unpack
from mesh.errors import Conflict, Invalid, MeshError, NotFound
from mesh.registry import autopilot, catalog, config, entries, history, kv, prepared, restores
from mesh.registry.envelope import Envelope, seal
from mesh.registry.levels import HISTORY, MESH, Finalize, Found
from mesh.registry.port import Command
from mesh.registry.prepared_rows import Prepared, ServiceQuery
from mesh.server.machine import Machine
from mesh.store import chronicle

NAMES = st.sampled_from(["a", "b", "web/1", "web/2"])
COMMANDS = st.one_of(
    st.builds(kv.Set, NAMES, st.binary(max_size=3)),
    st.builds(kv.Delete, NAMES),
    st.builds(kv.DeleteUnder, st.sampled_from(["", "web/"])),
    st.builds(
        catalog.Register,
        node=st.builds(catalog.Node, name=NAMES, address=st.sampled_from(["10.0.0.1", "10.0.0.2"])),
        service=st.none() | st.builds(catalog.Service, node=st.just(""), id=NAMES, name=NAMES),
    ),
    st.builds(catalog.Deregister, node=NAMES, service_id=st.just("") | NAMES),
    st.builds(entries.Set, st.just("proxy-defaults"), NAMES, st.just({}) | st.just({"a": [1]})),
    st.builds(entries.Delete, st.just("proxy-defaults"), NAMES),
    st.builds(history.Revert, st.just("kv"), NAMES, st.integers(1, 30)),
    st.builds(history.Limit, st.integers(0, 9000), st.floats(0, 300)),
)
LOGS = st.lists(st.tuples(COMMANDS, st.integers(0, 100)), max_size=30)


class World:
    """A machine that is fed one command after the other."""

    def __init__(self) -> None:
        self.machine, self.index, self.time = Machine(), 0, 0.0
        self.do(Found(HISTORY))

    def do(self, command: Command[Any], seconds: float = 1.0, **known: str) -> object:
        """Apply it; raises what it was refused with."""
        self.index += 1
        self.time += seconds
        author, origin = known.get("author", ""), known.get("origin", "test")
        request = f"request-{self.index}"
        sealed = seal(
            Envelope(
                HISTORY,
                request,
                self.time,
                author,
                origin,
                command,  # type: ignore[arg-type]
                since=self.index - 1,
            )
        )
        outcome = self.machine.apply(self.index, sealed)
        if isinstance(outcome, MeshError):
            raise outcome
        return outcome

    def try_to(self, command: Command[Any], seconds: float) -> None:
        with contextlib.suppress(MeshError):
            self.do(command, seconds)

    def of(self, key: str, kind: str = "kv", **asked: object) -> list[history.Told]:
        query = history.Of(kind, key, **asked)  # type: ignore[arg-type]
        page: history.Page = self.machine.answers.read(query).value
        return page.changes

    def at(self, key: str, index: int) -> bytes | str | None:
        then = self.machine.answers.read(history.At("kv", key, index)).value
        if not then.known:
            return "forgotten"
        return None if then.row is None else unpack(then.row, kv.Pair).value


def pieces_of(machine: Machine) -> list[bytes]:
    return [piece for piece in machine.snapshot() if piece]


@settings(max_examples=80, deadline=None)
@given(LOGS)
def test_the_changes_replayed_are_the_tables(log: list[tuple[Command[Any], int]]) -> None:
    world = World()
    known = world.machine.database.chronicle
    states: dict[int, dict[str, bytes]] = {}
    for command, _ in log:
        if not isinstance(command, history.Limit):
            world.try_to(command, 1.0)
            pairs = world.machine.answers.read(kv.Under("")).value
            states[world.index] = {pair.key: pair.value for pair in pairs}
    replayed: dict[tuple[str, str], object] = {}
    for change in known.changes.values():
        place = (change.kind, change.key)
        assert replayed.pop(place, None) == change.before
        if change.after is not None:
            replayed[place] = change.after
    for content in world.machine.database.contents.values():
        table = content.table
        for key, row in content.rows.items() if table.history else ():
            assert replayed.pop((table.history, chronicle.key_text(key))) == row
    assert not replayed
    for index, state in states.items():
        for name in ("a", "b", "web/1", "web/2"):
            assert world.at(name, index) == state.get(name)


@settings(max_examples=80, deadline=None)
@given(LOGS, st.data())
def test_every_server_knows_and_forgets_the_same(
    log: list[tuple[Command[Any], int]], data: st.DataObject
) -> None:
    world, other = World(), World()
    cut = data.draw(st.integers(0, len(log)))
    for number, (command, seconds) in enumerate(log):
        world.try_to(command, seconds)
        other.try_to(command, seconds)
        if number == cut:
            pieces, other.machine = pieces_of(other.machine), Machine()
            other.machine.prepare(other.index, iter(pieces)).install()
    assert pieces_of(world.machine) == pieces_of(other.machine)
    known = world.machine.database.chronicle
    assert known.size == sum(change.size for change in known.changes.values())
    assert known.size <= max(history.limits_of(world.machine.database).bytes_max, 0)
    assert set(known.changes) == set(range(known.oldest, known.following))


def test_who_when_and_from_where_is_told() -> None:
    world = World()
    world.do(kv.Set("a", b"1"), author="accessor", origin="n1/http/10.0.0.7")
    world.do(kv.Set("a", b"1"), origin="nobody: it changes nothing")
    world.do(kv.Delete("a"))
    deleted, made = world.of("a")
    assert (made.op, made.author, made.origin) == ("kv.set", "accessor", "n1/http/10.0.0.7")
    assert (made.index, made.time, made.request, made.before) == (2, 2.0, "request-2", None)
    assert (deleted.op, deleted.index, deleted.before, deleted.after) == (
        "kv.delete",
        4,
        made.after,
        None,
    )


def test_changes_are_found_by_prefix_author_and_time_page_by_page() -> None:
    world = World()
    for key in ("app/a", "app/b", "apple", "other"):
        world.do(kv.Set(key, b"1"), author="x" if key == "apple" else "")
    assert [one.key for one in world.of("app/", prefix=True)] == ["app/b", "app/a"]
    assert [one.key for one in world.of("app", prefix=True)] == ["apple", "app/b", "app/a"]
    assert [one.key for one in world.of("", prefix=True, author="x")] == ["apple"]
    assert "apple" not in [one.key for one in world.of("", prefix=True, author="anonymous")]
    assert [one.key for one in world.of("", prefix=True, since=4.0)] == ["other", "apple"]
    read = world.machine.answers.read
    first = read(history.Of("kv", "", prefix=True, limit=3)).value
    rest = read(history.Of("kv", "", prefix=True, limit=3, before=first.following)).value
    assert [one.key for one in first.changes + rest.changes] == ["other", "apple", "app/b", "app/a"]
    assert not rest.following


def test_services_are_kept_without_their_health() -> None:
    world = World()
    node = catalog.Node(name="N1", address="10.0.0.1")
    service = catalog.Service(node="", id="web-1", name="web", port=80)
    check = catalog.Check(node="", id="c", service_id="web-1")
    world.do(catalog.Register(node, service=service, checks=[check]))
    for status in ("passing", "critical"):
        checks = [msgspec.structs.replace(check, status=status)]
        world.do(catalog.Register(node, checks=checks))
    assert len(world.of("N1/web-1", "service")) == 1
    assert len(world.of("n1", "node")) == 1
    assert len(world.machine.answers.read(history.Of()).value.changes) == 2


def test_readers_wake_for_their_key_only_and_learn_of_pruning() -> None:
    world = World()
    world.do(kv.Set("a", b"1"))
    woken: list[str] = []
    answers = world.machine.answers
    answers.listen(history.Of("kv", "a"), lambda: woken.append("a"))
    answers.listen(history.Of("kv", "f/", prefix=True), lambda: woken.append("f/"))
    world.do(kv.Set("b", b"1"))
    assert woken == []
    world.do(kv.Set("f/x", b"1"))
    assert woken == ["f/"]
    assert answers.read(history.Of("kv", "f/", prefix=True)).index == world.index
    world.do(history.Limit(0, 1.0))
    assert set(woken) == {"a", "f/"}
    assert world.of("a") == []


def test_old_changes_go_with_the_entries_that_follow() -> None:
    world = World()
    world.do(history.Limit(1 << 20, 100.0))
    world.do(kv.Set("a", b"1"))
    world.do(kv.Set("a", b"2"), seconds=90.0)
    world.do(autopilot.Set(autopilot.Settings()), seconds=70.0)
    assert [one.index for one in world.of("a")] == [4]
    assert world.at("a", 3) == b"1"  # What the change that is known changed.
    assert world.at("a", 2) == "forgotten"


def test_no_single_entry_forgets_very_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chronicle, "PRUNE_STEP", 3)
    world = World()
    for number in range(10):
        world.do(kv.Set("a", b"%d" % number))
    world.do(history.Limit(0, 1.0))
    known = world.machine.database.chronicle
    assert len(known.changes) == 4  # With that of the limit.
    world.do(kv.Delete("nothing"))
    assert len(known.changes) == 1


def test_an_entry_that_changes_very_much_stays_within_the_limit_too() -> None:
    world = World()
    world.do(history.Limit(50_000, 1e6))
    for number in range(400):
        world.do(kv.Set(f"many/{number}", b"x"))
    asked = history.Of("kv", "many/7", prefix=True)
    index = world.machine.answers.read(asked).index
    world.do(kv.DeleteUnder(""))
    known = world.machine.database.chronicle
    assert known.size <= 50_000
    assert {change.cause.op for change in known.changes.values()} == {"kv.delete-under"}
    assert world.machine.answers.read(asked).index == world.index > index
    assert known.floor == world.index
    assert not world.machine.answers.read(history.At("kv", "many/0", world.index - 1)).value.known


def test_a_revert_is_a_change_that_says_so() -> None:
    world = World()
    world.do(kv.Set("a", b"1", 7))
    world.do(kv.Set("a", b"2"))
    assert world.do(history.Revert("kv", "a", 2, check_index=3)) is True
    assert world.do(history.Revert("kv", "a", 2)) is False
    latest = world.of("a")[0]
    assert (latest.op, latest.reverts, latest.index) == ("history.revert", 2, 4)
    pair = world.machine.answers.read(kv.Get("a")).value
    assert pair is not None
    assert (pair.value, pair.flags) == (b"1", 7)
    world.do(history.Revert("kv", "a", 1))
    assert world.machine.answers.read(kv.Get("a")).value is None


def test_a_revert_is_refused_when_somebody_else_was_there() -> None:
    world = World()
    world.do(kv.Set("a", b"1"))
    world.do(kv.Set("a", b"2"))
    with pytest.raises(Conflict, match="its modify index is 3, not 2"):
        world.do(history.Revert("kv", "a", 2, check_index=2))
    with pytest.raises(Conflict, match="it does not exist, not 3"):
        world.do(history.Revert("kv", "gone", 2, check_index=3))
    with pytest.raises(Invalid, match="no index of this log yet"):
        world.do(history.Revert("kv", "a", 99))
    with pytest.raises(Invalid, match='"checks" cannot be reverted, only autopilot, config, kv'):
        history.Revert("checks", "a", 1).validate()
    world.do(history.Limit(0, 1.0))
    with pytest.raises(NotFound, match="goes back to index"):
        world.do(history.Revert("kv", "a", 2))


def test_services_and_entries_are_reverted_too_but_not_those_of_agents() -> None:
    world = World()
    node = catalog.Node(name="ext", address="10.0.0.1")
    world.do(catalog.Register(node, service=catalog.Service(node="", id="db", name="db", port=1)))
    world.do(catalog.Register(node, service=catalog.Service(node="", id="db", name="db", port=2)))
    world.do(history.Revert("service", "EXT/db", 2))
    found = world.machine.answers.read(catalog.ServiceNodes("db")).value
    assert [one.service.port for one in found] == [1]
    world.do(catalog.Register(node, checks=[catalog.Check(node="", id=catalog.SERF_HEALTH)]))
    with pytest.raises(Conflict, match="belongs to the agent on ext"):
        world.do(history.Revert("service", "ext/db", 3))
    world.do(entries.Set("service-defaults", "web", {"Protocol": "http"}))
    world.do(entries.Set("service-defaults", "web", {"Protocol": "grpc"}))
    world.do(history.Revert("config", "service-defaults/web", world.index - 1))
    entry = world.machine.answers.read(entries.Get("service-defaults", "web")).value
    assert entry is not None
    assert entry.body == {"Protocol": "http"}


def test_what_was_before_the_level_is_not_known() -> None:
    machine = Machine()
    machine.apply(2, seal(Envelope(1, "r2", 1.0, "", "test", kv.Set("a", b"1"))))
    for level in range(2, HISTORY + 1):
        assert not machine.database.chronicle.floor
        up = Envelope(level - 1, f"r{level + 1}", 1.0, "", "test", Finalize(level), since=level)
        assert machine.apply(level + 1, seal(up)) == level
    assert machine.database.chronicle.floor == HISTORY + 1
    read = machine.answers.read
    assert read(history.Of("kv", "a")).value == history.Page([], 0, HISTORY + 1)
    assert read(history.At("kv", "a", 2)).value.modify_index == 2
    assert not read(history.At("kv", "a", 1)).value.known


def test_a_compared_row_is_by_itself_before_and_after_its_last_change() -> None:
    world = World()
    for value in (b"1", b"2", b"3"):
        world.do(kv.Set("a", value))
    read = world.machine.answers.read

    def values(**asked: int) -> list[bytes]:
        found = read(history.Compare("kv", "a", **asked)).value
        rows = (found.before.row, found.after.row)
        return [unpack(row, kv.Pair).value if row else b"-" for row in rows]

    assert values() == [b"2", b"3"]
    assert values(after=3) == [b"1", b"2"]
    assert values(before=2) == [b"1", b"3"]
    assert values(before=1, after=2) == [b"-", b"1"]


def test_a_restore_replaces_rows_and_leaves_what_was_known_before() -> None:
    world = World()
    world.do(kv.Set("a", b"1"))
    world.do(kv.Set("kept", b"1"))
    state = b"".join(world.machine.export())
    world.do(kv.Set("a", b"2"))
    world.do(kv.Set("b", b"2"))
    world.do(restores.Begin("id", "name", len(state), HISTORY))
    world.do(restores.Add("id", 0, state))
    restored = world.index + 1
    world.do(restores.Finish("id", sha256(state).hexdigest()))
    assert (world.at("a", 0), world.at("b", 0)) == (b"1", None)
    assert (world.at("a", restored), world.at("a", restored - 1)) == (b"1", b"2")
    assert (world.at("b", restored), world.at("b", restored - 1)) == (None, b"2")
    assert (world.at("kept", restored), world.at("kept", restored - 1)) == (b"1", b"1")
    world.do(kv.Set("a", b"3"))
    assert (world.at("a", restored), world.at("a", restored - 1)) == (b"1", b"2")
    world.do(history.Revert("kv", "b", restored - 1))
    assert world.at("b", 0) == b"2"
    copy = Machine()
    copy.prepare(world.index, iter(pieces_of(world.machine))).install()
    assert pieces_of(copy) == pieces_of(world.machine)
    assert copy.database.chronicle.changes == world.machine.database.chronicle.changes


def test_prepared_queries_are_reverted_with_their_tokens() -> None:
    world = World()
    query = Prepared(
        id=str(UUID(int=9)), name="db", token="secret", service=ServiceQuery(service="db")
    )
    world.do(prepared.Create(query))
    world.do(prepared.Delete(query.id))
    world.do(history.Revert("query", query.id, 2))
    found = world.machine.answers.read(prepared.Get(query.id)).value
    assert found is not None
    assert (found.name, found.token) == ("db", "secret")
    world.do(prepared.Update(msgspec.structs.replace(query, name="other", token="<hidden>")))
    world.do(history.Revert("query", query.id, 2))
    found = world.machine.answers.read(prepared.Get(query.id)).value
    assert found is not None
    assert found.name == "db"
    world.do(history.Revert("query", query.id, 1))
    assert world.machine.answers.read(prepared.Get(query.id)).value is None
    assert world.do(history.Revert("query", query.id, 1)) is False


def test_checked_entries_are_reverted_unless_others_need_them() -> None:
    world = World()
    world.do(Finalize(MESH))
    for protocol in ("tcp", "http"):
        world.do(config.Write.of("service-defaults", "db", {"Protocol": protocol}))
    permission = {"Action": "allow", "HTTP": {"PathPrefix": "/"}}
    body = {"Sources": [{"Name": "web", "Permissions": [permission]}]}
    world.do(config.Write.of("service-intentions", "db", body))
    index = world.index
    with pytest.raises(Conflict, match="would speak tcp"):
        world.do(history.Revert("config", "service-defaults/db", index - 2))
    assert world.do(history.Revert("config", "service-intentions/db", index - 1))
    assert world.do(history.Revert("config", "service-defaults/db", index - 2))
    with pytest.raises(Invalid, match="speaks tcp"):
        world.do(history.Revert("config", "service-intentions/db", index))
    found = world.machine.answers.read(entries.Get("service-defaults", "db")).value
    assert found is not None
    assert found.body == {"Protocol": "tcp"}
