"""Single intentions are sources of entries: whichever way they are written, every view agrees."""

from __future__ import annotations

import contextlib
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Conflict, Invalid, NotFound
from mesh.registry import config, intentions
from mesh.registry.entries import Get, List
from mesh.registry.intention_writes import Drop, Promote, Put
from mesh.registry.kinds import parts, service_intentions
from tests.registry.world import World

NAMES = ("web", "db", "*")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "create", "drop", "promote", "write", "erase"]),
        st.sampled_from(NAMES),
        st.sampled_from(NAMES),
        st.sampled_from(["allow", "deny"]),
        st.booleans(),
    ),
    max_size=15,
)
Model = dict[tuple[str, str, bool], str]


def source(name: str, action: str = "allow", **more: Any) -> dict[str, Any]:
    body = service_intentions.ServiceIntentions(
        sources=[service_intentions.SourcePart(name=name, action=action, **more)]  # type: ignore[arg-type]
    )
    return parts.plain(body.settled("x").sources[0])


def step(world: World, model: Model, number: int, one: tuple[str, str, str, str, bool]) -> None:
    """Do it to the tables and to the model."""
    verb, name, destination, action, dry_run = one
    key = (name, destination, dry_run)
    match verb:
        case "put":
            world.do(Put(destination, source(name, action, dry_run=dry_run)))
            model[key] = action
        case "create":
            body, identity = source(name, action, dry_run=dry_run), str(UUID(int=number))
            with contextlib.suppress(Conflict):
                world.do(Put(destination, body, how="create", id=identity))
                assert key not in model
                found = world.ask(intentions.Get(identity))
                assert found is not None
                assert (found.source, found.destination) == (name, destination)
            model.setdefault(key, action)
        case "drop":
            world.do(Drop(name, destination, dry_run=dry_run))
            model.pop(key, None)
        case "promote":
            with contextlib.suppress(NotFound):
                world.do(Promote(name, destination))
                model[(name, destination, False)] = model.pop((name, destination, True))
        case "write":
            sources = [{"Name": name, "Action": action, "DryRun": dry_run}]
            world.do(config.Write.of("service-intentions", destination, {"Sources": sources}))
            for other in [other for other in model if other[1] == destination]:
                del model[other]
            model[key] = action
        case _:
            world.do(config.Erase("service-intentions", destination))
            for other in [other for other in model if other[1] == destination]:
                del model[other]


def seen(found: list[intentions.Intention]) -> Model:
    made: Model = {(one.source, one.destination, one.dry_run): one.action or "" for one in found}
    assert len(made) == len(found)
    ranks = [one.precedence for one in found]
    assert ranks == sorted(ranks, reverse=True)
    return made


@given(STEPS)
def test_every_view_says_what_was_written(steps: list[tuple[str, str, str, str, bool]]) -> None:
    world, model = World(), Model()
    for number, one in enumerate(steps):
        step(world, model, number, one)
    assert seen(world.ask(intentions.All())) == model
    for name in ("web", "db"):
        about = {key: one for key, one in model.items() if key[0] in {name, "*"}}
        assert seen(world.ask(intentions.OfSource(name))) == about
        about = {key: one for key, one in model.items() if key[1] in {name, "*"}}
        assert seen(world.ask(intentions.Matching(name)).intentions) == about
        for other in NAMES:
            exact = world.ask(intentions.Exact(name, other))
            assert (exact.action if exact else None) == model.get((name, other, False))
    for entry in world.ask(List("service-intentions")):
        assert entry.body["Sources"], "an entry without sources is deleted"
        rewritten = config.Write.of(entry.kind, entry.name, entry.body)
        before = world.database.index
        assert world.do(rewritten)
        kept = world.ask(Get(entry.kind, entry.name))
        assert kept is not None
        assert kept.modify_index <= before, "what was read changed something when it was written"


def test_ids_stay_where_they_are() -> None:
    world = World()
    identity = str(UUID(int=7))
    world.do(Put("db", source("web", legacy_meta={"a": "b"}), how="create", id=identity))
    with pytest.raises(Conflict, match="duplicate"):
        world.do(Put("db", source("web"), how="create", id=str(UUID(int=8))))
    world.now += 60
    world.do(Put("db", source("web", "deny"), how="update", id=identity))
    found = world.ask(intentions.Get(identity))
    assert found is not None
    assert (found.action, found.updated - found.created) == ("deny", 60)
    for bad in (Put("x", source("web"), how="update", id=identity), Drop(id=str(UUID(int=9)))):
        with pytest.raises(Conflict):
            world.do(bad)
    assert not world.do(Put("db", source("api"), check_index=1))
    assert world.do(Put("x", source("api"), check_index=0))
    world.do(Drop(id=identity))
    assert world.ask(intentions.Get(identity)) is None


def test_an_update_puts_nothing_in_the_place_of_another() -> None:
    world, first, second = World(), str(UUID(int=1)), str(UUID(int=2))
    world.do(Put("db", source("web", "deny"), how="create", id=first))
    world.do(Put("db", source("web", "allow", dry_run=True), how="create", id=second))
    with pytest.raises(Conflict, match="promote it"):
        world.do(Put("db", source("web", "allow"), how="update", id=second))
    with pytest.raises(Conflict, match="delete that first"):
        world.do(Put("db", source("web", "deny", dry_run=True), how="update", id=first))
    assert [one.id for one in world.ask(intentions.All())] == [second, first]
    world.do(Drop(id=first))
    world.do(Put("db", source("web", "allow"), how="update", id=second))
    (found,) = world.ask(intentions.All())
    assert (found.id, found.dry_run) == (second, False)


def test_services_are_the_same_in_any_case() -> None:
    world, identity = World(), str(UUID(int=7))
    world.do(Put("DB", source("Web", "deny"), how="create", id=identity))
    with pytest.raises(Conflict, match="duplicate"):
        world.do(Put("db", source("WEB"), how="create", id=str(UUID(int=8))))
    (found,) = world.ask(intentions.Matching("db")).intentions
    assert (found.source, found.destination, found.action) == ("Web", "DB", "deny")
    assert world.ask(intentions.Matching("DB")).intentions == [found]
    assert world.ask(intentions.Exact("web", "db")) == found
    assert world.ask(intentions.OfSource("WEB")) == [found]
    world.do(Put("db", source("WEB", "allow"), how="update", id=identity))
    world.do(Put("db", source("web", "deny", dry_run=True)))
    assert [one.source for one in world.ask(intentions.All())] == ["web", "Web"]
    world.do(Promote("WEB", "db"))
    (found,) = world.ask(intentions.All())
    assert (found.source, found.destination, found.action) == ("web", "DB", "deny")
    assert found.id == identity
    world.do(Put("db", source("WEB", "allow")))
    assert [one.source for one in world.ask(intentions.All())] == ["WEB"]
    world.do(Drop("web", "Db"))
    assert not world.ask(List())


def test_ends_must_be_services() -> None:
    world = World()
    permission = service_intentions.PermissionPart(
        action="deny", http=service_intentions.HttpPart(path_exact="/")
    )
    with pytest.raises(Invalid, match="DestinationName: a wildcard"):
        world.do(Put("a*", source("web")))
    with pytest.raises(Invalid, match="Permissions: not allowed"):
        world.do(Put("*", source("web", "", permissions=[permission])))
    with pytest.raises(Invalid, match="speaks tcp"):
        world.do(Put("db", source("web", "", permissions=[permission])))
    with pytest.raises(NotFound):
        world.do(Promote("web", "db"))
